"""What a record says of a run whose rows were chosen while it trained, and of scores on the way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RoundEntry:
    """One training between two choices.

    Attributes:
        first, steps: optimiser steps of the run before it, and its own.
        scored: rows that were scored for the choice; 0 if nothing was.
        visits: rows that its steps trained on, one as often as it was. distinct: different ones.
        fresh: of the different ones, those that no round before had visited.
        overlap: of the different ones, those that the round before this one had visited too.
        per_source: visits by source.
        selection, tuning: device-seconds.
    """

    first: int
    steps: int
    scored: int
    visits: int
    distinct: int
    fresh: int
    overlap: int
    per_source: Mapping[str, int]
    selection: float
    tuning: float


@dataclass(frozen=True)
class ScheduleEntry:
    """Rows that were chosen during training.

    Attributes:
        name: the schedule. options: its own, without the method's.
        fingerprint: of all visits in their order. visits, distinct: as in `RoundEntry`.
    """

    name: str
    options: Mapping[str, Any]
    fingerprint: str
    visits: int
    distinct: int
    rounds: tuple[RoundEntry, ...]


@dataclass(frozen=True)
class PointEntry:
    """The model's scores after some of its steps, by benchmark, and the device-seconds spent by then."""

    step: int
    selection: float
    tuning: float
    scores: Mapping[str, float]
