"""The margin of answers: a batch of unlike rows against one row at a time, token by token."""

import numpy as np
import pytest
import torch

from selectmm.features.margin import NO_MARGIN, AnswerMargin
from selectmm.models.forward import Answers
from selectmm.models.vlm import VLM
from tests.features.material import TALKS, UNANSWERED, Row, seen


@torch.no_grad()
def test_the_margin_is_the_right_token_s_chance_less_the_best_other_s(vlm: VLM) -> None:
    expected = []
    for talk in TALKS:
        logits, targets = Row.of(vlm, talk).logits_and_targets(vlm)
        margins = []
        for row, target in zip(torch.softmax(logits.double(), -1).tolist(), targets.tolist(), strict=True):
            margins.append(row[target] - max(p for token, p in enumerate(row) if token != target))
        expected.append(np.mean(margins))
    found = AnswerMargin().compute(seen(vlm, AnswerMargin())).numpy()
    assert np.delete(found, UNANSWERED) == pytest.approx(np.delete(expected, UNANSWERED), abs=1e-6)
    assert found[UNANSWERED] == NO_MARGIN


def test_a_sure_answer_has_a_margin_above_zero_by_hand(vlm: VLM) -> None:
    """Right tokens at 0.7 and 0.5, the best others at 0.2 and 0.3: (0.5 + 0.2) / 2. Another row: 0.3 less 0.6."""
    chances = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])
    given = seen(vlm, AnswerMargin())
    given.answers = Answers(chances.log(), torch.tensor([0, 0, 2]), torch.tensor([0, 0, 1]))
    found = AnswerMargin().compute(given).tolist()
    assert found[:2] == pytest.approx([0.35, -0.3], abs=1e-6) and set(found[2:]) == {NO_MARGIN}
