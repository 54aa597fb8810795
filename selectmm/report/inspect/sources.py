"""Rows per source, in the pool and kept, as a table with bars."""

from html import escape

from selectmm.report.inspect.choice import Choice


def sources(choice: Choice) -> str:
    """Largest source first; a bar's length is the source's rows in the pool, its filled part the kept ones."""
    counts = choice.subset.coverage(choice.pool)["per_source"]
    largest = max(entry["pool"] for entry in counts.values())
    overall = len(choice.subset.rows) / len(choice.pool)
    rows = [_row(name, entry["pool"], entry["kept"], largest, overall) for name, entry in counts.items()]
    head = "<tr><th>source</th><th>pool</th><th>kept</th><th>share</th><th></th></tr>"
    told = f"Of all rows together {100 * overall:.1f} % were kept. ▲: 1.5 times as often or more; ▼: half or less."
    return f'<table class="sources">{head}{"".join(rows)}</table><p class="note">{told}</p>'


def _row(name: str, pool: int, kept: int, largest: int, overall: float) -> str:
    share = kept / pool
    mark = "▲" if share >= 1.5 * overall else "▼" if share <= 0.5 * overall else ""
    filled = f'<div style="width:{100 * min(1, share):.1f}%"></div>'
    bar = f'<div class="bar" style="width:{100 * pool / largest:.1f}%">{filled}</div>'
    cells = f"<td>{pool:,}</td><td>{kept:,}</td><td>{100 * share:.1f} % {mark}</td><td>{bar}</td>"
    return f"<tr><th>{escape(name)}</th>{cells}</tr>"
