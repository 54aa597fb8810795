"""The page: data, style and script in one file that needs no network and no server."""

import json
from collections.abc import Mapping
from importlib.resources import files
from os.path import relpath
from pathlib import Path

from selectmm.errors import UserError
from selectmm.records.record import RunRecord
from selectmm.records.stage import write_atomically
from selectmm.report.leaderboard.boards import Plain, boards_of
from selectmm.report.references import References


def write_leaderboard(records: Mapping[str, RunRecord], path: Path, references: References) -> list[Plain]:
    """Write the page and return its boards; the same records give the same bytes.

    Args:
        records: by the address of their file as seen from the page (see `address`).

    Raises:
        UserError: there are no records.
    """
    if not records:
        raise UserError("There are no records to rank; name record files, such as results/records/*.json.")
    boards = boards_of(records, references)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, html(boards))
    return boards


def address(record: Path, page: Path) -> str:
    """Where a record's file lies as seen from the page, so that the two can be moved together."""
    return Path(relpath(record.resolve(), page.resolve().parent)).as_posix()


def html(boards: list[Plain]) -> str:
    """The finished page. Records may come from strangers: their text reaches the page as data, never as markup.

    A ``<`` inside the data is written as an escape, so that nothing can end the element that holds them, and the page's
    own policy forbids every other script and every request.
    """
    data = json.dumps(boards, ensure_ascii=False, sort_keys=True, allow_nan=False).replace("<", "\\u003c")
    here = files("selectmm.report.leaderboard")
    page = (here / "leaderboard.html").read_text(encoding="utf-8")
    for mark, part in (("/*STYLE*/", "leaderboard.css"), ("/*SCRIPT*/", "leaderboard.js")):
        page = page.replace(mark, (here / part).read_text(encoding="utf-8"))
    return page.replace("/*DATA*/", data)
