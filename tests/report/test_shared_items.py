"""Benchmarks of the same items, against the variance of the item's mean over them, worked out by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from selectmm.evaluation.outcome import Answer
from selectmm.report.learned import gain_of
from selectmm.report.pairing import item_variance
from selectmm.report.references import Reference
from selectmm.report.rows import Comparison, Tallies, compare
from selectmm.report.shared_items import variance_of_errors
from selectmm.report.verdict import against_random, difference
from selectmm.statistics.tally import Tally, tally
from tests.report.runs import run_of

ITEMS = 60
Runs = Mapping[str, Sequence[Mapping[str, np.ndarray]]]  # by method and seed: each item's score, by benchmark


def tally_of(points: np.ndarray, pictures: Sequence[str] = ()) -> Tally:
    """The tally of one benchmark from its items' scores."""
    shown = pictures or [""] * len(points)
    answers = [
        Answer(str(item), "", "", "", float(point), picture)
        for item, (point, picture) in enumerate(zip(points, shown, strict=True))
    ]
    found = tally(answers, "exact_match")
    assert found is not None
    return found


def compared(runs: Runs, materials: Mapping[str, str], shown: Mapping[str, Sequence[str]] | None = None) -> Comparison:
    """Runs of several benchmarks, each of the material that is named; ``shown`` are their items' pictures."""
    records, tallies = [], {}
    evaluator = {name: {"material": material} for name, material in materials.items()}
    for method, seeds in runs.items():
        for seed, scores in enumerate(seeds):
            values = {name: 100 * float(points.mean()) for name, points in scores.items()}
            one = run_of(method, values, seed=seed, evaluator=evaluator)
            errors = {name: 100 * points.std(ddof=1) / sqrt(len(points)) for name, points in scores.items()}
            record = replace(one, scores=tuple(replace(s, stderr=float(errors[s.benchmark])) for s in one.scores))
            records.append(record)
            pictures = {name: (shown or {}).get(name, ()) for name in scores}
            tallies[record.name] = {name: tally_of(points, pictures[name]) for name, points in scores.items()}
    return compare(records, {}, tallies)


def of_one_seed(benchmarks: Sequence[str]) -> Runs:
    """Full is right everywhere, so that Rel. is the score."""
    rng = np.random.default_rng(0)
    drawn = {method: {name: rng.integers(0, 2, ITEMS) for name in benchmarks} for method in ("random", "prism")}
    return {"full": [dict.fromkeys(benchmarks, np.ones(ITEMS))], **{method: [one] for method, one in drawn.items()}}


def by_items(apart: np.ndarray) -> float:
    """The variance of a mean over items, of percentages."""
    return float(100**2 * apart.var(ddof=1) / len(apart))


def found_in(seen: Comparison) -> float | None:
    return item_variance(seen.rows[2], seen.rows[1], seen)


def test_two_metrics_of_the_same_items_are_one_mean_over_items() -> None:
    runs = of_one_seed(["a", "b"])
    apart = {name: runs["prism"][0][name] - runs["random"][0][name] for name in ("a", "b")}
    same = found_in(compared(runs, {"a": "m", "b": "m"}))
    assert same == pytest.approx(by_items((apart["a"] + apart["b"]) / 2))
    others = found_in(compared(runs, {"a": "m", "b": "n"}))
    assert others == pytest.approx((by_items(apart["a"]) + by_items(apart["b"])) / 4)
    unknown = found_in(compared(runs, {"a": "", "b": ""}))
    assert unknown == pytest.approx(others), "records of before the material was kept"


def test_a_benchmark_that_is_there_twice_says_nothing_more() -> None:
    runs = of_one_seed(["a"])
    twice = {method: [{"a": one["a"], "b": one["a"]} for one in seeds] for method, seeds in runs.items()}
    once = found_in(compared(runs, {"a": "m"}))
    assert found_in(compared(twice, {"a": "m", "b": "m"})) == pytest.approx(once)


def test_benchmarks_that_show_the_same_pictures_err_together() -> None:
    """Other questions about the first half of the pictures; the second half is of each benchmark alone."""
    runs, half = of_one_seed(["a", "b"]), ITEMS // 2
    shown = {name: [f"{name if item >= half else ''}picture {item}" for item in range(ITEMS)] for name in ("a", "b")}
    apart = {name: runs["prism"][0][name] - runs["random"][0][name] for name in ("a", "b")}
    off = {name: apart[name] - apart[name].mean() for name in apart}
    shared = 2 * 100**2 * float((off["a"] * off["b"])[:half].sum()) / (ITEMS * (ITEMS - 1))
    expected = (by_items(apart["a"]) + by_items(apart["b"]) + shared) / 4
    assert found_in(compared(runs, {"a": "m", "b": "n"}, shown)) == pytest.approx(expected)


def test_without_answers_metrics_of_the_same_items_are_taken_to_err_alike() -> None:
    runs = of_one_seed(["a", "b"])
    seen = replace(compared(runs, {"a": "m", "b": "m"}), tallies={})
    own = {name: by_items(runs["prism"][0][name]) + by_items(runs["random"][0][name]) for name in ("a", "b")}
    assert found_in(seen) == pytest.approx((sqrt(own["a"]) + sqrt(own["b"])) ** 2 / 4)


def test_equal_methods_are_not_called_different_because_four_metrics_have_the_same_items() -> None:
    """A method's answers to an item are alike over its seeds; four metrics of them then said p <= 0.05 in 17 of 100."""
    rng, names, tries = np.random.default_rng(1), ("em", "f1", "anls", "likelihood"), 100
    alarms = 0
    for _ in range(tries):
        hard, runs = rng.normal(0, 1, ITEMS), {}
        for method in ("full", "random", "prism"):
            taste = hard + rng.normal(0, 0.7, ITEMS)
            heights = [taste + rng.normal(0, 0.5, ITEMS) for _ in range(3)]
            scored = [(z > 0, z > -0.3, z > -0.2, 1 / (1 + np.exp(-2 * z))) for z in heights]
            runs[method] = [{n: points * 1.0 for n, points in zip(names, one, strict=True)} for one in scored]
        seen = compared(runs, dict.fromkeys(names, "m"))
        ((random, (prism, *_)),) = [(one, [row for row in rows if not row.full]) for one, rows in against_random(seen)]
        alarms += difference(prism, random, seen).p <= 0.05
    assert alarms <= 0.08 * tries


def test_errors_of_scores_are_added_as_their_answers_are_correlated() -> None:
    runs = of_one_seed(["a", "b"])
    seen = compared(runs, {"a": "m", "b": "m"})
    record, tallies = seen.rows[2].outcomes[0].record, seen.tallies
    points = runs["prism"][0]
    errors = {name: sqrt(by_items(points[name])) for name in ("a", "b")}

    def variance(materials: str, known: Tallies) -> float:
        evaluator = {n: replace(record.suite.evaluator[n], material=m) for n, m in zip("ab", materials, strict=True)}
        other = replace(record, suite=replace(record.suite, evaluator=evaluator))
        return variance_of_errors(errors, [other], {other.name: known.get(record.name, {})})

    assert variance("mm", tallies) == pytest.approx(by_items(points["a"] + points["b"]))
    apart = errors["a"] ** 2 + errors["b"] ** 2
    assert [variance("mn", known) for known in (tallies, {})] == pytest.approx([apart, apart])
    assert variance("mm", {}) == pytest.approx((errors["a"] + errors["b"]) ** 2)


def test_what_training_taught_is_as_uncertain_for_a_metric_that_is_there_twice() -> None:
    points = np.arange(ITEMS) % 2 * 1.0
    runs: Runs = {"full": [{"a": points, "b": points}]}
    base = {name: Reference(base=20.0) for name in ("a", "b")}
    twice, apart = (gain_of(compared(runs, {"a": "m", "b": other}), base) for other in ("m", "n"))
    once = gain_of(compared({"full": [{"a": points}]}, {"a": "m"}), base)
    assert twice is not None and apart is not None and once is not None
    assert twice.margin == pytest.approx(once.margin) == pytest.approx(apart.margin * sqrt(2))
