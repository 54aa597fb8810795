"""The page: the same tables and sentences as on the Markdown page, from the same objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from selectmm.report.html.against import NAME, TIP, against
from selectmm.report.html.kept import kept_table
from selectmm.report.html.picture import picture
from selectmm.report.pages.columns import paper_tip_of, tip_of
from selectmm.report.pages.frame import frame, text
from selectmm.report.pages.mark import mark
from selectmm.report.rows import Comparison
from selectmm.report.table import AT_CHANCE, COSTS, Table

SIDEWAYS = '<p class="note narrow">The picture is wider than the screen: move it sideways to see the rest.</p>'
RIGHT_OF_REL = 3  # columns stand left of the verdicts: method, budget, Rel.


@dataclass(frozen=True)
class Section:
    """A table with the comparison that it was made of.

    ``floor`` is Rel. of the most frequent answer alone, as for the picture.
    """

    table: Table
    comparison: Comparison
    floor: float | None


def report_page(title: str, sections: Sequence[Section], papers: Sequence[Table]) -> str:
    """The finished page, which needs no network; text from records is escaped.

    Args:
        papers: tables of papers with our numbers in them, which have no picture.
    """
    parts = [_section(section, number) for number, section in enumerate(sections, 1)]
    parts += [f"<section>{_paper(paper)}</section>" for paper in papers]
    body = f"<main><h1>{escape(title)}</h1>{''.join(parts)}</main>"
    return frame(title, text("html", "report.css"), body, text("pages", "page.js"))


def _section(section: Section, number: int) -> str:
    drawn = picture(section.comparison, section.floor, f"picture{number}-")
    return (
        f"<section>{_above(section.table)}<figure>{drawn}</figure>{SIDEWAYS}{_grid(section)}"
        f"{kept_table(section.comparison)}{_below(section.table)}</section>"
    )


def _paper(table: Table) -> str:
    heads = "".join(_titled(name, paper_tip_of(name)) for name in table.columns)
    return _above(table) + _scrolling(heads, [_row(row) for row in table.rows]) + _below(table)


def _above(table: Table) -> str:
    warning = f'<p class="warning">{_text(table.headline)}</p>' if table.headline else ""
    return f"{warning}<h2>{_text(table.caption)}</h2>{_list(table.answers, 'answers')}"


def _below(table: Table) -> str:
    notes = _list(table.notes, "notes")
    return f"<details><summary>How to read this table, and where its numbers come from</summary>{notes}</details>"


def _grid(section: Section) -> str:
    """The table's cells in an order of its own, with the verdicts behind Rel. and a mark before a method's name.

    References such as chance stand above the methods, and have neither.
    """
    table, rows = section.table, section.comparison.rows
    order, verdicts = _order(table.columns), against(section.comparison)
    heads = [_head(table.columns[number]) for number in order]
    above = len(table.rows) - len(rows)
    marks = [*[""] * above, *(mark(row.method) for row in rows)]
    beside = [*["<td>–</td>"] * above, *verdicts] if verdicts else [""] * len(table.rows)
    if verdicts:
        heads.insert(RIGHT_OF_REL, _titled(NAME, TIP))
    lines = [
        _row([cells[number] for number in order], sign, verdict)
        for cells, sign, verdict in zip(table.rows, marks, beside, strict=True)
    ]
    return _scrolling("".join(heads), lines)


def _order(columns: Sequence[str]) -> list[int]:
    """What a reader wants first: method, budget, Rel. and cost, then the benchmarks and the recipe's name."""
    place = {"method": 0, "budget": 0, **dict.fromkeys(COSTS, 1), "recipe": 3}
    return sorted(range(len(columns)), key=lambda number: place.get(columns[number], 2))


def _head(name: str) -> str:
    return _titled(name, tip_of(name, name.endswith(AT_CHANCE)))


def _titled(name: str, tip: str) -> str:
    return f'<th scope="col" tabindex="0" data-tip="{escape(tip)}">{_text(name)}</th>'


def _row(cells: Sequence[str], sign: str = "", verdict: str = "") -> str:
    first = f'<th scope="row"><div class="name">{sign}<span>{_text(cells[0])}</span></div></th>'
    rest = [f"<td>{_text(cell)}</td>" for cell in cells[1:]]
    rest.insert(RIGHT_OF_REL - 1, verdict)
    return f"<tr>{first}{''.join(rest)}</tr>"


def _scrolling(heads: str, lines: Sequence[str]) -> str:
    head = f"<thead><tr>{heads}</tr></thead>"
    table = f'<table class="cells" data-rove="[data-tip]">{head}<tbody>{"".join(lines)}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _list(lines: Sequence[str], style: str) -> str:
    return f'<ul class="{style}">{"".join(f"<li>{_text(line)}</li>" for line in lines)}</ul>' if lines else ""


def _text(words: str) -> str:
    return escape("".join(character if character.isprintable() else " " for character in words))
