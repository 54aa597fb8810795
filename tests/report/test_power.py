"""The power of a planned comparison, against simulation and against variances that the test put in."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from selectmm.commands.power import main
from selectmm.errors import UserError
from selectmm.records.files import load, save
from selectmm.records.record import RunRecord
from selectmm.report.pairing import tallies_of
from selectmm.report.power import Design, Spread, power_of, smallest_difference, smallest_here, spread_of
from selectmm.report.rows import compare
from selectmm.report.verdict import SHARED
from selectmm.screen import output
from tests.statistics.runs import answers, written

DESIGNS = [
    Design(seeds=3, randoms=3, fulls=3, items=1, comparisons=1, together=1),
    Design(seeds=5, randoms=10, fulls=10, items=4, comparisons=20, together=20),
    Design(seeds=5, randoms=5, fulls=5, items=1, comparisons=12, together=3),
]


def simulated(difference: float, spread: Spread, design: Design, times: int = 20_000) -> float:
    """Share of simulated comparisons that are significant at the first step of Holm's correction.

    Every run is a true value, what a seed does to it, and what a seed does to its items; two methods also differ over
    items. The variances of the test are estimated as the reports do: over seeds from the runs (of all methods together,
    where they are many), over items exactly.
    """
    rng = np.random.default_rng(0)
    answers_, seeds_ = spread.answers / design.items, spread.seeds
    items = rng.normal(0, sqrt(spread.items / design.items), times)
    method = rng.normal(difference, sqrt(answers_ + seeds_), (times, design.seeds)) + items[:, None]
    random = rng.normal(0, sqrt(answers_ + seeds_), (times, design.randoms))
    found = method.mean(axis=1) - random.mean(axis=1)
    parts = [side.var(axis=1, ddof=1) / side.shape[1] for side in (method, random)]
    over_items = spread.items / design.items + answers_ * (1 / design.seeds + 1 / design.randoms)
    frees = [design.seeds - 1, design.randoms - 1]
    if design.together + 1 >= SHARED:
        frees = [design.together * (design.seeds - 1) + design.randoms - 1]
        pooled = (answers_ + seeds_) * rng.chisquare(frees[0], times) / frees[0]
        parts = [pooled * (1 / design.seeds + 1 / design.randoms)]
    whole = over_items + sum(parts)
    free = whole**2 / sum(part**2 / n for part, n in zip(parts, frees, strict=True))
    p = 2 * t.sf(np.abs(found) / np.sqrt(whole), free)
    return float((p <= 0.05 / design.comparisons).mean())


@pytest.mark.parametrize("design", DESIGNS, ids=["three seeds", "twenty methods", "four budgets"])
def test_a_difference_of_the_printed_size_is_found_four_times_in_five(design: Design) -> None:
    spread = Spread(items=9.0, answers=6.0, seeds=4.0, fulls=0.0, freedom=20)
    difference = smallest_difference(spread, design)
    assert difference is not None
    assert simulated(difference, spread, design) == pytest.approx(0.8, abs=0.04)
    assert simulated(difference / 2, spread, design) == pytest.approx(
        power_of(difference / 2, spread, design), abs=0.06
    )


def test_where_only_items_vary_it_is_the_formula_of_the_normal_distribution() -> None:
    design = Design(seeds=4, randoms=4, fulls=4, items=4, comparisons=1, together=1)
    found = smallest_difference(Spread(items=16.0, answers=0.0, seeds=0.0, fulls=0.0, freedom=6), design)
    assert found == pytest.approx((1.959964 + 0.841621) * 2.0, rel=1e-4)


def test_one_seed_and_no_chance_of_success_are_unknown() -> None:
    spread = Spread(items=1.0, answers=1.0, seeds=1.0, fulls=1.0, freedom=2)
    assert smallest_difference(spread, Design(1, 3, 3, 1, 1, 1)) is None
    far = Spread(items=1e9, answers=0.0, seeds=0.0, fulls=0.0, freedom=2)
    assert smallest_difference(far, Design(3, 3, 3, 1, 1, 1)) is None


def test_where_the_power_falls_again_the_smallest_difference_is_still_found() -> None:
    """Two full runs: their part of the variance grows with the difference, so that 1,000 points are significant less
    often than 50."""
    spread, design = Spread(items=20.0, answers=10.0, seeds=10.0, fulls=30.0, freedom=20), Design(2, 2, 2, 1, 6, 6)
    assert power_of(60.0, spread, design) > 0.8 > power_of(1000.0, spread, design)
    found = smallest_difference(spread, design)
    assert found is not None and power_of(found, spread, design) == pytest.approx(0.8)
    assert all(power_of(smaller, spread, design) < 0.8 for smaller in np.linspace(0.1, found - 0.01, 20))


def runs(folder: Path, seeds: Mapping[str, int], items: int = 400) -> list[Path]:
    """Records of methods that are right with probability 0.5, drawn anew for every item and seed; full always right."""
    rng, paths = np.random.default_rng(1), []
    for method, many in seeds.items():
        for seed in range(many):
            right = np.ones(items) if method == "full" else rng.integers(0, 2, items)
            paths.append(written(folder, method, {"toy": answers(right.tolist())}, seed=seed))
    return paths


def test_the_spread_of_independent_answers_is_that_of_coin_flips(tmp_path: Path) -> None:
    """Rel. of one run is a mean over 400 fair coins, in per cent: its variance is 2500 / 400 = 6.25."""
    paths = runs(tmp_path, {"full": 2, "random": 8, "prism": 8, "length": 8})
    records = [load(path) for path in paths]
    spread = spread_of(compare(records, {}, tallies_of(zip(paths, records, strict=True))))
    assert spread.answers == pytest.approx(6.25, rel=0.05)
    assert spread.items + spread.seeds < 4.0  # there is nothing else in these runs but noise of the estimate
    assert spread.fulls == 0.0 and spread.freedom == 21


def test_the_command_prints_a_row_per_number_of_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = runs(tmp_path, {"full": 2, "random": 3, "prism": 3}, items=60)
    with output(json=True):
        main([*map(str, paths), "--seeds", "2,6", "--items", "1,16", "--methods", "5"])
    shown = capsys.readouterr()
    said = shown.err
    lines = [line.split() for line in said.splitlines()]
    cells = {line[0]: [float(cell) for cell in line[1:]] for line in lines if line and line[0] in ("2", "6")}
    assert "items × 16" in said and "8 records" in said
    assert cells["6"][0] < cells["2"][0] and cells["6"][1] < cells["6"][0]
    document = json.loads(shown.out)
    assert [(each["seeds"], each["items"], each["comparisons"]) for each in document["designs"]] == [
        (2, 1.0, 5), (2, 16.0, 5), (6, 1.0, 5), (6, 16.0, 5)
    ]  # fmt: skip
    assert f"{document['designs'][3]['smallest_difference']:.1f}" == f"{cells['6'][1]:.1f}"
    assert (document["power"], document["spread"]["freedom"]) == (0.8, 4)


def test_one_full_run_says_nothing_of_the_spread_between_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(path) for path in runs(tmp_path, {"full": 1, "random": 3, "prism": 3}, items=60)])
    said = " ".join(capsys.readouterr().out.split())
    assert "unknown between full runs, as there is one, and taken as 0." in said


def test_full_under_two_names_of_a_recipe_is_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = runs(tmp_path, {"full": 1, "random": 3, "prism": 3}, items=60)
    record = load(paths[0])
    again = replace(
        record, recipe=replace(record.recipe, name="other", options={**record.recipe.options, "length": "x"})
    )
    main([*map(str, paths), str(save_beside(paths[0], again))])
    assert "unknown between full runs, as there is one" in " ".join(capsys.readouterr().out.split())


def test_of_several_groups_the_largest_is_used_and_the_others_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = runs(tmp_path, {"full": 2, "random": 3, "prism": 3}, items=60)
    record = load(paths[0])
    other = save_beside(paths[0], replace(record, model="another"))
    main([*map(str, paths), str(other)])
    said = " ".join(capsys.readouterr().out.split())
    assert "Only the largest of 2 groups of records that can be compared was used, 8 of 9 records; they differ" in said
    assert "base model" in said and "Name the records of another group to use that." in said


def save_beside(path: Path, record: RunRecord) -> Path:
    """Another record, with the answers of the one at ``path``."""
    folder = path.parent / "beside"
    shutil.copytree(path.parent / "answers", folder / "answers", dirs_exist_ok=True)
    return save(record, folder)


def test_records_that_say_nothing_of_the_spread_are_refused(tmp_path: Path) -> None:
    paths = runs(tmp_path, {"full": 1, "random": 1, "prism": 1}, items=10)
    with pytest.raises(UserError, match="with two seeds or more"):
        main(list(map(str, paths)))
    with pytest.raises(UserError, match="--seeds 2 or more"):
        main([*map(str, paths), "--seeds", "1"])


def test_without_answers_the_spread_is_unknown(tmp_path: Path) -> None:
    paths = runs(tmp_path, {"full": 1, "random": 2, "prism": 2}, items=10)
    records = [load(path) for path in paths]
    with pytest.raises(UserError, match="Copy the folder `answers` too"):
        spread_of(compare(records, {}))


def test_methods_at_several_budgets_are_not_estimated_together(tmp_path: Path) -> None:
    """Twelve comparisons, but three at each budget: the test pools none of them, so the page must not either."""
    seeds = {"random": 2, "prism": 2, "length": 2, "el2n": 2}
    paths = runs(tmp_path, {"full": 2, **seeds}, items=60)
    records = [load(path) for path in paths]
    tallies = dict(tallies_of(zip(paths, records, strict=True)))
    for budget in (0.4, 0.5, 0.6):
        for record in [record for record in records if record.budget == 0.3 and record.method.name != "full"]:
            again = replace(record, budget=budget)
            tallies[again.name] = tallies[record.name]
            records.append(again)
    found = smallest_here(compare(records, {}, tallies))
    assert found is not None and (found.design.comparisons, found.design.together) == (12, 3)
