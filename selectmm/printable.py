"""Text that may come from a stranger's file, made safe to show: a terminal obeys control characters, a page tags."""

import logging
import re
import unicodedata


def printable(text: str) -> str:
    r"""The text with every character that is not `showable` written as an escape (``\x1b``)."""
    if text.isprintable():
        return text
    return "".join(sign if showable(sign) else _escaped(sign) for sign in text)


def showable(sign: str) -> bool:
    """Whether a page or a terminal shows the character and obeys nothing in it: letters, signs, spaces, line breaks.

    Not so are control characters, those that change the direction of text, and halves of surrogate pairs, which cannot
    be encoded.
    """
    return sign.isprintable() or sign in "\n\t" or unicodedata.category(sign) == "Zs"


def one_line(text: str) -> str:
    """The text without what a terminal or a page would obey: line breaks, escapes."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def in_markdown(text: str) -> str:
    """The text for a page in Markdown: one line, without tags, pictures, and links under other words than their
    address; a pipe does not end the cell of a table."""
    shown = one_line(text).replace("|", "\\|").replace("<", "&lt;")
    return re.sub(r"\](?=[(:])", r"]\\", shown)


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


class PrintableFormatter(logging.Formatter):
    """Formats a log message as any formatter does, then makes it `printable`."""

    def format(self, record: logging.LogRecord) -> str:
        """The message as it may be printed."""
        return printable(super().format(record))


class NoErrors(logging.Filter):
    """Leaves out warnings and errors, which have a stream of their own."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the message is shown."""
        return record.levelno < logging.WARNING


class NumberedFormatter(PrintableFormatter):
    """A `PrintableFormatter` whose lines begin with the number of their job, because jobs write side by side."""

    def __init__(self, job: int) -> None:
        super().__init__()
        self.job = job

    def format(self, record: logging.LogRecord) -> str:
        """The message, its lines numbered; empty ones stay empty."""
        return numbered(super().format(record), str(self.job))


def numbered(text: str, job: str) -> str:
    """The text, each of its lines behind the number of a job; empty ones stay empty."""
    return "\n".join(f"[{job}] {line}" if line else "" for line in text.split("\n"))
