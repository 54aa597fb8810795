"""The fifth verb: what a run did and found, as one record."""

import json
from dataclasses import asdict

from selectmm.contamination.check import Contamination
from selectmm.evaluation.evaluate import oddities
from selectmm.evaluation.results import read_manifest, read_scores
from selectmm.evaluation.suite import Suite
from selectmm.experiment import Experiment
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.pool.unfit import REASONS
from selectmm.records.provenance import provenance
from selectmm.records.record import (
    Costs,
    MethodEntry,
    PoolEntry,
    RecipeEntry,
    RunRecord,
    StageCost,
    SubsetEntry,
    SuiteEntry,
)
from selectmm.records.stage import Stage
from selectmm.selection import Selection, rows_for


def record_of(
    experiment: Experiment,
    pool: Pool,
    vlm: VLM,
    checked: Contamination | None,
    selection: Selection,
    tuned: Stage,
    evaluated: Stage,
) -> RunRecord:
    """Everything that a table, a plot or a doubter needs, from what the other verbs left."""
    subset, warmup = selection.subset, [selection.warmup] if selection.warmup else []
    asked = len(subset.rows) == rows_for(experiment.budget, pool)
    return RunRecord(
        experiment=experiment.name,
        scale=experiment.scale,
        provenance=provenance(),
        config=experiment.config,
        method=MethodEntry(experiment.method_name, asdict(experiment.method)),
        budget=experiment.budget if asked else len(subset.rows) / len(pool),  # full keeps all rows, whatever was asked
        seed=experiment.seed,
        pool=PoolEntry(pool.fingerprint, len(pool), pool.counts()),
        subset=SubsetEntry(subset.fingerprint, len(subset.rows), subset.coverage(pool)),
        recipe=RecipeEntry(
            experiment.recipe.name,
            asdict(experiment.recipe),
            asdict(experiment.strategy),
            experiment.recipe.steps(len(pool), len(subset.rows)),
        ),
        suite=SuiteEntry(experiment.suite.name, read_manifest(evaluated.folder, experiment.suite)),
        model=vlm.identity,
        costs=Costs(
            warmup=StageCost.of(*warmup),
            features=StageCost.of(*selection.features),
            select=StageCost.of(selection.chosen),
            finetune=StageCost.of(tuned),
            evaluate=StageCost.of(evaluated),
        ),
        scores=tuple(read_scores(evaluated.folder, experiment.suite)),
        contamination=None if checked is None else {name: asdict(found) for name, found in checked.found.items()},
        deviations=(
            *left_out(pool, tuned),
            *not_evaluated(experiment.suite),
            *oddities(evaluated.folder, experiment.suite),
        ),
    )


def left_out(pool: Pool, tuned: Stage) -> list[str]:
    """What was dropped, cut or passed over on the way, one sentence each; nothing is so in silence."""
    health, train = pool.health, json.loads((tuned.folder / "train.json").read_text())
    found = {
        "rows of the pool were dropped for a missing image": len(health.missing_image) if health else 0,
        "rows of the pool were dropped for a broken image": len(health.broken_image) if health else 0,
        "rows of the pool were dropped for an empty answer": len(health.empty_answer) if health else 0,
        "rows of the pool were left out for having no image": health.left_out if health else 0,
        "rows of the pool show an image that no turn mentions at the first question": (
            len(health.unplaced) if health else 0
        ),
        "text-only rows of the pool said <image>, which was taken out": len(health.spoken) if health else 0,
        "rows of the pool began with an answer or ended with a question; that turn was left out": (
            len(health.trimmed) if health else 0
        ),
        "rows of the pool came with a system turn, dealt with as pool.system says": len(health.system) if health else 0,
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
