"""How many seeds and items does it take to tell a method from random?"""

from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from math import sqrt
from statistics import fmean, variance

import numpy as np
from scipy.optimize import brentq
from scipy.stats import nct, t

from selectmm.errors import UserError
from selectmm.report.pairing import item_variance, unkept, unpaired
from selectmm.report.relative import full_of, longest, mean_scores, once_a_seed, scores_of
from selectmm.report.rows import Comparison, Row
from selectmm.report.verdict import SHARED, against_random, freedom
from selectmm.statistics.paired import ALPHA

POWER = 0.8  # chance that a true difference of the printed size is called significant
LARGEST = 1000.0  # percentage points; a difference beyond it is printed as unknown


@dataclass(frozen=True)
class Spread:
    """What makes the ``Rel.`` of two methods differ by chance: variances in percentage points squared.

    Attributes:
        items: of the difference of two methods over the benchmark items, without what a seed does to an item.
        answers: what a seed does to single items, for one run. It shrinks with more items and with more seeds.
        seeds: what a seed does to all items alike, for one run. It shrinks with more seeds only.
        fulls: of one full run, which is the denominator of every ``Rel.``.
        freedom: degrees of freedom behind ``answers + seeds``: runs minus rows.
    """

    items: float
    answers: float
    seeds: float
    fulls: float
    freedom: int


@dataclass(frozen=True)
class Design:
    """A planned comparison: seeds of each method, of random and of full, items as a multiple, methods beside random.

    Attributes:
        comparisons: of all budgets and recipes; Holm's correction is over them.
        together: methods beside random at one budget and recipe, the fewest; their spread may be estimated together.
    """

    seeds: int
    randoms: int
    fulls: int
    items: float
    comparisons: int
    together: int


def spread_of(comparison: Comparison) -> Spread:
    """Estimate the variances from the rows of a table, pooled over all methods that stand beside a random row.

    Raises:
        UserError: no random row with another beside it, no method with two seeds, or answers that cannot be paired.
    """
    pairs = [(row, random) for random, rows in against_random(comparison) for row in rows if not row.full]
    rows = list({id(row): row for pair in pairs for row in pair}.values())
    several = [row for row in rows if row.rel.n > 1]
    if not pairs or not several:
        raise UserError(
            "To estimate the spread, the records must hold a full run, a random one, and another method at the same "
            "budget and recipe, at least one of them with two seeds or more."
        )
    if any(unkept(*pair, comparison) for pair in pairs):
        raise UserError(
            "To estimate the spread, the answers of every run must lie beside its record. Copy the folder `answers` "
            "too, or run the jobs again."
        )
    apart = list(dict.fromkeys(name for pair in pairs for name in unpaired(*pair, comparison)))
    if apart:
        raise UserError(
            f"To estimate the spread, scores must follow from single items, and all runs must have answered the same "
            f"ones, which is not so of {', '.join(apart)}; run the jobs with the other benchmarks alone "
            f"(suite.only)."
        )
    answers = fmean(item_variance(*two, comparison) / 2 for row in several for two in combinations(_single(row), 2))
    items = fmean(item_variance(*pair, comparison) - answers * sum(1 / row.rel.n for row in pair) for pair in pairs)
    free = sum(row.rel.n - 1 for row in several)
    between = sum(row.rel.sd**2 * (row.rel.n - 1) for row in several) / free
    return Spread(max(items, 0.0), answers, max(between - answers, 0.0), _of_fulls(comparison, rows[0]), free)


def _single(row: Row) -> list[Row]:
    """The row's seeds as rows of their own."""
    return [replace(row, outcomes=(outcome,)) for outcome in row.outcomes]


def _of_fulls(comparison: Comparison, row: Row) -> float:
    fulls, counted = full_of(row.outcomes[0].record, comparison.fulls), comparison.counted
    mean = mean_scores(fulls)
    values = [100 * fmean(scores_of(full)[name] / mean[name] for name in counted) for full in fulls]
    return variance(values) if len(values) > 1 else 0.0


@dataclass(frozen=True)
class Smallest:
    """The smallest difference, in points of ``Rel.``, that a table's own design finds with probability `POWER`."""

    points: float
    design: Design


def smallest_here(comparison: Comparison) -> Smallest | None:
    """The smallest difference that a table finds, for its fewest seeds (two or more); None if its spread is unknown."""
    try:
        spread = spread_of(comparison)
    except UserError:
        return None
    beside = against_random(comparison)
    seeds = [row.rel.n for _, rows in beside for row in rows]
    randoms, fulls = min(random.rel.n for random, _ in beside), len(once_a_seed(longest(comparison.fulls)))
    together = min(sum(row.rel.n > 1 for row in rows) for _, rows in beside if rows)
    design = Design(min((n for n in seeds if n > 1), default=1), randoms, fulls, 1.0, len(seeds), together)
    points = smallest_difference(spread, design)
    return None if points is None else Smallest(points, design)


def smallest_difference(spread: Spread, design: Design, power: float = POWER) -> float | None:
    """The true difference in ``Rel.`` that is called significant with probability ``power``, in percentage points.

    The test is that of `selectmm.report.verdict`: Student's t, with Welch and Satterthwaite's degrees of freedom where
    few methods are planned at one budget and recipe, and with those of all methods there together otherwise (as if all
    had the same spread), and the first step of Holm's correction, which is all that a single method that differs can
    count on. None with one seed, where the spread is unknown, and where no difference below `LARGEST` is enough.
    """
    if min(design.seeds, design.randoms) < 2:
        return None

    def missing(difference: float) -> float:
        return power_of(difference, spread, design) - power

    # The full runs' part grows with the difference, so that the power of huge ones falls again: the first crossing.
    steps = [1e-9, *np.geomspace(1e-2, LARGEST, 100).tolist()]
    bracket = next(((low, high) for low, high in pairwise(steps) if missing(low) < 0 < missing(high)), None)
    return None if bracket is None else float(brentq(missing, *bracket))


def power_of(difference: float, spread: Spread, design: Design) -> float:
    """The probability that a true difference, in percentage points, is called significant; see `smallest_difference`.

    The tested variance is larger than the true one, because what a seed does to single items is in the variance over
    items and in that over seeds; the power takes both into account.
    """
    runs = 1 / design.seeds + 1 / design.randoms
    answers, one_run = spread.answers / design.items, spread.answers / design.items + spread.seeds
    full = (difference / 100) ** 2 * spread.fulls / design.fulls
    true = spread.items / design.items + one_run * runs + full
    tested = true + answers * runs
    parts = [(one_run / design.seeds, design.seeds - 1), (one_run / design.randoms, design.randoms - 1)]
    if design.together + 1 >= SHARED:
        parts = [(one_run * runs, design.together * (design.seeds - 1) + design.randoms - 1)]
    free = min(freedom(tested, [*parts, (full, max(design.fulls - 1, 1))]), 1e6)
    critical = t.isf(ALPHA / 2 / design.comparisons, free) * sqrt(tested / true) if true > 0 else 0.0
    return float(nct.sf(critical, free, difference / sqrt(true))) if true > 0 else float(difference > 0)
