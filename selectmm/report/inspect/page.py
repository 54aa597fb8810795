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
from selectmm.report.pages.frame import frame
from selectmm.report.pages.mark import mark_before


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
        f"<header><h1>{mark_before(choice.method)}{escape(choice.name)}</h1>"
        f"<p class='sub'>kept {kept}</p><dl>{facts}</dl></header>",
        f"<section><h2>Sources</h2>{sources(choice)}</section>",
        f"<section><h2>Scores</h2>{histogram(choice)}</section>",
        f"<section><h2>Overlap</h2>{overlaps([choice, *others])}</section>",
        f"<section><h2>Rows</h2>{gallery(choice, each)}</section>",
    ]
    return frame(f"{choice.name}: {kept}", STYLE, f"<main>{''.join(parts)}</main>")
