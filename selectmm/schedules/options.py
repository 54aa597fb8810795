"""Ranges of options that the files of their schedules leave open.

A schedule's runs are named by its source: if its own file looked at them, every run that is finished would be trained
again.
"""

from math import isfinite

from selectmm.errors import UserError
from selectmm.schedules.delta_loss import DeltaLoss
from selectmm.schedules.loss import Loss
from selectmm.schedules.schedule import Schedule, check_share


def check_options(schedule: Schedule) -> None:
    """Raises a `UserError` that names an option which is out of its range."""
    if isinstance(schedule, Loss):
        _check_weight("weight", schedule.weight)
    if isinstance(schedule, DeltaLoss):
        check_share("window", schedule.window)
        _check_weight("outside", schedule.outside)


def _check_weight(name: str, value: float) -> None:
    if not (isfinite(value) and value >= 0):
        raise UserError(f"schedule.{name}={value:g} is no weight of a row; give a number of 0 or more, such as 1.")
