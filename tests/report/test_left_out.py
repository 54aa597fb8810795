"""Differences from random on benchmarks that Rel. leaves out."""

from math import sqrt
from statistics import NormalDist

import numpy as np
import pytest

from selectmm.report.left_out import left_out, score_p
from selectmm.report.references import Reference
from selectmm.report.rows import Comparison, compare
from selectmm.report.table import tabulate
from tests.report.runs import run_of
from tests.report.test_pairing import ITEMS, compared

REFERENCES = {"b": Reference(chance=90.0)}  # which full does not reach


def seen(b: float, seeds: int = 2, stderr: float | None = 2.0) -> Comparison:
    """``b``: the method's score on the benchmark that is left out, where full and random have 70."""
    scores = {"full": (50.0, 70.0), "random": (40.0, 70.0), "prism": (40.0, b)}
    runs = [
        run_of(method, dict(zip("ab", values, strict=True)), seed=seed, stderr=stderr)
        for method, values in scores.items()
        for seed in range(seeds)
    ]
    return compare(runs, REFERENCES)


def test_a_collapse_that_rel_does_not_see_stands_above_the_table() -> None:
    expected = (
        "Significantly different from random on benchmarks that Rel. leaves out (corrected for 1 comparison of their "
        "own): prism at 30 % (b -70.0)."
    )
    assert left_out(seen(0.0)) == [expected]
    assert expected in tabulate(seen(0.0), REFERENCES, "", []).answers
    assert left_out(seen(0.0, seeds=1)) == [], "the spread between seeds may be all of it"
    assert left_out(seen(0.0, stderr=None)) == [], "nor is anything known without an error over items"


def test_what_noise_may_do_is_not_told() -> None:
    """Items of both rows: 2 and 2 points, seeds agree; 5 points are 1.77 standard errors."""
    near = seen(75.0)
    row, random = near.rows[2], near.rows[1]
    assert score_p(row, random, "b", near) == pytest.approx(2 * (1 - NormalDist().cdf(5 / (2 * sqrt(2)))))
    assert left_out(near) == [] and left_out(seen(70.0)) == []


def test_all_that_was_looked_at_is_corrected_for() -> None:
    """6 points have p 0.034; with a second method beside it Holm asks for 0.025."""
    assert left_out(seen(76.0)) != []
    other = [run_of("length", {"a": 40.0, "b": 70.0}, seed=seed, stderr=2.0) for seed in (0, 1)]
    assert left_out(compare([*seen(76.0).records, *other], REFERENCES)) == []


def test_the_spread_over_seeds_counts() -> None:
    runs = [run_of("prism", {"a": 40.0, "b": value}, seed=seed, stderr=0.01) for seed, value in enumerate((40.0, 90.0))]
    others = [record for record in seen(0.0, stderr=0.01).records if record.method.name != "prism"]
    assert left_out(compare([*others, *runs], REFERENCES)) == []


def test_items_that_both_answered_are_paired() -> None:
    rng = np.random.default_rng(0)
    random, prism = (rng.integers(0, 2, ITEMS) for _ in range(2))
    found = compared({"full": [np.ones(ITEMS)], "random": [random], "prism": [prism]})
    apart = 100 * (prism - random)
    z = abs(apart.mean()) / (apart.std(ddof=1) / sqrt(ITEMS))
    assert score_p(found.rows[2], found.rows[1], "a", found) == pytest.approx(2 * (1 - NormalDist().cdf(z)))
