"""What every row of a table kept of each source, as a table that shades."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean

from selectmm.report.pages.columns import TIPS
from selectmm.report.pages.mark import mark
from selectmm.report.rows import Comparison, Row

NOTE = (
    "Per cent of a source's rows that were kept, mean over the seeds. Rows that were drawn more than once count as "
    "often as they were drawn. Stronger colour: more. The last column is the share of the whole pool."
)

ALL = "Rows that were kept, in per cent of the whole pool."


@dataclass(frozen=True)
class Kept:
    """What a row kept: by source the mean number of rows over its seeds, and that of the pool's rows."""

    row: Row
    kept: Mapping[str, float]
    pool: Mapping[str, int]

    def share(self, source: str) -> float | None:
        """Rows kept / rows in the pool, which may be above 1 where rows were drawn again; None if unknown."""
        return self.kept[source] / self.pool[source] if self.pool.get(source) and source in self.kept else None

    @property
    def overall(self) -> float | None:
        """The same of all sources together."""
        return sum(self.kept.values()) / sum(self.pool.values()) if any(self.pool.values()) else None


def kept_of(comparison: Comparison) -> list[Kept]:
    """The rows that chose something, in the table's order; one run under two recipe names is there once."""
    found: dict[tuple[object, ...], Kept] = {}
    for row in comparison.rows:
        sources = [outcome.record.subset.coverage.per_source for outcome in row.outcomes]
        names = [name for name in sources[0] if all(name in other for other in sources)]
        key = row.label, row.budget, tuple(outcome.record.subset.fingerprint for outcome in row.outcomes)
        if not row.full and names:
            kept = {name: fmean(other[name].kept for other in sources) for name in names}
            found.setdefault(key, Kept(row, kept, {name: sources[0][name].pool for name in names}))
    return list(found.values())


def kept_table(comparison: Comparison) -> str:
    """The table as HTML; empty if no record says what was kept."""
    found = kept_of(comparison)
    if not found:
        return ""
    names = list(dict.fromkeys(name for one in found for name in one.pool))
    pool = {name: next(one.pool[name] for one in found if name in one.pool) for name in names}
    heads = "".join(_head(f"<span>{escape(name)}</span>", f"{name}: {pool[name]:,} rows in the pool") for name in names)
    lines = "".join(_line(one, names) for one in found)
    left = "".join(_head(name, TIPS[name]) for name in ("method", "budget"))
    head = f"<tr>{left}{heads}{_head('all', ALL)}</tr>"
    table = f'<table class="kept" data-rove="[data-tip]"><thead>{head}</thead><tbody>{lines}</tbody></table>'
    return f'<h3>What was kept</h3><div class="scroll">{table}</div><p class="note">{NOTE}</p>'


def _head(content: str, tip: str) -> str:
    return f'<th scope="col" tabindex="0" data-tip="{escape(tip)}">{content}</th>'


def _line(one: Kept, names: Sequence[str]) -> str:
    budget = f"{100 * one.row.budget:.4g} %"
    cells = "".join(_cell(one, name) for name in names)
    label = f'<div class="name">{mark(one.row.method)}<span>{escape(one.row.label)}</span></div>'
    return f"<tr><th scope='row'>{label}</th><td>{budget}</td>{cells}<td>{_percent(one.overall)}</td></tr>"


def _cell(one: Kept, name: str) -> str:
    share = one.share(name)
    if share is None:
        return f"<td>{_percent(share)}</td>"
    tip = f"{one.row.label}: {one.kept[name]:,.4g} of {one.pool[name]:,} rows of {name}"
    shade = f"--share:{100 * min(1.0, share):.0f}%"
    return f'<td class="shade" style="{shade}" data-tip="{escape(tip)}">{_percent(share)}</td>'


def _percent(share: float | None) -> str:
    if share is None:
        return "unknown"
    return f"{100 * share:.0f} %" if share >= 0.095 or share == 0 else f"{100 * share:.1f} %"
