"""Every experiment of a paper runs shrunken: each of its jobs on a tiny model and a small pool of one's own."""

import copy
import csv
import os
import re
from dataclasses import fields
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from selectmm.command_line.jobs import _with as with_values
from selectmm.instantiate import build
from selectmm.records.files import load
from selectmm.records.record import Costs
from selectmm.report.published import ALIKE, CELLS, REL, Reproduces, read_printed
from selectmm.stages.select import select
from tests.stages.test_select import METHODS
from tests.test_line import ROOT, one_run, overrides

os.environ.setdefault("SELECTMM_ROOT", str(ROOT))

NAMES = ("prism", "scalselect", "tive", "dataprophet", "magic", "visnec")
PAPERS = [
    path
    for paper in NAMES
    for path in sorted((ROOT / "experiments" / paper).glob("*.yaml"))
    if "setting:" in path.read_text()
]


@cache
def composed(path: Path, *arguments: str) -> dict:
    name = path.relative_to(ROOT / "experiments").with_suffix("")
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return compose("run", [f"experiments={name}", *arguments], return_hydra_config=True)


def jobs_of(path: Path) -> list[tuple[str, float]]:
    """Method and budget of each job of its first seed, as the sweep at the embedded scale would have them."""
    config = composed(path, "setting=embedded")
    params = config.hydra.sweeper.params
    assert params.seed == "0,1,2", "one seed ranks nothing"
    assert str(params.get("model", "embedded")) == "embedded"
    return list(product(params.method.split(","), map(float, str(params.get("budget", config.budget)).split(","))))


@cache
def jobs_of_all() -> list[tuple[str, float]]:
    """Every method of every experiment at its smallest budget, and random at all of them.

    But for methods as they are by default, which `tests.stages.test_select` selects with.
    """
    jobs = {job for path in PAPERS for job in jobs_of(path) if job[0] not in METHODS}
    smallest = {method: min(budget for name, budget in jobs if name == method) for method, _ in jobs}
    return sorted({*smallest.items(), *(job for job in jobs if job[0] == "random")})


def test_every_paper_has_its_experiments() -> None:
    assert {path.parent.name for path in PAPERS} == set(NAMES)


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_experiment_stands_at_full_scale_and_one_override_brings_it_to_the_laptop(path: Path) -> None:
    full, small = composed(path), composed(path, "setting=embedded")
    assert (full.scale, small.scale) == ("full", "embedded")
    assert small.model == composed(ROOT / "experiments" / "quickstart" / "ten_minutes.yaml").model
    assert small.suite.name == "mini" and small.recipe.name == "embedded"
    for line in (
        "# Command:  python -m selectmm -m experiments=",
        "# Laptop:   ",
        "# Full:     ",
        "# The paper does not say: ",
    ):
        assert line in path.read_text()


CHOOSE_FOR_TARGETS = {"dataprophet", "icons", "less", "rds_plus"}
COMMANDS = {
    path: re.findall(r"^# Command: +(?:python -m )?selectmm (.*?)(?:  .*)?$", path.read_text(), re.MULTILINE)
    for path in sorted((ROOT / "experiments").rglob("*.yaml"))
}


@pytest.mark.parametrize(
    "path", [path for path in COMMANDS if COMMANDS[path]], ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_the_command_that_an_experiment_shows_sets_what_has_no_default(path: Path) -> None:
    for command in COMMANDS[path]:
        words = [word.replace("…", "given") for word in command.split() if word != "-m"]
        name = path.relative_to(ROOT / "experiments").with_suffix("")
        assert words.pop(0) == f"experiments={name}"
        values = [word for word in words if re.match(r"\w+\.", word)]  # many have the same choices, composed once
        config = with_values(composed(path, *(word for word in words if word not in values)), values)
        unset = OmegaConf.missing_keys(_without_hydra(config))
        assert not unset, f"{command} does not set {', '.join(sorted(unset))}"
        methods = set(str(config.hydra.sweeper.params.get("method", "")).split(","))
        assert config.get("targets") or not methods & CHOOSE_FOR_TARGETS, f"{command} gives no targets"


def _without_hydra(config: DictConfig) -> DictConfig:
    """A copy without Hydra's own part, of which Hydra itself sets what is missing."""
    own = copy.deepcopy(config)
    with open_dict(own):
        del own["hydra"]
    return own


def pools_of(path: Path) -> float:
    """How many passes over the pool all its jobs train for, at full scale; full is trained once a seed."""
    jobs = {(method, 1.0 if method == "full" else budget) for method, budget in jobs_of(path)}
    return 3 * sum(budget for _, budget in jobs)


def minutes_of(path: Path) -> float | None:
    """Minutes of all stages behind its committed records, those that runs share once; None if there are none."""
    name = f"{path.parent.name}_{path.stem}"
    records = [load(file) for file in sorted((ROOT / "results" / "records").glob(f"{name}-*.json"))]
    # Two stages that took the same number of nanoseconds are one stage.
    took = {(entry.name, getattr(r.costs, entry.name).seconds) for r in records for entry in fields(Costs)}
    return sum(seconds for _, seconds in took) / 60 if records else None


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_experiment_opens_with_what_it_costs(path: Path) -> None:
    assert f"trains on {pools_of(path):.1f} passes over the pool" in path.read_text()
    minutes = minutes_of(path)
    if minutes is not None:
        assert f"({minutes:.0f} core-minutes without a cache)" in path.read_text()
        assert minutes < 120, "an hour on two cores"


PRINTED = [path for path in PAPERS if "\npublished:" in path.read_text()]  # the others' cells could not be read


@pytest.mark.parametrize("path", PRINTED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_it_reproduces_is_among_the_printed_tables(path: Path) -> None:
    reproduces = Reproduces(**composed(path).published)
    rows = {row.method for row in read_printed(reproduces.paper, reproduces.table)}
    assert rows.issuperset(reproduces.methods.values())
    methods = {method for method, _ in jobs_of(path)}
    assert methods.issuperset(reproduces.methods)
    named = {reproduces.named(method, model) for method in methods for model in (*reproduces.models, None)}
    assert named & rows, "no printed row would ever stand beside one of ours"
    assert set(reproduces.rel_over) <= {entry.name for entry in composed(path).suite.benchmarks.values()}


POOL_ROWS = {"llava_665k": 665_298, "llava_v_625k": 624_610, "vision_flan_186k": 186_000}
Cell = tuple[str, str, str, str]  # paper, table, row, column


def cells() -> dict[Cell, str]:
    """Every printed cell, and the number of rows that its row was trained on, empty if not printed."""
    with CELLS.open(encoding="utf-8", newline="") as stream:
        return {(c["paper"], c["table"], c["method"], c["benchmark"]): c["samples"] for c in csv.DictReader(stream)}


class Offer(NamedTuple):
    """What full-scale runs of an experiment are compared with: a table, its rows and columns, and how many rows."""

    paper: str
    table: str
    rows: set[str]
    ours: dict[str, str]
    columns: set[str]
    size: int | None
    budgets: list[float]


@cache
def offer_of(path: Path) -> Offer:
    config = composed(path)
    reproduces = Reproduces(**config.published)
    params = config.hydra.sweeper.params
    budgets = [float(budget) for budget in str(params.get("budget", config.budget)).split(",")]
    methods = params.method.split(",")
    rows = {reproduces.named(method, model) for method in methods for model in (*reproduces.models, None)}
    ours = {theirs: name for name, theirs in reproduces.benchmarks.items()}
    columns = {entry.name for entry in config.suite.benchmarks.values()} | {REL}
    size = POOL_ROWS.get(config.hydra.runtime.choices.pool)
    return Offer(reproduces.paper, reproduces.table, rows, ours, columns, size, budgets)


def would_stand_beside(path: Path, cell: Cell, samples: str) -> bool:
    """Whether a full-scale run of the experiment would be compared with the cell, by its names and number of rows."""
    offer, (paper, table, row, column) = offer_of(path), cell
    if (paper, table) != (offer.paper, offer.table) or row not in offer.rows:
        return False
    kept = [offer.size * (1 if row == "full" else budget) for budget in offer.budgets if offer.size is not None]
    near = not samples or any(abs(count - float(samples)) <= ALIKE * float(samples) for count in kept)
    return near and offer.ours.get(column, column) in offer.columns


def told_not_run() -> set[tuple[str, str, str]]:
    """What experiments/README.md says no experiment runs: paper, table, and a row, ``all`` or ``columns`` and one."""
    page = (ROOT / "experiments" / "README.md").read_text().partition("## Printed rows that no experiment runs")[2]
    lines = [line.strip("| ").split(" | ") for line in page.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    found = set()
    for printed, named, _ in lines[1:]:
        paper, table = printed.split(", ", 1)
        kind = "columns " if named.startswith("columns ") else ""
        found |= {(paper, table, kind + one.strip("`")) for one in named.removeprefix(kind).split(", ")}
    return found


def test_every_printed_cell_has_an_experiment_or_the_page_says_why_not() -> None:
    lacking = {
        cell
        for cell, samples in cells().items()
        if not any(would_stand_beside(path, cell, samples) for path in PRINTED)
    }
    reproduced = {(r.paper, r.table) for r in (Reproduces(**composed(path).published) for path in PRINTED)}
    found = {(paper, table, "all") for paper, table, *_ in lacking if (paper, table) not in reproduced}
    for paper, table, row, column in lacking:
        if (paper, table) in reproduced:
            run = any(cell[:3] == (paper, table, row) and cell not in lacking for cell in cells())
            found.add((paper, table, f"columns {column}" if run else row))
    assert found == told_not_run()


@pytest.mark.slow
def test_each_job_selects_shrunken(place: Path) -> None:
    assert {method for method, _ in jobs_of_all()} > {"full", "random"}
    for method, budget in jobs_of_all():
        arguments = [*overrides(place, "llava15_7b", "papers"), "depth.deep=2", f"method={method}", f"budget={budget}"]
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            experiment = build(compose("run", arguments), method)
        chosen = select(experiment, experiment.open_pool(), experiment.open_model())
        assert len(chosen.subset.rows) == (24 if method == "full" else max(1, round(24 * budget))), method


@pytest.mark.parametrize("paper", ["prism/layer", "scalselect/ablations", "tive/score", "dataprophet/selection"])
def test_a_job_of_each_paper_goes_through_the_whole_line(place: Path, paper: str) -> None:
    method, budget = jobs_of(ROOT / "experiments" / f"{paper}.yaml")[-1]
    arguments = [*overrides(place, "llava15_7b", "papers"), "depth.deep=2", f"method={method}", f"budget={budget}"]
    arguments.append("suite.only=[mini-SQA,mini-POPE]")
    record = one_run(f"experiments={paper}", "setting=embedded", *arguments)
    assert (record.method.name, record.experiment) == (method, paper.replace("/", "-"))
    assert record.scores and record.scale == "embedded"
