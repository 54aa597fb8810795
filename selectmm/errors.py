"""The one exception a user is meant to read."""

from selectmm.printable import printable


class UserError(Exception):
    """Something outside the program is wrong; the message is one sentence that names it and the way out.

    The command line prints the message without a traceback. Anything else that escapes is our bug. A message may quote
    a stranger's file, so its text is always `selectmm.printable.printable`.
    """

    def __str__(self) -> str:
        return printable(super().__str__())
