"""Rows are computed together by their tokens."""

import numpy as np
import pytest
import torch

from selectmm.models.together import parts, rows_together


def halved(rows: list[int], lengths: list[int], most: int) -> list[list[int]]:
    """Rows, and then halves of them, are tried until one suffices."""
    if len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= most:
        return [rows]
    middle = len(rows) // 2
    return halved(rows[:middle], lengths, most) + halved(rows[middle:], lengths, most)


def test_parts_are_those_of_halving_whatever_the_lengths() -> None:
    drawn = np.random.default_rng(0)
    for _ in range(500):
        lengths = drawn.integers(1, 2048, size=drawn.integers(1, 40)).tolist()
        most = int(drawn.integers(1, 40_000))
        found = [[*range(len(lengths))][part] for part in parts(torch.tensor(lengths), most)]
        assert found == halved([*range(len(lengths))], lengths, most)


@pytest.mark.parametrize("most", [1, 9, 10, 79, 80, 160])
def test_so_many_rows_stay_together_as_the_first_part_has(most: int) -> None:
    first = parts(torch.full((16,), 10), most)[0]
    assert rows_together(16, 10, most) == first.stop


def test_no_rows_are_one_empty_part() -> None:
    assert parts(torch.tensor([], dtype=torch.long), 5) == [slice(0, 0)]
