"""What one run needs: pool, method, model, recipe, suite and the rest, built from the configuration and checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from selectmm.budget import check_budget, in_words
from selectmm.errors import UserError
from selectmm.evaluation.engine import Engine
from selectmm.evaluation.suite import Suite
from selectmm.launch.nodes import ALONE, Nodes
from selectmm.methods.method import Method
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.records.tracker import Tracker
from selectmm.schedules.schedule import Schedule, name_of
from selectmm.schedules.static import Static
from selectmm.tuning.recipe import Recipe, Strategy


@dataclass(frozen=True)
class Experiment:
    """What one run does.

    Attributes:
        name: the question it belongs to; records, tables and W&B groups carry it.
        scale: ``embedded`` or ``full``; rows of different scales never share a table.
        open_pool, open_model: called once each; they may take a while.
        open_shapes: the model on the meta device, sizes and processor without numbers, with the dtype that it would
            have on a device of the given type.
        device: the type of the device that the model is opened on.
        open_targets: examples of the suite's benchmarks, for methods that choose for a target.
        method_name: the method as it was asked for on the command line.
        budget: share of the pool's rows to keep, above 0 and at most 1; above 1 a whole number of rows.
        batch_size: rows per forward pass when features are computed.
        engine: what answers the suite's questions in place of our own decoding.
        contamination: whether the suite's items are looked for in the pool before anything is trained.
        devices: processes that a stage may take, one device each, on all nodes together. Trained weights depend on
            their number by rounding alone; features and answers, given the same weights, do not.
        cache: root of all stage folders. records: folder of the record files.
        config: the whole resolved configuration, for the record and for worker processes.
        nodes: the machines that the devices are on, as many on each.
        schedule: when rows are chosen.
        curve: how often the model is evaluated, evenly over the training, the last time at its end.

    Raises:
        UserError: the budget is neither a share nor a number of rows, or a number of what there must be is 0.
    """

    name: str
    scale: str
    open_pool: Callable[[], Pool]
    open_targets: Callable[[], Pool] | None
    open_model: Callable[[], VLM]
    open_shapes: Callable[[str], VLM]
    device: str
    method_name: str
    method: Method
    budget: float
    recipe: Recipe
    strategy: Strategy
    suite: Suite
    engine: Engine | None
    tracker: Tracker
    seed: int
    batch_size: int
    contamination: bool
    devices: int
    cache: Path
    records: Path
    config: Mapping[str, Any]
    nodes: Nodes = ALONE
    schedule: Schedule = field(default_factory=Static)
    curve: int = 1

    @property
    def chooser(self) -> str:
        """What chooses the rows, in words: the method, with the schedule before it or instead of it.

        Of selectmm's schedules a file has one. A file of one's own may have several, so theirs are named by class too.
        """
        if isinstance(self.schedule, Static):
            return self.method_name
        file, plus, method = name_of(self.schedule, self.method_name).partition("+")
        kind = type(self.schedule)
        own = "" if kind.__module__.startswith("selectmm.") else f".{kind.__qualname__}"
        return f"{file}{own}{plus}{method}"

    @property
    def announced(self) -> str:
        """What it is, in words, as logs and plans call it; the full run's budget is 1, whatever was asked for."""
        budget = in_words(1 if self.chooser == "full" else self.budget)
        return f"{self.name}: {self.chooser}, budget {budget}, recipe {self.recipe.name}, seed {self.seed}"

    @property
    def bad_rows(self) -> Literal["stop", "drop"]:
        """What becomes of rows that the model cannot take: what ``pool.bad_rows`` says, if the pool has that option."""
        return self.config["pool"].get("bad_rows", "stop")

    def __post_init__(self) -> None:
        check_budget(self.budget)
        if self.batch_size < 1:
            raise UserError(f"batch_size={self.batch_size}: a pass takes at least one row; set it to 1 or more.")
        if self.curve < 1:
            raise UserError(f"curve={self.curve}: a model is evaluated at least once, at its end; set curve=1.")
        if self.devices < 1:
            raise UserError(f"devices={self.devices}: a stage runs on at least one; set devices=1 or devices=auto.")
