"""How much subsets of one pool have in common, as a matrix."""

from collections.abc import Sequence
from html import escape

from selectmm.report.inspect.choice import Choice, overlap, overlap_by_chance
from selectmm.report.pages.mark import mark_before

NOTE = (
    "Jaccard index: different rows in both subsets over different rows in either. Small: what two random draws of "
    "these sizes would share."
)


def overlaps(choices: Sequence[Choice]) -> str:
    """The page's subset first; or a sentence where there is nothing to compare it with."""
    if len(choices) == 1:
        return "<p>No other subset was given; name records or folders after --others.</p>"
    matrix = overlap([choice.subset for choice in choices])
    numbers = [f"{index + 1}" for index in range(len(choices))]
    head = "".join(f"<th>{number}</th>" for number in numbers)
    rows = []
    for i, choice in enumerate(choices):
        cells = "".join(
            _cell(matrix[i, j], None if i == j else _chance(choice, choices[j])) for j in range(len(choices))
        )
        rows.append(f"<tr><th>{mark_before(choice.method)}{numbers[i]}. {escape(choice.name)}</th>{cells}</tr>")
    table = f'<table class="overlap"><tr><td></td>{head}</tr>{"".join(rows)}</table>'
    return f'<div class="scroll">{table}</div><p class="note">{NOTE}</p>'


def _chance(first: Choice, second: Choice) -> float:
    return overlap_by_chance(first.subset, second.subset, len(first.pool))


def _cell(value: float, chance: float | None) -> str:
    ink = ' class="dark"' if value > 0.55 else ""
    small = "" if chance is None else f"<small>{chance:.2f}</small>"
    return f'<td{ink} style="background:rgb(0 114 178 / {value:.2f})">{value:.2f}{small}</td>'
