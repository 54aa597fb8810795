"""Plans against what a run then makes, on tiny models and data of one's own."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode

from selectmm.cache.stage import fingerprint, run_stage
from selectmm.errors import UserError
from selectmm.features import feature as feature_module
from selectmm.methods.subset import Subset
from selectmm.planning.plan import plan
from selectmm.planning.stages import total_of
from selectmm.run import run
from selectmm.stages.evaluate import EVALUATION, evaluation_identity
from selectmm.stages.finetune import tune
from selectmm.stages.pool import open_pool
from selectmm.stages.select import select_rows
from tests.planning.planned import H100, experiment_of, planned, stage, states


def test_a_plan_names_the_stages_that_the_run_then_makes(place: Path) -> None:
    """TIVE has every kind of stage: a warm-up, features after it, a choice, an adapter, scores."""
    experiment = experiment_of(place, "named", "method=tive", "method.exclude=[]", "budget=0.5")
    before = planned(experiment)[0]
    assert states(before) == {
        "pool": "cached",
        "warm-up": "to do",
        "features": "depends on the warm-up",
        "subset": "depends on the warm-up",
        "finetune": "depends on the choice",
        "evaluate": "depends on the choice",
    }
    assert not {path.parent.name for path in experiment.cache.glob("*/*")} & {"adapter", "features", "subset"}
    vlm = experiment.open_model()
    pool = open_pool(experiment, vlm)
    selection = select_rows(experiment, pool, vlm)
    assert stage(before, "warm-up").marks == [selection.warmup.fingerprint]
    between = planned(experiment)[0]
    assert stage(between, "features").marks == [selection.features[0].fingerprint]
    assert stage(between, "subset").marks == [selection.chosen.fingerprint]
    assert states(between)["subset"] == "cached" and states(between)["finetune"] == "to do"
    tuned = tune(experiment, pool, vlm, selection.subset)
    assert stage(between, "finetune").marks == [tuned.fingerprint]
    identity = evaluation_identity(experiment.suite, tuned.fingerprint)
    evaluated = run_stage(experiment.cache, EVALUATION, identity, lambda folder: None)
    after = planned(experiment)[0]
    assert stage(after, "evaluate").marks == [evaluated.fingerprint]
    assert set(states(after).values()) == {"cached"}
    assert stage(after, "finetune").cost == tuned.cost
    assert total_of([after], H100, 0.5).stages == 0
    norms = planned(experiment_of(place, "named", "method=grand", "budget=0.5"))[0]
    assert states(norms)["features"] == "cached" and states(norms)["subset"] == "to do", "norms are copied of TIVE's"


@pytest.mark.parametrize(
    ("method", "passes"),
    [
        (["method=less", "method.checkpoints=2", "method.warmup.fraction=0.5", "method.warmup.epochs=4"], 4),
        (["method=presel"], 2),
    ],
    ids=["two checkpoints, rows and examples", "the pool's images and the warm-up's rows"],
)
def test_every_point_of_a_warm_up_and_its_rows_are_planned(place: Path, method: list[str], passes: int) -> None:
    experiment = experiment_of(place, "points", *method, "budget=0.5", "suite=mini", "suite.only=[mini-POPE]")
    before = planned(experiment)[0]
    waiting = [each for each in before.stages if each.name == "features"]
    assert len(waiting) == passes and {each.state for each in waiting} == {"depends on the warm-up"}
    selection = select_rows(experiment, open_pool(experiment, experiment.open_model()), experiment.open_model())
    after = planned(experiment)[0]
    made = [each for each in after.stages if each.name == "features"]
    assert {each.state for each in made} == {"cached"} and len(made) == len(selection.features)
    assert stage(after, "warm-up").marks == [selection.warmup.fingerprint] == stage(before, "warm-up").marks
    assert stage(after, "subset").marks == [selection.chosen.fingerprint]


def test_stages_that_jobs_share_are_planned_once(place: Path) -> None:
    steps = ["recipe.length=steps", "recipe.name=steps", "recipe.epochs=0.5"]
    jobs = [
        experiment_of(place, "sweep", "method=prism", "budget=0.5"),
        experiment_of(place, "sweep", "method=prism", "budget=0.5", *steps),
        experiment_of(place, "sweep", "method=prism", "budget=0.5", "seed=1"),
        experiment_of(place, "sweep", "method=random", "budget=0.5"),
    ]
    first, same, seed, random = planned(*jobs)
    # Half a pass over the pool takes as many steps as one over half of it: whatever is chosen, it is one training.
    assert {name for name, state in states(same).items() if state == "shared"} == {
        "features", "subset", "finetune", "evaluate",
    }  # fmt: skip
    assert states(seed)["features"] == "shared" and states(seed)["finetune"] == "depends on the choice"
    assert states(random)["finetune"] == "to do", "a choice that needs nothing is known beforehand"
    assert total_of([first, same], H100, 0.5).flops == total_of([first], H100, 0.5).flops


def test_flops_of_features_and_tuning_are_those_that_the_run_counts(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = experiment_of(place, "counted", "method=prism", "batch_size=1", "recipe.micro_batch=1", "budget=0.5")
    pool, vlm = experiment.open_pool(), experiment.open_model()
    vlm.model.set_attn_implementation("eager")  # the counter knows no fused kernel of a CPU
    work = stage(planned(experiment)[0], "features").work
    real, passed = feature_module.run, []

    def counted(*inputs: object) -> object:  # the model alone: pooling its states is the feature's own work
        with FlopCounterMode(display=False) as counter:
            states = real(*inputs)
        passed.append(counter.get_total_flops())
        return states

    monkeypatch.setattr(feature_module, "run", counted)
    selection = select_rows(experiment, pool, vlm)
    assert len(passed) == len(pool.images) and sum(passed) == work.flops
    rows = selection.subset.rows[pool.image_of[selection.subset.rows] >= 0][:4]  # a text-only row gets a blank image
    listed = place / "rows.json"
    listed.write_text(json.dumps(rows.tolist()))
    chosen = replace(experiment_of(place, "counted", "method=from_indices", f"method.file={listed}"), seed=3)
    chosen = replace(chosen, recipe=replace(chosen.recipe, micro_batch=1, dropout=0.0))
    tuning = stage(planned(chosen)[0], "finetune")
    with FlopCounterMode(display=False) as counter:
        tuned = tune(chosen, pool, vlm, select_rows(chosen, pool, vlm).subset)
    assert tuning.rows == 4 and counter.get_total_flops() == tuning.work.flops
    assert tuning.work.disk == pytest.approx((tuned.folder / "adapter_model.safetensors").stat().st_size, rel=0.15)


def test_a_training_whose_only_step_has_no_rate_is_told_before_it(place: Path) -> None:
    once = experiment_of(place, "once", "method=random", "recipe.epochs=0.01", "recipe.warmup=0.03")
    none, some = (
        stage(planned(one)[0], "finetune").what
        for one in (once, replace(once, recipe=replace(once.recipe, warmup=0.0)))
    )
    assert none == f"{some}, at a rate of 0 by recipe.warmup: learns nothing" and some.startswith("1 step of ")


def test_a_sample_speaks_for_the_pool(place: Path) -> None:
    experiment = experiment_of(place, "sample", "method=full")
    exact, rough = (stage(planned(experiment, sample=n)[0], "finetune").work for n in (24, 12))
    assert rough.tokens != exact.tokens and rough.tokens == pytest.approx(exact.tokens, rel=0.3)


def test_a_folder_with_configuration_and_processor_alone_is_planned_alike(place: Path) -> None:
    bare = place / "bare"
    shutil.copytree(place / "llava", bare, ignore=shutil.ignore_patterns("*.safetensors"))
    whole, alone = planned(
        experiment_of(place, "bare", "method=prism"), experiment_of(place, "bare", "method=prism", f"model.path={bare}")
    )
    for name in ("features", "finetune", "evaluate"):
        assert stage(alone, name).work == stage(whole, name).work
    assert stage(alone, "features").marks != stage(whole, "features").marks, "other weights, or none, are another model"


def test_precision_and_gpu_decide_over_time_and_memory(place: Path) -> None:
    full = stage(planned(experiment_of(place, "gpu", "method=full", "model.dtype=auto"))[0], "finetune")
    assert full.seconds(H100, 0.5) == pytest.approx(full.work.flops / (66.9e12 * 0.5)), "the recipe's float32"
    half = experiment_of(place, "gpu", "method=full", "model.dtype=auto", "recipe.precision=bf16-mixed")
    mixed = stage(planned(half)[0], "finetune")
    assert mixed.seconds(H100, 0.25) == pytest.approx(mixed.work.flops / (989.4e12 * 0.25))
    assert mixed.work.memory.weights < full.work.memory.weights


def test_evaluations_along_a_curve_are_planned(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = experiment_of(place, "curve", "method=full", "curve=3")
    [found] = planned(experiment)
    way, last = (each for each in found.stages if each.name == "evaluate")
    assert way.what == f"{last.what}, 2 times on the way" and way.rows == 2 * last.rows
    assert way.work.flops == 2 * last.work.flops and way.work.memory == last.work.memory
    entered = {}

    def enter(_cache: Path, _name: str, identity: dict, *_: object, **__: object) -> None:
        entered.update(identity)
        raise KeyboardInterrupt

    monkeypatch.setattr("selectmm.stages.finetune.run_stage", enter)
    vlm = experiment.open_model()
    pool = open_pool(experiment, vlm)
    with pytest.raises(KeyboardInterrupt):
        tune(experiment, pool, vlm, Subset(np.arange(len(pool))))
    assert len(entered["points"]) == 2 and stage(found, "finetune").marks == [fingerprint(entered)]


def test_vllm_is_planned_on_a_gpu_and_offered_where_our_own_decoding_answers(place: Path) -> None:
    ours, theirs = planned(*(experiment_of(place, "engine", "method=full", *more) for more in ([], ["engine=vllm"])))
    offered, chosen = stage(ours, "evaluate"), stage(theirs, "evaluate")
    assert chosen.what == f"{offered.what}, by vLLM" and chosen.by_engine is None
    assert chosen.work == offered.by_engine and chosen.work.overhead > 0 == offered.work.overhead
    assert chosen.marks != offered.marks and any("Assumed of vLLM (engine=vllm)" in line for line in theirs.sources)
    cpu = replace(H100, name="cpu")
    [alone] = plan([experiment_of(place, "engine", "method=full", "engine=vllm")], cpu, 256)
    assert stage(alone, "evaluate").work.overhead == 0 and alone.notes == [
        "vLLM's speed on a processor is not known, so evaluation is planned as by our own decoding."
    ]


def test_a_run_on_devices_that_cannot_share_a_batch_ends_before_its_model_is_there(place: Path) -> None:
    experiment = experiment_of(place, "three", "method=full", "strategy=ddp", "devices=3")
    loaded: list[str] = []
    with pytest.raises(UserError, match="3 devices cannot share recipe"):
        run(replace(experiment, open_model=lambda: loaded.append("the model")))
    assert not loaded


def test_full_tuning_is_planned_and_four_bits_are_not(place: Path) -> None:
    lora, full = planned(
        experiment_of(place, "whole", "method=full"),
        experiment_of(place, "whole", "method=full", "recipe.tune=full", "recipe.rank=0"),
    )
    more, less = stage(full, "finetune").work, stage(lora, "finetune").work
    assert more.flops > less.flops and more.disk > less.disk and more.memory.optimizer > less.memory.optimizer
    experiment = experiment_of(place, "qlora", "method=full")
    quantised = replace(experiment, config={**experiment.config, "compute": {"weights": "nf4"}})
    with pytest.raises(UserError, match="Memory and time of 4-bit weights cannot be estimated; use compute=plain"):
        planned(quantised)
