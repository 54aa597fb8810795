"""What ``Rel.`` leaves out: significant differences from random on benchmarks where the full run is at chance."""

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean, variance

from selectmm.report.pairing import score_variance
from selectmm.report.rows import Comparison, Row
from selectmm.report.verdict import against_random, two_sided
from selectmm.statistics.paired import ALPHA, holm


def left_out(comparison: Comparison) -> list[str]:
    """A sentence on the scores that differ from random's, on benchmarks that ``Rel.`` leaves out.

    They differ if p stays below 0.05 after Holm's correction over all rows and all such benchmarks; empty if none.
    """
    names = [name for name in comparison.benchmarks if name in comparison.chance]
    pairs = [(row, random, name) for random, rows in against_random(comparison) for row in rows for name in names]
    known = [pair for pair in pairs if pair[0].score(pair[2]) and pair[1].score(pair[2])]
    adjusted = holm([score_p(*pair, comparison) for pair in known])
    found = [pair for pair, p in zip(known, adjusted, strict=True) if p <= ALPHA]
    told = [
        _sentence(row, random, [name for *_, name in many]) for (row, random), many in groupby(found, lambda p: p[:2])
    ]
    return (
        [f"Significantly different from random on benchmarks that Rel. leaves out: {'; '.join(told)}."] if told else []
    )


def score_p(row: Row, random: Row, name: str, comparison: Comparison) -> float:
    """Two-sided p of no difference in one benchmark's score, over items and, where there are several, over seeds."""
    seeds = [
        (variance(values) / len(values), len(values) - 1)
        for one in (row, random)
        if len(values := _values(one, name)) > 1
    ]
    whole = score_variance(row, random, comparison, name) + sum(part for part, _ in seeds)
    value = fmean(_values(row, name)) - fmean(_values(random, name))
    return two_sided(value, whole, seeds)


def _values(row: Row, name: str) -> list[float]:
    return [score.value for outcome in row.outcomes for score in outcome.record.scores if score.benchmark == name]


def _sentence(row: Row, random: Row, names: Sequence[str]) -> str:
    seeds = ", one seed" if min(row.score(names[0]).n, random.score(names[0]).n) == 1 else ""
    apart = [f"{name} {row.score(name).mean - random.score(name).mean:+.1f}" for name in names]
    return f"{row.label} at {100 * row.budget:.4g} %{seeds} ({', '.join(apart)})"
