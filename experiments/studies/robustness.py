"""Does what studies/all_methods found depend on how it was analysed? The same runs, compared in other ways.

python experiments/studies/robustness.py [FOLDER]
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import flowed, table
from experiments.complete import check_rel
from selectmm.cache.stage import write_atomically
from selectmm.errors import UserError
from selectmm.records.files import load
from selectmm.records.record import RunRecord
from selectmm.report.learned import taught
from selectmm.report.pairing import tallies_of
from selectmm.report.references import References, references_for
from selectmm.report.rows import Comparison, Tallies, compare
from selectmm.report.verdict import ORDER, Difference, against_random, difference, verdicts
from selectmm.statistics.paired import ALPHA, holm

ROOT = Path(__file__).resolve().parents[2]
REFERENCES = ROOT / "results" / "references" / "mini_study.json"
NAME = "all-methods-robustness"
HEAD = "<!-- Made by `python experiments/studies/robustness.py`; never edited by hand. -->"
REPORTED, WELCH, ALL, TAUGHT = "as reported", "Welch's test", "all benchmarks", "learned benchmarks"
WORDS = {1: "better", -1: "worse", 0: "–"}

Signs = Mapping[str, int]  # by method: 1 significantly better than random, -1 significantly worse, 0 neither


@dataclass(frozen=True)
class Analysis:
    """One way to compare the methods with random: its name, each method's difference, and what is significant."""

    name: str
    found: Mapping[str, Difference]
    signs: Signs


def make(folder: Path, records: Sequence[RunRecord] | None = None, tallies: Tallies | None = None) -> Path:
    """Write the page under ``folder``; the same records give the same bytes. Returns the page.

    Args:
        records, tallies: of the study; None: those in results/.

    Raises:
        UserError: there are too few runs, or one has no ``Rel.``.
    """
    if records is None or tallies is None:
        paths = sorted((ROOT / "results" / "records").glob("all_methods-*.json"))
        records = [load(path) for path in paths]
        tallies = tallies_of(zip(paths, records, strict=True))
    references = references_for(REFERENCES, records)
    seen = compare(records, references, tallies)
    if not seen.fulls or not against_random(seen):
        raise UserError("There are too few runs to compare; run experiments=studies/all_methods.")
    check_rel(seen)
    analyses, without = analysed(seen, references)
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{NAME}.md"
    write_atomically(
        page, flowed("\n".join([HEAD, f"# {NAME}\n", _opening(analyses, without), _how(seen, references)]))
    )
    return page


def analysed(seen: Comparison, references: References) -> tuple[list[Analysis], list[Analysis]]:
    """The analyses of all methods, that of the report first; and those that leave out one benchmark each."""
    learned = taught(seen, references) or ()
    analyses = [
        judged(REPORTED, seen),
        _welch(seen),
        judged(ALL, _of(seen, seen.benchmarks)),
        *([judged(TAUGHT, _of(seen, learned))] if learned else []),
    ]
    return analyses, [judged(name, _of(seen, [o for o in seen.counted if o != name])) for name in seen.counted]


def judged(name: str, seen: Comparison) -> Analysis:
    """As the report does."""
    found = verdicts(seen)
    signs = {verdict.row.label: {ORDER[0]: 1, ORDER[1]: -1}.get(verdict.conclusion, 0) for verdict in found}
    return Analysis(name, {verdict.row.label: verdict.found for verdict in found}, signs)


def _welch(seen: Comparison) -> Analysis:
    """With each method's own variance over seeds, not moderated by the others'."""
    fulls = [row for row in seen.rows if row.full]
    beside = [(row, random) for random, rows in against_random(seen) for row in rows]
    found = [difference(*pair, replace(seen, rows=(*fulls, *pair))) for pair in beside]
    adjusted = holm([one.p for one in found])
    labels = [row.label for row, _ in beside]
    signs = {
        label: (1 if one.value > 0 else -1) if p <= ALPHA and not one.within_noise else 0
        for label, one, p in zip(labels, found, adjusted, strict=True)
    }
    return Analysis(WELCH, dict(zip(labels, found, strict=True)), signs)


def _of(seen: Comparison, benchmarks: Sequence[str]) -> Comparison:
    """The same runs, with `Rel.` over exactly these benchmarks, also those at chance."""
    records = [
        replace(
            record,
            scores=tuple(
                replace(score, chance=None, majority=None) for score in record.scores if score.benchmark in benchmarks
            ),
        )
        for record in seen.records
    ]
    return compare(records, {}, seen.tallies)


def _opening(analyses: Sequence[Analysis], without: Sequence[Analysis]) -> str:
    first = analyses[0]
    order = sorted(first.found, key=lambda name: -first.found[name].value)
    everywhere = [name for name in order if first.signs[name] and _agree(name, [*analyses, *without])]
    some = [name for name in order if name not in everywhere and any(one.signs[name] for one in [*analyses, *without])]
    head = ("method", *(one.name for one in analyses), "otherwise without")
    cells = [
        (
            name,
            *(f"{one.found[name].text} {WORDS[one.signs[name]]}" for one in analyses),
            _otherwise(name, first, without),
        )
        for name in order
    ]
    return (
        f"Differences from random in Rel., ± half their 95 % intervals, and which are significant after Holm "
        f"correction over the {len(order)} methods: the same runs in {len(analyses) + len(without)} analyses.\n\n"
        f"- Significant in every analysis: {_named(everywhere, first)}.\n"
        f"- Significant in some: {_named(some, first)}.\n"
        f"- {REPORTED}: on [all-methods.md](all-methods.md). {WELCH}: each method's own variance over seeds. {ALL}: "
        f"Rel. also over those where full training is at chance. {TAUGHT}: Rel. over those where full training is "
        f"clearly above the untuned model. otherwise without: benchmarks without which the verdict is another than as "
        f"reported.\n\n{table(head, cells)}"
    )


def _agree(name: str, analyses: Sequence[Analysis]) -> bool:
    return len({one.signs[name] for one in analyses}) == 1


def _named(names: Sequence[str], first: Analysis) -> str:
    return ", ".join(f"{name} ({first.found[name].text})" for name in names) or "none"


def _otherwise(name: str, first: Analysis, without: Sequence[Analysis]) -> str:
    other = [one for one in without if one.signs[name] != first.signs[name]]
    return ", ".join(f"{one.name} ({WORDS[one.signs[name]]})" for one in other) or "none"


def _how(seen: Comparison, references: References) -> str:
    commits = ", ".join(sorted({str(record.provenance.commit)[:10] for record in seen.records}))
    return (
        f"\n- Benchmarks in Rel. as reported: {', '.join(seen.counted)}. {TAUGHT}: "
        f"{', '.join(taught(seen, references) or ('unknown',))}.\n"
        f"- Scale: {seen.records[0].scale}. Commit: {commits}\n"
    )


if __name__ == "__main__":
    try:
        print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
    except UserError as problem:
        sys.exit(str(problem))
