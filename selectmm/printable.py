"""Text that may come from a stranger's file, made safe to print: a terminal obeys control characters."""

import logging

KEPT = "\n\t"  # what is not printable and still harmless


def printable(text: str) -> str:
    r"""``text`` with every character that is neither printable nor a line break or tab written as an escape (``\x1b``).

    That covers control characters, marks that reverse the writing direction, and half surrogates, which cannot be
    encoded. What is printable is what `str.isprintable` says.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in KEPT else _escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


class PrintableFormatter(logging.Formatter):
    """Formats a log message as any formatter does, then makes it `printable`."""

    def format(self, record: logging.LogRecord) -> str:
        """The message as it may be printed."""
        return printable(super().format(record))
