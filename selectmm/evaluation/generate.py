"""Answers of a VLM to questions about images, batch by batch."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from PIL import Image

from selectmm.evaluation.answering import Responses
from selectmm.evaluation.decode import Reply, Until, decode, ends_of
from selectmm.models.encode import Batch, Conversation, encode
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn


@dataclass(frozen=True)
class Question:
    """A prompt, and a way to open its images (opened only when its batch is due)."""

    prompt: str
    images: Callable[[], tuple[Image.Image, ...]]


# Answers questions in order: (questions, tokens allowed, strings that end an answer) → replies.
Answerer = Callable[[Sequence[Question], int, Sequence[str]], list[Reply]]


@dataclass(frozen=True)
class Backend:
    """Something else than `generate` that answers batches of questions; a score's manifest carries its ``name``."""

    name: str
    answer: Answerer


def generate(vlm: VLM, questions: Sequence[Question], max_new_tokens: int, stops: Sequence[str]) -> list[Reply]:
    """The VLM's greedy replies to one batch of questions; they do not depend on the batch (`decode`)."""
    conversations = [Conversation((Turn("user", q.prompt),), q.images()) for q in questions]

    def encoded(rows: Sequence[int]) -> Batch:
        # A prompt is never cut: half a question would be scored as if it had been asked.
        return encode(vlm, [conversations[row] for row in rows], side="left", limit=None)

    return decode(vlm, encoded, len(questions), Until(max_new_tokens, stops, ends_of_turn(vlm)))


def ends_of_turn(vlm: VLM) -> frozenset[int]:
    """The checkpoint's end tokens and the one that the template ends an answer with, which it may not know."""
    ids = vlm.processor.tokenizer(vlm.family.template.assistant_suffix, add_special_tokens=False)["input_ids"]
    return ends_of(vlm) | (set(ids[:1]) & set(vlm.processor.tokenizer.all_special_ids))


def in_batches(answer: Answerer, batch_size: int, responses: Responses) -> Answerer:
    """Answer any number of questions through ``answer``, which takes a batch; every batch's replies are kept.

    Questions of similar length share a batch, the longest first.
    """

    def answer_all(questions: Sequence[Question], max_new_tokens: int, stops: Sequence[str]) -> list[Reply]:
        keys = [[question.prompt, max_new_tokens, list(stops)] for question in questions]
        order = sorted(range(len(questions)), key=lambda i: (-len(questions[i].prompt), i))

        def ask(items: Sequence[int]) -> list[dict[str, object]]:
            return [asdict(reply) for reply in answer([questions[i] for i in items], max_new_tokens, stops)]

        return [Reply(**kept) for kept in responses.answer(keys, order, batch_size, ask)]

    return answer_all
