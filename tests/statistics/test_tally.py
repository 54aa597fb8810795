"""A value that follows from the kept answers is the value that the real task code gave."""

import numpy as np
import pytest

from selectmm.evaluation import multimodal, text
from selectmm.evaluation.outcome import Answer, Outcome
from selectmm.evaluation.tasks import rendered
from selectmm.statistics.tally import tally
from tests.evaluation.material import TEXTS, answering, benchmarks, items, said, tasks
from tests.evaluation.scripted import Scripted


def outcome(key: str) -> Outcome:
    """A stub's outcome that is right on the first, second and every third item."""
    benchmark = benchmarks()[key]

    def right(position: int) -> bool:
        return position < 2 or position % 3 == 0

    with rendered(tasks()) as folder:
        if key in TEXTS:
            return text.run([benchmark], folder, Scripted(items()[key], right), limit=None, seed=0)[benchmark.name]
        answer = answering(said(key, right))
        found = multimodal.run([benchmark], folder, answer, limit=None, max_new_tokens=8, images="shown", seed=0)
    return found[benchmark.name]


@pytest.mark.parametrize("key", list(benchmarks()))
def test_the_value_follows_from_the_answers(key: str) -> None:
    found = outcome(key)
    listed = tally(found.answers, benchmarks()[key].metric, benchmarks()[key].scale)
    assert listed.total == pytest.approx(found.value, abs=1e-3)
    assert 0 < found.value


def test_pairs_of_mme_are_one_cluster_and_categories_are_strata() -> None:
    found = tally(outcome("mme").answers, "mme_total_score")
    assert found.sums.shape == (6, 4)
    assert sorted(set(found.strata)) == ["color", "numerical_calculation"]
    assert found.right is None


def test_rotations_of_one_question_count_once() -> None:
    turned = [Answer(str(n), "", "A", "A", float(n > 1), "picture", unit) for n, unit in enumerate("aabbbbbb")]
    found = tally(turned, "gpt_eval_score")
    assert found.total == 50
    assert found.right.tolist() == [False, True]
    assert len(found.sums) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_a_units_score_is_numpys_mean_to_the_bit(size: int) -> None:
    scores = [0.1, 0.7, 0.3, 0.9, 0.2, 0.6, 0.8, 0.4, 0.5][:size]
    unit = [Answer(str(n), "", "a", "a", score, unit="together") for n, score in enumerate(scores)]
    assert tally(unit, "exact_match").sums[0, 0] == np.mean(scores)


def test_the_clusters_of_equal_answers_are_one_object() -> None:
    one, other = (tally(outcome("mme").answers, "mme_total_score") for _ in range(2))
    assert one.clusters is other.clusters and one.strata is other.strata


def test_shares_are_not_right_or_wrong_and_a_metric_without_item_scores_is_unknown() -> None:
    share = Answer("0", "", "a", "a", 0.3)
    assert tally([share, share], "exact_match").right is None
    assert tally([share, Answer("1", "", "a", "a", None)], "exact_match") is None
    assert tally([], "exact_match") is None
