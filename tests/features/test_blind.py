"""The loss without the image: a batch of unlike rows against one row at a time, as Hugging Face computes it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from selectmm.features.answers import AnswerLoss
from selectmm.features.blind import BlindLoss
from selectmm.features.feature import NO_ANSWER
from selectmm.models.encode import IGNORED
from selectmm.models.vlm import VLM
from tests.features.material import TALKS, UNANSWERED, Row, seen

TEXT_ONLY = 1  # the row of `TALKS` without image


@torch.no_grad()
def blind(vlm: VLM, feature: BlindLoss) -> np.ndarray:
    return feature.compute(seen(vlm, feature)).numpy()


def answered(values: np.ndarray) -> np.ndarray:
    return np.delete(values, [TEXT_ONLY, UNANSWERED])


@torch.no_grad()
def test_dropped_the_image_leaves_the_conversation_without_its_place(vlm: VLM) -> None:
    losses = []
    for talk in TALKS:
        row = Row.of(vlm, replace(talk, images=()))
        assert vlm.image_token_id not in row.ids
        losses.append(vlm.model(**row.inputs, labels=row.labels[None]).loss.item())
    found = blind(vlm, BlindLoss("drop"))
    assert answered(found) == pytest.approx(answered(np.array(losses)), rel=1e-5)
    assert found[TEXT_ONLY] == 0 and found[UNANSWERED] == NO_ANSWER


@torch.no_grad()
def test_masked_the_image_is_padding_that_nobody_sees(vlm: VLM) -> None:
    """The language model by itself, on the words' embeddings at the places that they have with the image."""
    losses = []
    for talk in TALKS:
        row = Row.of(vlm, talk)
        words = row.ids != vlm.image_token_id
        inner = vlm.model.model.language_model
        hidden = inner(inputs_embeds=inner.embed_tokens(row.ids[words])[None], position_ids=words.nonzero().T)
        logits = vlm.model.lm_head(hidden.last_hidden_state[0])
        losses.append(vlm.model.loss_function(logits[None], row.labels[words][None], len(logits[0])).item())
    found = blind(vlm, BlindLoss("mask"))
    assert answered(found) == pytest.approx(answered(np.array(losses)), rel=1e-5)
    assert found[TEXT_ONLY] == 0 and found[UNANSWERED] == NO_ANSWER


@torch.no_grad()
def test_a_row_that_the_limit_cuts_has_its_loss_over_the_same_answer_tokens(vlm: VLM) -> None:
    """Without its image the row is shorter, and more of its answer would fit."""
    whole = Row.of(vlm, TALKS[0])
    limit = len(whole.ids) - 1  # cuts the last answer token off, which the row without image would keep
    alone = Row.of(vlm, replace(TALKS[0], images=()))
    places = (alone.labels != IGNORED).nonzero().flatten()
    missing = int((whole.labels[limit:] != IGNORED).sum())
    assert missing, "or nothing is tested"
    labels = alone.labels.clone()
    labels[places[len(places) - missing :]] = IGNORED
    expected = vlm.model(**alone.inputs, labels=labels[None]).loss.item()
    cut = seen(vlm, BlindLoss("drop"), talks=[TALKS[0]], limit=limit)
    assert BlindLoss("drop").compute(cut).item() == pytest.approx(expected, rel=1e-5)


def test_it_rides_beside_other_features_without_changing_them(vlm: VLM) -> None:
    together = seen(vlm, AnswerLoss(), BlindLoss())
    with torch.no_grad():
        BlindLoss().compute(together)
        np.testing.assert_array_equal(AnswerLoss().compute(together), AnswerLoss().compute(seen(vlm, AnswerLoss())))
