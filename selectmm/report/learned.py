"""Did training teach anything? Whether the full run is better than the untuned model, beyond noise."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, variance

from selectmm.counted import counted
from selectmm.records.record import RunRecord
from selectmm.report.references import References
from selectmm.report.relative import ONE_SIDED_95, in_errors, longest, mean_scores, scores_of
from selectmm.report.rows import Comparison
from selectmm.report.shared_items import variance_of_errors
from selectmm.report.verdict import quantile

UNMEASURED = (
    "Whether training taught anything is unknown: the untuned model was not measured on these benchmarks. `selectmm "
    "references`, with the runs' options, measures it."
)


@dataclass(frozen=True)
class Gain:
    """What full training changed, as the mean over benchmarks of (full − base) / the larger of both, in per cent.

    Attributes:
        margin: half its 95 % interval, over items and over the seeds of the full runs (of one seed, over items alone).
        benchmarks: how many the mean is over.
    """

    value: float
    margin: float
    benchmarks: int

    @property
    def nothing(self) -> bool:
        """Whether it is not above zero beyond noise."""
        return self.value <= self.margin


def gain_of(comparison: Comparison, references: References) -> Gain | None:
    """The gain of the full run; None without one, or if the untuned model was measured on none of the benchmarks.

    Every benchmark counts, also those at chance: to leave out where full does badly would find a gain everywhere. The
    base model's standard error over items is not kept; it is taken to be that of the full run.
    """
    fulls = _fulls(comparison)
    means = mean_scores(fulls)
    base = {name: references[name].base for name in means if name in references}
    base = {name: value for name, value in base.items() if value is not None}
    if not base:
        return None
    scale = {name: 100 / top if (top := max(means[name], value)) > 0 else 0.0 for name, value in base.items()}
    gains = [fmean(scale[name] * (scores_of(full)[name] - base[name]) for name in base) for full in fulls]
    errors = {name: scale[name] * _error(fulls, name) for name in base}
    items = 2 * variance_of_errors(errors, fulls, comparison.tallies) / len(base) ** 2
    seeds = variance(gains) / len(gains) if len(gains) > 1 else 0.0
    margin = quantile(items + seeds, [(seeds, len(gains) - 1)]) * sqrt(items + seeds)
    return Gain(fmean(gains), margin, len(base))


def headline(comparison: Comparison, references: References) -> str:
    """A sentence if training taught nothing; empty if it did, or if that is not known."""
    gain = gain_of(comparison, references)
    if gain is None or not gain.nothing:
        return ""
    many = f"{gain.benchmarks} benchmarks" if gain.benchmarks > 1 else "one benchmark"
    return (
        f"Training taught nothing that these benchmarks show: the full run is no better than the untuned model beyond "
        f"noise ({gain.value:+.1f} ± {gain.margin:.1f} % on average over {many}). Differences between methods then say "
        f"nothing about which rows to keep."
    )


def kept_or_taught(comparison: Comparison, references: References) -> list[str]:
    """A sentence on which of the benchmarks in Rel. the full run beats the untuned model, or that this is unknown."""
    if _fulls(comparison) and gain_of(comparison, references) is None:
        return [UNMEASURED]
    better = taught(comparison, references)
    if better is None or len(better) == len(comparison.counted):
        return []
    if not better:
        return [_nothing_taught(len(comparison.counted))]
    kept = [name for name in comparison.counted if name not in better]
    return [
        f"Of the {counted(len(comparison.counted), 'benchmark')} in Rel., the full run is above the untuned model on "
        f"{len(better)} (by more than {ONE_SIDED_95} standard errors). On the other {len(kept)} ({', '.join(kept)}) a "
        f"score says what a run kept of the model's ability, not what it taught."
    ]


def _nothing_taught(benchmarks: int) -> str:
    none = f"On none of the {benchmarks} benchmarks in Rel. is the full run"
    if benchmarks == 1:
        none = "On the one benchmark in Rel., the full run is not"
    return (
        f"{none} above the untuned model (by more than {ONE_SIDED_95} standard errors). A score then says what a run "
        f"kept of the model's ability, not what it taught."
    )


def taught(comparison: Comparison, references: References) -> tuple[str, ...] | None:
    """The benchmarks in ``Rel.`` on which the full run is clearly above the untuned model; None if unknown."""
    fulls = _fulls(comparison)
    base = {name: references[name].base for name in comparison.counted if name in references}
    known = {name: value for name, value in base.items() if value is not None}
    if not fulls or not known or len(known) < len(comparison.counted):
        return None
    if any(name not in scores_of(full) for full in fulls for name in known):
        return None
    return tuple(name for name, value in known.items() if _above(fulls, name, value) > ONE_SIDED_95)


def _fulls(comparison: Comparison) -> list[RunRecord]:
    """The longest full runs, one a seed; none if there are none."""
    return list({full.seed: full for full in longest(comparison.fulls)}.values()) if comparison.fulls else []


def _above(fulls: list[RunRecord], benchmark: str, base: float) -> float:
    """By how many standard errors the full runs' mean is above the untuned model, whose error is taken to be theirs."""
    values = [scores_of(full)[benchmark] for full in fulls]
    seeds = variance(values) / len(values) if len(values) > 1 else 0.0
    error = sqrt(2 * _error(fulls, benchmark) ** 2 + seeds)
    return in_errors(fmean(values) - base, error)


def _error(fulls: list[RunRecord], benchmark: str) -> float:
    """The mean standard error over items of the full runs on a benchmark; 0 where it is not known."""
    errors: list[Mapping[str, float | None]] = [{s.benchmark: s.stderr for s in full.scores} for full in fulls]
    return fmean(error[benchmark] or 0.0 for error in errors)
