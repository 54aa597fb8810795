"""What a plan says: stages, jobs, and their total."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from selectmm.cache.cost import Cost
from selectmm.flops.gpus import STREAMED, UTILISATION, Gpu
from selectmm.planning.work import Work

State = Literal["cached", "shared", "not here", "to do", "depends on the choice", "depends on the warm-up", "unknown"]

ESTIMATED = ("warm-up", "features", "scoring", "finetune", "evaluate")  # stages in which the model works


@dataclass(frozen=True)
class Planned:
    """One stage, or one pass that several features ride on.

    Attributes:
        name: which verb. what: on what.
        marks: fingerprints; one begins with ``?`` where it depends on a result that is not there yet.
        state: ``shared``: an earlier job of the same sweep makes it; ``not here``: its files still have to be fetched.
        rows: that it goes over, as often as it does; None where nobody knows.
        work: an estimate. cost: what it took when it ran, if it is cached. folder: of a cached stage.
        devices: that it runs on.
        measured: seconds that such a stage took in a `bench` on that machine, as a multiple of their estimate; None
            without.
        by_engine: the work of an evaluation if vLLM did it; None where it does, or could not.
    """

    name: str
    what: str
    marks: Sequence[str]
    state: State
    rows: float | None
    work: Work = field(default_factory=Work)
    cost: Cost | None = None
    folder: Path | None = None
    devices: int = 1
    measured: float | None = None
    by_engine: Work | None = None

    @property
    def reused(self) -> bool:
        """Whether a run finds it done, or (a pool that has still to be fetched) does nothing for it."""
        return self.state in ("cached", "shared", "not here")

    def seconds(self, gpu: Gpu, utilisation: float) -> float | None:
        """Device-seconds on ``gpu`` at that share of its peak; None where the work is not known."""
        if self.work.flops is None:
            return None
        if self.measured is not None:
            return self.measured * seconds_of(self.work, gpu, UTILISATION)
        return seconds_of(self.work, gpu, utilisation)

    def wall(self, gpu: Gpu, utilisation: float) -> float | None:
        """Seconds until it is done, on all its devices."""
        seconds = self.seconds(gpu, utilisation)
        return None if seconds is None else seconds / self.devices

    def wall_by_engine(self, gpu: Gpu, utilisation: float) -> float | None:
        """The same if vLLM did it; None where that is not known."""
        if self.by_engine is None or self.by_engine.flops is None:
            return None
        return seconds_of(self.by_engine, gpu, utilisation) / self.devices


def seconds_of(work: Work, gpu: Gpu, utilisation: float) -> float:
    """Device-seconds of work whose FLOPs are known: computing, and what generation waits for memory and launches."""
    computing = work.flops / (gpu.peak(work.precision) * utilisation)
    return computing + work.streamed / (gpu.bandwidth * STREAMED) + work.steps * gpu.launch + work.overhead


@dataclass(frozen=True)
class Plan:
    """One job: its name, its stages in order, sentences about what could not be known, and where figures are from."""

    name: str
    stages: Sequence[Planned]
    notes: Sequence[str]
    sources: Sequence[str] = ()


@dataclass(frozen=True)
class Total:
    """The sums over the stages that are left to do; a lower bound if ``unknown`` of them have no estimate.

    Attributes:
        stages, reused: how many are left, and how many are not because they are cached or shared.
        disk: bytes that stay. joining: bytes that are there besides for a while, see `Work`.
        saved: device-seconds that the cached ones took when they ran, each once however many jobs find it.
        features, tuning, evaluation: wall seconds of these stages that are left, one after the other; a schedule's
            scorings are features.
        by_engine: the same of evaluation if vLLM did it; None where it does already, or could not.
    """

    stages: int
    reused: int
    unknown: int
    tokens: float
    flops: float
    disk: float
    seconds: float
    saved: float
    features: float
    tuning: float
    evaluation: float
    by_engine: float | None = None
    joining: float = 0.0


def total_of(plans: Sequence[Plan], gpu: Gpu, utilisation: float) -> Total:
    """Sum up what is left."""
    every = [stage for plan in plans for stage in plan.stages]
    left = [stage for stage in every if not stage.reused]
    counted = [stage for stage in left if stage.name in ESTIMATED]

    def walls(name: str) -> float:
        """Wall seconds of all stages of that name that are left to do."""
        return sum(stage.wall(gpu, utilisation) or 0 for stage in left if stage.name == name)

    engine = [stage.wall_by_engine(gpu, utilisation) for stage in left if stage.name == "evaluate"]
    return Total(
        stages=len(left),
        reused=len(every) - len(left),
        unknown=sum(stage.work.flops is None for stage in counted),
        tokens=sum(stage.work.tokens or 0 for stage in left),
        flops=sum(stage.work.flops or 0 for stage in left),
        disk=sum(stage.work.disk or 0 for stage in left),
        seconds=sum(stage.seconds(gpu, utilisation) or 0 for stage in left),
        saved=_saved(every),
        features=walls("features") + walls("scoring"),
        tuning=walls("finetune") + walls("warm-up"),
        evaluation=walls("evaluate"),
        by_engine=None if None in engine or not engine else sum(engine),
        joining=max((stage.work.joining for stage in left), default=0.0),
    )


def _saved(stages: Sequence[Planned]) -> float:
    seen: set[tuple[str, str]] = set()
    saved = 0.0
    for stage in stages:
        found = {(stage.name, mark) for mark in stage.marks}  # a schedule's scoring and training have one mark
        if stage.cost and stage.state == "cached" and not found <= seen:
            saved += stage.cost.device_seconds
            seen |= found
    return saved
