"""What ``Rel.`` leaves out: significant differences from random on benchmarks where the full run is at chance."""

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean, variance

from selectmm.counted import counted
from selectmm.report.pairing import score_variance
from selectmm.report.rows import Comparison, Estimate, Row
from selectmm.report.verdict import against_random, two_sided
from selectmm.statistics.paired import ALPHA, holm

NONE = Estimate(0.0, None, 0)  # of a benchmark that a run lacks


def left_out(comparison: Comparison) -> list[str]:
    """A sentence on the scores that differ from random's, on benchmarks that ``Rel.`` leaves out.

    They differ if p stays below 0.05 after Holm's correction over all rows and all such benchmarks; empty if none. With
    one seed the spread between seeds is unknown, and may be all of a difference, so such rows are not looked at.
    """
    names = [name for name in comparison.benchmarks if name in comparison.chance]
    pairs = [(row, random, name) for random, rows in against_random(comparison) for row in rows for name in names]
    several = [pair for pair in pairs if all((one.score(pair[2]) or NONE).n > 1 for one in pair[:2])]
    found_p = [score_p(*pair, comparison) for pair in several]
    known = [(pair, p) for pair, p in zip(several, found_p, strict=True) if p is not None]
    adjusted = holm([p for _, p in known])
    found = [pair for (pair, _), p in zip(known, adjusted, strict=True) if p <= ALPHA]
    missing = [
        _sentence(row, random, [name for *_, name in many]) for (row, random), many in groupby(found, lambda p: p[:2])
    ]
    if not missing:
        return []
    return [
        f"Significantly different from random on benchmarks that Rel. leaves out (corrected for "
        f"{counted(len(known), 'comparison')} of their own): {'; '.join(missing)}."
    ]


def score_p(row: Row, random: Row, name: str, comparison: Comparison) -> float | None:
    """Two-sided p of no difference in one benchmark's score, over items and, where there are several, over seeds.

    None if an error over items is unknown.
    """
    both = [values for values in (_values(row, name), _values(random, name)) if len(values) > 1]
    seeds = [(variance(values) / len(values), len(values) - 1) for values in both]
    items = score_variance(row, random, comparison, name)
    if items is None:
        return None
    total = items + sum(part for part, _ in seeds)
    value = fmean(_values(row, name)) - fmean(_values(random, name))
    return two_sided(value, total, seeds)


def _values(row: Row, name: str) -> list[float]:
    return [score.value for outcome in row.outcomes for score in outcome.record.scores if score.benchmark == name]


def _sentence(row: Row, random: Row, names: Sequence[str]) -> str:
    apart = [f"{name} {row.score(name).mean - random.score(name).mean:+.1f}" for name in names]
    return f"{row.label} at {100 * row.budget:.4g} % ({', '.join(apart)})"
