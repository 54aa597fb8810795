"""Whether the images, sounds and clips of a local benchmark lie in its parquet files.

A cell of an image column holds the file's bytes or names a file: a path anywhere on this machine, or an address, which
`datasets` would open or fetch.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Features
from datasets.info import DatasetInfosDict

from selectmm.errors import UserError

BYTES, PLACE = "bytes", "path"  # the parts of a cell that is a file
ELSEWHERE = r"^[/~]|://|::|(^|/)\.\.(/|$)"  # paths and addresses that lead out of the working folder


def check_cells(folder: Path) -> None:
    """Look at every such cell of a data set's folder.

    Raises:
        UserError: one names a file instead of holding it; or the description of the columns cannot be read.
    """
    described = _described(folder)
    for path in sorted(folder.rglob("*.parquet")):
        with pq.ParquetFile(path) as file:
            text = {column for said in described for column in _as_text(said, file.schema_arrow)}
            for column in [*sorted(text), *_without_bytes(file)]:
                raise UserError(
                    f"{path}: cells of the column '{column}' name files instead of holding them, and reading the data "
                    f"set would open whatever they name; save it with its files inside (datasets.embed_table_storage)."
                )


def _described(folder: Path) -> list[Features]:
    """The columns as the folder's README.md has them, for each configuration.

    Of what the files themselves say `datasets` believes only what agrees with how they are stored.
    """
    try:
        return [info.features for info in DatasetInfosDict.from_directory(str(folder)).values() if info.features]
    except (ValueError, TypeError, LookupError, AttributeError) as problem:
        raise UserError(
            f"The columns that the data set {folder} describes cannot be read ({problem}); mend the features in its "
            f"README.md."
        ) from problem


def _as_text(features: Features, schema: pa.Schema) -> Iterator[str]:
    """Columns that are declared as files and stored as text, which `datasets` takes for their paths."""
    for column, feature in features.items():
        if column in schema.names and _is_text(feature, schema.field(column).type):
            yield column


def _is_text(feature: object, stored: pa.DataType) -> bool:
    kind = getattr(feature, "pa_type", None)
    if kind is not None and pa.types.is_struct(kind) and PLACE in kind.names:
        return pa.types.is_string(stored) or pa.types.is_large_string(stored)
    if isinstance(feature, dict) and pa.types.is_struct(stored):
        there = {part.name: part.type for part in stored}
        return any(_is_text(inner, there[name]) for name, inner in feature.items() if name in there)
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    return inner is not None and hasattr(stored, "value_type") and _is_text(inner, stored.value_type)


def _without_bytes(file: pq.ParquetFile) -> Iterator[str]:
    """Columns in which a cell has a path and no bytes."""
    leaves = {file.schema.column(at).path: at for at in range(len(file.schema))}
    for leaf in sorted(leaves):
        cell, _, part = leaf.rpartition(".")
        held = leaves.get(f"{cell}.{BYTES}")
        if part != PLACE or held is None:
            continue
        if any(_names_files(file, group, cell, held) for group in range(file.num_row_groups)):
            yield cell


def _names_files(file: pq.ParquetFile, group: int, cell: str, held: int) -> bool:
    """Whether a cell of a row group has a path and no bytes.

    All bytes of a benchmark may be tens of gigabytes. They are read where the file says that some are missing, and
    where a path leads elsewhere, because what a file says of itself may be wrong.
    """
    said = file.metadata.row_group(group).column(held).statistics
    if said is not None and said.has_null_count and said.null_count == 0:
        paths = file.read_row_group(group, columns=[f"{cell}.{PLACE}"]).column(0)
        if not any(pc.any(pc.match_substring_regex(_inner(chunk), ELSEWHERE)).as_py() for chunk in paths.chunks):
            return False
    both = [f"{cell}.{BYTES}", f"{cell}.{PLACE}"]
    return any(_lacks(batch.column(0)) for batch in file.iter_batches(64, row_groups=[group], columns=both))


def _inner(cells: pa.Array) -> pa.Array:
    """What lies in lists and structures of one part each."""
    while not (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)):
        cells = cells.field(0) if pa.types.is_struct(cells.type) else cells.flatten()
    return cells


def _lacks(cells: pa.Array) -> bool:
    """Whether one of the cells, in whatever lists and structures they are, has a path and no bytes."""
    while not (pa.types.is_struct(cells.type) and set(cells.type.names) == {BYTES, PLACE}):
        cells = cells.field(0) if pa.types.is_struct(cells.type) else cells.flatten()
    named, held = cells.field(PLACE).is_valid(), cells.field(BYTES).is_valid()
    return bool(pc.any(pc.and_not(named, held)).as_py())
