"""The one exception a user is meant to read."""


class UserError(Exception):
    """Something outside the program is wrong; the message is one sentence that names it and the way out.

    The command line prints the message without a traceback. Anything else that escapes is our bug.
    """
