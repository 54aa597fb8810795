"""Does a method beat random, or is it within noise?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import sqrt
from statistics import fmean

from scipy.special import stdtrit

from selectmm.report.relative import Outcome, full_of, mean_scores
from selectmm.report.rows import Comparison, Row, format_estimate

TWO_SIDED_95 = 1.96  # standard errors
NOISE, ONE_SEED = "Within noise of it", "Undecided with one seed"
ORDER = ("Better", "Worse", NOISE, ONE_SEED)


@dataclass(frozen=True)
class Difference:
    """Difference in ``Rel.`` (per cent points) and the half-width of its 95 % interval."""

    value: float
    margin: float

    @property
    def within_noise(self) -> bool:
        """Whether the interval holds zero."""
        return abs(self.value) <= self.margin


def answers(comparison: Comparison) -> list[str]:
    """What random keeps, and which rows differ from it beyond noise; one line for every budget and recipe.

    Empty if no random run has a known ``Rel.``. What is one run under two recipes is told once.
    """
    randoms = [row for row in comparison.rows if row.method == "random" and row.rel is not None]
    several = len({row.recipe for row in randoms}) > 1
    told: dict[object, str] = {}
    for random in sorted(randoms, key=lambda row: (row.budget, row.recipe)):
        told.setdefault(random.run, _answer(random, comparison, several))
    return list(told.values())


def _answer(random: Row, comparison: Comparison, several: bool) -> str:
    recipe = f" under {random.recipe}" if several else ""
    kept = format_estimate(random.rel, 1, "unknown")
    beside = [row for row in comparison.rows if (row.budget, row.recipe) == (random.budget, random.recipe)]
    known = [(row, found) for row in beside if row is not random and (found := difference(row, random, comparison))]
    ranked = sorted(known, key=lambda pair: (ORDER.index(_verdict(*pair, random)), -pair[1].value))
    groups = groupby(ranked, key=lambda pair: _verdict(*pair, random))
    parts = [f"{verdict}: {', '.join(map(_named, pairs))}." for verdict, pairs in groups]
    return " ".join([f"A random {100 * random.budget:.4g} %{recipe} keeps {kept} % of the full run.", *parts])


def _verdict(row: Row, found: Difference, random: Row) -> str:
    if found.within_noise:
        return NOISE
    if min(row.rel.n, random.rel.n) == 1:  # the spread between seeds is unknown, and may be all of it
        return ONE_SEED
    return "Better" if found.value > 0 else "Worse"


def _named(pair: tuple[Row, Difference]) -> str:
    row, found = pair
    return f"{row.label} ({found.value:+.1f} ± {found.margin:.1f})"


def difference(row: Row, other: Row, comparison: Comparison) -> Difference | None:
    """``row`` minus ``other`` in Rel.; None if either is unknown.

    The margin is 1.96 standard errors, more where it hangs on a spread over few seeds (see `quantile`), with the
    variance of the items of both (as if they were drawn apart: the items are the same, so this errs on the careful
    side) and of both means over seeds (nothing is known of it at n = 1).
    """
    if row.rel is None or other.rel is None:
        return None
    seeds = [(_seeds(one), one.rel.n - 1) for one in (row, other)]
    variance = sum(_items(one, comparison) for one in (row, other)) + sum(part for part, _ in seeds)
    return Difference(row.rel.mean - other.rel.mean, quantile(variance, seeds) * sqrt(variance))


def quantile(variance: float, seeds: Sequence[tuple[float, int]]) -> float:
    """The two-sided 95 % point of Student's t with Welch and Satterthwaite's degrees of freedom.

    With 1.96 two equal methods of three seeds each would differ 12 times in 100 if nothing but the seed varied. It is
    1.96 where all variance is the items'.

    Args:
        seeds: the parts of ``variance`` that a spread over seeds gave, with their degrees of freedom.
    """
    spread = sum(part**2 / free for part, free in seeds if part > 0)
    return float(stdtrit(variance**2 / spread, 0.975)) if spread > 0 else TWO_SIDED_95


def _seeds(row: Row) -> float:
    return row.rel.sd**2 / row.rel.n if row.rel.sd is not None else 0.0


def _items(row: Row, comparison: Comparison) -> float:
    """Variance of Rel. that comes from the benchmarks' finite items; seeds share the items, so it does not shrink."""
    return fmean(_item_variance(outcome, comparison) for outcome in row.outcomes)


def _item_variance(outcome: Outcome, comparison: Comparison) -> float:
    full = mean_scores(full_of(outcome.record, comparison.fulls))
    errors = {score.benchmark: score.stderr or 0.0 for score in outcome.record.scores}
    counted = comparison.counted
    return sum((100 * errors[name] / full[name]) ** 2 for name in counted) / len(counted) ** 2
