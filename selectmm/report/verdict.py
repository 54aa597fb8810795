"""Does a method beat random, or is it within noise? One sentence per row."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

from scipy.special import stdtrit

from selectmm.report.relative import Outcome, full_of, mean_scores
from selectmm.report.rows import Comparison, Row

TWO_SIDED_95 = 1.96  # standard errors


@dataclass(frozen=True)
class Difference:
    """Difference in ``Rel.`` (per cent points) and the half-width of its 95 % interval."""

    value: float
    margin: float

    @property
    def within_noise(self) -> bool:
        """Whether the interval holds zero."""
        return abs(self.value) <= self.margin


def verdicts(comparison: Comparison) -> list[str]:
    """Every row against random at the same budget and recipe, in words; rows without such a random are passed over.

    What is one run under two recipes is said once.
    """
    randoms = {(row.budget, row.recipe): row for row in comparison.rows if row.method == "random"}
    told: list[str] = []
    said: set[tuple[object, ...]] = set()
    for row in comparison.rows:
        random = randoms.get((row.budget, row.recipe))
        found = difference(row, random, comparison) if random and row is not random else None
        if found is not None and (row.run, random.run) not in said:
            said.add((row.run, random.run))
            told.append(_sentence(row, random, found))
    return told


def difference(row: Row, other: Row, comparison: Comparison) -> Difference | None:
    """``row`` minus ``other`` in Rel.; None if either is unknown.

    The margin is 1.96 standard errors, more where it hangs on a spread over few seeds (see `_quantile`), with the
    variance of the items of both (as if they were drawn apart: the items are the same, so this errs on the careful
    side) and of both means over seeds (nothing is known of it at n = 1).
    """
    if row.rel is None or other.rel is None:
        return None
    seeds = [(_seeds(one), one.rel.n - 1) for one in (row, other)]
    variance = sum(_items(one, comparison) for one in (row, other)) + sum(part for part, _ in seeds)
    return Difference(row.rel.mean - other.rel.mean, _quantile(variance, seeds) * sqrt(variance))


def _quantile(variance: float, seeds: Sequence[tuple[float, int]]) -> float:
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


def _sentence(row: Row, random: Row, found: Difference) -> str:
    numbers = f"{found.value:+.1f} ± {found.margin:.1f} points of Rel."
    seeds = f"n = {row.rel.n} and {random.rel.n}"
    where = f"{row.label} against random at {100 * row.budget:.4g} %, {row.recipe}"
    if found.within_noise:
        answer = "within noise"
    elif min(row.rel.n, random.rel.n) == 1:  # the spread between seeds is unknown, and may be all of it
        return f"{where}: {numbers} over items alone (95 %, {seeds}): undecided, run more seeds."
    else:
        answer = "better than random" if found.value > 0 else "worse than random"
    return f"{where}: {numbers}, {answer} (95 %, {seeds})."
