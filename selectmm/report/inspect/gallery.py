"""Rows to look at: the highest scores, those around the cut, the lowest; without scores some kept and some dropped."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO

import numpy as np

from selectmm.errors import UserError
from selectmm.pool.sample import Sample, Turn
from selectmm.report.inspect.choice import Choice

SIDE = 220  # pixels of a picture's longer side
LETTERS, TURNS = 320, 4  # of a text and of a conversation that are shown
PICTURES = 3  # of a row that are shown


@dataclass(frozen=True)
class Group:
    """Rows under a heading."""

    title: str
    rows: tuple[int, ...]


def groups_of(choice: Choice, each: int) -> list[Group]:
    """Headings with at most ``each`` rows; a row may stand under several, and a heading without rows is left out."""
    kept = choice.times > 0
    if len(choice.scored) == 0:
        found = [
            ("Kept, evenly over the pool", np.flatnonzero(kept)),
            ("Dropped, evenly over the pool", np.flatnonzero(~kept)),
        ]
        return _filled([(title, _evenly(rows, each)) for title, rows in found])
    order, inside = choice.scored, kept[choice.scored]
    found = [("Highest scores", order[:each])]
    if choice.cuts:
        gap = np.min([np.abs(choice.subset.scores[order] - cut) for cut in choice.cuts], axis=0)
        nearest = order[np.argsort(gap, kind="stable")]
        found += [
            ("At the cut: just kept", nearest[kept[nearest]]),
            ("At the cut: just dropped", nearest[~kept[nearest]]),
        ]
    elif inside.any() and not inside.all():
        step, (last, first) = (1, ("highest", "lowest")) if choice.prefers_low else (-1, ("lowest", "highest"))
        found.append((f"Kept with the {last} scores", order[inside][::step]))
        found.append((f"Dropped with the {first} scores", order[~inside][::-step]))
    return _filled([(title, rows[:each]) for title, rows in [*found, ("Lowest scores", order[::-1])]])


def _evenly(rows: np.ndarray, each: int) -> np.ndarray:
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(each, len(rows))).astype(int))] if len(rows) else rows


def _filled(found: Sequence[tuple[str, np.ndarray]]) -> list[Group]:
    return [Group(title, tuple(rows.tolist())) for title, rows in found if len(rows)]


def gallery(choice: Choice, each: int) -> str:
    """All groups, each as a row of cards."""
    shown = []
    for group in groups_of(choice, each):
        cards = "".join(_card(choice, row) for row in group.rows)
        shown.append(f'<h3>{group.title}</h3><div class="cards">{cards}</div>')
    return "".join(shown)


def _card(choice: Choice, row: int) -> str:
    sample, times = choice.pool[row], int(choice.times[row])
    state = f'<span class="state kept">kept{f" {times} times" if times > 1 else ""}</span>'
    state = state if times else '<span class="state dropped">dropped</span>'
    score = choice.subset.scores[row] if choice.subset.scores is not None else np.nan
    value = f"<b>{score:.4g}</b>" if np.isfinite(score) else "no score"
    where = f"{escape(choice.pool.named(row))} of {escape(sample.source)}"
    head = f'<p class="head">{value} {state}</p><p class="where">{where}</p>'
    return f'<article class="card">{_pictures(choice, sample)}{head}{_talk(sample.turns)}</article>'


def _pictures(choice: Choice, sample: Sample) -> str:
    """The first few images of a row."""
    if not sample.images:
        return '<div class="blank">text only</div>'
    left = len(sample.images) - PICTURES
    more = f'<p class="more">and {left} more images</p>' if left > 0 else ""
    return "".join(_picture(choice, image.path) for image in sample.images[:PICTURES]) + more


def _picture(choice: Choice, path: str) -> str:
    try:
        image = choice.pool.open_image(path)
    except UserError:
        return '<div class="blank">the image cannot be opened</div>'
    image.thumbnail((SIDE, SIDE))
    content = BytesIO()
    image.save(content, "JPEG", quality=78)
    data = base64.b64encode(content.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{escape(path)}">'


def _talk(turns: Sequence[Turn]) -> str:
    shown = [f'<p class="{turn.role}">{escape(_shortened(turn.text))}</p>' for turn in turns[:TURNS]]
    left = len(turns) - TURNS
    return "".join(shown) + (f'<p class="more">and {left} more turns</p>' if left > 0 else "")


def _shortened(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[:LETTERS].rstrip()} … ({len(text):,} letters)"
