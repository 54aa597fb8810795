"""For commands that evaluate a model themselves, with our own decoding on one device."""

from selectmm.errors import UserError
from selectmm.experiment import Experiment


def refuse_engine(experiment: Experiment, command: str) -> None:
    """Refuse an engine, which the command would not use.

    Raises:
        UserError: one was.
    """
    if experiment.engine is not None:
        raise UserError(
            f"{command} answers with our own decoding on one device and takes no engine; leave engine=… out."
        )
