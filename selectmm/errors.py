"""The one exception a user is meant to read."""

from collections.abc import Iterator
from contextlib import contextmanager

from selectmm.printable import printable


class UserError(Exception):
    """Something outside the program is wrong; the message is one sentence that names it and the way out.

    The command line prints the message without a traceback. Anything else that escapes is our bug. A message may quote
    a stranger's file, so its text is always `selectmm.printable.printable`.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


@contextmanager
def sentences_of_loaders() -> Iterator[None]:
    """A `UserError` of a loader process arrives with that process's traceback around it; its sentence alone goes on."""
    try:
        yield
    except UserError as problem:
        kind = type(problem)
        _, found, sentence = str(problem).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")
        if not found:
            raise
        raise UserError(sentence.strip()) from problem
