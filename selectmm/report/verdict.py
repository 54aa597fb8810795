"""Does a method differ significantly from random?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import inf, isinf, sqrt
from statistics import fmean, variance

from scipy.stats import t

from selectmm.report.pairing import item_variance
from selectmm.report.relative import full_of, mean_scores, scores_of
from selectmm.report.rows import Comparison, Row, format_estimate
from selectmm.statistics.moderated import moderated
from selectmm.statistics.paired import ALPHA, holm

SHARED = 10  # rows of one budget and recipe from which on their spread over seeds is estimated together
TWO_SIDED_95 = 1.96  # standard errors
NOISE, ONE_SEED = "No significant difference", "Unknown with one seed"
NO_ERROR = "Unknown, because an error over items is"
AMONG_MANY = "Significant only before correction for {} comparisons"
ORDER = ("Significantly better", "Significantly worse", AMONG_MANY, NOISE, ONE_SEED, NO_ERROR)


@dataclass(frozen=True)
class Difference:
    """Difference in ``Rel.`` (percentage points), the half-width of its 95 % interval, and the two-sided p of none.

    Where an error over items is not known, the half-width is infinite and p is 1.
    """

    value: float
    margin: float
    p: float

    @property
    def within_noise(self) -> bool:
        """Whether the interval holds zero."""
        return abs(self.value) <= self.margin

    @property
    def text(self) -> str:
        """The difference as ``+1.5 ± 0.7``; alone where its interval is not known."""
        return f"{round(self.value, 1) + 0.0:+.1f}" + ("" if isinf(self.margin) else f" ± {self.margin:.1f}")


@dataclass(frozen=True)
class Verdict:
    """What a row's difference from the random one beside it comes to: one of `ORDER`."""

    row: Row
    random: Row
    found: Difference
    conclusion: str

    @property
    def shown(self) -> str:
        """The difference with its margin; without it where one seed stands for all, as it would cover items alone."""
        return replace(self.found, margin=inf).text if self.conclusion == ONE_SEED else self.found.text


def answers(comparison: Comparison) -> list[str]:
    """What random keeps, and which rows differ significantly from it; one line for every budget and recipe.

    Empty if no random run has a known ``Rel.``. One run under two recipe names is reported once.
    """
    randoms = [random for random, _ in against_random(comparison)]
    judged = verdicts(comparison)
    recipes = {random.recipe for random in randoms}
    return [_answer(one, [v for v in judged if v.random is one], len(judged), len(recipes) > 1) for one in randoms]


def verdicts(comparison: Comparison) -> list[Verdict]:
    """Every row beside a random one, judged; best first within each verdict.

    A row is only called better or worse if its p stays below 0.05 after Holm's correction over all of these rows: of
    twenty methods equal to random one would be called different otherwise. With one seed the spread between seeds is
    unknown, and may be all of the difference: nothing is said of such a row, and its p counts as 1.
    """
    beside = [(row, random) for random, rows in against_random(comparison) for row in rows]
    found = [difference(row, random, comparison) for row, random in beside]
    adjusted = holm([1.0 if _one_seed(*pair) else one.p for pair, one in zip(beside, found, strict=True)])
    judged = [
        Verdict(*pair, one, _sentence_of(*pair, one, p <= ALPHA))
        for pair, one, p in zip(beside, found, adjusted, strict=True)
    ]
    return sorted(judged, key=lambda verdict: (ORDER.index(verdict.conclusion), -verdict.found.value))


def _sentence_of(row: Row, random: Row, found: Difference, stays: bool) -> str:
    if isinf(found.margin):
        return NO_ERROR
    if _one_seed(row, random):
        return ONE_SEED
    if found.within_noise:
        return NOISE
    if not stays:
        return AMONG_MANY
    return ORDER[0] if found.value > 0 else ORDER[1]


def _one_seed(row: Row, random: Row) -> bool:
    return min(row.rel.n, random.rel.n) == 1


def against_random(comparison: Comparison) -> list[tuple[Row, list[Row]]]:
    """Every random row with those of the same budget and recipe, whose Rel. is known; by budget.

    Of several methods that chose the same rows in every seed (see `same_runs`) only the first: they are one comparison.
    """
    known = [row for row in comparison.rows if row.rel is not None]
    randoms: dict[object, Row] = {}
    for row in sorted((row for row in known if row.method == "random"), key=_length):
        randoms.setdefault(row.run, row)
    again = {id(row) for same in same_runs(comparison) for row in same[1:]}
    return [
        (one, [row for row in known if _length(row) == _length(one) and row is not one and id(row) not in again])
        for one in randoms.values()
    ]


def same_runs(comparison: Comparison) -> list[list[Row]]:
    """Rows of several names that were trained on the same rows in every seed, equally long: groups of two or more."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in comparison.rows:
        groups.setdefault((*_length(row), row.trained), []).append(row)
    return [same for same in groups.values() if len(same) > 1]


def _length(row: Row) -> tuple[float, str]:
    return row.budget, row.recipe


def _answer(random: Row, judged: Sequence[Verdict], comparisons: int, several: bool) -> str:
    recipe = f" under {random.recipe}" if several else ""
    kept = format_estimate(random.rel, 1, "unknown")
    groups = groupby(judged, key=lambda verdict: verdict.conclusion)
    parts = [f"{words.format(comparisons)}: {', '.join(map(_named, group))}." for words, group in groups]
    return " ".join([f"A random {100 * random.budget:.4g} %{recipe} keeps {kept} % of the full run's score.", *parts])


def _named(verdict: Verdict) -> str:
    return f"{verdict.row.label} ({verdict.shown})"


def difference(row: Row, other: Row, comparison: Comparison) -> Difference:
    """The difference ``row`` minus ``other`` in Rel., of which both have to be known.

    The margin is 1.96 standard errors, more where it hangs on a spread over few seeds (see `quantile`), with the
    variance that the items leave in the difference (see `item_variance`), that of both means over seeds (see
    `over_seeds`) and that of the full runs' (nothing is known of them at n = 1). What a seed does to single items is in
    both, so the margin errs on the careful side.
    """
    seeds = [*over_seeds(row, other, comparison), _of_full(row, other, comparison)]
    items, value = item_variance(row, other, comparison), row.rel.mean - other.rel.mean
    if items is None:
        return Difference(value, inf, 1.0)
    total = items + sum(part for part, _ in seeds)
    return Difference(value, quantile(total, seeds) * sqrt(total), two_sided(value, total, seeds))


def rel_margin(row: Row, comparison: Comparison) -> float | None:
    """Half the 95 % interval over items of the Rel. of one seed.

    None with more seeds, whose spread says more, for the full run that is itself 100, and if an error is unknown.
    """
    if row.rel is None or row.rel.n > 1 or (row.full and row.rel.mean == 100):
        return None
    items = item_variance(row, None, comparison)
    return None if items is None else TWO_SIDED_95 * sqrt(items)


def quantile(total: float, seeds: Sequence[tuple[float, int | float]]) -> float:
    """The two-sided 95 % point of Student's t; 1.96 where all variance is the items'.

    With 1.96 two equal methods of three seeds each would differ 12 times in 100 if nothing but the seed varied.
    """
    free = freedom(total, seeds)
    return float(t.ppf(0.975, free)) if free < inf else TWO_SIDED_95


def two_sided(value: float, total: float, seeds: Sequence[tuple[float, int | float]]) -> float:
    """The p of a difference with the variance ``total`` where there is none; see `freedom` for ``seeds``."""
    return float(2 * t.sf(abs(value) / sqrt(total), freedom(total, seeds))) if total > 0 else float(value == 0)


def freedom(total: float, seeds: Sequence[tuple[float, int | float]]) -> float:
    """Welch and Satterthwaite's degrees of freedom; infinite where all variance is the items'.

    Args:
        total: the variance. seeds: the parts of it that a spread over seeds gave, with their degrees of freedom.
    """
    spread = sum(part**2 / free for part, free in seeds if part > 0)
    return total**2 / spread if spread > 0 else inf


def _of_full(row: Row, other: Row, comparison: Comparison) -> tuple[float, int]:
    """What the full runs' spread over seeds leaves in a difference of two ratios to their mean, and its freedom.

    By the delta method: with f a benchmark's mean over the full runs and d the difference of the rows' scores on it,
    each full run moves 100 · d / f by -100 · d / f² for every point that it is off f.
    """
    fulls, counted = full_of(row.outcomes[0].record, comparison.fulls), comparison.counted
    if len(fulls) < 2:
        return 0.0, 0
    mean = mean_scores(fulls)
    pull = {name: 100 * (row.score(name).mean - other.score(name).mean) / mean[name] ** 2 for name in counted}
    moved = [fmean(pull[name] * scores_of(full)[name] for name in counted) for full in fulls]
    return variance(moved) / len(fulls), len(fulls) - 1


def over_seeds(row: Row, other: Row, comparison: Comparison) -> list[tuple[float, int | float]]:
    """The parts of the variance of a difference that come from the seeds, with their degrees of freedom.

    Three seeds say little of a spread, and Welch's test then finds hardly any difference. Where a table has `SHARED`
    rows or more at one budget and recipe, their variances are moderated by one another (`moderated`). Equal methods are
    then called different about as often as `ALPHA` says; with fewer rows it would be more often.
    """
    alike = shared(row, comparison)
    if row in alike and other in alike:
        own = [one.rel.n - 1 for one in alike]
        found = moderated([one.rel.sd**2 for one in alike], own)
        parts = [
            (found[alike.index(one)].variance / one.rel.n, found[alike.index(one)].freedom) for one in (row, other)
        ]
        total = sum(part for part, _ in parts)
        return [(total, min(freedom(total, parts), sum(own)))]  # one part: both hang on what all rows say
    return [(one.rel.sd**2 / one.rel.n if one.rel.sd is not None else 0.0, one.rel.n - 1) for one in (row, other)]


def shared(row: Row, comparison: Comparison) -> list[Row]:
    """The rows whose spread over seeds is estimated together with this row's; empty if they are too few."""
    again = {id(same) for group in same_runs(comparison) for same in group[1:]}
    alike = [
        one
        for one in comparison.rows
        if not one.full
        and _length(one) == _length(row)
        and one.rel is not None
        and one.rel.n > 1
        and id(one) not in again
    ]
    return alike if len(alike) >= SHARED and any(one.rel.sd for one in alike) else []
