"""A feature's values on disk while they are computed: one file for each run of rows (or images) that is done."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from selectmm.errors import UserError
from selectmm.features.feature import Feature

VALUES = "values.npy"  # what the shards of a finished feature are joined to


def covered(folder: Path, units: int) -> np.ndarray:
    """Which of the feature's units lie there, [units] of bool."""
    if (folder / VALUES).exists():  # a kill came after the shards were joined, while they were deleted or later
        return np.ones(units, dtype=bool)
    there = np.zeros(units, dtype=bool)
    for shard in shards_in(folder):
        there[slice(*_range_of(shard))] = True
    return there


def shards_in(folder: Path) -> list[Path]:
    """The files that hold values, in the order of the units."""
    return sorted(folder.glob("shard-*.npy"))


def save_missing(
    folder: Path, units: range, values: np.ndarray, feature: Feature, there: np.ndarray, named: Callable[[int], str]
) -> None:
    """Write the values of ``units`` that ``there`` (see `covered`) lacks.

    Args:
        named: a unit in words that its owner can look up.

    Raises:
        UserError: a value is NaN or infinite.
    """
    for run in _runs(np.flatnonzero(~there[units.start : units.stop]) + units.start):
        _save(folder, run, values[run.start - units.start : run.stop - units.start], feature, named)


def join(folder: Path) -> None:
    """All shards into one memory-mappable `VALUES`; none is deleted before that is whole."""
    shards, values = shards_in(folder), folder / VALUES
    rows = sum(len(np.load(shard, mmap_mode="r")) for shard in shards)
    if not values.exists() or rows == len(np.load(values, mmap_mode="r")):
        _write_joined(shards, rows, values)
    for shard in shards:  # after a kill in between: fewer rows than in the values, which are whole then
        shard.unlink()


def _write_joined(shards: Sequence[Path], rows: int, path: Path) -> None:
    """Shard after shard into a file: the pages of a map would count as this process's memory, all of them at last."""
    first = np.load(shards[0], mmap_mode="r")
    shape = (rows, *first.shape[1:])
    with _beside(path) as stream:
        header = {"descr": np.lib.format.dtype_to_descr(first.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for shard in shards:
            np.load(shard).tofile(stream)


def _range_of(shard: Path) -> tuple[int, int]:
    _, start, stop = shard.stem.split("-")
    return int(start), int(stop)


def _runs(units: np.ndarray) -> Iterator[range]:
    """Ascending numbers as ranges without gaps."""
    for run in np.split(units, np.flatnonzero(np.diff(units) > 1) + 1):
        if len(run):
            yield range(int(run[0]), int(run[-1]) + 1)


def _save(folder: Path, units: range, values: np.ndarray, feature: Feature, named: Callable[[int], str]) -> None:
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        bad = units.start + int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[0])
        what = "image" if feature.view == "image" else "row"
        raise UserError(
            f"{feature} came out as NaN or infinite for {named(bad)}; the model overflows on it: set "
            f"model.dtype=float32, or look at that {what}."
        )
    path = folder / f"shard-{units.start:09d}-{units.stop:09d}.npy"
    with _beside(path) as stream:
        np.save(stream, values)


@contextmanager
def _beside(path: Path) -> Iterator[BinaryIO]:
    """A file that becomes ``path`` when the block ends; new, so that it is no link that somebody put there."""
    beside = path.with_suffix(".partial")
    beside.unlink(missing_ok=True)
    with beside.open("xb") as stream:
        yield stream
    beside.replace(path)
