"""The page: data, style and script in one file that needs no network and no server."""

from collections.abc import Mapping, Sequence
from os.path import relpath
from pathlib import Path

from selectmm.cache.stage import write_atomically
from selectmm.errors import UserError
from selectmm.records.record import RunRecord
from selectmm.report.leaderboard.boards import Plain, boards_of
from selectmm.report.pages.columns import RUN_TIPS, TIPS
from selectmm.report.pages.frame import frame, text
from selectmm.report.pages.mark import look_of

SCRIPTS = ("state.js", "table.js", "plot.js", "leaderboard.js")
BODY = """
<header>
<h1>selectmm leaderboard</h1>
<p>Methods that choose which data to fine-tune on: what choosing and training cost, and what remains of the score. Every
row is a method at a budget under a recipe, over its seeds. Click a row (▸) for the records, commands, sources and
scores of its runs. A heading sorts; arrow keys move inside a table or picture. Rows on different boards must not be
compared.</p>
<form id="form" role="search"><label>search
<input type="search" id="search" placeholder="method, experiment, model, …" autocomplete="off"></label>
<details id="more" open><summary>filters</summary><div id="filters"></div></details></form>
<p id="count" role="status"></p>
</header>
<main id="shown"></main>
<noscript>This page needs its script; the records themselves are JSON files in results/records.</noscript>
"""


def write_leaderboard(records: Mapping[str, RunRecord], path: Path, references: Sequence[Path] = ()) -> list[Plain]:
    """Write the page and return its boards; the same records give the same bytes.

    Args:
        records: by the address of their file as seen from the page (see `address`).
        references: files of reference scores; a board takes those of its base model and prompts.

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
    """The finished page; see `frame` for what keeps text of strangers from being obeyed.

    The runs behind a board's rows are most of the data. They lie in an element of their own, which the script reads
    when one of the board's rows is opened.
    """
    rows = [[{key: row[key] for key in row if key != "runs"} for row in board["rows"]] for board in boards]
    names = {str(row["name"]) for board in rows for row in board} | {"random"}
    data: dict[str, object] = {
        "boards": [board | {"rows": lines} for board, lines in zip(boards, rows, strict=True)],
        "styles": {name: look_of(name) for name in sorted(names)},
        "tips": TIPS,
        "run-tips": RUN_TIPS,
    }
    data |= {f"runs-{number}": [row["runs"] for row in board["rows"]] for number, board in enumerate(boards)}
    script = text("pages", "page.js") + "".join(text("leaderboard", name) for name in SCRIPTS)
    return frame("selectmm leaderboard", text("leaderboard", "leaderboard.css"), BODY, script, data)
