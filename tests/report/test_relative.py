"""Rel., at chance, OSC and the choice of the full run, by hand and against the papers."""

import csv
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selectmm.evaluation.suite import Score
from selectmm.records.groups import comparable
from selectmm.report.references import Reference
from selectmm.report.relative import NO_FULL, ONE_SIDED_95, above_chance, full_of, osc, outcome, relative
from selectmm.report.rows import compare
from selectmm.report.table import tabulate
from tests.report.runs import run_of

PUBLISHED = Path(__file__).parents[2] / "results" / "published" / "scores.csv"


def _icons() -> dict[str, dict[str, float]]:
    """ICONS' main table: scores by benchmark (and the printed ``Rel``) by method."""
    table: dict[str, dict[str, float]] = {}
    with PUBLISHED.open(newline="") as stream:
        for cell in csv.DictReader(stream):
            if (cell["paper"], cell["table"]) == ("ICONS", "main"):
                table.setdefault(cell["method"], {})[cell["benchmark"]] = float(cell["value"])
    return table


ICONS = _icons()


def test_icons_has_eleven_rows_of_ten_benchmarks() -> None:
    assert len(ICONS) == 11 and all(len(row) == 11 for row in ICONS.values())


@pytest.mark.parametrize("method", ICONS)
def test_rel_of_the_icons_table_follows_from_its_cells(method: str) -> None:
    benchmarks = [name for name in ICONS["full"] if name != "Rel"]
    assert relative(ICONS[method], ICONS["full"], benchmarks) == pytest.approx(ICONS[method]["Rel"], abs=0.1)


def test_rel_of_the_icons_table_comes_out_of_a_table_of_ours() -> None:
    """Its cells as eleven records, through grouping, the choice of the full run and tabulation, as every table goes."""
    benchmarks = [name for name in ICONS["full"] if name != "Rel"]
    records = [run_of(method, {name: row[name] for name in benchmarks}, stderr=None) for method, row in ICONS.items()]
    (group,) = comparable(records)
    table = tabulate(compare(group.records, {}), {}, "", [])
    place = table.columns.index("Rel. %")
    shown = {row[0]: float(row[place]) for row in table.rows if not row[0].startswith("(")}
    assert shown == {method: pytest.approx(row["Rel"], abs=0.1) for method, row in ICONS.items()}


def test_a_missing_cell_makes_rel_unknown_in_the_table() -> None:
    """Never averaged over, never zero: without its POPE score the best method has no Rel."""
    benchmarks = [name for name in ICONS["full"] if name != "Rel"]
    records = [run_of(method, {name: ICONS[method][name] for name in benchmarks}) for method in ("full", "random")]
    short = run_of("icons", {name: 90.0 for name in benchmarks if name != "POPE"})
    table = tabulate(compare([*records, short], {}), {}, "", [])
    cells = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert (cells["icons"]["POPE"], cells["icons"]["Rel. %"]) == ("missing", "unknown")


def test_rel_by_hand() -> None:
    assert relative({"a": 40.0, "b": 90.0}, {"a": 50.0, "b": 100.0}, ["a", "b"]) == pytest.approx(85.0)
    assert relative({"a": 40.0, "b": 90.0}, {"a": 50.0, "b": 100.0}, ["a"]) == pytest.approx(80.0)


@pytest.mark.parametrize(
    ("scores", "full", "benchmarks"),
    [
        ({"a": 40.0}, {"a": 50.0, "b": 10.0}, ["a", "b"]),
        ({"a": 40.0, "b": 9.0}, {"a": 50.0}, ["a", "b"]),
        ({"a": 40.0}, {"a": 0.0}, ["a"]),
        ({"a": 40.0}, {"a": 50.0}, []),
    ],
)
def test_a_missing_cell_is_never_averaged_over(
    scores: dict[str, float], full: dict[str, float], benchmarks: list[str]
) -> None:
    assert relative(scores, full, benchmarks) is None


@given(st.dictionaries(st.text(), st.floats(0.1, 1e4), min_size=1), st.floats(0.1, 10.0))
def test_rel_is_100_for_full_and_scales_with_the_scores(full: dict[str, float], factor: float) -> None:
    assert relative(full, full, list(full)) == pytest.approx(100.0)
    scaled = {name: factor * value for name, value in full.items()}
    assert relative(scaled, full, list(full)) == pytest.approx(100.0 * factor)


def _score(value: float, stderr: float | None, chance: float | None = None, majority: float | None = None) -> Score:
    return Score("b", value, stderr, 100, chance, "", majority)


@pytest.mark.parametrize(
    ("full", "reference", "expected"),
    [
        ([_score(30.0, 5.0)], Reference(chance=25.0), True),  # 5 above, 8.2 needed
        ([_score(34.0, 5.0)], Reference(chance=25.0), False),  # 9 above
        ([_score(34.0, 5.0)], Reference(chance=25.0, majority=28.0), True),  # 6 above the majority answer
        ([_score(34.0, 5.0)], Reference(chance=25.0, blind=33.0), True),
        ([_score(34.0, 5.0)], Reference(chance=25.0, base=90.0, shuffled=90.0), False),  # those two are no floor
        ([_score(30.0, 5.0, chance=25.0)], Reference(), True),
        ([_score(30.0, 5.0, majority=25.0)], Reference(), True),
        ([_score(34.0, None, chance=25.0)], Reference(), False),
        ([_score(25.0, None, chance=25.0)], Reference(), True),
        ([_score(0.0, None)], Reference(), True),  # no reference known: the floor is 0
        # Seeds 28 and 32: mean 30, sd/√2 = 2, so √(4² + 2²) · 1.64 = 7.3 is needed, with a floor of 22.
        ([_score(28.0, 4.0, 22.0), _score(32.0, 4.0, 22.0)], Reference(), False),
        ([_score(28.0, 4.0, 23.0), _score(32.0, 4.0, 23.0)], Reference(), True),
    ],
)
def test_at_chance_unless_clearly_above_what_needs_no_learning(
    full: list[Score], reference: Reference, expected: bool
) -> None:
    assert (above_chance(full, reference) <= ONE_SIDED_95) is expected


def test_above_chance_is_in_standard_errors() -> None:
    """Seeds 28 and 32 with 4 over items: √(4² + 2²) is one. Without any error, what is above is above beyond doubt."""
    seeds = [_score(28.0, 4.0, 22.0), _score(32.0, 4.0, 22.0)]
    assert above_chance(seeds, Reference()) == pytest.approx(8 / 20**0.5)
    assert above_chance(seeds, Reference(majority=40.0)) == pytest.approx(-10 / 20**0.5)
    sure = [above_chance([_score(value, None, 25.0)], Reference()) for value in (26.0, 25.0, 24.0)]
    assert sure == [inf, 0, -inf]


def test_osc_by_hand() -> None:
    """All of the score for a third of the cost is 1/3; half of the score doubles it."""
    assert osc(100.0, 3.0, 30.0, 99.0) == pytest.approx(1 / 3)
    assert osc(50.0, 3.0, 30.0, 99.0) == pytest.approx(2 / 3)


def test_a_run_is_measured_against_the_mean_of_the_full_runs() -> None:
    fulls = [run_of("full", {"a": 40.0 + 20 * seed}, seed=seed, seconds=(0, 0, 80.0 + 40 * seed)) for seed in (0, 1)]
    found = outcome(run_of("prism", {"a": 40.0}, seed=1), fulls, ["a"])
    assert (found.rel, found.share) == (pytest.approx(80.0), pytest.approx(30.0))
    assert [outcome(full, fulls, ["a"]).rel for full in fulls] == [pytest.approx(80.0), pytest.approx(120.0)]


def test_a_full_run_serves_both_recipe_lengths_and_the_own_one_first() -> None:
    epochs, steps = run_of("full", {"a": 50.0}), run_of("full", {"a": 50.0}, length="steps")
    prism = run_of("prism", {}, length="steps")
    assert full_of(prism, [epochs]) == [epochs]
    assert full_of(prism, [epochs, steps]) == [steps]


def test_full_runs_of_two_lengths_under_one_name_are_one_run_a_seed() -> None:
    """Full takes the same steps under both, so there are no more runs. The record's own length first."""
    epochs, steps = (
        [run_of("full", {"a": 50.0 + seed}, seed=seed, length=length) for seed in range(3)]
        for length in ("epochs", "steps")
    )
    renamed = [replace(full, recipe=replace(full.recipe, name=epochs[0].recipe.name)) for full in steps]
    for record, expected in ((run_of("prism", {}), epochs), (renamed[1], renamed)):
        assert full_of(record, [*epochs, *renamed]) == expected
    assert full_of(run_of("prism", {}), [epochs[0], *renamed]) == [epochs[0], *renamed[1:]]


def test_a_full_run_that_was_stopped_early_is_no_reference() -> None:
    whole, early = run_of("full", {"a": 50.0}), run_of("full", {"a": 40.0}, length="steps", steps=3)
    for record in (run_of("prism", {}), run_of("prism", {}, length="steps", steps=3), early):
        assert full_of(record, [early, whole]) == [whole]


def test_an_outcome_by_hand() -> None:
    full = run_of("full", {"a": 50.0, "b": 100.0}, seconds=(0.0, 0.0, 100.0))
    prism = run_of("prism", {"a": 40.0, "b": 100.0}, seconds=(6.0, 3.0, 36.0))
    seen = outcome(prism, [full], ["a", "b"])
    assert (seen.rel, seen.share) == (pytest.approx(90.0), pytest.approx(45.0))
    assert seen.osc == pytest.approx(0.5)


def test_without_a_full_run_of_the_same_seed_the_mean_of_all_serves() -> None:
    fulls = [run_of("full", {"a": value}, seed=seed) for seed, value in enumerate((40.0, 60.0))]
    assert outcome(run_of("prism", {"a": 25.0}, seed=7), fulls, ["a"]).rel == pytest.approx(50.0)


def test_what_is_unknown_says_why() -> None:
    full = run_of("full", {"a": 50.0})
    assert outcome(run_of("prism", {"a": 1.0}), [], ["a"]).why == NO_FULL
    assert outcome(run_of("prism", {}), [full], ["a"]).why == "it has no score on a"
    assert outcome(run_of("prism", {"b": 1.0}), [full], ["b"]).why == "a full run has no score on b"
    zero = run_of("full", {"a": 0.0})
    assert outcome(run_of("prism", {"a": 1.0}), [zero], ["a"]).why == "the full run has no score above 0 on a"
    assert outcome(run_of("prism", {"a": 1.0}), [full], []).why == "every benchmark is at chance for the full run"
