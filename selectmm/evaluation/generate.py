"""Answers of a VLM to questions about images, batch by batch."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from typing import Any

from PIL import Image

from selectmm.errors import UserError
from selectmm.evaluation.ahead import one_ahead
from selectmm.evaluation.answering import Responses
from selectmm.evaluation.batching import Batching, sample
from selectmm.evaluation.decode import Reply, Until, decode, ends_of
from selectmm.evaluation.halves import in_halves
from selectmm.evaluation.video import not_taken
from selectmm.models.encode import Batch, Conversation, encode
from selectmm.models.together import GENERATED, lengths_of, parts
from selectmm.models.vlm import VLM
from selectmm.pool.clip import Clip
from selectmm.pool.sample import Shown, Turn


@dataclass(frozen=True)
class Question:
    """A prompt, and a way to open its images and clips (opened only when its batch is due).

    Attributes:
        places: where these stand in the prompt, in its order; () where all stand in front of it.
    """

    prompt: str
    images: Callable[[], tuple[Image.Image | Clip, ...]]
    places: tuple[Shown, ...] = ()

    def placed(self, images: Sequence[Image.Image | Clip]) -> tuple[Shown, ...]:
        """The `places` of what is shown; other images or clips than the question's own stand in front of the prompt."""
        fits = [isinstance(one, Clip) for one in images] == [one.video for one in self.places]
        return self.places if fits else tuple(Shown("", video=isinstance(one, Clip)) for one in images)


# Answers questions in order: (questions, tokens allowed, strings that end an answer) → replies.
Answerer = Callable[[Sequence[Question], int, Sequence[str]], list[Reply]]


# Texts go on, from their tokens: (tokens of each text, what ends the text) → replies.
Completer = Callable[[Sequence[Sequence[int]], Until], list[Reply]]

# (tokens of context and continuation of each) → log-likelihood of the continuation, and whether it is the likeliest.
Scorer = Callable[[Sequence[tuple[Sequence[int], Sequence[int]]]], list[tuple[float, bool]]]


@dataclass(frozen=True)
class Backend:
    """Something else than this process's model that answers; a score's manifest carries its ``name``.

    Attributes:
        answer: answers questions about images. complete, score: do what text benchmarks ask for.
        size: requests that it takes at a time.
        batch_invariant: whether an answer does not depend on what is answered beside it.
    """

    name: str
    answer: Answerer
    complete: Completer
    score: Scorer
    size: int
    batch_invariant: bool


def generate(vlm: VLM, questions: Sequence[Question], max_new_tokens: int, stops: Sequence[str]) -> list[Reply]:
    """The VLM's greedy replies to one batch of questions; they do not depend on the batch (`decode`).

    Raises:
        UserError: a question shows a clip, and the model takes none.
    """
    return answered(vlm, prompts_of(vlm, questions, max_new_tokens), max_new_tokens, stops)


def with_own_processor(vlm: VLM) -> VLM:
    """The same model for a thread beside the one that answers, with a processor of its own.

    A tokenizer of transformers keeps whether it pads from one call to the next, so two threads that share it can take
    each other's setting (seen with 5.23: batches that came back without padding).
    """
    return replace(vlm, processor=deepcopy(vlm.processor))


@dataclass(frozen=True)
class Prompts:
    """Questions that are opened and encoded.

    Attributes:
        together: places of those that are decoded together. encoded: their tensors, in pinned memory for a GPU.
    """

    conversations: Sequence[Conversation]
    together: Sequence[slice]
    encoded: Sequence[Batch]


def prompts_of(vlm: VLM, questions: Sequence[Question], max_new_tokens: int) -> Prompts:
    """One batch of questions, opened and encoded.

    Where prompts and answers may have more than `GENERATED` tokens, padding included, it is decoded in parts.

    Raises:
        UserError: a question shows a clip, and the model takes none.
    """
    shown = opened(vlm, questions)
    conversations = [
        Conversation((Turn("user", question.prompt),), images, shown=question.placed(images))
        for question, images in zip(questions, shown, strict=True)
    ]
    together = parts(lengths_of(vlm, conversations) + max_new_tokens, GENERATED)
    return Prompts(conversations, together, [_encoded(vlm, conversations[some]) for some in together])


def answered(vlm: VLM, prompts: Prompts, max_new_tokens: int, stops: Sequence[str]) -> list[Reply]:
    """The greedy replies to the questions of `prompts_of`, which was told the same ``max_new_tokens``."""
    until = Until(max_new_tokens, stops, ends_of_turn(vlm))
    replies = []
    for some, batch in zip(prompts.together, prompts.encoded, strict=True):
        replies += _replies(vlm, prompts.conversations[some], batch, until)
    return replies


def _replies(vlm: VLM, conversations: Sequence[Conversation], batch: Batch, until: Until) -> list[Reply]:
    def encoded(rows: Sequence[int]) -> Batch:
        return batch if len(rows) == len(conversations) else _encoded(vlm, [conversations[row] for row in rows])

    return decode(vlm, encoded, len(conversations), until)


def _encoded(vlm: VLM, conversations: Sequence[Conversation]) -> Batch:
    # A prompt is never cut: half a question would be scored as if it had been asked.
    batch = encode(vlm, conversations, side="left", limit=None)
    pinned = vlm.model.device.type == "cuda"  # which copies them while it computes
    return {name: tensor.pin_memory() for name, tensor in batch.items()} if pinned else batch


def opened(vlm: VLM, questions: Sequence[Question]) -> list[tuple[Image.Image | Clip, ...]]:
    """What each question shows.

    Raises:
        UserError: one shows a clip, and the model takes none.
    """
    shown = [question.images() for question in questions]
    if vlm.family.template.video is None and any(isinstance(one, Clip) for images in shown for one in images):
        raise UserError(f"This benchmark shows clips, {not_taken(vlm)}")
    return shown


def ends_of_turn(vlm: VLM) -> frozenset[int]:
    """The checkpoint's end tokens and the one that the template ends an answer with, which it may not know."""
    ids = vlm.processor.tokenizer(vlm.family.template.assistant_suffix, add_special_tokens=False)["input_ids"]
    return ends_of(vlm) | (set(ids[:1]) & set(vlm.processor.tokenizer.all_special_ids))


def in_batches(
    answer: Callable[[Any, int, Sequence[str]], list[Reply]],
    batch_size: int,
    responses: Responses,
    batching: Batching,
    prompts: Callable[[Sequence[Question], int], Any] | None = None,
    ahead: bool = False,
) -> Answerer:
    """Answer any number of questions through ``answer``, which takes a batch; every batch's replies are kept.

    Questions of similar length share a batch, the longest first. Where memory does not suffice for a batch, its halves
    are answered one after the other.

    Args:
        batching: is called with how many of a sample change when they are asked alone, unless none can.
        prompts: makes what ``answer`` takes of questions and the tokens allowed; None: it takes the questions.
        ahead: whether this is done in a thread of its own, for the next batch while one is answered.
    """

    def answer_all(questions: Sequence[Question], max_new_tokens: int, stops: Sequence[str]) -> list[Reply]:
        keys = [[question.prompt, max_new_tokens, list(stops)] for question in questions]
        order = sorted(range(len(questions)), key=lambda i: (-len(questions[i].prompt), i))

        def made(items: Sequence[int]) -> Any:
            some = [questions[i] for i in items]
            return some if prompts is None else prompts(some, max_new_tokens)

        def ask(items: Sequence[int]) -> list[dict[str, object]]:
            return [asdict(reply) for reply in answer(ready.take(items), max_new_tokens, stops)]

        with one_ahead(made, in_thread=ahead) as ready:
            found = responses.answer(keys, order, batch_size, lambda items: in_halves(ask, items), ready.coming)
            if not batching.invariant and batch_size > 1:
                some = sample(len(keys))
                alone = [["alone", *keys[i]] for i in some]
                again = responses.answer(alone, range(len(some)), 1, lambda places: ask([some[p] for p in places]))
                batching.note(found[i] != other for i, other in zip(some, again, strict=True))
        return [Reply(**kept) for kept in found]

    return answer_all
