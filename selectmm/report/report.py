"""Records to a page: tables, pictures and what has to be said about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from selectmm.cache.stage import write_atomically
from selectmm.errors import UserError
from selectmm.records.groups import Group, comparable
from selectmm.records.record import RunRecord
from selectmm.report.notes import caption, notes
from selectmm.report.points import COLUMNS, cells
from selectmm.report.published import beside_papers
from selectmm.report.references import references_of_table
from selectmm.report.rows import Tallies, compare
from selectmm.report.table import Table, majority_rel, show, tabulate, to_markdown

HEAD = "<!-- Made from run records by `python -m selectmm report`; never edited by hand. -->"


@dataclass(frozen=True)
class Report:
    """What was written: the page, and for each of its tables the cells and the picture as SVG, PNG and numbers.

    ``points`` are the picture's, as rows under `selectmm.report.points.COLUMNS`. ``html`` is the same page as HTML, if
    it was asked for.
    """

    markdown: Path
    tables: tuple[Table, ...]
    points: tuple[list[tuple[object, ...]], ...]
    svgs: tuple[Path, ...]
    pngs: tuple[Path, ...]
    html: Path | None = None

    def as_json(self) -> dict[str, Any]:
        """Paths, and each table as columns and rows of the texts on the page, with its picture's points as numbers."""
        tables = [
            {
                "columns": t.columns,
                "rows": t.rows,
                "notes": t.notes,
                "points": [dict(zip(COLUMNS, p, strict=True)) for p in points],
            }
            for t, points in zip(self.tables, self.points, strict=True)
        ]
        return {"page": self.markdown, "pictures": [*self.svgs, *self.pngs], "tables": tables}


def write_report(
    records: Sequence[RunRecord],
    folder: Path,
    name: str,
    references: Sequence[Path] = (),
    console: Console | None = None,
    tallies: Tallies | None = None,
    html: bool = False,
) -> Report:
    """Write ``<name>.md``, ``<name>.svg`` and ``<name>.png`` under ``folder`` and print the tables.

    The order of the records does not matter, and the same records give the same bytes. Records that must not be
    compared get tables and pictures of their own (``<name>-2.svg``, …), the largest table first. If the experiment
    reproduces a paper's table, that table stands below with ours in it.

    Args:
        references: files of reference scores; a table takes those of its base model and prompts.
        console: where to print; the screen if None.
        tallies: of the records' answers, so that differences are over the same items (see `pairing.tallies_of`).
        html: whether to write ``<name>.html`` too, one file with the same tables, sentences and pictures.

    Raises:
        UserError: there are no records, or two are of the same run.
    """
    if not records:
        raise UserError("There are no records to report on; start a run first (selectmm run), or name its files.")
    from selectmm.report.html.page import Section, report_page  # with matplotlib, which takes a second
    from selectmm.report.tradeoff import save_picture

    page = folder / f"{name}.md"
    page.parent.mkdir(parents=True, exist_ok=True)  # an experiment may be named a/b
    groups = sorted(comparable(sorted(records, key=lambda r: r.name)), key=lambda g: -len(g.records))
    sections, svgs, pngs = [], [], []
    for number, group in enumerate(groups, 1):
        known = references_of_table(references, group.records, _named(number, group) if len(groups) > 1 else "")
        comparison = compare(group.records, known, tallies)
        table = tabulate(comparison, known, caption(comparison, group.apart), notes(comparison))
        picture = name if number == 1 else f"{name}-{number}"
        section = Section(table, comparison, majority_rel(comparison, known))
        svg, png = save_picture(comparison, folder, picture, section.floor)
        sections.append(section)
        svgs.append(svg)
        pngs.append(png)
        show(table, console or Console())
    papers = beside_papers([section.comparison for section in sections])
    for paper in papers:
        show(paper, console or Console())
    pictures = [f"![Rel. against cost]({svg.name})\n" for svg in svgs]
    parts = [f"{to_markdown(one.table)}\n{drawn}" for one, drawn in zip(sections, pictures, strict=True)]
    parts += [to_markdown(paper) for paper in papers]
    write_atomically(page, "\n".join([HEAD, f"# {name}\n", *parts]))
    beside = page.with_suffix(".html") if html else None
    if beside is not None:
        write_atomically(beside, report_page(name, sections, papers))
    found = tuple(cells(section.comparison) for section in sections)
    return Report(page, tuple(section.table for section in sections), found, tuple(svgs), tuple(pngs), beside)


def _named(number: int, group: Group) -> str:
    first = group.records[0]
    return f"table {number} (suite {first.suite.name}, base model {first.model[:8]})"
