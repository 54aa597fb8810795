"""Rows per source, in the pool and kept, as a table with bars."""

from collections import Counter
from html import escape

import numpy as np

from selectmm.report.inspect.choice import Choice

HEADS = {
    "source": "Where a row of the pool comes from, as the pool says.",
    "pool": "Rows of this source in the pool.",
    "kept": "Different rows of this source in the subset.",
    "with repeats": "Rows of this source in the subset, counted as often as they were chosen.",
    "share": "Kept rows, in per cent of the source's rows in the pool.",
}


def sources(choice: Choice) -> str:
    """Largest source first; a bar's length is the source's rows in the pool, its filled part the kept ones.

    Rows are counted once however often they were chosen; where some were chosen again, a column says how many that is.
    """
    different, drawn = (_by_source(choice, rows) for rows in (np.unique(choice.subset.rows), choice.subset.rows))
    counts, again = choice.pool.counts(), choice.repeats
    largest, overall = max(counts.values()), different.total() / len(choice.pool)
    rows = [
        _row(name, pool, different[name], drawn[name] if again else None, largest, overall)
        for name, pool in counts.items()
    ]
    names = ["source", "pool", "kept", *(["with repeats"] if again else []), "share", ""]
    head = f"<tr>{''.join(_head(name) for name in names)}</tr>"
    caption = f"Of all rows together {100 * overall:.1f} % were kept. ▲: 1.5 times as often or more; ▼: half or less."
    return f'<table class="sources">{head}{"".join(rows)}</table><p class="note">{caption}</p>'


def _head(name: str) -> str:
    return f'<th title="{HEADS[name]}">{name}</th>' if name else "<th></th>"


def _by_source(choice: Choice, rows: np.ndarray) -> Counter[str]:
    return Counter(choice.pool.sources[rows].tolist())


def _row(name: str, pool: int, kept: int, drawn: int | None, largest: int, overall: float) -> str:
    share = kept / pool
    mark = "▲" if share >= 1.5 * overall else "▼" if share <= 0.5 * overall else ""
    filled = f'<div style="width:{100 * share:.1f}%"></div>'
    bar = f'<div class="bar" style="width:{100 * pool / largest:.1f}%">{filled}</div>'
    times = "" if drawn is None else f"<td>{drawn:,}</td>"
    cells = f"<td>{pool:,}</td><td>{kept:,}</td>{times}<td>{100 * share:.1f} % {mark}</td><td>{bar}</td>"
    return f"<tr><th>{escape(name)}</th>{cells}</tr>"
