"""Scores of kept and dropped rows as a picture (SVG)."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from matplotlib.ticker import MaxNLocator

from selectmm.report.inspect.choice import Choice

BINS = 48
TAILS = 0.5  # per cent of the rows on either side that may lie beyond the picture, so that it is not mostly empty
LONG = 100  # so many times the median, and the upper tail is too long to be drawn to scale
WIDTH, HEIGHT, BOTTOM, TOP, LEFT = 860, 250, 34, 26, 62


@dataclass(frozen=True, eq=False)
class Bins:
    """What is drawn, in drawn units: scores, or their logarithms to base 10 if ``log``.

    ``edges`` [b + 1]; ``kept`` and ``dropped`` rows in each bin, [b]; rows ``below`` and ``above`` all of them; where
    the cuts are.
    """

    log: bool
    edges: np.ndarray
    kept: np.ndarray
    dropped: np.ndarray
    below: int
    above: int
    cuts: tuple[float, ...]


def bins_of(choice: Choice) -> Bins:
    """The bins of a choice with scores; every cut lies inside."""
    scores = choice.subset.scores[choice.scored]
    log = bool(scores.min() > 0 and np.percentile(scores, 100 - TAILS) > LONG * np.median(scores))
    cuts = tuple(float(np.log10(cut)) if log else cut for cut in choice.cuts)
    scores = np.log10(scores) if log else scores
    low, high = np.percentile(scores, [TAILS, 100 - TAILS])
    low, high = min([low, *cuts]), max([high, *cuts])
    if low == high:
        low, high = low - 0.5, high + 0.5
    kept = choice.times[choice.scored] > 0
    edges = np.linspace(low, high, BINS + 1)
    counts = {name: np.histogram(scores[which], edges)[0] for name, which in (("kept", kept), ("dropped", ~kept))}
    return Bins(log, edges, **counts, below=int((scores < low).sum()), above=int((scores > high).sum()), cuts=cuts)


def histogram(choice: Choice) -> str:
    """The picture with its legend and caption, or a sentence where there is nothing to draw."""
    if len(choice.scored) == 0:
        return "<p>This method gives rows no score.</p>"
    bins = bins_of(choice)
    title = f"Scores of {len(choice.scored):,} rows, kept and dropped"
    drawn = "".join([*_bars(bins), *_axis(bins), *_cuts(bins)])
    return (
        f'<figure><p class="legend"><span class="key kept"></span>kept <span class="key dropped"></span>dropped</p>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{drawn}</svg>'
        f"<figcaption>{escape(_caption(choice, bins))}</figcaption></figure>"
    )


def _caption(choice: Choice, bins: Bins) -> str:
    without = len(choice.pool) - len(choice.scored)
    sentences = [f"{len(choice.scored):,} of {len(choice.pool):,} rows have a score."]
    if without:
        kept = int((choice.times > 0).sum() - (choice.times[choice.scored] > 0).sum())
        sentences.append(f"Of the {without:,} without, {kept:,} were kept.")
    if choice.cuts:
        sentences.append("Dashed: the scores between kept and dropped rows.")
    elif 0 < (choice.times[choice.scored] > 0).sum() < len(choice.scored):
        sentences.append("No single score separates kept from dropped rows: other rules decide too.")
    if bins.log:
        sentences.append("Scores are drawn to a logarithmic scale.")
    if bins.below or bins.above:
        sentences.append(f"Outside of the picture: {bins.below:,} rows to the left, {bins.above:,} to the right.")
    return " ".join(sentences)


def _x(bins: Bins, place: float) -> float:
    return LEFT + (WIDTH - LEFT - 10) * (place - bins.edges[0]) / (bins.edges[-1] - bins.edges[0])


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
    floor, (low, high) = HEIGHT - BOTTOM, bins.edges[[0, -1]]
    drawn = [f'<line class="axis" x1="{LEFT}" y1="{floor}" x2="{WIDTH - 10}" y2="{floor}"/>']
    for tick in MaxNLocator(7, integer=bins.log).tick_values(low, high):
        if low <= tick <= high:
            x = _x(bins, tick)
            drawn.append(f'<line class="axis" x1="{x:.1f}" y1="{floor}" x2="{x:.1f}" y2="{floor + 5}"/>')
            drawn.append(f'<text x="{x:.1f}" y="{floor + 20}" text-anchor="middle">{_number(bins, tick)}</text>')
    return drawn


def _number(bins: Bins, place: float) -> str:
    return f"{10**place if bins.log else round(place, 12):.4g}"


def _cuts(bins: Bins) -> list[str]:
    """A dashed line each; their values stand together above the first, so that they never lie on one another."""
    drawn = [_dashed(_x(bins, cut)) for cut in bins.cuts]
    if drawn:
        x = _x(bins, bins.cuts[0])
        side, anchor = (-6, "end") if x > WIDTH / 2 else (6, "start")
        word = f"cut{'s' if len(drawn) > 1 else ''} {_listed(bins, bins.cuts)}"
        drawn.append(f'<text class="cut" x="{x + side:.1f}" y="{TOP - 12}" text-anchor="{anchor}">{word}</text>')
    return drawn


def _dashed(x: float) -> str:
    return f'<line class="cut" x1="{x:.1f}" y1="{TOP - 10}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>'


def _listed(bins: Bins, cuts: Sequence[float]) -> str:
    return " and ".join(_number(bins, cut) for cut in cuts)
