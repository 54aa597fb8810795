"""The page of selection during training: differences worked out by hand, and a page from invented records."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.studies.dynamic import (
    CHEAPER,
    DEARER,
    LONGER,
    PARTLY,
    ROOT,
    SHORT,
    at_equal_cost,
    at_equal_steps,
    curve_of,
    draw,
    make,
)
from selectmm.errors import UserError
from selectmm.records.record import RunRecord
from selectmm.records.schedule import PointEntry, RoundEntry, ScheduleEntry
from selectmm.report.colours import style_of
from selectmm.report.rows import Row, compare
from tests.report.runs import run_of


def run(
    method: str, score: float, cost: float, seed: int = 0, recipe: str = SHORT, selection: float = 0.0
) -> RunRecord:
    record = run_of(
        method, {"A": score}, seed=seed, length="steps", seconds=(selection, 0.0, cost - selection), steps=9
    )
    return replace(record, experiment="dynamic", recipe=replace(record.recipe, name=recipe))


def records() -> list[RunRecord]:
    """Two seeds; Rel. is the score, as the full run's is 100."""
    made = []
    for seed, off in ((0, 0.0), (1, 2.0)):
        made += [
            run("full", 100.0, 200.0, seed, "embedded_steps"),
            run("random", 50.0 + off, 30.0, seed),
            run("random", 60.0 + off, 60.0, seed, "embedded_steps_60"),
            run("random", 80.0 + off, 90.0, seed, "embedded_steps"),
            run("rds_plus", 55.0 + off, 45.0, seed, selection=15.0),
        ]
        again = run("reselect+rds_plus", 70.0 + 2 * off, 75.0, seed, selection=45.0)
        rounds = (
            RoundEntry(0, 3, 0, 24, 20, 20, 0, {"coco": 24}, 0.0, 10.0),
            RoundEntry(3, 6, 100, 48, 40, 30, 10, {"coco": 48}, 45.0, 20.0),
        )
        entry = ScheduleEntry("reselect", {}, "f", 72, 50, rounds)
        points = (PointEntry(3, 45.0, 10.0, {"A": 20.0 + off}),)
        made += [replace(again, schedule=entry, curve=points), run("rho_loss", 40.0, 500.0, seed, selection=470.0)]
    return made


def row(label: str) -> Row:
    return next(row for row in compare(records(), {}).rows if (row.label, row.recipe) == (label, SHORT))


def test_differences_are_between_runs_of_one_seed() -> None:
    comparison = compare(records(), {})
    steps = at_equal_steps(comparison, row("reselect+rds_plus"))
    assert steps.mean == pytest.approx(21.0), "20 in the first seed, 22 in the second"
    assert steps.half == pytest.approx(12.706 * 2**0.5 / 2**0.5, abs=0.01), "t(0.975, 1) = 12.706, a deviation of √2"
    cost = at_equal_cost(comparison, row("rds_plus"))
    assert cost.mean == pytest.approx(0.0), "random at 45 s lies between 50 at 30 s and 60 at 60 s"
    assert at_equal_cost(comparison, row("reselect+rds_plus")).mean == pytest.approx(1.0), (
        "70 at 75 s, then + 0 and + 2"
    )
    assert at_equal_cost(comparison, row("rho_loss")) == DEARER


def test_runs_that_only_some_seeds_have_are_not_dearer_than_any(tmp_path: Path) -> None:
    """Seed 1 has the short random run alone; in seed 0 one costs more than the arm, and one less."""
    lacking = [one for one in records() if one.method.name != "random" or one.seed == 0 or one.recipe.name == SHORT]
    assert at_equal_cost(compare(lacking, {}), row("rds_plus")) == PARTLY
    text = " ".join(make(tmp_path, lacking).read_text().split())
    assert "Not for every seed, so not compared: rds_plus, reselect+rds_plus." in text
    assert "or cheaper, so not compared: rho_loss." in text
    cheap = run("rds_plus", 55.0, 20.0)
    comparison = compare([one for one in records() if one.method.name != "rds_plus"] + [cheap], {})
    assert at_equal_cost(comparison, next(one for one in comparison.rows if one.label == "rds_plus")) == CHEAPER


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    without = [replace(one, scores=()) if (one.method.name, one.seed) == ("rds_plus", 1) else one for one in records()]
    with pytest.raises(UserError, match=r"Record dynamic-rds_plus-\S+ has no Rel., because it has no score on A; make"):
        make(tmp_path, without)
    apart = [
        one
        for one in records()
        if (one.method.name, one.seed) != ("rds_plus", 0) and (one.method.name, one.recipe.name, one.seed) != RANDOM_1
    ]
    with pytest.raises(UserError, match=f"rds_plus and random have no seed in common under {SHORT}; run"):
        make(tmp_path, apart)


RANDOM_1 = ("random", SHORT, 1)


def test_a_curve_ends_with_the_run(tmp_path: Path) -> None:
    comparison = compare(records(), {})
    assert curve_of(comparison, row("reselect+rds_plus")) == [pytest.approx((55.0, 21.0)), pytest.approx((75.0, 72.0))]
    assert curve_of(comparison, row("rds_plus")) == [pytest.approx((45.0, 56.0))]


def test_a_curve_has_its_methods_colour_and_marker() -> None:
    """As in every other picture."""
    comparison = compare(records(), {})
    drawn = draw(comparison, [row("random"), row("rds_plus"), row("rho_loss")]).axes[0].get_lines()
    looks = {line.get_label(): (line.get_color(), line.get_marker()) for line in drawn}
    for name in ("random", "rds_plus", "rho_loss"):
        assert looks[name] == (style_of(name).colour, style_of(name).marker)
    assert looks[LONGER] == (style_of("random").colour, "None")


def test_the_page_says_what_it_shows(tmp_path: Path) -> None:
    text = make(tmp_path, records()).read_text()
    listed = " ".join(text.split())
    better = "better than random: rds_plus (+5.0 ± 0.0), reselect+rds_plus (+21.0 ± 12.7)"
    assert f"At equal steps: {better}; no clear difference: rho_loss (-11.0 ± 12.7)." in listed
    assert "Dearer than every random run, or cheaper, so not compared: rho_loss." in listed
    compared = text.split("## Equal steps")[1].split("## ")[0]
    line = next(line for line in compared.splitlines() if line.startswith("| reselect+rds_plus |"))
    assert "+21.0 ± 12.7" in line and "+1.0 ± 12.7" in line
    visited = text.split("## What was visited")[1]
    assert "| reselect+rds_plus | 30 | 2 | 100 | 75 % | 25 % |" in visited
    assert (tmp_path / "dynamic-training.svg").exists()
    again = make(tmp_path, records()).read_text()
    assert again == text


def test_the_committed_page_is_what_the_records_say(tmp_path: Path) -> None:
    page = make(tmp_path)
    assert page.read_text() == (ROOT / "results" / "tables" / page.name).read_text()
    svg = page.with_suffix(".svg")
    assert svg.read_text() == (ROOT / "results" / "tables" / svg.name).read_text()


def test_without_runs_to_compare_with_it_says_which_are_missing(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="no runs of full and random to compare with; run experiments=studies/dynamic_cost"
    ):
        make(tmp_path, [run("rds_plus", 1.0, 1.0)])
