"""The plan: what is trained on when."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from hypothesis import given
from hypothesis import strategies as st

from selectmm.pool.pool import Pool
from selectmm.pool.table import SCHEMA
from selectmm.tuning.plan import lengths_of, plan, share_of
from tests.tuning.conftest import RECIPE


@st.composite
def multisets(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, int, int]:
    rows = draw(st.integers(1, 60))
    images = np.asarray(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    lengths = np.asarray(draw(st.lists(st.integers(0, 500), min_size=rows, max_size=rows)))
    return images, lengths, draw(st.integers(1, 12)), draw(st.integers(1, 30)), draw(st.integers(0, 2**31))


@given(multisets())
def test_every_row_appears_equally_often(case: tuple[np.ndarray, np.ndarray, int, int, int]) -> None:
    images, lengths, batch_size, steps, seed = case
    planned = plan(images, lengths, batch_size, steps, seed)
    assert planned.shape == (steps, batch_size)
    often, more = divmod(steps * batch_size, len(images))
    counts = Counter(planned.ravel().tolist())
    assert Counter(counts[row] for row in range(len(images))) == +Counter({often: len(images) - more, often + 1: more})


@given(multisets())
def test_at_most_the_last_batch_mixes_rows_with_and_without_image(
    case: tuple[np.ndarray, np.ndarray, int, int, int],
) -> None:
    images = case[0]
    mixed = [step for step, batch in enumerate(plan(*case)) if 0 < images[batch].sum() < len(batch)]
    assert mixed in ([], [case[3] - 1])


@given(multisets(), st.integers(0, 2**32 - 1))
def test_the_seed_alone_decides_and_global_random_states_are_neither_read_nor_moved(
    case: tuple[np.ndarray, np.ndarray, int, int, int], anything: int
) -> None:
    expected = plan(*case)
    random.seed(anything)
    np.random.seed(anything)
    with torch.random.fork_rng():
        torch.manual_seed(anything)
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        assert (plan(*case) == expected).all()
        assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_another_seed_gives_another_plan() -> None:
    images, lengths = np.arange(60) % 3 > 0, np.arange(60)
    first = plan(images, lengths, 4, 15, seed=0)
    assert all((plan(images, lengths, 4, 15, seed) != first).any() for seed in range(1, 20))


def test_rows_of_like_length_share_a_batch() -> None:
    lengths = np.random.default_rng(0).integers(0, 1000, 512)
    planned = plan(np.ones(512, bool), lengths, 8, 64, seed=0)
    spread = np.ptp(lengths[planned], axis=1)
    assert spread.mean() < 50  # of 1000 at random


def test_a_micro_batch_that_is_too_large_for_so_many_ranks_is_shared_by_neighbours() -> None:
    """Whose part is which decides over the denominator of its loss, and several may take a pass at a time."""
    for batch_size, micro_batch, world, at_once in (
        (128, 16, 1, 16), (128, 16, 8, 16), (128, 16, 32, 4), (12, 4, 2, 2), (12, 6, 4, 3), (6, 3, 6, 1),
    ):  # fmt: skip
        recipe = replace(RECIPE, batch_size=batch_size, micro_batch=micro_batch)
        assert recipe.rows_at_once(world) == at_once
        parts, batches = micro_batch // at_once, np.arange(2 * batch_size).reshape(2, batch_size)
        shares = np.stack([share_of(batches, at_once, rank, world) for rank in range(world)])
        whole = shares // micro_batch  # [ranks, passes, rows]: the micro-batch of each row
        for first in range(0, world, parts):
            together = whole[first : first + parts]
            assert (together == together[:1, :, :1]).all() and world % parts == 0


def test_ranks_share_each_step_and_one_rank_sees_the_same_micro_batches() -> None:
    batches = np.arange(48).reshape(3, 16)
    alone = share_of(batches, 4, rank=0, world=1)
    assert alone.shape == (12, 4)
    together = np.stack([share_of(batches, 4, rank, world=2) for rank in range(2)], axis=1)
    assert (together.reshape(12, 4) == alone).all()


def test_lengths_count_the_characters_of_all_turns(pool: Pool) -> None:
    rows = np.array([3, 2, 2, 0])
    expected = [sum(len(turn.text) for turn in pool[int(row)].turns) for row in rows]
    assert lengths_of(pool, rows).tolist() == expected


def test_lengths_of_more_text_than_one_arrow_array_holds() -> None:
    """2.06 GiB: a chunk of one row with 64 MiB, 33 times the same one in memory."""
    said = pa.array([[("user", "x" * 2**26, None)]], SCHEMA.field("turns").type)
    columns = [pa.chunked_array([pa.nulls(1, field.type)] * 33) for field in list(SCHEMA)[:-1]]
    table = pa.Table.from_arrays([*columns, pa.chunked_array([said] * 33)], schema=SCHEMA)
    assert lengths_of(Pool(table, Path(), "large"), np.array([32, 0, 32])).tolist() == [2**26] * 3
