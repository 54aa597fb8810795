"""Choose rows of a pool and write them to a file, without fine-tuning, evaluation or a record.

selectmm select method=prism budget=0.2 pool=llava_json pool.file=… pool.images=… --to kept.json

The budget is a share of the pool (0.2), a number of rows (5000), or hours of one GPU (8h@h100): as many rows as can be
tuned on in that time with the chosen recipe, as the plan estimates. Several methods (method=prism,length, or --all)
share one pass over the pool; --to is then a folder, which also gets a table of how much their subsets overlap.
Features and subsets are kept in the cache, where a run with the same options finds them.
"""

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from selectmm.budget import Hours, hours_in
from selectmm.cache.stage import giving_way
from selectmm.command_line.arguments import read_arguments
from selectmm.command_line.offered import make_known, offered_methods, own_choices
from selectmm.command_line.reading import CONFIGS, read_methods, read_word
from selectmm.counted import counted
from selectmm.errors import UserError
from selectmm.experiment import Experiment
from selectmm.export.chosen import FORMATS, Chosen, check_rows, check_target, write_chosen
from selectmm.export.original import state_of
from selectmm.features.motion import FrameDifference
from selectmm.flops.gpus import UTILISATION, Gpu, gpu_of
from selectmm.instantiate import build
from selectmm.launch.devices import aside, check_devices
from selectmm.methods.method import Method
from selectmm.methods.subset import Subset, coverage_lines
from selectmm.models.check_rows import fitting
from selectmm.models.gpu import check_gpu
from selectmm.models.vlm import VLM
from selectmm.planning.corrections import Corrections
from selectmm.planning.hours import duration, rows_within
from selectmm.pool.pool import Pool
from selectmm.printable import printable
from selectmm.records.tracker import NoTracker
from selectmm.schedules.static import Static
from selectmm.screen import answer, message
from selectmm.stages.scale import too_small_for
from selectmm.stages.select import Selection, check_selectable, select, share_passes

log = logging.getLogger("selectmm")

REFERENCES = ("full", "by_source", "oracle", "one_source")  # they answer no question of which rows to keep
SAMPLE = 256  # rows that are encoded to estimate the time of tuning


@dataclass(frozen=True)
class _Task:
    """What to choose by: experiments that differ in their method alone, and methods that are left out, with why."""

    experiments: dict[str, Experiment]
    left_out: dict[str, str]
    hours: Hours | None


def main(arguments: Sequence[str]) -> None:
    """Select with one method or several, write the rows, and print what was kept.

    Raises:
        UserError: of the options, the pool, the model or a method; nothing is written then.
    """
    asked = read_arguments(_parser(), arguments)
    if not 0 < asked.utilisation <= 1:
        raise UserError(f"--utilisation {asked.utilisation:g} is not a share; give a number above 0 and at most 1.")
    task = _task(asked.choices, asked.all)
    several = asked.all or len(task.experiments) > 1
    experiment = next(iter(task.experiments.values()))
    entry = experiment.config["pool"]
    check_target(asked.to, asked.format, several, entry)
    state = state_of(entry)
    gpu = gpu_of(task.hours.gpu) if task.hours else None
    check_gpu(experiment.scale, str(experiment.config["model"].get("device", "auto")))
    vlm = experiment.open_model()
    check_devices(experiment.devices, vlm.model.device)
    if task.hours and (warning := too_small_for(vlm, experiment.recipe.name, suite=None)):  # else no recipe is followed
        log.warning("Warning %s", warning)
    with aside(vlm):  # looking at images needs no device
        pool = experiment.open_pool()
        pool = fitting(pool, vlm, experiment.recipe.max_length, experiment.bad_rows, experiment.cache)
    check_rows(pool, asked.format, entry)
    counts = counted(len(pool), "row"), counted(len(pool.counts()), "source"), counted(len(pool.images), "image")
    message("Pool    {} of {}, {}".format(*counts))
    if gpu is not None:
        rows = _rows_within(task.hours.hours, gpu, experiment, pool, vlm, asked.utilisation)
        task = replace(task, experiments={name: replace(one, budget=rows) for name, one in task.experiments.items()})
    with giving_way(lambda: aside(vlm)):
        subsets, left_out = _selected(task, pool, vlm, asked.all)
    written = write_chosen(Chosen(pool, subsets, entry, state), asked.to, asked.format, several)
    print("\n".join(written))
    methods = {
        name: {"rows": len(subset.rows), "fingerprint": subset.fingerprint, "coverage": subset.coverage(pool)}
        for name, subset in subsets.items()
    }
    answer({"to": asked.to, "pool_rows": len(pool), "methods": methods, "left_out": left_out})


def _task(choices: Sequence[str], every: bool) -> _Task:
    """The experiments that the options describe, one for each method."""
    names = _names(choices, every)
    experiments, left_out, hours = {}, {}, None
    for name, config in zip(names, read_methods(choices, names), strict=True):
        hours = hours_in(config.budget)
        try:
            made = _experiment(config, name, hours)
            if every and made.method.needs().warmup is not None:
                raise UserError("It trains the model first, so it shares no pass with the others; name it to run it.")
            experiments[name] = made
        except UserError as problem:
            if not every:
                raise
            left_out[name] = str(problem)
    if not experiments:  # then it is no method's fault
        raise UserError(next(iter(left_out.values())))
    return _Task(experiments, left_out, hours)


def _names(choices: Sequence[str], every: bool) -> list[str]:
    """The methods that are asked for; PRISM, as in a run, where none is."""
    given = [read_word(word) for word in choices if "=" in word]
    asked = [word for word in given if word.key_or_group.split(".")[0] == "method"]
    if every:
        if asked:
            raise UserError(f"--all takes every method with the values of its file; leave {asked[0].input_line} out.")
        ours, offered = [path.stem for path in (CONFIGS / "method").glob("*.yaml")], offered_methods()
        make_known([f"method={name}" for name in offered])
        own = [name for name in own_choices("method") if "/" not in name]  # a folder's are variants, as of ours
        return sorted({*ours, *offered, *own} - {*REFERENCES})
    named = [word for word in asked if word.key_or_group == "method"]
    if not named:
        return ["prism"]
    values = named[-1].sweep_string_iterator() if named[-1].is_sweep_override() else [named[-1].value()]
    return list(dict.fromkeys(str(value) for value in values))


def _experiment(config: DictConfig, method: str, hours: Hours | None) -> Experiment:
    """As a run would build it, without a tracker and without the data of benchmarks, which nothing here reads."""
    if config.nodes not in ("auto", 1):
        raise UserError(f"nodes={config.nodes}, but select runs on one machine; leave nodes out.")
    with open_dict(config):
        if hours is not None:
            config.budget = 1.0  # until the pool is there to estimate with
        config.heldout = None
        config.contamination = False
        if OmegaConf.is_dict(config.suite) and "tasks" in config.suite:
            config.suite.tasks = None
        config.tracker = {"_target_": f"{NoTracker.__module__}.{NoTracker.__name__}"}
    experiment = build(config, method)
    if not isinstance(experiment.schedule, Static):
        name = experiment.chooser.partition("+")[0]
        raise UserError(
            f"schedule={name} chooses rows while a model trains, so there are none to write before; leave it out, "
            f"or start a run."
        )
    return experiment


def _rows_within(given: float, gpu: Gpu, experiment: Experiment, pool: Pool, vlm: VLM, utilisation: float) -> int:
    """The rows that a budget of so many hours allows; both are printed.

    Raises:
        UserError: the hours are enough for the whole pool, so that nothing would be selected.
    """
    corrections = Corrections.of(experiment.cache, experiment.config, experiment.recipe, vlm, gpu)
    rows, hours = rows_within(experiment, pool, given, gpu, utilisation, SAMPLE, corrections)
    measured = "tuning" in corrections.factors
    speed = "corrected by `selectmm bench`" if measured else f"at {100 * utilisation:g} % of its peak"
    estimate = f"takes an estimated {duration(hours)} of one {gpu.name} {speed}"
    if rows == len(pool):
        raise UserError(
            f"budget={given:g}h@{gpu.name} is enough for the whole pool (tuning on it {estimate}), so all "
            f"{counted(rows, 'row')} would be kept and methods would not differ; give fewer hours, or a share or "
            f"number of rows."
        )
    message(f"Budget  {counted(rows, 'row')}: tuning {estimate}")
    return rows


def _selected(task: _Task, pool: Pool, vlm: VLM, every: bool) -> tuple[dict[str, Subset], dict[str, str]]:
    """Each method's subset, and why others have none; both are printed."""
    fit, left_out = {}, dict(task.left_out)
    for name, experiment in task.experiments.items():
        try:
            check_selectable(experiment, pool, vlm)
            if every and not pool.clips.any():
                _check_still(experiment.method)
            fit[name] = experiment
        except UserError as problem:
            if not every:
                raise
            left_out[name] = str(problem)
    if len(fit) > 1:
        share_passes(list(fit.values()), pool, vlm)
    subsets, width = {}, max(map(len, ["Budget", *fit])) + 1
    for name, experiment in fit.items():
        start = time.perf_counter()
        try:
            subsets[name] = _one(f"{name:<{width}}", select(experiment, pool, vlm), pool, start, lines=len(fit) == 1)
        except UserError as problem:
            if not every:
                raise
            left_out[name] = str(problem)
    left_out = dict(sorted(left_out.items()))
    for name, why in left_out.items():
        print(f"left out: {name}. {why}")
    if not subsets:
        raise UserError("No method can choose from this pool; the reasons are above.")
    return subsets, left_out


def _check_still(method: Method) -> None:
    """Whether it is for rows without clips too, which the pool has alone."""
    if any(isinstance(feature, FrameDifference) for feature in method.needs().features):
        raise UserError("It compares the frames of clips, and no row of the pool has a clip; name it to run it.")


def _one(label: str, selection: Selection, pool: Pool, start: float, lines: bool) -> Subset:
    subset = selection.subset
    seconds = time.perf_counter() - start
    kept = f"{len(subset.rows):,} of {counted(len(pool), 'row')}"
    print(f"{label} {kept} ({seconds:.1f} s; scores in {selection.chosen.folder})")
    for line in coverage_lines(subset, pool) if lines else ():
        print(f"        {printable(line)}")  # sources have a stranger's names
    return subset


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "selectmm select", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("choices", nargs="*", help="group=name and key=value, as for a run; method may have a list")
    parser.add_argument("--all", action="store_true", help="all methods that need no warm-up, file or checkpoint")
    parser.add_argument(
        "--to", type=Path, required=True, metavar="FILE_OR_FOLDER", help="file to write; a folder for several methods"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="original",
        help="original: your own rows (default); indices: their positions",
    )
    parser.add_argument(
        "--utilisation", type=float, default=UTILISATION, help="for hours: share of the GPU's peak (default: 0.4)"
    )
    return parser
