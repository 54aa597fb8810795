"""Blocks of rows are those of the array, whether it is in memory, mapped, or a part of a map."""

from pathlib import Path

import numpy as np
import pytest
import torch

from selectmm.methods import blocks as module
from selectmm.methods.blocks import blocks


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    path: Path = tmp_path_factory.mktemp("blocks") / "values.npy"
    np.save(path, np.random.default_rng(0).normal(size=(23, 5)).astype(np.float16))
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize("size", [1, 4, 23, 100])
@pytest.mark.parametrize("rows", [range(23), [0], [2, 3, 5, 17, 22], [4, 5, 5, 7], [0, 0, 1, 2, 4, 4, 4]])
@pytest.mark.parametrize("part", [slice(None), slice(0, 23, 1), slice(None, None, -1), "copy", "fortran"])
@pytest.mark.parametrize("stored", [3, 24, 2**19])  # bytes: less than a row, two rows, all
def test_blocks_are_the_rows(
    mapped: np.ndarray, part: slice | str, rows: list[int], size: int, stored: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STORED", stored)
    held = {"copy": np.array(mapped), "fortran": np.asfortranarray(mapped)}
    values = held[part] if isinstance(part, str) else mapped[part]
    found = np.full((len(rows), 5), np.nan)
    for some, block in blocks(values, np.asarray(rows), size):
        assert block.dtype == torch.float32
        found[some] = block.numpy()
        block.zero_()  # the caller's to change
    assert np.array_equal(found, values[list(rows)])


def test_a_slice_of_a_map_is_read_where_it_lies(mapped: np.ndarray) -> None:
    """NumPy keeps the whole file's offset in a slice of a map."""
    [(_, block)] = blocks(mapped[7:], np.arange(3), 3)
    assert np.array_equal(block.numpy(), mapped[7:10])


def test_double_precision_is_kept() -> None:
    [(_, block)] = blocks(np.ones((2, 3)), np.arange(2), 8)
    assert block.dtype == torch.float64


def test_a_file_that_has_become_shorter_is_named(tmp_path: Path) -> None:
    path = tmp_path / "values.npy"
    np.save(path, np.ones((9, 4), np.float16))
    values = np.load(path, mmap_mode="r")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(OSError, match=r"values\.npy ends before its row 9\."):
        list(blocks(values, np.arange(9), 6))
