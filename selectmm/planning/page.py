"""A plan as tables to read, and as JSON for machines."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from selectmm.cache.progress import wide
from selectmm.counted import counted
from selectmm.flops.gpus import GPUS, STREAMED, Gpu
from selectmm.planning.stages import Plan, Planned, Total, total_of

COLUMNS = ("stage", "what", "state", "rows", "tokens", "FLOPs", "disk", "device-hours", "hours", "memory", "fits")
HOURS = ("features", "training", "evaluation")  # until each of them is done
JOB_COLUMNS = ("job", "stages", "reused", "FLOPs", "disk", "device-hours", *HOURS, "memory", "fits")
FULL = 0.9  # share of a device's memory above which it is tight: the context and fragmentation take the rest


def show(plans: Sequence[Plan], gpu: Gpu, utilisation: float, sample: int, stages: bool = False) -> None:
    """Print the plan of a run by stages, of a sweep by jobs, then what all comes to, and where the figures are from.

    Args:
        stages: also of a sweep, print the stages of every job.
    """
    console = wide(150)
    for line in _too_large(plans, gpu):
        console.print(line)
    for plan in (plan for plan in plans if plan.stages and (stages or len(plans) == 1)):
        console.print(_by_stage(plan, gpu, utilisation))
        console.print()
    if len(plans) > 1:
        console.print(_by_job(plans, gpu, utilisation))
        console.print()
    for note in dict.fromkeys(note for plan in plans for note in plan.notes):
        console.print(f"Note: {note}")
    for source in dict.fromkeys(source for plan in plans for source in plan.sources):
        console.print(f"From: {source}")
    for line in _ending(plans, gpu, utilisation, sample):
        console.print(line)


def _too_large(plans: Sequence[Plan], gpu: Gpu) -> list[str]:
    """What stands above all figures where they are of a device that can run nothing of it: that, and the way out."""
    needed = [memory for plan in plans if (memory := _memory(plan.stages)) is not None]
    if not needed or min(needed) <= gpu.memory:
        return []
    what = "No job fits" if len(plans) > 1 else "This run does not fit"
    if gpu.name in GPUS:
        way = "name a larger device with --gpu, or more of them with --devices and strategy=zero3"
    else:
        way = "name the device that you plan for, such as --gpu h100"
    whose = "this machine" if gpu.name == "cpu" else gpu.name
    return [f"{what} into the {gpu.memory / 2**30:.0f} GiB of {whose}; {way}.\n"]


def _memory(stages: Sequence[Planned]) -> float | None:
    """The most that one of the stages takes on a device; None where that is known of none."""
    return max((stage.work.memory.total for stage in stages if stage.work.memory), default=None)


def _by_stage(plan: Plan, gpu: Gpu, utilisation: float) -> Table:
    table = Table(title=plan.name, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in COLUMNS[:3] else "right")
    for stage in plan.stages:
        table.add_row(*_cells(stage, gpu, utilisation))
    return table


def _by_job(plans: Sequence[Plan], gpu: Gpu, utilisation: float) -> Table:
    """A line for each job, what it shares with an earlier one left out, and a line for all of them."""
    names = [plan.name.partition(": ") for plan in plans]
    alike = len({experiment for experiment, *_ in names}) == 1  # then its name stands above the table alone
    title = f"{names[0][0]}: {len(plans)} jobs" if alike else f"{len(plans)} jobs"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in JOB_COLUMNS:
        table.add_column(column, justify="left" if column == "job" else "right", min_width=len(column))
    for plan, (_, _, job) in zip(plans, names, strict=True):
        table.add_row(job if alike else plan.name, *_sums([plan], gpu, utilisation))
    table.add_section()
    table.add_row("all", *_sums(plans, gpu, utilisation))
    return table


def _sums(plans: Sequence[Plan], gpu: Gpu, utilisation: float) -> list[str]:
    every = [stage for plan in plans for stage in plan.stages]
    if not every:
        return ["cannot run", *["–"] * (len(JOB_COLUMNS) - 2)]
    total = total_of(plans, gpu, utilisation)
    memory = _memory(every)
    return [
        str(total.stages),
        str(total.reused),
        _amount(total.flops, ""),
        _amount(total.disk, "B"),
        *(hours(seconds) for seconds in (total.seconds, total.features, total.tuning, total.evaluation)),
        _amount(memory, "B"),
        "–" if not memory else _fits(memory, gpu),
    ]


def _cells(stage: Planned, gpu: Gpu, utilisation: float) -> list[str]:
    work, seconds = stage.work, stage.seconds(gpu, utilisation)
    state = f"cached ({stage.cost.device_seconds:,.1f} s)" if stage.cost else stage.state
    memory = work.memory.total if work.memory else None
    return [
        stage.name,
        stage.what,
        state,
        "unknown" if stage.rows is None else f"{stage.rows:,.0f}",
        *(_amount(value, unit) for value, unit in ((work.tokens, ""), (work.flops, ""), (work.disk, "B"))),
        "–" if seconds is None else hours(seconds),
        "–" if seconds is None else hours(stage.wall(gpu, utilisation)),
        _amount(memory, "B"),
        "–" if not memory else _fits(memory, gpu),
    ]


def _fits(memory: float, gpu: Gpu) -> str:
    if memory > gpu.memory:
        return "no"
    return "tight" if memory > FULL * gpu.memory else "yes"


def hours(seconds: float) -> str:
    """Seconds in hours, two figures."""
    return f"{seconds / 3600:,.0f}" if seconds >= 36000 else f"{seconds / 3600:.2g}"


def _amount(value: float | None, unit: str) -> str:
    """Three figures and a letter: k, M, G, T, P, E."""
    if value is None:
        return "–"
    for letter in ("", "k", "M", "G", "T", "P"):
        if value < 1000:
            return f"{value:.3g} {letter}{unit}".strip()
        value /= 1000
    return f"{value:,.3g} E{unit}"


def _ending(plans: Sequence[Plan], gpu: Gpu, utilisation: float, sample: int) -> list[str]:
    total = total_of(plans, gpu, utilisation)
    least = f" at least ({total.unknown} of them without an estimate)" if total.unknown else ""
    return [
        f"To do: {counted(total.stages, 'stage')}{least}: {_amount(total.flops, 'FLOP')}, "
        f"{_amount(total.tokens, '')} tokens, {_amount(total.disk, 'B')} of disk, {hours(total.seconds)} device-hours.",
        *_joining(total),
        f"Hours until all of it is done, one stage after the other: {hours(total.features)} for passes over the pool, "
        f"{hours(total.tuning)} for training (warm-ups included), {hours(total.evaluation)} for evaluation.",
        *_slow_evaluation(total),
        f"Shared or cached: {counted(total.reused, 'stage')}; the cached ones took {total.saved:,.1f} device-seconds.",
        f"Estimates, not measurements: {gpu.name} at {utilisation:.0%} of {gpu.bf16 / 1e12:,.3g} (bfloat16) or "
        f"{gpu.fp32 / 1e12:,.3g} (float32) TFLOP/s, {gpu.memory / 2**30:.0f} GiB ({gpu.source}); {_generation(gpu)}"
        f"padding not counted. selectmm/planning/README.md has the formulas.",
    ]


def _joining(total: Total) -> list[str]:
    """Where features are written: what the disk needs for a while besides what stays there."""
    if not total.joining:
        return []
    return [
        f"While the shards of a feature are joined, up to {_amount(total.joining, 'B')} of disk more are in use, "
        f"{_amount(total.disk + total.joining, 'B')} at the most."
    ]


def _slow_evaluation(total: Total) -> list[str]:
    """Where evaluation takes hours, and longer than training: that it does, and what would help."""
    if total.evaluation <= max(total.tuning, 3600) or not total.tuning:
        return []
    if total.by_engine is None or total.by_engine > total.evaluation:
        return ["Evaluation takes longer than training here; suite.limit and suite.only shorten it."]
    return [
        f"Evaluation takes longer than training here, because our own decoding, the default, computes a batch until "
        f"its longest answer ends. With engine=vllm the same is estimated at {hours(total.by_engine)} hours (it needs "
        f"an environment with vLLM: selectmm/evaluation/README.md); a larger suite.batch_size shortens it without vLLM."
    ]


def _generation(gpu: Gpu) -> str:
    if math.isinf(gpu.bandwidth):
        return ""
    read = f"{STREAMED:.0%} of {gpu.bandwidth / 1e12:.2g} TB/s"
    return f"generation at {read} and {gpu.launch * 1e3:.1f} ms a layer and token; "


def as_json(plans: Sequence[Plan], gpu: Gpu, utilisation: float, sample: int) -> dict[str, Any]:
    """The same for machines: bytes, FLOPs and device-seconds, None where nobody knows."""
    return {
        "estimates": True,
        "gpu": asdict(gpu),
        "utilisation": utilisation,
        "sample": sample,
        "jobs": [
            {
                "name": plan.name,
                "notes": list(plan.notes),
                "sources": list(plan.sources),
                "stages": [_entry(s, gpu, utilisation) for s in plan.stages],
            }
            for plan in plans
        ],
        "total": asdict(total_of(plans, gpu, utilisation)),
    }


def _entry(stage: Planned, gpu: Gpu, utilisation: float) -> dict[str, Any]:
    memory = stage.work.memory
    entry = {key: value for key, value in asdict(stage).items() if key != "folder"}
    return entry | {
        "device_seconds": stage.seconds(gpu, utilisation),
        "seconds": stage.wall(gpu, utilisation),
        "fits": None if memory is None else memory.total <= gpu.memory,
    }
