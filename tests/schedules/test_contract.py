"""Every schedule keeps the contract, and the contract notices who does not."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from hydra.utils import instantiate

from selectmm.errors import UserError
from selectmm.methods.check import invented_pool
from selectmm.methods.el2n import El2n
from selectmm.methods.full import Full
from selectmm.methods.grand import Grand
from selectmm.methods.method import Method
from selectmm.methods.random import Random
from selectmm.methods.random_warmup import RandomWarmUp
from selectmm.methods.rds_plus import RdsPlus
from selectmm.schedules.check import check_schedule
from selectmm.schedules.delta_loss import DeltaLoss
from selectmm.schedules.forecast import forecast
from selectmm.schedules.infobatch import InfoBatch
from selectmm.schedules.loss import Loss
from selectmm.schedules.reselect import Reselect
from selectmm.schedules.rho_loss import RhoLoss
from selectmm.schedules.schedule import Course, Requests, Schedule, Score, Train, name_of
from selectmm.schedules.static import Static

CONFIGS = Path(__file__).parents[2] / "configs" / "schedule"
KEPT: list[tuple[Schedule, Method | None]] = [
    (Static(), None),
    (Static(), RdsPlus()),
    (Reselect(), None),
    (Reselect(warmup=0.0, updates=1), None),
    (Reselect(updates=5, subsample=0.3), Random()),
    (Reselect(), RdsPlus()),
    (Reselect(), Grand()),
    *((Loss(focus=focus, weight=50.0), None) for focus in ("low", "medium", "high")),
    (DeltaLoss(), None),
    (DeltaLoss(updates=3, first="warmup", window=0.5, outside=0.5), None),
    (DeltaLoss(outside=0.0, window=0.1), None),
    (Loss(weight=0.0), None),
    (RhoLoss(), None),
    (RhoLoss(RandomWarmUp(fraction=0.3), keep=0.1, every=4), None),
    (InfoBatch(), None),
    (InfoBatch(prune=0.9, until=0.5), Full()),
    (InfoBatch(), Grand()),
]


@pytest.mark.parametrize(("schedule", "method"), KEPT, ids=repr)
def test_schedules_keep_the_contract(schedule: Schedule, method: Method | None) -> None:
    check_schedule(schedule, method)


def test_every_file_of_the_group_is_a_schedule_at_its_defaults() -> None:
    tested = {type(schedule) for schedule, _ in KEPT}
    for path in CONFIGS.glob("*.yaml"):
        made = instantiate(yaml.safe_load(path.read_text()), _convert_="all")
        assert type(made) in tested and made == type(made)(), path.name
        assert name_of(made, "prism") == path.stem + ("+prism" if made.wraps else "")
    assert len(tested) == len(list(CONFIGS.glob("*.yaml")))


def test_the_schedule_in_the_documentation_keeps_the_contract() -> None:
    page = (CONFIGS.parents[1] / "selectmm" / "schedules" / "README.md").read_text()
    code = next(block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "class Again" in block)
    module = ModuleType("again")
    exec(code, module.__dict__)
    check_schedule(module.Again())
    check_schedule(module.Again(), RdsPlus())


@dataclass(frozen=True)
class Careless:
    """Trains on the first rows: depends on how the pool is stored, and on what else it is told to do wrong."""

    surplus: int = 0
    weight: float = 1.0
    draw: bool = False
    wraps: bool = False

    def check(self, course: Course) -> None:
        pass

    def rounds(self, course: Course, rng: np.random.Generator) -> Requests:
        rows = np.arange(10)
        if self.draw:
            rows = np.sort(np.random.default_rng().permutation(60)[:10])
        yield Train(rows, course.steps + self.surplus, np.full(10, self.weight))


@pytest.mark.parametrize(
    ("careless", "message"),
    [
        (Careless(surplus=-1), "trains 29 steps where a static run trains 30"),
        (Careless(weight=2.0), "gives weights that sum to 20 for rows that stand for 10"),
        (Careless(weight=0.0), "weights that are not one number above zero"),
        (Careless(draw=True), "visits other rows when it is asked again with the same seed"),
        (Careless(), "visits other rows when the pool is stored in another order"),
    ],
    ids=["steps", "sum", "zero", "seed", "order"],
)
def test_the_contract_notices_a_broken_promise(careless: Careless, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_schedule(careless)


def course(rows: int = 20, steps: int = 30, method: Method | None = None) -> Course:
    return Course(invented_pool(60), method or El2n(), rows, steps, 4)


@pytest.mark.parametrize(
    ("schedule", "asked", "message"),
    [
        (Reselect(updates=21), course(), "leaves no step for some of its choices: of 30 .* takes 10, and 21 choices"),
        (Reselect(warmup=1.0), course(), "leaves no step for some of its choices"),
        (Loss(updates=0), course(), "updates=0: rows have to be chosen at least once"),
        (Reselect(warmup=1.5), course(), "schedule.warmup=1.5 is not a share"),
        (Reselect(subsample=0.0), course(), "schedule.subsample=0 is not a share"),
        (Reselect(warmup=0.0), course(method=Grand()), "scores rows after a warm-up.*set schedule.warmup above 0"),
        (RhoLoss(RandomWarmUp(fraction=1.0)), course(), "the rows held out must not be the pool"),
        (RhoLoss(RandomWarmUp(fraction=0.95)), course(), "holds out 57 of the pool's 60 rows, which leaves fewer than"),
        (RhoLoss(RandomWarmUp(fraction=0.0)), course(), "holds no rows out"),
        (RhoLoss(every=0), course(), "every=0: rows have to be scored every so many steps"),
        (InfoBatch(), course(steps=5), "5 steps of 4 rows are 1 passes over 20 rows, and it needs two"),
        (InfoBatch(prune=1.0), course(), "schedule.prune=1 is not a share below 1"),
        (DeltaLoss(first="warmup", subsample=0.5), course(), "set schedule.first=start or schedule.subsample=1"),
    ],
    ids=[
        "updates", "all-warmup", "no-update", "share", "nothing-scored", "warmed-up", "all-held-out", "few-left",
        "nothing-held-out", "never", "one-epoch", "all-pruned", "first",
    ],
)  # fmt: skip
def test_what_cannot_be_shared_out_is_one_sentence_before_anything_runs(
    schedule: Schedule, asked: Course, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        forecast(schedule, asked, lambda warmup: warmup.rows(asked.pool, np.random.default_rng(0)), seed=0)


def test_a_forecast_says_how_much_will_be_scored_and_refuses_other_steps() -> None:
    def warmed(warmup: RandomWarmUp) -> np.ndarray:
        return warmup.rows(course().pool, np.random.default_rng(0))

    requests = forecast(Reselect(subsample=0.5), course(), warmed, seed=0)
    assert [len(one.rows) for one in requests if isinstance(one, Score)] == [30, 30]
    assert [one.steps for one in requests if isinstance(one, Train)] == [10, 10, 10]
    requests = forecast(RhoLoss(every=10), course(), warmed, seed=0)
    assert next(len(one.rows) for one in requests if isinstance(one, Score)) == 60, "the reference's losses"
    assert [one.steps for one in requests if isinstance(one, Train)] == [10, 10, 10]
    with pytest.raises(
        UserError, match="Careless trains 31 steps, but a static run of this budget and recipe trains 30"
    ):
        forecast(replace(Careless(), surplus=1), course(), warmed, seed=0)
