"""The notes under a table."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from statistics import fmean
from typing import Any

from selectmm.counted import counted
from selectmm.records.record import RunRecord, StageCost
from selectmm.report.fairness import fairness, full_seeds
from selectmm.report.pace import uneven
from selectmm.report.pairing import unkept, unpaired
from selectmm.report.power import POWER, smallest_here
from selectmm.report.relative import NO_FULL, ONE_SIDED_95
from selectmm.report.rows import Comparison, Row
from selectmm.report.table import format_time, heads
from selectmm.report.verdict import NO_ERROR, against_random, same_runs, shared, verdicts

HARNESSES = ("lmms-eval", "lm-eval")
STAGES = ("warmup", "features", "select", "finetune")


def notes(comparison: Comparison) -> list[str]:
    """Sentences on how to read the table, what is missing, and where the numbers come from."""
    return [
        *_reading(comparison),
        *fairness(comparison),
        *_judges(comparison),
        *_unknown(comparison),
        *_cached(comparison.records),
        *uneven(comparison),
        *_batching(comparison.records),
        *_deviations(comparison.records),
        *_contamination(comparison.records),
        *origin(comparison.records),
    ]


def caption(comparison: Comparison, apart: str) -> str:
    """Experiment, scale, base model and suite; and why it is a table of its own, if there are others."""
    first = comparison.records[0]
    names = ", ".join(_distinct([record.experiment for record in comparison.records]))
    text = f"{names} · scale: {first.scale} · suite {first.suite.name} · base model {first.model}"
    return f"{text}. {apart}" if apart else text


def _reading(comparison: Comparison) -> list[str]:
    lines = [
        "Cells: mean ± standard deviation (n) over n seeds. With one seed: the value [± half its 95 % confidence "
        "interval over items]; other seeds may differ by more, and there is no interval where all items have the same "
        "score. Rel.: unweighted mean over the benchmarks of score / mean score of our own full runs (those with the "
        "most steps, all seeds), in per cent. Costs are in seconds × devices. Selection: warm-up + features + select. "
        "Share of full: (selection + tuning) / mean tuning of the full runs. OSC: share of full / Rel.; below 1 the "
        "method saves a larger share of the cost than it loses of the score.",
        f"Comparisons with random (above): difference in Rel. ± half its 95 % confidence interval, which covers seeds "
        f"({full_seeds(comparison)}) and items (paired: both runs answered the same ones). Better and worse are "
        "significant after Holm correction over all rows of this table that are compared with random; other tables do "
        "not count. Nothing is said of rows with one seed, and no interval over seeds exists for them.",
        *_shared(comparison),
        *_power(comparison),
        *_unpaired(comparison),
        *_again(comparison),
        *_unlike(comparison),
        *_same_runs(comparison),
        *_one_subset(comparison),
        *_repeated(comparison),
    ]
    if comparison.above:
        named = zip(heads(comparison), comparison.benchmarks, strict=True)
        above = ", ".join(f"{head} {_standard_errors(comparison.above[name])}" for head, name in named)
        lines.append(
            f"† At chance, so left out of Rel.: the full run does not beat max(chance, majority, blind) by more than "
            f"{ONE_SIDED_95} standard errors. Standard errors above it: {above}."
        )
    return lines


def _standard_errors(above: float) -> str:
    return f"{above:.1f}" if isfinite(above) else "unknown (all items have the same score)"


def _shared(comparison: Comparison) -> list[str]:
    """How the spread over seeds was estimated, where that is not from each row's own seeds alone."""
    rows = max((shared(random, comparison) for random, _ in against_random(comparison)), key=len, default=[])
    if not rows:
        return []
    methods = sum(row.method != "random" for row in rows)  # random is no method that is compared
    also = " and random" if methods < len(rows) else ""
    return [
        f"In those comparisons the spread over seeds is estimated from all {methods} methods{also} at the budget "
        f"together (moderated variances), because a few seeds of one method say little about it."
    ]


def _power(comparison: Comparison) -> list[str]:
    """How large a difference has to be to be found."""
    found = smallest_here(comparison)
    if found is None:
        return []
    return [
        f"A true difference of {found.points:.1f} points of Rel. is found significant with {100 * POWER:.0f} % "
        f"probability ({counted(found.design.comparisons, 'comparison')}, "
        f"{counted(found.design.seeds, 'seed')} of a method, {found.design.randoms} of random, "
        f"{found.design.fulls} of full), as `selectmm power` estimates from these runs; "
        f"a smaller one is found more rarely."
    ]


def _one_subset(comparison: Comparison) -> list[str]:
    """Methods whose seeds are several trainings on one and the same subset."""
    rows = [row for row in comparison.rows if not row.full and len(row.outcomes) > 1]
    same = [row for row in rows if len({outcome.record.subset.fingerprint for outcome in row.outcomes}) == 1]
    if not same:
        return []
    return [
        f"Selected the same rows with every seed, so their spread over seeds is that of training alone: "
        f"{', '.join(_distinct(_names(same)))}."
    ]


def _again(comparison: Comparison) -> list[str]:
    """How many runs several experiments have, and under which they count."""
    shared = Counter((record.experiment, first.experiment) for record, first in comparison.again)
    return [
        f"Counted once, as a run of {first}: {counted(many, 'run')} that {record} has too, with the same scores."
        for (record, first), many in sorted(shared.items())
    ]


def _unlike(comparison: Comparison) -> list[str]:
    """Full runs that are not used because another one of the same seed is, which came out otherwise."""
    return [
        f"Left out: {record.name} of {record.experiment}, because {first.name} of {first.experiment} is a full run of "
        f"the same recipe and seed, with other scores."
        for record, first in comparison.unlike
    ]


def _same_runs(comparison: Comparison) -> list[str]:
    """Methods that selected the same rows with every seed, and so are the same runs."""
    return [
        f"{' and '.join(_names(same))} selected the same rows with every seed. They are the same runs under several "
        f"names, and count as one comparison with random."
        for same in same_runs(comparison)
        if len(set(_names(same))) > 1
    ]


def _names(rows: Sequence[Row]) -> list[str]:
    return [row.label for row in rows]


def _repeated(comparison: Comparison) -> list[str]:
    """Rows that a method drew more than once: as many steps, on fewer distinct rows."""
    lines = []
    for row in comparison.rows:
        subsets = [outcome.record.subset for outcome in row.outcomes]
        different = [subset.coverage.kept_distinct for subset in subsets]
        if any(few < subset.rows for few, subset in zip(different, subsets, strict=True)):
            some = f"{min(different):,}" + (f" to {max(different):,}" if min(different) < max(different) else "")
            lines.append(f"{row.label} at {100 * row.budget:.4g} %: {subsets[0].rows:,} draws of {some} distinct rows")
    return [f"Some rows were drawn more than once: {'; '.join(lines)}."] if lines else []


def _unpaired(comparison: Comparison) -> list[str]:
    """Rows that are compared with random as if they had answered different items."""
    pairs = [(v.row, v.random) for v in verdicts(comparison) if v.conclusion != NO_ERROR]
    lacking = _distinct([row.label for row, random in pairs if unkept(row, random, comparison)])
    apart: dict[tuple[str, ...], list[str]] = {}
    for row, random in pairs:
        if not unkept(row, random, comparison) and (names := unpaired(row, random, comparison)):
            apart.setdefault(names, []).append(row.label)
    lines = [
        f"Compared with random as if the items of {', '.join(names)} were different ones, so with too wide an "
        f"interval: {', '.join(_distinct(labels))}. These scores do not follow from items that all runs answered."
        for names, labels in apart.items()
    ]
    if lacking:
        lines.append(
            f"Compared with random as if the items were different ones, so with too wide an interval: "
            f"{', '.join(lacking)}. The answers of some of the runs (of the method, of random or of full) are not kept."
        )
    return lines


def _judges(comparison: Comparison) -> list[str]:
    """Who scored the benchmarks that no rule scores. Inside a table all records agree on it (`records.groups`)."""
    scored: dict[str, list[str]] = {}
    for name in comparison.benchmarks:
        entry = comparison.records[0].suite.evaluator[name]
        if entry.judge == "exact":
            who = "our offline matcher (judge: exact), not by a judge model; compare such scores only with one another"
            scored.setdefault(who, []).append(name)
        if entry.judge == "url":
            scored.setdefault(f"the judge model {_model(entry.generation)}", []).append(name)
    return [f"Scored by {who}: {', '.join(names)}." for who, names in scored.items()]


def _model(generation: Mapping[str, Any]) -> object:
    judge = generation.get("judge")
    return judge.get("model", "unknown") if isinstance(judge, Mapping) else "unknown"


def _unknown(comparison: Comparison) -> list[str]:
    if not comparison.fulls:
        return [f"Rel., share of full and OSC are unknown: {NO_FULL}."]
    unknown = [(row, outcome) for row in comparison.rows for outcome in row.outcomes if outcome.rel is None]
    whys = {outcome.why for _, outcome in unknown}
    if len(whys) == 1 and all(row.rel is None for row in comparison.rows):
        return [f"Rel. and OSC are unknown: {whys.pop()}."]
    return [
        f"Rel. of {row.label} at {100 * row.budget:.4g} % ({row.recipe}, seed {outcome.record.seed}) is unknown: "
        f"{outcome.why}."
        for row, outcome in unknown
    ]


def _cached(records: Sequence[RunRecord]) -> list[str]:
    """Stages that did not run this time, by name, each with the runs and the cost that is counted for them."""
    lines = []
    for stage in STAGES:
        costs: dict[str, list[StageCost]] = {}
        for record in records:
            cost: StageCost = getattr(record.costs, stage)
            if cost.cached:
                costs.setdefault(record.method.name, []).append(cost)
        runs = [f"{method} {_times(many)}" for method, many in costs.items()]
        if runs:
            lines.append(f"{stage} of {', '.join(runs)}")
    return [f"Taken from the cache, and counted with the cost of their first run: {'; '.join(lines)}."] if lines else []


def _times(costs: Sequence[StageCost]) -> str:
    """Of one run, or the mean of several that differ (seeds, variants)."""
    mean = "mean " if len({format_time(cost.device_seconds) for cost in costs}) > 1 else ""
    return f"({mean}{format_time(fmean(cost.device_seconds for cost in costs))})"


def _batching(records: Sequence[RunRecord]) -> list[str]:
    """How many answers of the samples change with the batch, where nobody promises that none does."""
    entries = [entry.batching for record in records for entry in record.suite.evaluator.values()]
    found = [entry for entry in entries if entry is not None and not entry.invariant]
    if not found:
        return []
    changed, sampled = sum(entry.changed for entry in found), sum(entry.sampled for entry in found)
    return [
        f"Answers may depend on their batch: of {sampled:,} that were asked again, each alone, {changed:,} changed."
    ]


def _deviations(records: Sequence[RunRecord]) -> list[str]:
    return [f"Deviation: {text}" for text in _distinct([text for record in records for text in record.deviations])]


def _contamination(records: Sequence[RunRecord]) -> list[str]:
    """What of the suite the pool holds; nothing where no record says (those of before the check, or all unchecked)."""
    checked = [record.contamination for record in records if record.contamination is not None]
    lines = _distinct([_held(found) for found in checked])
    if checked and len(checked) < len(records):
        lines.append(
            f"Contamination was not checked for {len(records) - len(checked)} of {counted(len(records), 'run')}."
        )
    return lines


def _held(found: Mapping[str, Mapping[str, int]]) -> str:
    items, same, near = (sum(counts.get(key, 0) for counts in found.values()) for key in ("items", "same", "near"))
    return (
        f"Contamination check: of the suite's {items:,} items, {same:,} are in the pool, and {near:,} have a "
        f"near-duplicate there."
    )


def origin(records: Sequence[RunRecord]) -> list[str]:
    """The commands, commits, evaluators and machines of runs."""
    commands = _distinct([record.provenance.command for record in records])
    commits = _distinct([_commit(record) for record in records])
    evaluators = _distinct([_evaluator(record) for record in records])
    machines = _distinct([str(record.provenance.hardware) for record in records])
    lines = [
        f"Command: {'; '.join(f'`{command}`' for command in commands)}",
        f"Commit: {', '.join(commits)} · evaluator: {'; '.join(evaluators)} · scale: {records[0].scale}",
        f"Measured on: {'; '.join(machines)}",
    ]
    if len(machines) > 1:
        lines[-1] += (
            ". Costs from different machines are not comparable: read selection, tuning, share and OSC with care."
        )
    return lines


def _commit(record: RunRecord) -> str:
    origin = record.provenance
    if origin.commit is None:
        return "unknown (not run from a git checkout)"
    return origin.commit[:10] + (" + uncommitted changes" if origin.dirty else "")


def _evaluator(record: RunRecord) -> str:
    return ", ".join(f"{name} {record.provenance.packages.get(name, 'unknown')}" for name in HARNESSES)


def _distinct(texts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(texts))
