"""Failures that may pass, such as a lost network: they say nothing of a file, so nothing of it is recorded."""

from selectmm.errors import UserError


class NotNow(UserError):
    """A file cannot be read for a reason that need not last: no verdict on the file."""


def not_now(file: str, reason: str, advice: str = "make it readable") -> NotNow:
    """The error that a file, in the words that name it, cannot be read now."""
    return NotNow(
        f"{file} cannot be read now ({reason}). No row was left out for it; {advice}, and start the same command again."
    )


def may_pass(problem: Exception) -> bool:
    """Whether the system failed, and not a decoder, whose verdict stays: Pillow's own errors have no number."""
    return isinstance(problem, TimeoutError | ConnectionError | MemoryError) or (
        isinstance(problem, OSError) and problem.errno is not None
    )


def why(problem: Exception) -> str:
    """The reason of a failure that may pass, as the system says it."""
    return (problem.strerror if isinstance(problem, OSError) else None) or type(problem).__name__
