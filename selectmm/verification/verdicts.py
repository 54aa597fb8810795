"""Our scores against released ones: inside the band, outside, or unknown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean
from typing import Any, Literal

from selectmm.evaluation.outcome import Answer
from selectmm.evaluation.suite import Score
from selectmm.verification.bands import Band, Released
from selectmm.verification.flips import largest_change

TWO_SIDED_95 = 1.96  # standard errors
FLIPS = 2  # items that another processor may answer otherwise

InBand = Literal["inside", "outside", "unknown"]
Answers = Callable[[Score], Sequence[Answer]]  # reads those behind a score


@dataclass(frozen=True)
class Verdict:
    """One benchmark, in its unit; what is not known is None, and ``why`` says why."""

    benchmark: str
    ours: float | None
    released: float | None
    margin: float | None
    answer: InBand
    why: str


def verdicts(
    scores: Sequence[Score],
    manifest: Mapping[str, Mapping[str, Any]],
    released: Released,
    limit: int | None,
    answers: Answers,
) -> list[Verdict]:
    """A verdict on each measured benchmark, in the suite's order; one on the mean where the mean was released.

    Args:
        manifest: the evaluator's, by benchmark (`read_manifest`), with each one's scale.
        limit: items per task that were asked, None for all: then the items' error joins every band.
        answers: called for the scores alone that are compared with recorded ones.
    """
    measured = {score.benchmark: score for score in scores}
    found: dict[str, Verdict] = {}
    for score in scores:
        band = _band_of(score.benchmark, measured, released)
        if band is None:
            why = f"no score was released by {released.name}"
            verdict = Verdict(score.benchmark, score.value, None, None, "unknown", why)
        else:
            known = [measured[name] for name in band.of if name in measured]
            verdict = _verdict(band, known, manifest, released, limit, answers)
        found.setdefault(verdict.benchmark, verdict)
    return list(found.values())


def _band_of(benchmark: str, measured: Mapping[str, Score], released: Released) -> Band | None:
    """The entry of the benchmark that can be computed from what was measured, else any entry of it."""
    entries = [band for band in released.bands if benchmark in band.of and band.released in released.scores]
    return next((band for band in entries if all(name in measured for name in band.of)), next(iter(entries), None))


def _verdict(
    band: Band,
    scores: Sequence[Score],
    manifest: Mapping[str, Mapping[str, Any]],
    released: Released,
    limit: int | None,
    answers: Answers,
) -> Verdict:
    name = band.released if len(scores) > 1 else scores[0].benchmark
    ours, target = fmean(score.value for score in scores), released.scores[band.released]
    missing = [other for other in band.of if other not in {score.benchmark for score in scores}]
    tasks = [str(manifest[score.benchmark]["task"]) for score in scores]
    strange = [task for task in tasks if task not in band.tasks]
    if band.tasks and missing:
        why = f"{band.released} was released as the mean of {', '.join(band.of)}; not measured: {', '.join(missing)}"
        return Verdict(name, ours, target, None, "unknown", why)
    if strange:
        why = band.why if not band.tasks else f"task {strange[0]} is not the released one: {band.why}"
        return Verdict(name, ours, target, None, "unknown", why)
    margin = band.drift
    if band.split == "recorded":
        margin += _recorded(scores, manifest, answers)
    if band.split == "other" or limit is not None:
        margin += _sampling(scores)
    answer: InBand = "inside" if abs(ours - target) <= margin else "outside"
    return Verdict(name, ours, target, margin, answer, band.why)


def _sampling(scores: Sequence[Score]) -> float:
    """What other items add to a band; the mean of several has the error of a mean."""
    return TWO_SIDED_95 * sqrt(sum((score.stderr or 0.0) ** 2 for score in scores)) / len(scores)


def _recorded(scores: Sequence[Score], manifest: Mapping[str, Mapping[str, Any]], answers: Answers) -> float:
    """What other answers to a few items add to a recorded score's band, which is of one benchmark."""
    (score,) = scores
    metric, scale = str(manifest[score.benchmark]["metric"]), float(manifest[score.benchmark]["scale"])
    return max((score.stderr or 0.0) / 2, largest_change(answers(score), metric, scale, score.items, FLIPS))
