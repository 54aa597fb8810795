"""The page: the same tables and sentences as on the Markdown page, from the same objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from selectmm.report.html.kept import kept_table
from selectmm.report.html.picture import picture
from selectmm.report.pages.columns import tip_of
from selectmm.report.pages.frame import frame, text
from selectmm.report.pages.mark import mark
from selectmm.report.rows import Comparison
from selectmm.report.table import AT_CHANCE, COSTS, Table


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
    parts += [f"<section>{_table(paper, {})}</section>" for paper in papers]
    body = f"<main><h1>{escape(title)}</h1>{''.join(parts)}</main>"
    return frame(title, text("html", "report.css"), body, text("pages", "page.js"))


def _section(section: Section, number: int) -> str:
    methods = {row.label: row.method for row in section.comparison.rows}
    drawn = picture(section.comparison, section.floor, f"picture{number}-")
    return (
        f"<section>{_above(section.table)}<figure>{drawn}</figure>{_grid(section.table, methods)}"
        f"{kept_table(section.comparison)}{_below(section.table)}</section>"
    )


def _table(table: Table, methods: dict[str, str]) -> str:
    return _above(table) + _grid(table, methods) + _below(table)


def _above(table: Table) -> str:
    warning = f'<p class="warning">{_text(table.headline)}</p>' if table.headline else ""
    return f"{warning}<h2>{_text(table.caption)}</h2>{_list(table.answers, 'answers')}"


def _below(table: Table) -> str:
    notes = _list(table.notes, "notes")
    return f"<details><summary>How to read this table, and where its numbers come from</summary>{notes}</details>"


def _grid(table: Table, methods: dict[str, str]) -> str:
    order = _order(table.columns) if methods else range(len(table.columns))
    heads = "".join(_head(table.columns[number], bool(methods)) for number in order)
    rows = "".join(_row([row[number] for number in order], methods) for row in table.rows)
    return (
        f'<div class="scroll"><table class="cells"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _order(columns: Sequence[str]) -> list[int]:
    """What a reader wants first: method, budget, Rel. and cost, then the benchmarks and the recipe's name."""
    place = {"method": 0, "budget": 0, **dict.fromkeys(COSTS, 1), "recipe": 3}
    return sorted(range(len(columns)), key=lambda number: place.get(columns[number], 2))


def _head(name: str, explained: bool) -> str:
    tip = f' tabindex="0" data-tip="{escape(tip_of(name, name.endswith(AT_CHANCE)))}"' if explained else ""
    return f'<th scope="col"{tip}>{_text(name)}</th>'


def _row(cells: Sequence[str], methods: dict[str, str]) -> str:
    """A method's mark stands before its name; references such as chance have none."""
    sign = mark(methods[cells[0]]) if cells[0] in methods else ""
    first = f'<th scope="row"><div class="name">{sign}<span>{_text(cells[0])}</span></div></th>'
    return f"<tr>{first}{''.join(f'<td>{_text(cell)}</td>' for cell in cells[1:])}</tr>"


def _list(lines: Sequence[str], style: str) -> str:
    return f'<ul class="{style}">{"".join(f"<li>{_text(line)}</li>" for line in lines)}</ul>' if lines else ""


def _text(words: str) -> str:
    return escape("".join(character if character.isprintable() else " " for character in words))
