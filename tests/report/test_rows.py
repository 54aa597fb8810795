"""Rows over seeds, and whether they beat random."""

from dataclasses import replace
from math import sqrt

import pytest

from selectmm.errors import UserError
from selectmm.records.record import RunRecord
from selectmm.records.schedule import PointEntry, ScheduleEntry
from selectmm.report.notes import notes
from selectmm.report.references import Reference
from selectmm.report.rows import Estimate, compare
from selectmm.report.verdict import same_runs, verdicts
from tests.report.runs import run_of

FULL = run_of("full", {"a": 50.0, "b": 100.0}, seconds=(0.0, 0.0, 100.0))


def test_an_estimate_by_hand() -> None:
    assert Estimate.of([1.0, 2.0, 3.0]) == Estimate(2.0, 1.0, 3)
    assert Estimate.of([5.0]) == Estimate(5.0, None, 1)
    assert Estimate.of([]) is None and Estimate.of([1.0, None]) is None


def test_what_every_pair_of_rows_asks_for_is_computed_once() -> None:
    seen = compare([FULL, run_of("random", {"a": 1.0, "b": 2.0})], {})
    for row in seen.rows:
        assert row.rel is row.rel and row.trained is row.trained
    assert seen.chance is seen.chance and seen.counted is seen.counted and seen.fulls is seen.fulls


def test_rows_are_full_then_random_then_names_recipe_by_recipe() -> None:
    runs = [
        run_of(method, {"a": 1.0}, length=length, budget=budget)
        for length in ("steps", "epochs")
        for method, budget in (("prism", 0.3), ("prism", 0.1), ("random", 0.3))
    ]
    rows = compare([*runs, FULL], {}).rows
    assert [(row.recipe, row.label, row.budget) for row in rows] == [
        ("toy-epochs", "full", 1.0),
        ("toy-epochs", "random", 0.3),
        ("toy-epochs", "prism", 0.1),
        ("toy-epochs", "prism", 0.3),
        ("toy-steps", "random", 0.3),
        ("toy-steps", "prism", 0.1),
        ("toy-steps", "prism", 0.3),
    ]


def test_seeds_join_in_one_row() -> None:
    runs = [run_of("prism", {"a": 40.0 + 5 * seed, "b": 90.0}, seed=seed) for seed in (1, 0)]
    row = compare([FULL, *runs], {}).rows[1]
    assert [outcome.record.seed for outcome in row.outcomes] == [0, 1]
    assert row.score("a") == Estimate(42.5, pytest.approx(5 / sqrt(2)), 2)
    assert row.rel == Estimate(pytest.approx(87.5), pytest.approx(5 / sqrt(2)), 2)  # 85 and 90


def test_one_unknown_seed_makes_the_mean_unknown() -> None:
    row = compare([FULL, run_of("prism", {"a": 40.0, "b": 90.0}), run_of("prism", {"a": 40.0}, seed=1)], {}).rows[1]
    assert row.rel is None and row.osc is None
    assert row.score("b") == Estimate(90.0, None, 1)


def test_variants_of_a_method_are_told_apart_by_what_differs() -> None:
    runs = [run_of("prism", {}, options={"layer": layer, "keep": "low"}) for layer in (1, 2)]
    assert [row.label for row in compare(runs, {}).rows] == ["prism (layer=1)", "prism (layer=2)"]


def test_full_met_at_several_budgets_counts_once() -> None:
    again = run_of("full", {"a": 50.0, "b": 100.0}, budget=0.1)
    assert [row.rel.n for row in compare([FULL, again], {}).rows] == [1]


def test_the_same_run_twice_is_an_error() -> None:
    told = r"Records toy-prism.* and toy-prism.* are of the same run .* different results; leave one of them out"
    with pytest.raises(UserError, match=told):
        compare([run_of("prism", {"a": 1.0}), run_of("prism", {"a": 2.0})], {})


def test_a_run_that_experiments_share_counts_once_and_the_page_says_so() -> None:
    """As the README's `report outputs/records/*.json` meets it: full and random of the quickstart in a second one."""
    random = run_of("random", {"a": 40.0, "b": 90.0})
    shared = [replace(record, experiment="shortest") for record in (FULL, random)]
    seen = compare([FULL, random, *shared], {})
    assert seen.records == (FULL, random) and [row.rel.n for row in seen.rows] == [1, 1]
    assert "Counted once, as a run of toy: 2 runs that shortest has too, with the same scores." in notes(seen)
    assert not [line for line in notes(compare([FULL, random, random], {})) if "Counted once" in line]


def test_a_full_run_that_came_out_otherwise_elsewhere_is_left_out_and_named() -> None:
    """Experiments make full again, on another machine or with another version; the first one counts."""
    other = replace(run_of("full", {"a": 60.0, "b": 100.0}), experiment="later")
    seen = compare([FULL, run_of("prism", {"a": 40.0, "b": 90.0}), other], {})
    assert FULL in seen.records and other not in seen.records
    line = (
        f"Left out: {other.name} of later, because {FULL.name} of toy is a full run of the same recipe and seed, with"
    )
    assert [note for note in notes(seen) if "Left out" in note] == [f"{line} other scores."]
    assert not [note for note in notes(compare([FULL, FULL], {})) if "Left out" in note]


def test_of_runs_that_were_evaluated_on_the_way_otherwise_the_one_with_the_most_points_counts() -> None:
    """As a sweep over `curve` makes them; two of one number of points are the same run."""
    once = replace(run_of("prism", {"a": 1.0, "b": 1.0}), evaluations=1)
    points = tuple(PointEntry(step, 0.0, 1.0, {"a": 1.0}) for step in (1, 2))
    thrice = replace(once, evaluations=3, curve=points)
    for records in ([FULL, once, thrice], [FULL, thrice, once]):
        assert compare(records, {}).records == (FULL, thrice)
    full = replace(FULL, evaluations=3, curve=points)
    assert compare([FULL, full], {}).records == (full,)
    with pytest.raises(UserError, match="are of the same run"):
        compare([once, thrice, replace(run_of("prism", {"a": 2.0, "b": 1.0}), evaluations=None)], {})


def test_a_benchmark_at_chance_is_not_counted() -> None:
    prism = run_of("prism", {"a": 40.0, "b": 50.0})
    seen = compare([FULL, prism], {"b": Reference(blind=99.0)})
    assert (seen.chance, seen.counted) == ({"b"}, ("a",))
    assert seen.rows[1].rel.mean == pytest.approx(80.0)


def test_full_under_both_lengths_is_one_measurement() -> None:
    """Seeds 28 and 32 with floor 22 need 7.3 above it (see test_relative); counted twice they would seem surer."""
    fulls = [
        run_of("full", {"a": value}, seed=seed, length=length, stderr=4.0)
        for seed, value in enumerate((28.0, 32.0))
        for length in ("epochs", "steps")
    ]
    assert compare(fulls, {"a": Reference(chance=22.8)}).chance == {"a"}


def test_without_full_nothing_is_called_at_chance() -> None:
    assert not compare([run_of("prism", {"a": 1.0})], {"a": Reference(chance=50.0)}).chance


def test_a_schedule_that_weighs_the_rows_of_a_random_draw_is_no_second_random_run() -> None:
    """InfoBatch begins with the same rows as random; what it visits of them differs."""
    random = run_of("random", {"a": 40.0, "b": 90.0})
    pruned = run_of("infobatch+random", {"a": 45.0, "b": 90.0})
    schedule = ScheduleEntry("infobatch", {}, "visits", 20, 20, ())
    pruned = replace(pruned, subset=random.subset, schedule=schedule)
    seen = compare([FULL, random, pruned], {})
    assert same_runs(seen) == []
    assert [verdict.row.label for verdict in verdicts(seen)] == ["infobatch+random"]
    assert len(same_runs(compare([FULL, random, replace(pruned, schedule=None)], {}))) == 1


def test_two_training_lengths_under_one_name_are_two_rows_each_against_the_longest_full_run() -> None:
    """Hydra lets a command say ``recipe.epochs=1,3`` without another name."""

    def trained(method: str, score: float, epochs: int, seed: int = 0) -> RunRecord:
        record = run_of(method, {"a": score}, seed=seed, steps=10 * epochs)
        return replace(record, recipe=replace(record.recipe, options={**record.recipe.options, "epochs": epochs}))

    runs = [trained("full", 50.0, 1), trained("full", 80.0, 3), trained("random", 40.0, 1), trained("random", 60.0, 3)]
    for order in (runs, runs[::-1]):
        seen = compare([*order, trained("random", 20.0, 1, seed=1)], {})
        found = {(row.method, row.recipe): (len(row.outcomes), row.rel.mean) for row in seen.rows}
        assert found == {
            ("full", "toy-epochs (epochs=1)"): (1, 62.5),
            ("full", "toy-epochs (epochs=3)"): (1, 100.0),
            ("random", "toy-epochs (epochs=1)"): (2, 37.5),
            ("random", "toy-epochs (epochs=3)"): (1, 75.0),
        }
    assert {row.recipe for row in compare(runs[::2], {}).rows} == {"toy-epochs"}
