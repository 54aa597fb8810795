"""Checks of commands that evaluate a model themselves, with our own decoding on one device."""

from selectmm.errors import UserError
from selectmm.evaluation.engine import Engine


def refuse_engine(engine: Engine | None, command: str) -> None:
    """Refuse an engine, which the command would not use.

    Raises:
        UserError: one was.
    """
    if engine is not None:
        raise UserError(
            f"{command} answers with our own decoding on one device and takes no engine; leave engine=… out."
        )
