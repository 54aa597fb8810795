"""Scores of kept and dropped rows as a picture (SVG)."""

from dataclasses import dataclass
from html import escape

import numpy as np

from selectmm.report.inspect.choice import Choice

BINS = 48
TAILS = 0.5  # per cent of the rows on either side that may lie beyond the picture, so that it is not mostly empty
WIDTH, HEIGHT, BOTTOM, TOP, LEFT = 860, 250, 34, 26, 56


@dataclass(frozen=True, eq=False)
class Bins:
    """``edges`` [b + 1]; ``kept`` and ``dropped`` rows in each bin, [b]; rows ``below`` and ``above`` all of them."""

    edges: np.ndarray
    kept: np.ndarray
    dropped: np.ndarray
    below: int
    above: int


def bins_of(choice: Choice) -> Bins:
    """Of a choice with scores; every cut lies inside."""
    scores = choice.subset.scores[choice.scored]
    low, high = np.percentile(scores, [TAILS, 100 - TAILS])
    low, high = min([low, *choice.cuts]), max([high, *choice.cuts])
    if low == high:
        low, high = low - 0.5, high + 0.5
    kept = choice.times[choice.scored] > 0
    edges = np.linspace(low, high, BINS + 1)
    counts = [np.histogram(scores[which], edges)[0] for which in (kept, ~kept)]
    return Bins(edges, *counts, below=int((scores < low).sum()), above=int((scores > high).sum()))


def histogram(choice: Choice) -> str:
    """The picture with its legend and caption, or a sentence where there is nothing to draw."""
    if len(choice.scored) == 0:
        return "<p>This method gives rows no score.</p>"
    bins = bins_of(choice)
    parts = [*_bars(bins), *_axis(bins), *(_cut(bins, cut) for cut in choice.cuts)]
    told = f"Scores of {len(choice.scored):,} rows, kept and dropped"
    return (
        f'<figure><p class="legend"><span class="key kept"></span>kept <span class="key dropped"></span>dropped</p>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{told}">{"".join(parts)}</svg>'
        f"<figcaption>{escape(_caption(choice, bins))}</figcaption></figure>"
    )


def _caption(choice: Choice, bins: Bins) -> str:
    told = [f"{len(choice.scored):,} of {len(choice.pool):,} rows have a score."]
    if choice.cuts:
        told.append("The dashed line is the cut.")
    elif 0 < (choice.times[choice.scored] > 0).sum() < len(choice.scored):
        told.append("No single score parts kept from dropped rows: it is not all that decides here.")
    if bins.below or bins.above:
        told.append(f"Outside of the picture: {bins.below:,} rows to the left, {bins.above:,} to the right.")
    return " ".join(told)


def _x(bins: Bins, score: float) -> float:
    return LEFT + (WIDTH - LEFT - 10) * (score - bins.edges[0]) / (bins.edges[-1] - bins.edges[0])


def _bars(bins: Bins) -> list[str]:
    """Kept rows stand on the axis, dropped ones on top of them."""
    tallest = max(1, int((bins.kept + bins.dropped).max()))
    unit, floor = (HEIGHT - BOTTOM - TOP) / tallest, HEIGHT - BOTTOM
    width = _x(bins, bins.edges[1]) - _x(bins, bins.edges[0])
    drawn = []
    for left, kept, dropped in zip(bins.edges[:-1], bins.kept, bins.dropped, strict=True):
        place = f'x="{_x(bins, left):.1f}" width="{width - 1:.1f}"'
        rows = (("kept", kept, floor - kept * unit), ("dropped", dropped, floor - (kept + dropped) * unit))
        for kind, count, top in rows:
            if count:
                drawn.append(f'<rect class="{kind}" {place} y="{top:.1f}" height="{count * unit:.1f}"/>')
    label = f'<text x="{LEFT - 8}" y="{TOP + 4}" text-anchor="end">{tallest:,}</text>'
    return [*drawn, label, f'<text x="{LEFT - 8}" y="{floor}" text-anchor="end">0 rows</text>']


def _axis(bins: Bins) -> list[str]:
    floor = HEIGHT - BOTTOM
    line = f'<line class="axis" x1="{LEFT}" y1="{floor}" x2="{WIDTH - 10}" y2="{floor}"/>'
    ticks = np.linspace(bins.edges[0], bins.edges[-1], 5)
    anchors = ("start", "middle", "middle", "middle", "end")
    return [line] + [
        f'<text x="{_x(bins, tick):.1f}" y="{floor + 20}" text-anchor="{anchor}">{tick:.4g}</text>'
        for tick, anchor in zip(ticks, anchors, strict=True)
    ]


def _cut(bins: Bins, cut: float) -> str:
    x = _x(bins, cut)
    anchor = "end" if x > WIDTH / 2 else "start"
    return (
        f'<line class="cut" x1="{x:.1f}" y1="{TOP - 10}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="cut" x="{x + (-6 if anchor == "end" else 6):.1f}" y="{TOP - 12}" text-anchor="{anchor}">'
        f"cut {cut:.4g}</text>"
    )
