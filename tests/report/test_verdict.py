"""What a row's difference from random comes to."""

from dataclasses import replace
from math import sqrt
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import t

from selectmm.records.record import MethodEntry
from selectmm.report.notes import notes
from selectmm.report.points import points
from selectmm.report.relative import full_of
from selectmm.report.rows import compare
from selectmm.report.verdict import answers, difference, same_runs, verdicts
from tests.report.runs import run_of

FULL = run_of("full", {"a": 50.0, "b": 100.0}, seconds=(0.0, 0.0, 100.0))


def test_a_difference_by_hand() -> None:
    """Items: each run's Rel. has variance (1/50² + 1/100²) · 100² / 2² = 1.25; seeds: none known at n = 1."""
    runs = [run_of("random", {"a": 40.0, "b": 90.0}), run_of("prism", {"a": 45.0, "b": 90.0})]
    seen = compare([FULL, *runs], {})
    found = difference(seen.rows[2], seen.rows[1], seen)
    assert found.value == pytest.approx(5.0)
    assert found.margin == pytest.approx(1.96 * sqrt(2 * 1.25))
    assert not found.within_noise
    assert answers(seen) == ["A random 30 % keeps 85.0 % of the full run's score. Unknown with one seed: prism (+5.0)."]


def test_of_one_seed_nothing_is_said_and_it_makes_no_other_row_significant() -> None:
    """Alone, p of ``prism`` is 0.045; beside a second comparison it would have to be below 0.025."""
    runs = [run_of(name, {"a": 40.0}, seed=seed, stderr=0.5) for name in ("random", "prism") for seed in (0, 1)]
    better = [replace(run, scores=(replace(run.scores[0], value=41.42),)) for run in runs if run.method.name == "prism"]
    full, randoms = run_of("full", {"a": 50.0}), [run for run in runs if run.method.name == "random"]
    alone = answers(compare([full, *randoms, *better], {}))
    assert alone[0].endswith("Significantly better: prism (+2.8 ± 2.8).")
    far = run_of("length", {"a": 10.0}, stderr=0.5)
    near = run_of("el2n", {"a": 40.0}, stderr=0.5)
    found = answers(compare([full, *randoms, *better, far, near], {}))
    assert found[0].endswith(
        "Significant only before correction for 3 comparisons: prism (+2.8 ± 2.8). Unknown with one seed: el2n (+0.0), "
        "length (-60.0)."
    )


def test_methods_that_keep_the_same_rows_with_every_seed_are_named() -> None:
    runs = [run_of(name, {"a": 40.0}, seed=seed) for name in ("random", "prism") for seed in (0, 1)]
    one = [replace(run, subset=replace(run.subset, fingerprint="one")) for run in runs if run.method.name == "prism"]
    expected = "Selected the same rows with every seed, so their spread over seeds is that of training alone: prism."
    assert expected in notes(compare([FULL, *[run for run in runs if run.method.name == "random"], *one], {}))
    assert not [note for note in notes(compare([FULL, *runs], {})) if note.startswith("Selected the same")]


def test_the_spread_over_seeds_widens_the_margin() -> None:
    random = [run_of("random", {"a": 40.0, "b": 90.0}, seed=seed, stderr=0.0) for seed in (0, 1)]
    prism = [run_of("prism", {"a": 40.0 + 10 * seed, "b": 90.0}, seed=seed, stderr=0.0) for seed in (0, 1)]
    seen = compare([FULL, *random, *prism], {})
    found = difference(seen.rows[2], seen.rows[1], seen)  # Rel. 85, 95 against 85, 85: sd² / n = 50 / 2
    student = 12.7062  # of one degree of freedom, from a table: random's seeds agree, prism has two
    assert (found.value, found.margin) == (pytest.approx(5.0), pytest.approx(student * 5))
    assert answers(seen) == [
        "A random 30 % keeps 85.0 ± 0.0 (2) % of the full run's score. No significant difference: prism (+5.0 ± 63.5)."
    ]


def test_the_full_runs_spread_over_seeds_widens_the_margin() -> None:
    """Full 40 and 60: its mean 50 has variance 100; a difference of 5 moves by 100 · 5 / 50² for each of its points."""
    full = [run_of("full", {"a": value}, seed=seed, stderr=0.0) for seed, value in enumerate((40.0, 60.0))]
    runs = [run_of(method, {"a": value}, stderr=0.0) for method, value in (("random", 40.0), ("prism", 45.0))]
    seen = compare([*full, *runs], {})
    found = difference(seen.rows[2], seen.rows[1], seen)
    student = 12.7062  # of one degree of freedom, from a table
    assert (found.value, found.margin) == (pytest.approx(10.0), pytest.approx(student * 0.2 * 10))


def test_a_ratio_to_a_mean_that_is_itself_measured_spreads_as_the_margin_says() -> None:
    """Simulated: only the three full runs vary; the variance that is told is, on average, that of the value."""
    rng, variances, values = np.random.default_rng(0), [], []
    runs = [
        run_of(method, {"a": value, "b": value}, stderr=0.0) for method, value in (("random", 40.0), ("prism", 50.0))
    ]
    for _ in range(400):
        full = [
            run_of("full", dict(zip("ab", rng.normal(80, 5, 2), strict=True)), seed=s, stderr=0.0) for s in range(3)
        ]
        seen = compare([*full, *runs], {})
        found = difference(seen.rows[2], seen.rows[1], seen)
        values.append(found.value)
        variances.append((found.margin / 4.30265) ** 2)  # Student's of two degrees of freedom, from a table
    assert np.mean(variances) == pytest.approx(np.var(values), rel=0.15)


def test_the_seeds_of_ten_rows_are_one_estimate_of_the_spread() -> None:
    """Random and nine methods, spreads alike: the pooled variance with 20 degrees of freedom. With one method fewer,
    each row's own, with Welch's.
    """
    fulls = [run_of("full", {"a": 100.0}, seed=seed, stderr=0.0) for seed in range(3)]
    names = ["random", *(f"m{number}" for number in range(9))]
    made = [
        run_of(name, {"a": 40 + place + (seed - 1) * (2 + place / 10)}, seed=seed, stderr=0.0)
        for place, name in enumerate(names)
        for seed in range(3)
    ]
    seen = compare([*fulls, *made], {})
    pooled = np.mean([row.rel.sd**2 for row in seen.rows if not row.full])
    student = 2.0859634  # of 20 degrees of freedom, from a table
    assert [one.found.margin for one in verdicts(seen)] == pytest.approx([student * sqrt(2 * pooled / 3)] * 9)
    assert "from all 9 methods and random at the budget together" in " ".join(notes(seen))
    fewer = compare([*fulls, *made[:-3]], {})
    m0, random = next(row for row in fewer.rows if row.label == "m0"), fewer.rows[1]
    parts = [row.rel.sd**2 / 3 for row in (m0, random)]
    free = sum(parts) ** 2 / sum(part**2 / 2 for part in parts)
    assert difference(m0, random, fewer).margin == pytest.approx(t.ppf(0.975, free) * sqrt(sum(parts)))
    assert "at the budget together" not in " ".join(notes(fewer))


def test_methods_that_chose_the_same_rows_are_one_comparison() -> None:
    scores = {"random": 40.0, "prism": 41.1}
    stderr = 0.5 / sqrt(2)  # as in the test above: one standard error is 1 point of Rel., p is 0.028
    full = run_of("full", {"a": 50.0})
    runs = [run_of(method, {"a": value}, seed=s, stderr=stderr) for method, value in scores.items() for s in (0, 1)]
    again = [replace(run, method=MethodEntry("prism/again", {})) for run in runs if run.method.name == "prism"]
    seen = compare([full, *runs, *again], {})
    assert [[row.label for row in same] for same in same_runs(seen)] == [["prism", "prism/again"]]
    assert answers(seen) == [
        "A random 30 % keeps 80.0 ± 0.0 (2) % of the full run's score. Significantly better: prism (+2.2 ± 2.0)."
    ]
    expected = "prism and prism/again selected the same rows with every seed. They are the same runs under several"
    assert sum(note.startswith(expected) for note in notes(seen)) == 1
    assert [point.label for point in points(seen)] == ["full", "random", "prism = prism/again"]


def test_every_budget_has_its_answer_best_rows_first() -> None:
    scores = {"random": 40.0, "good": 45.0, "best": 47.5, "bad": 30.0}
    runs = [
        run_of(method, {"a": value, "b": 90.0}, seed=seed, budget=budget, stderr=0.1)
        for method, value in scores.items()
        for seed in (0, 1)
        for budget in (0.3, 0.1)
        if budget == 0.3 or method != "bad"
    ]
    margin = 1.96 * sqrt(2 * (0.1**2 / 50**2 + 0.1**2 / 100**2) * 100**2 / 4)
    assert f"{margin:.1f}" == "0.3"
    kept = "85.0 ± 0.0 (2) % of the full run's score. Significantly better: best (+7.5 ± 0.3), good (+5.0 ± 0.3)."
    assert answers(compare([FULL, *runs], {})) == [
        f"A random 10 % keeps {kept}",
        f"A random 30 % keeps {kept} Significantly worse: bad (-10.0 ± 0.3).",
    ]


def test_a_row_that_is_one_of_many_has_to_differ_by_more() -> None:
    """One standard error is 1 point of Rel.: p of near is 0.028, which Holm doubles after best."""
    scores = {"random": 40.0, "best": 45.0, "near": 41.1, "same": 40.0}
    stderr = 0.5 / sqrt(2)  # of each row; in Rel. twice that, and sqrt(2) for the difference of two rows
    full = run_of("full", {"a": 50.0})
    runs = [
        run_of(method, {"a": value}, seed=seed, stderr=stderr) for method, value in scores.items() for seed in (0, 1)
    ]
    seen = compare([full, *runs], {})
    near = next(verdict for verdict in verdicts(seen) if verdict.row.method == "near")
    assert near.found.p == pytest.approx(2 * (1 - NormalDist().cdf(2.2)))
    assert answers(seen) == [
        "A random 30 % keeps 80.0 ± 0.0 (2) % of the full run's score. Significantly better: best (+10.0 ± 2.0). "
        "Significant only before correction for 3 comparisons: near (+2.2 ± 2.0). No significant difference: same "
        "(+0.0 ± 2.0)."
    ]
    alone = compare([full, *(run for run in runs if run.method.name in ("random", "near"))], {})
    assert answers(alone) == [
        "A random 30 % keeps 80.0 ± 0.0 (2) % of the full run's score. Significantly better: near (+2.2 ± 2.0)."
    ]


def test_no_random_no_verdict() -> None:
    assert answers(compare([FULL, run_of("prism", {"a": 1.0, "b": 1.0})], {})) == []


def test_an_unknown_error_over_items_leaves_a_difference_unknown() -> None:
    """Not zero: with three seeds that agree, 0.1 points would be called significant."""
    runs = [run_of("full", {"a": 50.0}), run_of("full", {"a": 50.2}, seed=1)]
    for method, value in (("random", 48.0), ("prism", 48.1)):
        runs += [run_of(method, {"a": value}, seed=seed, stderr=None) for seed in range(3)]
    seen = compare(runs, {})
    (verdict,) = verdicts(seen)
    assert verdict.conclusion == "Unknown, because an error over items is" and verdict.found.p == 1.0
    assert "Unknown, because an error over items is: prism (+0.2)." in answers(seen)[0]


def test_a_full_run_of_one_seed_under_two_recipe_names_counts_once() -> None:
    fulls = [
        run_of("full", {"a": 50.0 + seed}, seed=seed, length=length)
        for seed in (0, 1)
        for length in ("epochs", "steps")
    ]
    other = replace(fulls[0].recipe, name="third")
    assert [full.seed for full in full_of(replace(run_of("prism", {"a": 40.0}), recipe=other), fulls)] == [0, 1]
