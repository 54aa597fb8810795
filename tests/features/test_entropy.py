"""The entropy of answers: a batch of unlike rows against one row at a time, token by token."""

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from selectmm.features.entropy import AnswerEntropy
from selectmm.features.feature import NO_ANSWER
from selectmm.models.vlm import VLM
from tests.features.material import TALKS, UNANSWERED, Row, seen


@torch.no_grad()
def test_the_entropy_is_the_mean_over_answer_tokens(vlm: VLM) -> None:
    expected = []
    for talk in TALKS:
        logits, _ = Row.of(vlm, talk).logits_and_targets(vlm)
        expected.append(np.mean([entropy(chances) for chances in torch.softmax(logits.double(), -1).numpy()]))
    found = AnswerEntropy().compute(seen(vlm, AnswerEntropy())).numpy()
    assert np.delete(found, UNANSWERED) == pytest.approx(np.delete(expected, UNANSWERED), rel=1e-5)
    assert found[UNANSWERED] == NO_ANSWER
