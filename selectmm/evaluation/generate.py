"""Answers of a VLM to questions about images, batch by batch."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from PIL import Image

from selectmm.errors import UserError
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

    Where prompts and answers may have more than `GENERATED` tokens, padding included, the batch is decoded in parts.

    Raises:
        UserError: a question shows a clip, and the model takes none.
    """
    shown = opened(vlm, questions)
    conversations = [
        Conversation((Turn("user", question.prompt),), images, shown=question.placed(images))
        for question, images in zip(questions, shown, strict=True)
    ]
    until = Until(max_new_tokens, stops, ends_of_turn(vlm))
    together = parts(lengths_of(vlm, conversations) + max_new_tokens, GENERATED)
    return [reply for some in together for reply in _replies(vlm, conversations[some], until)]


def _replies(vlm: VLM, conversations: Sequence[Conversation], until: Until) -> list[Reply]:
    def encoded(rows: Sequence[int]) -> Batch:
        # A prompt is never cut: half a question would be scored as if it had been asked.
        return encode(vlm, [conversations[row] for row in rows], side="left", limit=None)

    return decode(vlm, encoded, len(conversations), until)


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


def in_batches(answer: Answerer, batch_size: int, responses: Responses, batching: Batching) -> Answerer:
    """Answer any number of questions through ``answer``, which takes a batch; every batch's replies are kept.

    Questions of similar length share a batch, the longest first. Where memory does not suffice for a batch, its halves
    are answered one after the other.

    Args:
        batching: is called with how many of a sample change when they are asked alone, unless none can.
    """

    def answer_all(questions: Sequence[Question], max_new_tokens: int, stops: Sequence[str]) -> list[Reply]:
        keys = [[question.prompt, max_new_tokens, list(stops)] for question in questions]
        order = sorted(range(len(questions)), key=lambda i: (-len(questions[i].prompt), i))

        def ask(items: Sequence[int]) -> list[dict[str, object]]:
            return [asdict(reply) for reply in answer([questions[i] for i in items], max_new_tokens, stops)]

        found = responses.answer(keys, order, batch_size, lambda items: in_halves(ask, items))
        if not batching.invariant and batch_size > 1:
            some = sample(len(keys))
            alone = [["alone", *keys[i]] for i in some]
            again = responses.answer(alone, range(len(some)), 1, lambda places: ask([some[place] for place in places]))
            batching.note(found[i] != other for i, other in zip(some, again, strict=True))
        return [Reply(**kept) for kept in found]

    return answer_all
