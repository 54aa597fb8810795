"""Loss and error of answers: a batch of unlike rows against one row at a time, with Hugging Face's full logits."""

import numpy as np
import pytest
import torch

from selectmm.features.answers import AnswerError, AnswerLoss
from selectmm.features.feature import NO_ANSWER, Feature
from selectmm.features.tokens import TokenCount
from selectmm.models.encode import IGNORED, Conversation
from selectmm.models.vlm import VLM
from tests.features.material import TALKS, UNANSWERED, Row, seen


@torch.no_grad()
def computed(vlm: VLM, feature: Feature, talks: list[Conversation] = TALKS) -> np.ndarray:
    return feature.compute(seen(vlm, feature, talks=talks)).numpy()


def answered(values: np.ndarray) -> np.ndarray:
    return np.delete(values, UNANSWERED)


@torch.no_grad()
def test_the_loss_is_hugging_faces_own_of_one_row(vlm: VLM) -> None:
    rows = [Row.of(vlm, talk) for talk in TALKS]
    losses = [vlm.model(**row.inputs, labels=row.labels[None]).loss.item() for row in rows]
    assert answered(computed(vlm, AnswerLoss())) == pytest.approx(answered(losses), rel=1e-5)


@torch.no_grad()
def test_the_error_is_the_distance_of_softmax_and_one_hot_token_by_token(vlm: VLM) -> None:
    errors = []
    for talk in TALKS:
        logits, targets = Row.of(vlm, talk).logits_and_targets(vlm)
        probabilities = torch.softmax(logits.double(), -1).numpy()
        one_hots = np.eye(logits.shape[-1])[targets.numpy()]
        errors.append(np.mean([np.linalg.norm(p - hot) for p, hot in zip(probabilities, one_hots, strict=True)]))
    assert answered(computed(vlm, AnswerError())) == pytest.approx(answered(errors), rel=1e-5)


@torch.no_grad()
def test_answers_alone_are_the_template_without_image_and_user(vlm: VLM) -> None:
    alone = [Conversation(tuple(turn for turn in talk.turns if turn.role == "assistant")) for talk in TALKS]
    losses = []
    for talk in alone:
        row = Row.of(vlm, talk)
        assert vlm.image_token_id not in row.ids and not row.words.any()
        losses.append(vlm.model(**row.inputs, labels=row.labels[None]).loss.item())
    assert computed(vlm, AnswerLoss("answer"), alone) == pytest.approx(losses, rel=1e-5)


@torch.no_grad()
def test_an_answer_that_is_context_is_seen_and_not_scored(vlm: VLM) -> None:
    talk = TALKS[0]
    context = Conversation((talk.turns[0], talk.turns[1]._replace(trained=False), *talk.turns[2:]), talk.images)
    row, first = Row.of(vlm, talk), Row.of(vlm, Conversation(talk.turns[:2], talk.images))
    last = row.labels.clone()
    last[(last != IGNORED).nonzero().flatten()[: (first.labels != IGNORED).sum()]] = IGNORED
    loss = vlm.model(**row.inputs, labels=last[None]).loss.item()
    assert computed(vlm, AnswerLoss(), [context]) == pytest.approx([loss], rel=1e-5)
    assert computed(vlm, AnswerLoss(), [talk]) != pytest.approx([loss], rel=1e-3)


def test_a_row_whose_answer_was_cut_off_says_so(vlm: VLM) -> None:
    for feature in (AnswerLoss(), AnswerError()):
        values = computed(vlm, feature)
        assert values[UNANSWERED] == NO_ANSWER
        assert (answered(values) > 0).all()


def test_tokens_are_counted_before_the_cut(vlm: VLM) -> None:
    lengths = [len(Row.of(vlm, talk).ids) for talk in TALKS]
    assert computed(vlm, TokenCount()).tolist() == lengths
    assert len(set(lengths)) == len(TALKS), "the batch is padded"
