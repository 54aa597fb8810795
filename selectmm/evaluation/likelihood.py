"""Losses of a VLM on answers that are given, batch by batch."""

from collections.abc import Callable, Sequence

import torch

from selectmm.cache.cost import computing
from selectmm.evaluation.answering import Responses
from selectmm.evaluation.generate import Question, opened
from selectmm.evaluation.halves import in_halves
from selectmm.models.encode import Conversation, encode
from selectmm.models.inputs import to_device
from selectmm.models.losses import weighted_loss
from selectmm.models.together import TOKENS, lengths_of, parts_alike
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn

Rater = Callable[[Sequence[Question], Sequence[str]], list[float]]  # (questions, their answers) → the loss of each


@torch.inference_mode()
def answer_losses(vlm: VLM, questions: Sequence[Question], answers: Sequence[str]) -> list[float]:
    """Mean cross-entropy of each answer's tokens in nats, as training on the row has it (its end token included).

    Rows of more than `TOKENS` tokens together, padding included, are computed in parts.

    Raises:
        UserError: a question shows a clip, and the model takes none.
    """
    talks = [
        Conversation((Turn("user", question.prompt), Turn("assistant", answer)), images, shown=question.placed(images))
        for question, answer, images in zip(questions, answers, opened(vlm, questions), strict=True)
    ]
    losses = [0.0] * len(talks)
    for some in parts_alike(lengths_of(vlm, talks), TOKENS):
        for row, loss in zip(some, _losses(vlm, [talks[row] for row in some]), strict=True):
            losses[row] = loss
    return losses


def _losses(vlm: VLM, talks: Sequence[Conversation]) -> list[float]:
    batch = to_device(encode(vlm, talks, side="right", limit=None), vlm.model)
    with computing():
        _, losses = weighted_loss(vlm.model, batch, torch.ones(len(talks), device=vlm.model.device))
    return losses.tolist()


def rated_in_batches(rate: Rater, batch_size: int, responses: Responses) -> Rater:
    """Rate any number of answers through ``rate``, which takes a batch; what every batch gives is kept.

    Questions of similar length share a batch, the longest first. Where memory does not suffice for a batch, its halves
    are rated one after the other.
    """

    def rate_all(questions: Sequence[Question], answers: Sequence[str]) -> list[float]:
        keys = [[question.prompt, answer] for question, answer in zip(questions, answers, strict=True)]
        order = sorted(range(len(keys)), key=lambda i: (-sum(map(len, keys[i])), i))

        def ask(items: Sequence[int]) -> list[float]:
            return rate([questions[i] for i in items], [answers[i] for i in items])

        found = responses.answer(keys, order, batch_size, lambda items: in_halves(ask, items))
        return [float(loss) for loss in found]

    return rate_all
