"""Hours on a GPU in words; that they are turned into rows is tested with ``selectmm select``."""

import pytest

from selectmm.planning.hours import duration


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (1.72e-06, "0.00619 seconds"),
        (0.01, "36 seconds"),
        (0.25, "15 minutes"),
        (8.046, "8.05 hours"),
    ],
)
def test_short_times_are_said_in_seconds_or_minutes(hours: float, words: str) -> None:
    assert duration(hours) == words
