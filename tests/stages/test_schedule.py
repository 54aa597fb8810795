"""Selection during training on a tiny LLaVA: what is trained, what is kept, and what a kill costs."""

import csv
import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from selectmm.errors import UserError
from selectmm.experiment import Experiment
from selectmm.flops.gpus import GPUS
from selectmm.instantiate import build
from selectmm.models.vlm import VLM
from selectmm.planning.corrections import Corrections
from selectmm.planning.plan import plan
from selectmm.planning.stages import total_of
from selectmm.records.cached import adapter_of, subset_of
from selectmm.records.files import load
from selectmm.run import run
from selectmm.stages.schedule import Learned, check_choice, learn, requests_of
from selectmm.stages.select import warmup_of
from selectmm.tuning.adapter_file import WEIGHTS
from selectmm.tuning.module import rate
from tests.test_line import ROOT, overrides
from tests.tuning.crowd import kill_before
from tests.tuning.test_kill import killed

STEPS, BATCH = 6, 4
ONLY = "suite.only=[mini-POPE,mini-MMLU]"


@pytest.fixture(autouse=True, scope="module")
def _root() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELECTMM_ROOT", str(ROOT))
        yield


@functools.cache
def experiment_of(place: Path, *arguments: str, cache: str = "all") -> Experiment:
    """Six steps of four rows: two passes over half of the pool."""
    given = [*overrides(place, "llava15_7b", cache), "recipe.max_length=1024", "recipe.checkpoint_every=1"]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("run", [*given, "budget=0.5", "recipe.epochs=2", "batch_size=1", *arguments])
    return build(config, next((a.split("=")[1] for a in arguments if a.startswith("method=")), "prism"))


@functools.cache
def opened(place: Path) -> VLM:
    """Once for all tests: a training leaves a model as it was."""
    return experiment_of(place).open_model()


def learned(place: Path, *arguments: str, cache: str = "all") -> tuple[Learned, Path]:
    experiment = experiment_of(place, *arguments, cache=cache)
    made = learn(experiment, experiment.open_pool(), opened(place))
    return made, made.tuned.folder


def logged(folder: Path, what: str) -> list[float]:
    return [json.loads(line)[what] for line in (folder / "losses.jsonl").open()]


def test_one_choice_without_warm_up_trains_the_same_bits_as_a_static_run(place: Path) -> None:
    static, there = learned(place, "method=el2n")
    once, here = learned(place, "method=el2n", "schedule=reselect", "schedule.warmup=0", "schedule.updates=1")
    assert (here / WEIGHTS).read_bytes() == (there / WEIGHTS).read_bytes()
    assert [logged(here, what) for what in ("step", "loss", "lr")] == [
        logged(there, what) for what in ("step", "loss", "lr")
    ]
    assert static.schedule is None and once.selection.subset.rows.tolist() == static.selection.subset.rows.tolist()
    reports = [json.loads((folder / "train.json").read_text()) for folder in (here, there)]
    assert reports[0] == reports[1]
    assert (once.schedule.visits, once.schedule.distinct) == (24, 12)


RESELECT = ("method=el2n", "schedule=reselect")
MOMENTS = [
    ("os.rename", ".checkpoint-00000001"),  # in the steps on random rows
    ("os.rename", "rounds/train/"),  # they are over, and the folder gets its name
    ("os.rename", "shard-000000016"),  # in the middle of scoring: one of two shards is written
    ("os.rename", "rounds/score/"),
    ("os.rename", ".checkpoint-00000004"),
    ("shutil.rmtree", "handed-on"),  # the second part is over, and what it began with goes
    ("open", "schedule.json"),  # all is trained
]


def test_killed_anywhere_it_goes_on_to_the_same_bits(place: Path) -> None:
    """One run, started again after each of `MOMENTS` and killed at the next; scoring included."""
    whole, there = learned(place, *RESELECT)
    experiment = experiment_of(place, *RESELECT, cache="killed")
    pool, vlm = experiment.open_pool(), opened(place)
    for event, path in MOMENTS:
        killed(lambda event=event, path=path: (kill_before(event, path), learn(experiment, pool, vlm)))
    again = learn(experiment, pool, vlm)
    assert (again.tuned.folder / WEIGHTS).read_bytes() == (there / WEIGHTS).read_bytes()
    assert logged(again.tuned.folder, "loss") == logged(there, "loss")
    assert again.schedule.fingerprint == whole.schedule.fingerprint
    names = {file.name for file in again.tuned.folder.iterdir()}
    assert names == {file.name for file in there.iterdir()} and "rounds" not in names, "nothing else stays"


def test_a_stage_whose_summary_is_damaged_is_named(place: Path) -> None:
    _, folder = learned(place, *RESELECT)
    summary = folder / "schedule.json"
    whole = summary.read_text()
    try:
        for text in ("", "[]", "{}", whole.replace('"visits"', '"seen"'), whole.replace('"seconds"', '"minutes"')):
            summary.write_text(text)
            with pytest.raises(UserError, match=rf"The stage {folder} is damaged: its schedule.json cannot be read"):
                learned(place, *RESELECT)
    finally:
        summary.write_text(whole)


def test_reselect_trains_the_recipe_s_curve_and_says_what_it_visited_when(place: Path) -> None:
    made, folder = learned(place, *RESELECT)
    entry = made.schedule
    assert logged(folder, "step") == list(range(1, STEPS + 1))
    peak = 5e-4
    assert logged(folder, "lr") == pytest.approx([peak * rate(step, STEPS, 0.03) for step in range(STEPS)])
    assert [(one.first, one.steps, one.scored, one.visits) for one in entry.rounds] == [
        (0, 2, 0, 8), (2, 2, 24, 8), (4, 2, 24, 8),
    ]  # fmt: skip
    visits = np.load(folder / "visits.npy")
    assert visits.shape == (STEPS, BATCH) and entry.visits == visits.size
    assert entry.distinct == len(np.unique(visits)) == len(made.selection.subset.rows)
    sets = [set(visits[first : first + 2].ravel().tolist()) for first in (0, 2, 4)]
    for number, one in enumerate(entry.rounds):
        before = set().union(*sets[:number])
        assert (one.distinct, one.fresh) == (len(sets[number]), len(sets[number] - before))
        assert one.overlap == (len(sets[number] & sets[number - 1]) if number else 0)
        assert sum(one.per_source.values()) == one.visits
    assert [one.selection > 0 for one in entry.rounds] == [False, True, True]
    scoring = sum(stage.cost.device_seconds for stage in made.selection.features)
    assert scoring == pytest.approx(sum(one.selection for one in entry.rounds))
    assert made.tuned.cost.device_seconds == pytest.approx(sum(one.tuning for one in entry.rounds))
    again, _ = learned(place, *RESELECT)
    assert again.tuned.cached and again.schedule == entry


def test_scores_follow_the_weights(place: Path) -> None:
    """A second choice by the loss is another than by the untrained model's, and is that of the model by then."""
    quick = ("schedule.warmup=0.5", "schedule.updates=1", "recipe.lr=0.05", "recipe.warmup=0")
    _, folder = learned(place, "method=el2n", "schedule=reselect", *quick)
    untrained, _ = learned(place, "method=el2n")
    chosen = set(np.load(folder / "visits.npy")[3:].ravel().tolist())
    scores = untrained.selection.subset.scores
    assert len(chosen) == 6 and chosen != set(np.argsort(-scores, kind="stable")[:6].tolist())


def test_random_is_never_scored(place: Path) -> None:
    made, _ = learned(place, "method=random", "schedule=reselect", "schedule.updates=4")
    assert [one.scored for one in made.schedule.rounds] == [0, 0, 0, 0, 0]
    assert made.selection.warmup is None and made.selection.features[0].cost.device_seconds == 0


def test_a_scoring_that_is_read_twice_is_charged_once(place: Path) -> None:
    """Without a warm-up the first losses are also those of the first update, of the same untrained model."""
    arguments = ("schedule=delta_loss", "schedule.warmup=0", "schedule.updates=2", "batch_size=2")
    made, _ = learned(place, *arguments, cache="once")
    [features] = (place / "once/cache/features").glob("*/stage.json")
    first, second = made.schedule.rounds
    assert first.selection == json.loads(features.read_text())["cost"]["device_seconds"]
    assert (first.scored, second.scored) == (24, 24)
    (planned,) = plan([experiment_of(place, *arguments, "seed=7")], GPUS["h100"], 8)
    assert next(stage.rows for stage in planned.stages if stage.name == "scoring") == 48


def test_rho_never_trains_on_held_out_rows_and_is_charged_for_the_reference(place: Path) -> None:
    arguments = ("schedule=rho_loss", "schedule.reference.fraction=0.25", "schedule.every=3")
    made, folder = learned(place, *arguments)
    experiment = experiment_of(place, *arguments)
    held, _ = warmup_of(experiment.schedule.reference, experiment.open_pool(), experiment.recipe, experiment.seed)
    visits = np.load(folder / "visits.npy")
    assert len(held) == 6 and not set(held.tolist()) & set(visits.ravel().tolist())
    assert made.schedule.rounds[0].scored > 24, "the pool for the reference's losses, then candidates"
    assert made.selection.warmup.cost.device_seconds > 0
    assert made.selection.warmup.cost.device_seconds < sum(one.selection for one in made.schedule.rounds)


def test_infobatch_prunes_by_the_losses_of_training(place: Path) -> None:
    more = ("recipe.epochs=4", "schedule.until=1")
    made, folder = learned(place, "method=random", "schedule=infobatch", *more)
    first, second, *_ = made.schedule.rounds
    assert (first.steps, first.distinct, first.scored) == (3, 12, 0)
    assert second.distinct < 12 and second.steps < 3, "rows with a loss below the mean were left out"
    assert sum(one.steps for one in made.schedule.rounds) == 12 == len(logged(folder, "loss"))
    assert made.selection.features[0].cost.device_seconds == 0, "losses are by-products of training"


def test_infobatch_killed_behind_a_part_still_has_the_losses_of_training(place: Path) -> None:
    arguments = ("method=random", "schedule=infobatch", "recipe.epochs=4", "schedule.until=1")
    whole, there = learned(place, *arguments)
    experiment = experiment_of(place, *arguments, cache="cut")
    pool, vlm = experiment.open_pool(), opened(place)
    killed(lambda: (kill_before("open", ".partial/.stage.json"), learn(experiment, pool, vlm)))
    assert list(experiment.cache.rglob("rounds/train/*.partial/answer.npy")), "all of the first part is there but this"
    again = learn(experiment, pool, vlm)
    assert again.schedule.fingerprint == whole.schedule.fingerprint
    assert (again.tuned.folder / WEIGHTS).read_bytes() == (there / WEIGHTS).read_bytes()
    assert not list(again.tuned.folder.glob("rows-*.jsonl"))


def test_the_plan_knows_the_stage_and_counts_what_is_scored(place: Path) -> None:
    learned(place, *RESELECT)
    (made,) = plan([experiment_of(place, *RESELECT)], GPUS["h100"], 8)
    found = {stage.name: stage for stage in made.stages}
    assert [found[name].state for name in ("scoring", "finetune")] == ["cached", "cached"]
    assert (found["scoring"].rows, found["finetune"].rows) == (48, 24)
    assert found["scoring"].cost.device_seconds > 0
    plans = plan(
        [experiment_of(place, *RESELECT, "seed=7", f"schedule.updates={updates}") for updates in (1, 2)],
        GPUS["h100"],
        8,
    )
    once, twice = (next(stage for stage in one.stages if stage.name == "scoring") for one in plans)
    assert (once.state, twice.work.flops) == ("to do", pytest.approx(2 * once.work.flops))
    assert total_of([plans[1]], GPUS["h100"], 0.4).features == twice.wall(GPUS["h100"], 0.4) > 0, (
        "hours until it is done"
    )
    assert Corrections({"features": 3.0, "gradients": 5.0}).factor(once) == 3.0, "el2n's answers"
    gone = ("seed=7", "schedule.updates=1", f"model.path={place}/gone")
    unknown = total_of(plan([experiment_of(place, *RESELECT, *gone)], GPUS["h100"], 8), GPUS["h100"], 0.4).unknown
    assert unknown == 3, "scoring, training, evaluation"
    (rho,) = plan([experiment_of(place, "schedule=rho_loss", "schedule.every=3", "seed=7")], GPUS["h100"], 8)
    assert [stage.name for stage in rho.stages][1:4] == ["warm-up", "scoring", "finetune"]


def test_what_cannot_be_is_said_before_anything_is_computed(place: Path) -> None:
    def refused(*arguments: str) -> str:
        experiment = experiment_of(place, *arguments, cache="empty")
        with pytest.raises(UserError) as problem:
            check_choice(experiment, experiment.open_pool(), opened(place))
        return str(problem.value)

    assert "The schedule leaves no step" in refused("schedule=reselect", "schedule.updates=6")
    assert "must not be the pool" in refused("schedule=rho_loss", "schedule.reference.fraction=1.0")
    assert "needs two; set recipe.epochs=2" in refused("schedule=infobatch", "recipe.epochs=1")
    assert "method=rds_plus needs examples of the target benchmarks" in refused(
        "method=rds_plus", "schedule=reselect", "~targets"
    )
    for method in ("less", "presel"):
        several = refused(f"method={method}", "schedule=reselect")
        assert several.startswith(f"method={method} needs several checkpoints of its warm-up, or features")
    packed = refused("method=random", "schedule=infobatch", "recipe.packing=true")
    assert packed.startswith("schedule=infobatch+random gives each row a weight, but recipe.packing joins several rows")
    with pytest.raises(UserError, match=r"There is no schedule\.focus=highest; there are: low, medium, high"):
        experiment_of(place, "schedule=loss", "schedule.focus=highest")
    with pytest.raises(UserError, match="curve=0: a model is evaluated at least once"):
        experiment_of(place, "curve=0")


def test_a_run_evaluates_on_the_way_and_its_record_comes_back(place: Path) -> None:
    arguments = ("schedule=delta_loss", "schedule.warmup=0.5", "schedule.updates=1", "curve=2", ONLY)
    arguments += ("tracker=csv", f"tracker.folder={place / 'csv'}")
    os.environ["SELECTMM_ROOT"] = str(ROOT)
    experiment = experiment_of(place, *arguments)
    record = load(run(experiment))
    assert (record.method.name, record.method.options["first"], record.recipe.steps) == ("delta_loss", "start", STEPS)
    assert "method.layer" not in record.method.options and record.budget == 0.5
    assert record.costs.selection > 0 and record.costs.tuning > 0
    assert record.schedule.rounds[0].scored == 24, "the first losses"
    (point,) = record.curve
    assert point.step == 3 and point.scores.keys() == {score.benchmark for score in record.scores}
    assert 0 < point.tuning < record.costs.tuning
    [file] = (place / "csv").rglob("metrics.csv")
    rows = [row for row in csv.DictReader(file.open()) if row["curve/mini-POPE"]]
    for name, final in ((score.benchmark, score.value) for score in record.scores):
        curve = [(int(row["step"]), float(row[f"curve/{name}"])) for row in rows]
        assert curve == [(3, point.scores[name]), (STEPS, final)], "the tracker has the same curve"
    assert point.selection == record.schedule.rounds[0].selection < record.costs.selection
    assert len(requests_of(experiment, experiment.open_pool())) == 4
    assert (adapter_of(record, experiment.cache) / WEIGHTS).exists()
    with pytest.raises(UserError, match=r"were chosen during training, so there is no subset; .*visits\.npy"):
        subset_of(record, experiment.cache)
