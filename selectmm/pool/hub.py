"""Read a data set of the Hugging Face hub through ``datasets``: the one reader that may use the network."""

from collections.abc import Iterator
from os.path import isdir
from pathlib import Path
from typing import Literal

from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetsError

from selectmm.errors import UserError
from selectmm.network import check_data_sets, check_inside
from selectmm.pool.columns import NAMED, ROWS_AT_ONCE, check_columns, table_rows
from selectmm.pool.examine import healthy
from selectmm.pool.image_path import roots_of
from selectmm.pool.pool import Pool
from selectmm.pool.reading import File, opened, read_rows
from selectmm.pool.root import root_of
from selectmm.pool.sharegpt import ChatReader
from selectmm.pool.stream import Raw
from selectmm.pool.system import System


def open_hub(
    dataset: str,
    name: str | None,
    revision: str,
    split: str,
    images: str | None,
    bad_rows: Literal["stop", "drop", "keep"],
    cache: str,
    system: System,
    source: str,
) -> Pool:
    """Open a data set of the hub, or a local folder laid out like one, as a pool.

    Args:
        dataset: ``owner/name``, or a folder. name: its configuration, None for its default.
        revision: a commit (or a branch or tag, which may move); not looked at for a folder.
        images: None if the images are inside the data set: they are written to the cache once. Else the folder that the
            image paths are relative to.
        bad_rows, cache, system, source: as for `selectmm.pool.sharegpt.open_sharegpt`.

    Raises:
        UserError: the data set cannot be had, has no column of turns, or bad rows were found.
    """
    root = None if images is None else root_of(images, cache)
    data = load_split(dataset, name, revision, split)
    check_columns(data.column_names, f"Data set {dataset}")
    reader = ChatReader(system, source, () if root is None else roots_of(root))
    identity = {
        "reader": "hub",
        "data": state_of_data(data),
        "system": system,
        "source": source,
        "inside": images is None and NAMED,
        "roots": reader.roots,
    }

    def raw(folder: Path) -> Iterator[Raw]:
        batches = data.with_format("arrow").iter(ROWS_AT_ONCE)  # undecoded: images stay the bytes they are
        return table_rows(batches, folder / "images" if root is None else None)

    folder, noted = read_rows(Path(cache), identity, File(dataset, option="pool.dataset"), raw, reader)
    pool = opened(folder, root or folder / "images", {"rows": noted.content}).read_from(state_of_data(data))
    return healthy(pool, noted, bad_rows, Path(cache), folder)


def state_of_data(data: Dataset) -> str:
    """A name of the files that a data set was made from: their commit, or their sizes and times of last change."""
    return data._fingerprint


def load_split(dataset: str, name: str | None, revision: str, split: str) -> Dataset:
    """The data set's split, from the hub or a local folder; arguments as of `open_hub`.

    Raises:
        UserError: it cannot be had.
    """
    local = isdir(dataset)
    check_data_sets([dataset], "pool.dataset")
    if local:
        check_inside(Path(dataset))
    try:
        return load_dataset(dataset, name, split=split, revision=None if local else revision)
    except (
        OSError,
        ValueError,
        DatasetsError,
    ) as problem:  # offline, not there, broken, no such configuration or split
        raise UserError(
            f"Data set '{dataset}' at revision '{revision}', split '{split}' cannot be loaded "
            f"({_first_line(problem)}); go online, or download it and set pool.dataset to its folder."
        ) from problem


def _first_line(problem: Exception) -> str:
    """Of its message; its kind if it has none."""
    return next(iter(str(problem).strip().splitlines()), type(problem).__name__)
