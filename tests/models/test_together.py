"""Rows are computed together by their tokens."""

import numpy as np
import pytest
import torch

from selectmm.models.together import OVERHEAD, parts, parts_alike, rows_together


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


def cheapest(lengths: list[int], most: int) -> int:
    """What the best way to cut these sorted lengths into parts costs, each way tried."""
    if not lengths:
        return 0
    ways = [lengths[start:] for start in range(len(lengths))]
    allowed = [part for part in ways if len(part) == 1 or len(part) * part[-1] <= most]
    return min(cheapest(lengths[: -len(part)], most) + len(part) * part[-1] + OVERHEAD for part in allowed)


def test_parts_are_the_cheapest_whatever_the_lengths() -> None:
    drawn = np.random.default_rng(0)
    for _ in range(200):
        lengths = drawn.integers(1, drawn.choice([60, 600]), size=drawn.integers(1, 10)).tolist()
        most = int(drawn.integers(1, 3000))
        found = parts_alike(torch.tensor(lengths), most)
        assert sorted(row for part in found for row in part) == [*range(len(lengths))]
        longest = [max(lengths[row] for row in part) for part in found]
        costs = [len(part) * most_of for part, most_of in zip(found, longest, strict=True)]
        assert all(cost <= most or len(part) == 1 for part, cost in zip(found, costs, strict=True))
        assert sum(costs) + OVERHEAD * len(found) == cheapest(sorted(lengths), most)


def test_a_long_row_among_short_ones_goes_alone() -> None:
    """Rows that are padded to its length would take many times as long as they have to."""
    assert parts_alike(torch.tensor([40, 900, 42, 41]), 10**6) == [[0, 3, 2], [1]]
    assert parts_alike(torch.tensor([40, 44, 42, 41]), 10**6) == [[0, 3, 2, 1]], "a pass of its own would cost more"
