"""The training plan: which rows are trained on at which step, decided before the first step."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from selectmm.pool.pool import Pool
from selectmm.tuning.job import Task

MEGA = 50  # batches that are sorted by length together; fewer would pad more, more would shuffle less


def lengths_of(pool: Pool, rows: np.ndarray) -> np.ndarray:
    """Characters in the turns of each of ``rows``, [n] of int64: cheap, and good enough to sort by.

    Chunk by chunk, because an Arrow array holds at most 2 GiB of text.
    """
    return np.concatenate([_characters(chunk) for chunk in pool.table["turns"].chunks])[rows]


def _characters(turns: pa.ListArray) -> np.ndarray:
    characters = pc.utf8_length(pc.struct_field(turns.flatten(), "text")).to_numpy(zero_copy_only=False)
    until = np.concatenate([[0], np.cumsum(characters)])  # characters before each turn
    ends = np.cumsum(pc.list_value_length(turns).to_numpy(zero_copy_only=False))
    return np.diff(until[ends], prepend=0)


def planned(pool: Pool, rows: np.ndarray, task: Task) -> np.ndarray:
    """Indices into ``rows`` for every step of a task, [steps of the task, batch size] of int64."""
    size = task.recipe.batch_size
    if task.part and task.part.ordered:
        return np.arange(len(rows)).reshape(-1, size)
    steps = task.last - task.first
    ends, _ = pool.shown
    return plan(ends[rows + 1] > ends[rows], lengths_of(pool, rows), size, steps, task.seed, task.first)


def plan(images: np.ndarray, lengths: np.ndarray, batch_size: int, steps: int, seed: int, first: int = 0) -> np.ndarray:
    """Indices into the multiset of rows for every step, [steps, batch_size] of int64.

    Every pass over the multiset is a fresh permutation. Its rows are parted into those with and those without an image,
    sorted by length inside mega-batches (`MEGA`), and cut into full batches, whose order is shuffled: the idea of
    LLaVA's ``group_by_modality_length``. Rows that do not fill a batch wait for the next pass, so every batch is full
    and of one modality, but for at most one: the last batch takes what waits at the end. Over all steps each index
    appears ``steps · batch_size / n`` times, rounded down or up. The plan depends on nothing but its arguments.

    Args:
        images: whether each row has an image, [n] of bool.
        lengths: a length of each row, [n].
        first: steps of the same run before these, so that two parts of a run do not draw alike.
    """
    rng = np.random.default_rng([seed, 0, first] if first else [seed, 0])
    left = steps * batch_size
    waiting = np.empty(0, np.int64)
    planned = []
    while left:
        drawn = rng.permutation(len(images))[:left]
        left -= len(drawn)
        rows = np.concatenate([waiting, drawn])
        with_image, rest = _group(rows[images[rows]], lengths, batch_size)
        without, other_rest = _group(rows[~images[rows]], lengths, batch_size)
        waiting = np.concatenate([rest, other_rest])
        full = np.concatenate([with_image, without])
        planned.append(full[rng.permutation(len(full))])
    return np.concatenate([*planned, waiting.reshape(-1, batch_size)])


def _group(rows: np.ndarray, lengths: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Full batches of rows of like length, [b, batch_size], and the rows left over (the last of ``rows``)."""
    whole = len(rows) // batch_size * batch_size
    megas = [rows[start:whole][: MEGA * batch_size] for start in range(0, whole, MEGA * batch_size)]
    ordered = [mega[np.argsort(-lengths[mega], kind="stable")] for mega in megas]
    return np.concatenate([rows[:0], *ordered]).reshape(-1, batch_size), rows[whole:]


def share_of(batches: np.ndarray, at_once: int, rank: int, world: int) -> np.ndarray:
    """One rank's rows in the order in which it trains on them, [steps · passes per step, at_once].

    A batch is cut into micro-batches, or equal parts of them (`Recipe.rows_at_once`), and the ranks take them in turn:
    ranks work on rows of like length at the same time, and one device accumulates over what several see at once.
    """
    steps = len(batches)
    return batches.reshape(steps, -1, at_once)[:, rank::world].reshape(-1, at_once)
