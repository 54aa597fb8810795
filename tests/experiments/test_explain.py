"""What explains the study's scores: properties and correlations worked out by hand, from invented records."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from experiments.studies import explain
from experiments.studies.explain import KNOWN, LETTERS, NOISE, PROPERTIES, ROOT, _spearman, make
from experiments.studies.kept_rows import continued, counted
from selectmm.errors import UserError
from selectmm.pool.pictures import look_at
from selectmm.records.files import load
from selectmm.records.record import RunRecord, SourceCounts
from tests.report.runs import run_of

KEPT = {
    f"{method}{seed}": {"pictures": 16, "distinct": distinct, "alike": 8}
    for method, distinct in (("random", 16), ("length", 12), ("prism", 8))
    for seed in (0, 1)
}


def run(method: str, score: float, seed: int, kept: dict[str, int]) -> RunRecord:
    record = run_of(method, {"A": score}, seed=seed, budget=0.2)
    counts = {name: SourceCounts(100, 0, 0, number) for name, number in kept.items()}
    coverage = replace(record.subset.coverage, per_source=counts)
    return replace(record, experiment="all-methods", subset=replace(record.subset, coverage=coverage))


def records() -> list[RunRecord]:
    """Rel. is the score, as the full runs' mean is 100; every subset has 20 rows, 16 of them with a picture."""
    made = []
    for seed, off in ((0, 0.0), (1, 2.0)):
        made += [
            run("full", 99.0 + off, seed, {"easyvqa_shape": 100}),
            run("random", 50.0 + off, seed, {"easyvqa_shape": 10, "yesno": 10}),
            run("length", 60.0 - 6 * off, seed, {"easyvqa_shape": 15, "noise_injected": 5}),
            run("prism", 70.0 + off, seed, {"choice_bars": 20}),
        ]
    return made


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page alone: drawing takes ten times as long, and two tests look at the pictures."""
    monkeypatch.setattr(explain, "keep", lambda draw, folder, name: None)


def test_properties_are_counted_over_the_chosen_rows() -> None:
    _, random, length, prism = records()[:4]
    value = {one.name: one.of for one in PROPERTIES}
    assert value["large sources"](random, KEPT) == 50.0 and value["large sources"](length, KEPT) == 75.0
    assert value["multiple choice"](prism, KEPT) == 100.0 and value["multiple choice"](random, KEPT) == 0.0
    assert value["noise"](length, KEPT) == 25.0
    assert value["no image"](random, KEPT) == pytest.approx(20.0)
    assert value["effective sources"](random, KEPT) == pytest.approx(2.0)
    assert value["effective sources"](prism, KEPT) == pytest.approx(1.0)
    assert value["repeated images"](length, KEPT) == 25.0 and value["near-duplicates"](length, KEPT) == 50.0


def test_the_sources_are_the_built_in_pools() -> None:
    record = load(next((ROOT / "results" / "records").glob("quickstart-full-*.json")))
    assert {*KNOWN, *LETTERS, *NOISE} <= record.pool.per_source.keys()


def test_the_page_says_how_stable_places_are_and_what_goes_with_a_score(tmp_path: Path) -> None:
    text = make(tmp_path, records(), KEPT).read_text()
    listed = " ".join(text.split())
    assert "is 0.50 on average over 1 pair of the seeds 0, 1" in listed, "length falls from place 2 to 3"
    assert "between the orders of the 2 methods and random in two seeds" in listed
    assert "Spearman's ρ over the 2 methods and random between a property" in listed
    assert "the first by its mean is prism (1 to 1), the last random (2 to 3)" in listed
    line = next(line for line in text.splitlines() if line.startswith("| repeated images |"))
    assert "| +1.00 |" in line, "prism repeats most and scores most, random least"
    assert text.count("\n| prism |") == 1 and "\n| full |" not in text
    assert {file.suffix for file in tmp_path.iterdir()} == {".md", ".svg", ".png"}


@pytest.mark.usefixtures("undrawn")
def test_the_order_is_compared_with_that_of_another_setting(tmp_path: Path) -> None:
    """The other setting has no full run of its own; there length is the best, prism the second, random the last."""
    scores = {"length": 80.0, "prism": 60.0, "random": 30.0}
    other = [
        replace(run(name, score, 0, {"yesno": 20}), experiment="all-methods-half") for name, score in scores.items()
    ]
    text = make(tmp_path, [*records(), *other], KEPT).read_text()
    assert "| half of the pool, and 15 % of that | 3 | 1 | +0.50 | +0.50 (+0.50 to +0.50) |" in text
    assert text.count("\n| prism |") == 1 and "Of 30 %" not in text
    assert "has not been measured" in make(tmp_path, records(), KEPT).read_text()


@pytest.mark.usefixtures("undrawn")
def test_methods_chosen_by_their_scores_are_said_to_be_so(tmp_path: Path) -> None:
    scores = {"length": 60.0, "prism": 80.0, "random": 30.0}
    other = [replace(run(name, score, 0, {"yesno": 20}), experiment="all-methods-30") for name, score in scores.items()]
    text = " ".join(make(tmp_path, [*records(), *other], KEPT).read_text().split())
    assert "differ most at 15 %, and random | 3 | 1 | +1.00 | +0.50 (+0.50 to +0.50) |" in text
    assert "Of 30 %: methods that were chosen because they differ at 15 % keep their order more easily" in text


def test_few_methods_give_no_small_p() -> None:
    """Of three values six orders are possible, and two of them are as far from none as a perfect one."""
    assert _spearman([1.0, 2.0, 3.0], [10.0, 30.0, 50.0]) == (pytest.approx(1.0), pytest.approx(1 / 3))
    assert _spearman([1.0, 2.0, 3.0], [50.0, 30.0, 10.0]) == (pytest.approx(-1.0), pytest.approx(1 / 3))
    drawn = np.random.default_rng(1).normal(size=(2, 20))
    rho, p = _spearman(*drawn)
    usual = spearmanr(*drawn)
    assert rho == pytest.approx(usual.statistic) and p == pytest.approx(usual.pvalue, abs=0.02)


@pytest.mark.usefixtures("undrawn")
def test_another_budget_is_not_more_methods(tmp_path: Path) -> None:
    more = [replace(one, budget=0.3) for one in records() if one.method.name in ("length", "random")]
    page = make(tmp_path, records(), KEPT).read_text()
    apart = [replace(one, experiment="all-methods-second") for one in more]
    assert make(tmp_path, [*records(), *apart], KEPT).read_text() == page
    with pytest.raises(UserError, match="The records of all-methods are of budgets 20 % and 30 %; give each"):
        make(tmp_path, [*records(), *more], KEPT)
    half = [replace(one, experiment="all-methods-half") for one in (*records(), *more)]
    with pytest.raises(UserError, match="The records of all-methods-half are of budgets"):
        make(tmp_path, [*records(), *half], KEPT)


@pytest.mark.usefixtures("undrawn")
def test_what_is_missing_is_named(tmp_path: Path) -> None:
    without = [replace(one, scores=()) if one.subset.fingerprint == "length1" else one for one in records()]
    with pytest.raises(UserError, match=r"all_methods-length-\S+ has no Rel., because it has no score on A; make"):
        make(tmp_path, without, KEPT)
    kept = {name: one for name, one in KEPT.items() if name not in ("prism0", "prism1")}
    with pytest.raises(UserError, match=r"pictures of all_methods-prism-\S+'s subset have not been counted; run"):
        make(tmp_path, records(), kept)


@pytest.mark.usefixtures("undrawn")
def test_images_that_were_not_counted_are_left_out_and_named(tmp_path: Path) -> None:
    """Counts of seed 1 are the same as those of seed 0 here, so its absence changes the sentence alone."""
    kept = {name: one for name, one in KEPT.items() if name not in ("prism1", "length1")}
    whole = make(tmp_path / "whole", records(), KEPT).read_text()
    lacking = " ".join(make(tmp_path / "lacking", records(), kept).read_text().split())
    expected = " Not counted, so not in the means of properties of images: seed 1: length, prism."
    assert expected in lacking and lacking.replace(expected, "") == " ".join(whole.split())


def test_too_few_methods_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too few runs to compare; run experiments=studies/all_methods"):
        make(tmp_path, [one for one in records() if one.method.name in ("full", "random")], KEPT)


class _Pool:
    image_of = np.array([0, 1, 2, 3, -1])


def test_copies_of_pictures_are_counted_among_the_chosen_rows() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    first, other = (Image.fromarray(one).resize((128, 128), Image.Resampling.BICUBIC) for one in noise)
    brighter = first.point(lambda level: min(255, level + 2))
    pictures = look_at([first, first.copy(), brighter, other])
    assert counted(_Pool(), pictures, [0, 1, 2, 3, 4]) == {"pictures": 4, "distinct": 3, "alike": 3}
    assert counted(_Pool(), pictures, [0, 3, 4, 4]) == {"pictures": 2, "distinct": 2, "alike": 0}


def test_subsets_of_another_machine_stay_in_the_file_and_those_of_another_pool_are_refused(tmp_path: Path) -> None:
    file, one = tmp_path / "kept.json", {"provenance": ["a"], "pool": "p", "subsets": {"2": {}, "3": {}}}
    assert continued(file, one) is one
    file.write_text(json.dumps(one))
    both = continued(file, {"provenance": ["b"], "pool": "p", "subsets": {"1": {}}})
    assert (both["provenance"], list(both["subsets"])) == (["a", "b"], ["1", "2", "3"])
    with pytest.raises(UserError, match=r"kept\.json counts subsets of another pool; name another file"):
        continued(file, {**one, "pool": "q"})


@pytest.mark.slow
def test_the_committed_page_and_picture_are_made_again(tmp_path: Path) -> None:
    tables = ROOT / "results" / "tables"
    page = make(tmp_path)
    assert page.read_text() == (tables / page.name).read_text()
    for kind in ("svg", "png"):
        made = page.with_suffix(f".{kind}")
        assert made.read_bytes() == (tables / made.name).read_bytes()
