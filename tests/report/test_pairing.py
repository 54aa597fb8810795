"""Differences in Rel. over the items that both rows answered."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path

import numpy as np
import pytest

from selectmm.errors import UserError
from selectmm.evaluation.outcome import Answer
from selectmm.records.files import load
from selectmm.report.notes import notes
from selectmm.report.pairing import item_variance, tallies_of
from selectmm.report.power import Design, smallest_difference, spread_of
from selectmm.report.rows import Comparison, compare
from selectmm.report.table import tabulate
from selectmm.report.verdict import difference, rel_margin
from selectmm.statistics.tally import Tally, tally
from tests.report.runs import run_of
from tests.statistics.runs import answers, written

ITEMS = 60
UNPAIRED = "Compared with random as if the items were different ones, so with too wide an interval: prism."


def right(points: Sequence[float]) -> Tally:
    """The tally of a benchmark without pictures, from its items' scores."""
    found = tally([Answer(str(i), "", "", "", float(point)) for i, point in enumerate(points)], "exact_match")
    assert found is not None
    return found


def compared(items: Mapping[str, Sequence[np.ndarray]]) -> Comparison:
    """Runs of one benchmark, by method and seed, from their items' scores."""
    records, tallies = [], {}
    for method, seeds in items.items():
        for seed, points in enumerate(seeds):
            mean = float(np.mean(points))
            stderr = 100 * sqrt(mean * (1 - mean) / (len(points) - 1))
            record = run_of(method, {"a": 100 * mean}, seed=seed, stderr=stderr)
            records.append(record)
            tallies[record.name] = {"a": right(points)}
    return compare(records, {}, tallies)


def test_a_difference_over_shared_items_by_hand() -> None:
    """Full is right on every item, so Rel. is the score; its difference is the mean of the items' differences."""
    rng = np.random.default_rng(0)
    random, prism = (rng.integers(0, 2, ITEMS) for _ in range(2))
    seen = compared({"full": [np.ones(ITEMS)], "random": [random], "prism": [prism]})
    apart = 100 * (prism - random)
    found = difference(seen.rows[2], seen.rows[1], seen)
    assert found.value == pytest.approx(apart.mean())
    assert found.margin == pytest.approx(1.96 * apart.std(ddof=1) / sqrt(ITEMS))


def test_seeds_are_averaged_item_by_item_and_full_is_of_the_same_items() -> None:
    rng = np.random.default_rng(1)
    full, random, prism = (rng.integers(0, 2, (seeds, ITEMS)) for seeds in (2, 3, 2))
    seen = compared({"full": full, "random": random, "prism": prism})
    one, two, whole = (side.mean(0) for side in (prism, random, full))
    left_out = [
        100 * (np.delete(one, i).mean() - np.delete(two, i).mean()) / np.delete(whole, i).mean() for i in range(ITEMS)
    ]
    assert item_variance(seen.rows[2], seen.rows[1], seen) == pytest.approx((ITEMS - 1) * np.var(left_out))


def test_one_seeds_rel_has_the_interval_of_its_items() -> None:
    """Rel. is the run's score over full's on the same items: where both err alike its interval is narrow."""
    rng = np.random.default_rng(3)
    full, random = np.ones(ITEMS), rng.integers(0, 2, ITEMS)
    seen = compared({"full": [full], "random": [random], "prism": [full]})
    assert rel_margin(seen.rows[2], seen) == 0
    expected = 1.96 * 100 * random.std(ddof=1) / sqrt(ITEMS)
    assert rel_margin(seen.rows[1], seen) == pytest.approx(expected)
    table = tabulate(seen, {}, "", [])
    cell = f"{100 * random.mean():.1f} [± {expected:.1f}]"
    assert [row[3:5] for row in table.rows] == [("100.0", "100.0"), (cell, cell), ("100.0", "100.0")]


def test_runs_that_agree_on_every_item_leave_nothing_to_the_items() -> None:
    points = np.arange(ITEMS) % 2
    seen = compared({"full": [np.ones(ITEMS)], "random": [points], "prism": [points]})
    assert difference(seen.rows[2], seen.rows[1], seen).margin == 0


def test_equal_methods_are_called_different_at_most_once_in_twenty() -> None:
    """Simulated: items differ in how hard they are, seeds in how good the model is; each method draws from the same."""
    rng = np.random.default_rng(2)
    names, tries, seeds = ("full", "random", "prism"), 200, 3
    alarms, narrower = 0, 0
    for _ in range(tries):
        hard = rng.beta(0.5, 0.5, 200)
        luck = rng.normal(0, 0.03, (len(names), seeds, 1))
        points = rng.random((len(names), seeds, 200)) < np.clip(hard + luck, 0, 1)
        seen = compared({name: list(side) for name, side in zip(names, points.astype(float), strict=True)})
        found = difference(seen.rows[2], seen.rows[1], seen)
        alarms += not found.within_noise
        narrower += found.margin < difference(seen.rows[2], seen.rows[1], replace(seen, tallies={})).margin
    assert alarms <= 0.05 * tries
    assert narrower > 0.95 * tries


def test_without_answers_the_items_count_as_drawn_apart_and_the_page_says_so() -> None:
    points = np.arange(ITEMS) % 2
    seen = compared({"full": [np.ones(ITEMS)], "random": [points], "prism": [points]})
    assert not any(UNPAIRED in note for note in notes(seen))
    lacking = replace(seen, tallies={name: known for name, known in seen.tallies.items() if "prism" not in name})
    each = 100**2 * 0.25 / (ITEMS - 1)
    assert item_variance(lacking.rows[2], lacking.rows[1], lacking) == pytest.approx(2 * each)
    assert any(note.startswith(UNPAIRED) for note in notes(lacking))


def test_a_metric_that_is_of_no_single_items_is_not_called_answers_that_are_not_kept() -> None:
    """HallusionBench counts figures and questions, LLaVA-W is a ratio: copying or running again does not help."""
    points = np.arange(ITEMS) % 2
    seen = compared({"full": [np.ones(ITEMS)], "random": [points] * 2, "prism": [points] * 2})
    lacking = replace(seen, tallies={name: {} for name in seen.tallies})
    found = [note for note in notes(lacking) if note.startswith("Compared with random")]
    assert found == [
        "Compared with random as if the items of a were different ones, so with too wide an interval: prism. These "
        "scores do not follow from items that all runs answered."
    ]
    with pytest.raises(UserError, match="which is not so of a; run the jobs with the other benchmarks alone"):
        spread_of(lacking)


def test_items_that_are_not_the_same_are_not_paired() -> None:
    points = np.arange(ITEMS) % 2
    seen = compared({"full": [np.ones(ITEMS)], "random": [points], "prism": [points[:-2]]})
    assert item_variance(seen.rows[2], seen.rows[1], seen) > 0


def test_the_same_items_in_another_order_are_not_laid_beside_each_other() -> None:
    """Two runs that agree item by item differ by nothing; what is told of other items is not subtracted from them."""
    points = np.arange(ITEMS) % 2
    seen = compared({"full": [np.ones(ITEMS)], "random": [points], "prism": [points]})
    name = seen.rows[2].outcomes[0].record.name
    turned = [Answer(str(i), "", "", "", float(point)) for i, point in reversed(list(enumerate(points)))]
    other = {**seen.tallies, name: {"a": tally(turned, "exact_match")}}
    assert item_variance(seen.rows[2], seen.rows[1], seen) == 0
    assert item_variance(seen.rows[2], seen.rows[1], replace(seen, tallies=other)) > 0


def test_the_page_says_how_large_a_difference_it_could_have_found() -> None:
    """As `selectmm power` says of the same runs; with one seed of random the spread is unknown."""
    rng = np.random.default_rng(4)
    items = {name: rng.integers(0, 2, (3, ITEMS)) for name in ("full", "random", "prism", "length")}
    seen = compared(items)
    planned = Design(seeds=3, randoms=3, fulls=3, items=1.0, comparisons=2, together=2)
    expected = smallest_difference(spread_of(seen), planned)
    text = f"A true difference of {expected:.1f} points of Rel. is found significant with 80 % probability "
    design = "(2 comparisons, 3 seeds of a method, 3 of random, 3 of full)"
    assert [note for note in notes(seen) if note.startswith(text + design)]
    del items["length"]
    assert [note for note in notes(compared(items)) if "probability (1 comparison, 3 seeds" in note]
    alone = compared({**items, "random": items["random"][:1]})
    assert not [note for note in notes(alone) if note.startswith("A true difference")]


def test_tallies_are_read_from_beside_the_record(tmp_path: Path) -> None:
    path = written(tmp_path, "prism", {"a": answers([1, 0])})
    record = load(path)
    assert tallies_of([(path, record)])[record.name]["a"].total == 50.0
    elsewhere = tmp_path / "elsewhere" / path.name
    assert tallies_of([(elsewhere, record)]) == {} == tallies_of([(path, replace(record, answers=None))])


def test_other_answers_than_the_record_was_written_with_are_an_error(tmp_path: Path) -> None:
    path = written(tmp_path, "prism", {"a": answers([1, 0])})
    record = load(path)
    (path.parent / record.answers.file).write_bytes(b"others")
    with pytest.raises(UserError, match="not those that record"):
        tallies_of([(path, record)])


def test_items_that_all_show_one_picture_say_nothing_of_their_spread() -> None:
    """One cluster: without it nothing is left, which once gave a difference of NaN and a p of 0."""
    seen = compared({"full": [np.ones(4)], "random": [np.array([0, 1, 0, 1])], "prism": [np.array([1, 1, 0, 1])]})
    one = tally([Answer(str(i), "", "", "", float(i % 2), image="one") for i in range(4)], "exact_match")
    tallies = {name: {"a": one} for name in seen.tallies}
    records = [replace(r, scores=(replace(r.scores[0], stderr=None),)) for r in seen.records]
    found = difference(*compare(records, {}, tallies).rows[2:0:-1], compare(records, {}, tallies))
    assert (found.margin, found.p) == (np.inf, 1.0)


def test_answers_that_give_another_value_than_the_records_are_not_paired(tmp_path: Path) -> None:
    path = written(tmp_path, "prism", {"a": answers([1, 0, 1, 1])})
    record = load(path)
    assert tallies_of([(path, record)])[record.name]
    other = replace(record, scores=(replace(record.scores[0], value=60.0),))
    assert tallies_of([(path, other)]) == {other.name: {}}


@pytest.mark.parametrize("kind", [list, dict])
def test_points_that_a_table_shows_in_per_cent_are_paired(tmp_path: Path, kind: type) -> None:
    """MME's points of one category, of which a scale of 100/200 makes per cent."""
    path = written(tmp_path, "prism", {"a": answers([1, 0, 1, 1])}, {"a": 75.0}, {"metric": "mme_total_score"})
    benchmark = {"name": "a", "scale": 0.5}
    made = [benchmark] if kind is list else {"mme": benchmark}
    record = replace(load(path), config={"suite": {"benchmarks": made}})
    assert tallies_of([(path, record)])[record.name]["a"].total == 75.0
    assert tallies_of([(path, replace(record, config={}))]) == {record.name: {}}, "points, of which it has 150"
