"""The page of all verdicts follows from the committed records; what a difference needs, by hand."""

import re
from pathlib import Path

import pytest

from experiments.studies.verdicts import NAME, ROOT, WITHIN, Look, _table, again, draw, leaving_out, looks_of, make
from selectmm.report.rows import compare
from selectmm.report.verdict import difference, verdicts
from tests.report.runs import run_of


@pytest.mark.slow
def test_the_committed_page_and_picture_are_made_again(tmp_path: Path) -> None:
    tables = ROOT / "results" / "tables"
    assert make(tmp_path).read_text() == (tables / f"{NAME}.md").read_text()
    for kind in ("svg", "png"):
        name = f"{NAME}.{kind}"
        assert (tmp_path / name).read_bytes() == (tables / name).read_bytes()


def test_every_row_can_be_told_apart_and_its_recipe_is_named() -> None:
    """Several experiments compare one method at one budget; each row names its own, and the list above the recipes."""
    page = (ROOT / "results" / "tables" / f"{NAME}.md").read_text()
    labels = re.findall(r"^\| ([^|]+ % [^|]*) \| [+-]", page, re.MULTILINE)
    assert len(labels) == len(set(labels)) > 40
    assert all(label.endswith(")") for label in labels)
    recipes = " ".join(page.split("Recipes: ")[1].split("\n\n")[0].split())
    assert {label.split("(")[1][:-1] for label in labels} == set(re.findall(r"([\w-]+) `", recipes))
    assert "all-methods-layers `embedded_two_epochs`; dynamic `embedded_short`;" in recipes


def test_a_difference_that_one_benchmark_makes_needs_it() -> None:
    """One standard error is 2 points of Rel. on a benchmark; 20 points on ``a`` alone are 10 of the mean of both."""
    scores = {"full": (50.0, 50.0), "random": (30.0, 30.0), "prism": (40.0, 30.0), "oracle": (45.0, 45.0)}
    records = [
        run_of(method, dict(zip("ab", values, strict=True)), seed=seed, stderr=1.0)
        for method, values in scores.items()
        for seed in (0, 1)
    ]
    (look,) = looks_of("toy", records, {}).values()
    assert (look.label, look.pages, look.needs) == ("prism 30 % (toy)", ("toy",), ("a",))
    assert look.found.value == pytest.approx(10)
    seen = compare(records, {})
    verdict = next(one for one in verdicts(seen) if one.row.method == "prism")
    alone = compare([run_of(r.method.name, {"b": scores[r.method.name][1]}, seed=r.seed) for r in records], {})
    row, random = (next(o for o in alone.rows if o.method == name) for name in ("prism", "random"))
    assert again(verdict, leaving_out("a", seen, {})) == difference(row, random, alone)


def test_a_row_of_one_seed_counts_as_nothing_known() -> None:
    """As on its page: its p is 1, it has no interval, and the picture does not colour it."""
    scores = {"full": 50.0, "random": 30.0, "prism": 45.0}
    records = [
        run_of(method, {"a": value}, seed=seed, stderr=0.1) for method, value in scores.items() for seed in (0, 1)
    ]
    (look,) = looks_of("toy", records[:-1], {}).values()
    assert look.found.p < 0.001 and (look.known, look.p, look.needs) == (False, 1.0, ())
    (points, _, _), *_ = draw([look]).axes[0].containers
    assert points.get_color() == WITHIN and "| +30.0 | 1.000 | 1.000 | unknown with one seed | – |" in _table([look])
    (known,) = looks_of("toy", records, {}).values()
    assert known.known and known.p == known.found.p


def test_the_picture_has_a_column_for_each_experiment_and_a_row_for_each_method() -> None:
    """The fullest column is on the left; rows stand by their mean difference over the columns, the highest on top."""
    scores = {
        "one": {"full": 90.0, "random": 30.0, "length": 84.0},
        "two": {"full": 90.0, "random": 30.0, "prism": 75.0, "length": 60.0},
    }
    looks: list[Look] = []
    for name, of in scores.items():
        runs = [run_of(method, {"a": value}, seed=seed, stderr=0.1) for method, value in of.items() for seed in (0, 1)]
        looks.extend(looks_of(name, runs, {}).values())
    panels = draw(looks).axes
    assert [axes.get_title() for axes in panels] == ["two\n30 %", "one\n30 %"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["length", "prism"]
    dots = [[points.get_xydata()[0].tolist() for points, _, _ in axes.containers] for axes in panels]
    assert sorted(dots[0]) == [pytest.approx([100 / 3, 0]), pytest.approx([50, 1])]
    assert dots[1] == [pytest.approx([60, 0])]
