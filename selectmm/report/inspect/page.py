"""The page: one HTML file that works from a disk, without a network and without a script."""

from collections.abc import Sequence
from html import escape

from selectmm.counted import counted
from selectmm.report.inspect.choice import Choice
from selectmm.report.inspect.gallery import gallery
from selectmm.report.inspect.histogram import histogram
from selectmm.report.inspect.overlap import overlaps
from selectmm.report.inspect.sources import sources
from selectmm.report.inspect.style import STYLE

# A browser then runs no script and fetches nothing, whatever a text on the page says.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(choice: Choice, others: Sequence[Choice] = (), each: int = 8) -> str:
    """The whole page.

    Args:
        others: subsets of the same pool, for the overlap.
        each: rows under each heading of the gallery.
    """
    subset, pool = choice.subset, choice.pool
    kept = f"{len(subset.rows) - choice.repeats:,} of {counted(len(pool), 'row')}"
    kept += f", some several times: {len(subset.rows):,} with repeats" if choice.repeats else ""
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in choice.facts)
    excluded = [f"{counted(count, 'row')}: {reason}" for reason, count in subset.excluded.items()]
    facts += "".join(f"<dt>could not be chosen</dt><dd>{escape(line)}</dd>" for line in excluded)
    parts = [
        f"<header><h1>{escape(choice.name)}</h1><p class='sub'>kept {kept}</p><dl>{facts}</dl></header>",
        f"<section><h2>Sources</h2>{sources(choice)}</section>",
        f"<section><h2>Scores</h2>{histogram(choice)}</section>",
        f"<section><h2>Overlap</h2>{overlaps([choice, *others])}</section>",
        f"<section><h2>Rows</h2>{gallery(choice, each)}</section>",
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(choice.name)}: {kept}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )
