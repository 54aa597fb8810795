"""The fifth stage: write down what a run did and found, as one record."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from selectmm.budget import rows_for, share_of
from selectmm.cache.provenance import COMPUTING, provenance, version_of
from selectmm.cache.reading import read
from selectmm.cache.source_code import source_of
from selectmm.cache.stage import Stage, fingerprint, options_of
from selectmm.contamination.check import Contamination
from selectmm.evaluation.evaluate import warnings_of
from selectmm.evaluation.results import read_manifest, read_scores
from selectmm.evaluation.suite import Suite
from selectmm.experiment import Experiment
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.pool.unfit import REASONS
from selectmm.records.answers import keep_answers
from selectmm.records.files import save
from selectmm.records.record import (
    Costs,
    Coverage,
    Evaluated,
    MethodEntry,
    PoolEntry,
    RecipeEntry,
    RunRecord,
    StageCost,
    SubsetEntry,
    SuiteEntry,
)
from selectmm.records.schedule import PointEntry
from selectmm.schedules.schedule import Score
from selectmm.schedules.static import Static
from selectmm.stages.finetune import TRAININGS
from selectmm.stages.scale import too_few_steps, too_small_for
from selectmm.stages.schedule import Learned, course_of, requests_of
from selectmm.tuning.callback import REPORT
from selectmm.tuning.recipe import Recipe

log = logging.getLogger("selectmm")


def record_of(
    experiment: Experiment,
    pool: Pool,
    vlm: VLM,
    checked: Contamination | None,
    learned: Learned,
    evaluated: Stage,
    curve: tuple[PointEntry, ...],
    targets: Pool | None = None,
) -> RunRecord:
    """Everything that a table, a plot or a doubter needs, from what the other stages left.

    Args:
        targets: the examples that rows were chosen for, if they were.
    """
    subset = learned.selection.subset
    asked = learned.schedule is not None or len(subset.rows) == rows_for(experiment.budget, pool)
    manifest = read_manifest(evaluated.folder, experiment.suite)
    return RunRecord(
        experiment=experiment.name,
        scale=experiment.scale,
        provenance=provenance(),
        config=experiment.config,
        method=_method(experiment),
        # full keeps all rows, whatever was asked
        budget=share_of(experiment.budget, pool) if asked else len(subset.rows) / len(pool),
        seed=experiment.seed,
        pool=PoolEntry(pool.fingerprint, len(pool), pool.counts()),
        subset=SubsetEntry(subset.fingerprint, len(subset.rows), read(Coverage, subset.coverage(pool))),
        recipe=_recipe(experiment, pool, learned),
        suite=SuiteEntry(experiment.suite.name, read(Mapping[str, Evaluated], manifest)),
        model=vlm.identity,
        costs=_costs(learned, evaluated),
        scores=tuple(read_scores(evaluated.folder, experiment.suite)),
        contamination=None if checked is None else {name: asdict(found) for name, found in checked.found.items()},
        deviations=_deviations(experiment.recipe, experiment.suite, pool, vlm, learned, evaluated),
        schedule=learned.schedule,
        curve=curve,
        targets=None if targets is None else targets.fingerprint,
        evaluations=experiment.curve,
        code=_code(experiment, pool),
    )


def _recipe(experiment: Experiment, pool: Pool, learned: Learned) -> RecipeEntry:
    recipe, rows = experiment.recipe, len(learned.selection.subset.rows)
    if learned.schedule is None:
        steps = recipe.steps(len(pool), rows)
    else:
        steps = course_of(pool, experiment.method, experiment.budget, recipe).steps
    return RecipeEntry(recipe.name, asdict(recipe), asdict(experiment.strategy), steps)


def _costs(learned: Learned, evaluated: Stage) -> Costs:
    selection = learned.selection
    return Costs(
        warmup=StageCost.of(*_warmup(learned)),
        features=StageCost.of(*selection.features),
        select=StageCost.of(selection.chosen),
        finetune=StageCost.of(learned.tuned),
        evaluate=StageCost.of(evaluated),
    )


def _deviations(
    recipe: Recipe, suite: Suite, pool: Pool, vlm: VLM, learned: Learned, evaluated: Stage
) -> tuple[str, ...]:
    """What a reader of the scores has to know besides them, a sentence each."""
    selection, tuned = learned.selection, learned.tuned
    return (
        *left_out(pool, tuned),
        *not_evaluated(suite),
        *warnings_of(evaluated.folder, suite),
        *filter(None, [too_small_for(vlm, recipe.name, suite.name)]),
        *unlearned(recipe, {"finetune": tuned, "warmup": selection.warmup}),
        *other_versions([*_warmup(learned), *selection.features, selection.chosen, tuned, evaluated]),
    )


def _warmup(learned: Learned) -> list[Stage]:
    return [learned.selection.warmup] if learned.selection.warmup else []


def _method(experiment: Experiment) -> MethodEntry:
    """What chose the rows, with its options; a schedule's come before those of the method that it wraps."""
    if isinstance(experiment.schedule, Static):
        return MethodEntry(experiment.method_name, options_of(experiment.method))
    own = {name: value for name, value in options_of(experiment.schedule).items() if name != "wraps"}
    method = {f"method.{name}": value for name, value in options_of(experiment.method).items()}
    return MethodEntry(experiment.chooser, {**own, **(method if experiment.schedule.wraps else {})})


def _code(experiment: Experiment, pool: Pool) -> str:
    """Of what chose the rows, with the features that it read."""
    needs = experiment.method.needs()
    made: list[object] = [experiment.method, *needs.features, *needs.of_targets, *needs.reference]
    if not isinstance(experiment.schedule, Static):
        made = [experiment.schedule, *(made if experiment.schedule.wraps else [])]
        scored = [one.needs for one in requests_of(experiment, pool) if isinstance(one, Score)]
        made += [feature for needs in scored for feature in needs.features]
    return fingerprint({"code": sorted({source_of(one) for one in made})})


def keep_record(experiment: Experiment, record: RunRecord, tuned: Stage, evaluated: Stage) -> Path:
    """Write the record, and the per-item answers behind its scores beside it."""
    kept = keep_answers(evaluated.folder, record.scores, experiment.records, record.name)
    path = save(replace(record, answers=kept), experiment.records)
    with experiment.tracker.stage("record", experiment.config) as tracked:
        in_cache = experiment.recipe.tune != "lora"  # whose weights stay in the cache
        parent = f"subset-{record.subset.fingerprint}" if in_cache else f"adapter-{tuned.fingerprint}"
        tracked.artifact(path, f"record-{record.name}", "record", made_from=[parent])
    log.info("  record    %s", path)
    return path


def unlearned(recipe: Recipe, trained: Mapping[str, Stage | None]) -> list[str]:
    """Which trainings, by their jobs, learned nothing, one sentence each."""
    steps = {job: json.loads((one.folder / REPORT).read_text())["steps"] for job, one in trained.items() if one}
    return [said for job, count in steps.items() if (said := too_few_steps(recipe, count, TRAININGS[job]))]


def other_versions(stages: Sequence[Stage]) -> list[str]:
    """Which stages were made with other versions of packages than this run has, one sentence for each difference.

    A version is no part of what a stage is cached by: most updates change nothing, and whoever wants a stage made again
    sets another cache.
    """
    found: dict[str, list[str]] = {}
    for stage in stages:
        for package, before in stage.packages.items():
            if package in COMPUTING and before != (now := version_of(package)):
                found.setdefault(f"{package} {before} (this run has {now})", []).append(stage.name)
    return [
        f"From the cache, made with {what}: {', '.join(dict.fromkeys(names))}." for what, names in sorted(found.items())
    ]


def left_out(pool: Pool, tuned: Stage) -> list[str]:
    """What was dropped, cut or skipped on the way, one sentence each, so that nothing is dropped silently."""
    health, train = pool.health, json.loads((tuned.folder / REPORT).read_text())
    found = {
        **{
            f"rows of the pool were dropped for {reason}": n for reason, n in (health.reasons if health else {}).items()
        },
        "rows of the pool were left out for having no image": health.left_out if health else 0,
        "rows of the pool show an image that no turn mentions at the first question": (
            len(health.unplaced) if health else 0
        ),
        "text-only rows of the pool said <image>, which was taken out": len(health.spoken) if health else 0,
        "rows of the pool said <video> without a clip, which stayed in the text": (
            len(health.unfilmed) if health else 0
        ),
        "rows of the pool began with an answer or ended with a question; that turn was left out": (
            len(health.trimmed) if health else 0
        ),
        "rows of the pool came with a system prompt, dealt with as pool.system says": len(health.system)
        if health
        else 0,
        "rows of the pool have answers that are context and not trained on (loss or weight)": (
            len(health.untrained) if health else 0
        ),
        "rows were cut to recipe.max_length in training": train["rows_cut"],
        "rows had no answer left in training": train["rows_without_answer"],
    }
    if pool.unfit:
        found |= {
            f"rows of the pool were dropped {why}": len(getattr(pool.unfit, name)) for name, why in REASONS.items()
        }
    return [f"{count:,} {what}." for what, count in found.items() if count]


def not_evaluated(suite: Suite) -> list[str]:
    """Which benchmarks of the suite have no score, one sentence for each reason."""
    names: dict[str, list[str]] = {}
    for name, why in suite.left_out.items():
        names.setdefault(why, []).append(name)
    return [
        f"Left out of suite {suite.name}, so not in Rel.: {', '.join(many)} ({why})." for why, many in names.items()
    ]
