"""What a reader has to know before two rows of a table are held against each other."""

from collections.abc import Iterator

from selectmm.report.relative import longest
from selectmm.report.rows import Comparison, Row
from selectmm.report.verdict import against_random, same_runs


def fairness(comparison: Comparison) -> list[str]:
    """Sentences on rows without a random one beside them, on methods that were changed, and on those given examples."""
    return [*_alone(comparison), *_changed(comparison), *_given(comparison)]


def _alone(comparison: Comparison) -> Iterator[str]:
    """Rows that no random run stands beside, where others have one: nothing says whether they differ from random."""
    beside = against_random(comparison)
    compared = {id(row) for random, rows in beside for row in (random, *rows)}
    compared |= {id(row) for same in same_runs(comparison) for row in same[1:]}
    rows = [row for row in comparison.rows if not row.full and row.rel is not None and id(row) not in compared]
    if beside and rows:
        named = ", ".join(f"{_named(row)}, {row.recipe}" for row in rows)
        budgets = sorted({f"budget={row.outcomes[0].record.subset.rows}" for row in rows})
        yield (
            f"Not compared with random, as no random run here has the same budget and recipe: {named}. Run "
            f"method=random with that recipe and {' or '.join(budgets)}."
        )


def _changed(comparison: Comparison) -> Iterator[str]:
    """Rows whose seeds were chosen by different code."""
    for row in comparison.rows:
        seeds: dict[str, list[int]] = {}
        for one in (outcome.record for outcome in row.outcomes):
            if one.code is not None:
                seeds.setdefault(one.code, []).append(one.seed)
        if len(seeds) > 1:
            which = "; ".join(f"seed {', '.join(map(str, some))} by {code}" for code, some in seeds.items())
            yield (
                f"The code of {_named(row)}, or of its features, was changed between its seeds ({which}), so their "
                f"mean may not be that of one method; run all seeds with one version."
            )


def _given(comparison: Comparison) -> Iterator[str]:
    rows = [row.label for row in comparison.rows if any(one.record.targets is not None for one in row.outcomes)]
    if rows:
        yield (
            f"Given examples of the benchmarks to choose for, which the others do not see: "
            f"{', '.join(dict.fromkeys(rows))}."
        )


def full_seeds(comparison: Comparison) -> str:
    """Whether the interval covers the seeds of the full run: a single one has no spread."""
    seeds = {full.seed for full in longest(comparison.fulls)} if comparison.fulls else set()
    return "not of the full run, which has one" if len(seeds) == 1 else "of the full run too"


def _named(row: Row) -> str:
    return f"{row.label} at {100 * row.budget:.4g} %"
