"""Rows of a JSON or JSONL file, one at a time: memory does not grow with the file."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from selectmm.errors import UserError

WINDOW = 2**20  # characters read at a time
LONGEST = 2**26  # characters; nothing that long is a row
LINES = {".jsonl", ".ndjson"}  # endings of files with a row on each line

_BLANKS = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()

Raw = tuple[str, object]
"""Where a row stands, in words that open a sentence, and what JSON says there."""


def json_rows(path: Path) -> Iterator[Raw]:
    """The rows of a list in JSON, or of a file with a row on each line if its name ends in ``.jsonl`` or ``.ndjson``.

    Raises:
        UserError: it is not JSON, ends too early, or holds no list; the sentence names the first bad row or line.
    """
    with path.open(encoding="utf-8-sig", newline="") as stream:
        try:
            yield from _lines(stream, path) if path.suffix.lower() in LINES else _items(stream, path)
        except UnicodeDecodeError as problem:
            raise UserError(f"{path} is not UTF-8 text ({problem.reason}); export it again as UTF-8.") from problem


def _lines(stream: TextIO, path: Path) -> Iterator[Raw]:
    found = False
    for number, line in enumerate(stream, 1):
        if line.isspace():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as problem:
            raise UserError(f"Line {number} of {path} is not JSON ({problem.msg}); mend or remove it.") from problem
        found = True
        yield f"Line {number} of {path}", row
    if not found:
        raise UserError(f"{path} holds no rows.")


def _items(stream: TextIO, path: Path) -> Iterator[Raw]:
    window = _Window(stream, path)
    if not window.take("["):
        raise UserError(
            f"{path} holds no list of rows: a JSON file is one list [{{…}}, …]; name a file with a row on each line "
            f"{path.stem}.jsonl."
        )
    if window.take("]"):
        raise UserError(f"{path} holds no list of rows: its list is empty.")
    index = 0
    while True:
        yield f"Row {index} of {path}", window.value(index)
        index += 1
        if window.take("]"):
            break
        if not window.take(","):
            raise window.broken(index, "there is no comma or end of the list after the row before it")
    if not window.ended():
        raise UserError(f"{path} is not JSON (something follows the end of its list); export it again.")


class _Window:
    """A piece of the text, moved on as values are taken from its front."""

    def __init__(self, stream: TextIO, path: Path) -> None:
        self.stream, self.path = stream, path
        self.text, self.at, self.last = "", 0, False

    def take(self, mark: str) -> bool:
        """Move past blanks, and past ``mark`` if it comes next."""
        if self.ended() or self.text[self.at] != mark:
            return False
        self.at += 1
        return True

    def ended(self) -> bool:
        """Move past blanks; whether nothing follows."""
        while True:
            self.at = _BLANKS.match(self.text, self.at).end()
            if self.at < len(self.text) or not self._more():
                return self.at == len(self.text)

    def value(self, index: int) -> object:
        """The next value, reading on until it is whole."""
        if self.ended():
            raise self.broken(index, "the file ends before it")
        if self.text[self.at] != "{":  # a number at the window's edge could go on behind it; no row is one
            raise UserError(f"Row {index} of {self.path} is not an object {{…}}; every row of the list must be one.")
        while True:
            try:
                value, self.at = _DECODER.raw_decode(self.text, self.at)
                return value
            except json.JSONDecodeError as problem:
                if not self._cut(problem):
                    raise self.broken(index, problem.msg) from problem
                if len(self.text) - self.at > LONGEST:
                    raise self.broken(index, f"it has no end within {LONGEST:,} characters") from problem
                if not self._more():
                    raise self.broken(index, "the file ends in the middle of it") from problem

    def broken(self, index: int, reason: str) -> UserError:
        """What is said of row ``index``."""
        return UserError(
            f"Row {index} of {self.path} is not JSON ({reason}); mend it there, or download or export the file again."
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
