"""A page says first whether training taught anything; the numbers are worked out by hand."""

import io
from math import sqrt
from pathlib import Path

import pytest
from rich.console import Console
from scipy.stats import t

from selectmm.report.learned import UNMEASURED, Gain, gain_of, headline, kept_or_taught, taught
from selectmm.report.references import Reference
from selectmm.report.report import write_report
from selectmm.report.rows import compare
from tests.report.runs import references_file, run_of

BASE = {"A": Reference(base=40.0), "B": Reference(base=50.0)}


def test_the_gain_of_one_seed_has_the_noise_of_its_items() -> None:
    """A: (50 − 40) / 50, B: (40 − 50) / 50. Standard errors of 1 and the base's like them, each 2 % of 50."""
    comparison = compare([run_of("full", {"A": 50.0, "B": 40.0})], BASE)
    gain = gain_of(comparison, BASE)
    assert gain == Gain(pytest.approx(0.0), pytest.approx(1.96 * sqrt(2 * (2**2 + 2**2)) / 2), 2)
    assert gain.nothing


def test_the_gain_of_several_seeds_has_their_spread_too() -> None:
    """Without noise of items only the seeds' spread is left: 20 % and 24 % of the base, three degrees less one."""
    fulls = [run_of("full", {"A": score}, seed=seed, stderr=None) for seed, score in enumerate((48.0, 50.0, 52.0))]
    gain = gain_of(compare(fulls, BASE), BASE)
    assert gain == Gain(pytest.approx(20.0), pytest.approx(t.ppf(0.975, 2) * 4 / sqrt(3)), 1)
    assert not gain.nothing


def test_a_full_run_that_scores_nothing_counts_as_a_loss() -> None:
    gain = gain_of(compare([run_of("full", {"A": 0.0})], BASE), BASE)
    assert gain.value == pytest.approx(-100.0)
    both = gain_of(compare([run_of("full", {"A": 0.0})], BASE), {"A": Reference(base=0.0)})
    assert both == Gain(0.0, 0.0, 1)
    assert both.nothing


def test_without_a_full_run_or_an_untuned_score_nothing_is_said() -> None:
    assert gain_of(compare([run_of("random", {"A": 50.0})], BASE), BASE) is None
    full = compare([run_of("full", {"A": 50.0})], {})
    assert [gain_of(full, other) for other in ({}, {"A": Reference(blind=1.0)})] == [None, None]
    assert headline(full, {}) == ""


def test_where_a_full_run_lacks_a_score_nothing_is_said_of_what_was_taught() -> None:
    records = [
        run_of("full", {"A": 50.0, "B": 90.0}),
        run_of("full", {"A": 50.0}, seed=1),
        run_of("random", {"A": 40.0}),
    ]
    base = {name: Reference(base=10.0) for name in "AB"}
    assert taught(compare(records, base), base) is None


def test_the_page_and_the_screen_say_it_before_everything_else(tmp_path: Path) -> None:
    screen = io.StringIO()
    records = [run_of("full", {"A": 41.0, "B": 49.0}), run_of("random", {"A": 30.0, "B": 60.0})]
    base = [references_file(tmp_path / "base.json", BASE)]
    page = write_report(records, tmp_path, "toy", base, Console(file=screen, width=200)).markdown.read_text()
    said = "Training taught nothing that these benchmarks show: the full run is no better than the untuned model"
    assert page.split("# toy\n\n")[1].startswith(f"**{said}")
    assert screen.getvalue().strip().startswith(said)
    better = [run_of("full", {"A": 80.0, "B": 90.0}), records[1]]
    assert said not in write_report(better, tmp_path, "toy", base, Console(file=screen)).markdown.read_text()


def test_a_benchmark_that_the_untuned_model_does_as_well_is_named() -> None:
    """Full is 10 points above the base on A, 1 on B, with an error of sqrt(2) from the items of both."""
    full = run_of("full", {"A": 50.0, "B": 51.0}, stderr=1.0)
    assert kept_or_taught(compare([full], BASE), BASE) == [
        "Of the 2 benchmarks in Rel., the full run is above the untuned model on 1 (by more than 1.64 standard "
        "errors). On the other 1 (B) a score says what a run kept of the model's ability, not what it taught."
    ]
    better = run_of("full", {"A": 50.0, "B": 53.0}, stderr=1.0)
    assert kept_or_taught(compare([better], BASE), BASE) == []
    assert kept_or_taught(compare([full], {}), {}) == [UNMEASURED]
    assert kept_or_taught(compare([], BASE), BASE) == []


def test_where_no_benchmark_shows_what_was_taught_there_are_no_others() -> None:
    of = {
        "On none of the 2 benchmarks in Rel. is the full run": "AB",
        "On the one benchmark in Rel., the full run is not": "A",
    }
    for words, names in of.items():
        full = run_of("full", {name: BASE[name].base + 1 for name in names}, stderr=1.0)
        assert kept_or_taught(compare([full], BASE), BASE) == [
            f"{words} above the untuned model (by more than 1.64 standard errors). A score then says what a run kept "
            f"of the model's ability, not what it taught."
        ]
