"""Rows of a JSON or JSONL file, one at a time: memory does not grow with the file."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TextIO

from selectmm.errors import UserError
from selectmm.pool.bad import BadRow, shown

WINDOW = 2**20  # characters read at a time
LONGEST = 2**26  # characters; nothing that long is a row
TABLES = {".csv", ".tsv", ".parquet", ".arrow"}  # endings of tables
LINES = {".jsonl", ".ndjson"}  # endings of files with a row on each line

LONGEST_NUMBER = 4_000  # digits; Python makes no number of more than 4,300, and takes long for one of many


def _integer(digits: str) -> int | str:
    """A whole number; a text of digits if it is too long to be one."""
    return int(digits) if len(digits) <= LONGEST_NUMBER else digits


_MARKS = frozenset("[]{},")
_BLANKS = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder(parse_int=_integer)

CountedIn = Literal["row", "line"]
"""How a row's place in its file is counted: list entries and table rows from 0, lines from 1."""

Raw = tuple[int, object]
"""A row's place in its file, and what it says there; a `BadRow` if that cannot be parsed."""


def counted_in(path: Path) -> CountedIn:
    """Lines if the file's name says that it has a row on each, else rows."""
    return "line" if path.suffix.lower() in LINES else "row"


def json_texts(path: Path) -> Iterator[tuple[int, str]]:
    """The places of `json_rows`, each with the row's text as the file has it; a line comes with its end.

    Written as UTF-8, a text is the bytes of the file.

    Raises:
        UserError: as `json_rows`.
    """
    with path.open(encoding="utf-8-sig", newline="") as stream:
        if counted_in(path) == "line":
            yield from ((number, line) for number, line in enumerate(stream, 1) if not line.isspace())
            return
        window = _Window(stream, path)
        yield from ((index, window.text[window.start : window.at]) for index, _ in _values(window))


def json_rows(path: Path) -> Iterator[Raw]:
    """The rows of a list in JSON, or of a file with a row on each line if its name ends in ``.jsonl`` or ``.ndjson``.

    Lines can be read without the bad ones among them; behind a bad piece of a list nothing can.

    Raises:
        UserError: it holds no rows or no list, or the list is not JSON or ends too early; the sentence names the row.
    """
    with path.open(encoding="utf-8-sig", newline="") as stream:
        try:
            yield from _lines(stream, path) if counted_in(path) == "line" else _items(stream, path)
        except UnicodeDecodeError as problem:
            raise UserError(f"{path} is not UTF-8 text ({problem.reason}); export it again as UTF-8.") from problem


def _lines(stream: TextIO, path: Path) -> Iterator[Raw]:
    found = False
    for number, line in enumerate(iter(lambda: stream.readline(LONGEST), ""), 1):
        if line.isspace():
            continue
        if len(line) == LONGEST:
            raise UserError(f"Line {number} of {path} has no end within {LONGEST:,} characters; no row is that long.")
        found = True
        yield number, _line(line)
    if not found:
        raise UserError(f"{path} holds no rows; name a file with a row on each line.")


def _line(line: str) -> object:
    """What a line says, or why it is no JSON."""
    try:
        return _DECODER.decode(line)
    except json.JSONDecodeError as problem:
        return BadRow("broken JSON", f"is not JSON ({problem.msg}): {shown(line)}; fix or remove it")
    except RecursionError:
        return BadRow("values nested too deeply", f"is nested too deeply to be a row: {shown(line)}")


def _items(stream: TextIO, path: Path) -> Iterator[Raw]:
    yield from _values(_Window(stream, path))


def _values(window: "_Window") -> Iterator[Raw]:
    """The list's values one after the other, as the window comes to them."""
    path = window.path
    if not window.take("["):
        if path.suffix.lower() in TABLES:
            raise UserError(
                f"{path} is neither JSON nor JSONL, which this pool reads; save a table as parquet, for pool=parquet."
            )
        if window.ended():
            raise UserError(f"{path} holds no list of rows: it is empty; name a file with rows.")
        raise UserError(
            f"{path} holds no list of rows: a JSON file is one list [{{…}}, …]. If there is a row on each line, name "
            f'it {path.stem}.jsonl; if the list is inside of an object, as in {{"data": […]}}, save the list by itself.'
        )
    if window.take("]"):
        raise UserError(f"{path} holds no list of rows: its list is empty; name a file with rows.")
    index = 0
    while True:
        yield index, window.value(index)
        index += 1
        if window.take(","):
            continue
        if window.take("]"):
            break
        raise window.broken(index, "there is no comma or end of the list after the row before it")
    if not window.ended():
        raise UserError(f"{path} is not JSON (something follows the end of its list); export it again.")


class _Window:
    """A piece of the text, moved on as values are taken from its front; the last one is ``text[start:at]``."""

    def __init__(self, stream: TextIO, path: Path) -> None:
        self.stream, self.path = stream, path
        self.text, self.start, self.at, self.last = "", 0, 0, False

    def take(self, mark: str) -> bool:
        """Move past blanks, and past ``mark`` if it comes next."""
        if self.ended() or self.text[self.at] != mark:
            return False
        self.at += 1
        return True

    def ended(self) -> bool:
        """Move past blanks; whether nothing follows."""
        if self.text[self.at : self.at + 1] in _MARKS:  # nearly always
            return False
        while True:
            self.at = _BLANKS.match(self.text, self.at).end()
            if self.at < len(self.text) or not self._more():
                return self.at == len(self.text)

    def value(self, index: int) -> object:
        """The next value, reading on until it is whole."""
        if self.ended():
            raise self.broken(index, "the file ends before it")
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as problem:
                if not self._cut(problem):
                    raise self.broken(index, problem.msg) from problem
                if len(self.text) - self.at > LONGEST:
                    raise self.broken(index, f"it has no end within {LONGEST:,} characters") from problem
                if not self._more():
                    raise self.broken(index, "the file ends in the middle of it") from problem
            except RecursionError:
                raise self.broken(index, "it is nested too deeply to be a row") from None
            else:
                length = end - self.at  # reading on moves what is left to the front
                # A number may go on behind the window's edge.
                if self.text[end - 1] in '}]"' or end < len(self.text) - LONGEST_NUMBER or not self._more():
                    self.start, self.at = self.at, self.at + length
                    return value

    def broken(self, index: int, reason: str) -> UserError:
        """What is said of row ``index``."""
        return UserError(
            f"Row {index} of {self.path} is not JSON ({reason}); fix it there, or download or export the file again."
        )

    def _cut(self, problem: json.JSONDecodeError) -> bool:
        """Whether the value may only be cut by the window's edge: inside a text, or a few characters before its end."""
        return problem.msg.startswith("Unterminated string") or problem.pos >= len(self.text) - len("\\uFFFF\\uFFFF")

    def _more(self) -> bool:
        """Read on, as much as there is left or more (so that a long row is not tried too often)."""
        rest = self.text[self.at :]
        piece = "" if self.last else self.stream.read(max(WINDOW, len(rest)))
        self.last = not piece
        self.text, self.at = rest + piece, 0
        return bool(piece)
