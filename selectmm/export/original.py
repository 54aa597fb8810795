"""Which file or files a pool was read from, to write its rows as they are there (`selectmm.export.original_files`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from selectmm.errors import UserError
from selectmm.export.original_files import CHANGED, HubRows, JsonFile, ParquetFiles, TarFiles, layout_of
from selectmm.pool.parquet import files_of
from selectmm.pool.pool import Pool


class Original(Protocol):
    """The file, files or data set that a pool was read from.

    ``ending`` is that of a file which `write` writes.
    """

    @property
    def ending(self) -> str:
        """The ending of a file that `write` writes, such as ``.json``."""
        ...

    def write(self, places: Sequence[int], to: Path) -> None:
        """Write the rows at these places (ascending; one that stands twice is written twice).

        Raises:
            UserError: the file changed since the pool was read.
        """
        ...


def ending_of(entry: Mapping[str, Any]) -> str:
    """The ending of what `original_of` writes for a ``pool`` group of the configuration.

    Raises:
        UserError: it has a loader that we do not know.
    """
    loader = entry.get("_target_")
    if loader in _JSON:
        return JsonFile(Path(str(entry["file"]))).ending
    if loader in (_PARQUET, _HUB):
        return ".parquet"
    if loader == _EMBEDDED:
        return ".json"
    if loader == _WEBDATASET:
        return ".tar"
    raise UserError(
        f"Which file {loader} reads is not known, so its rows cannot be written as they are; use another --format."
    )


def state_of(entry: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Size and time of last change of the files that a ``pool`` group reads rows from, by path.

    Empty for tars and data sets of the hub, whose states the pool knows, and for files that are not there.
    """
    loader = entry.get("_target_")
    files = [Path(str(entry["file"]))] if loader in _JSON else []
    if loader == _PARQUET:
        files = files_of(Path(str(entry["file"])))
    stats = {str(path): path.stat() for path in files if path.exists()}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}


def check_unchanged(entry: Mapping[str, Any], before: Mapping[str, tuple[int, int]]) -> None:
    """Rows are found by their places, so files that changed since `state_of` looked would give other rows.

    Raises:
        UserError: naming the file that changed.
    """
    now = state_of(entry)
    for path in sorted({*before, *now}):
        if before.get(path) != now.get(path):
            raise UserError(CHANGED.format(path))


def original_of(entry: Mapping[str, Any], pool: Pool) -> Original:
    """What a ``pool`` group of the configuration reads, given the pool that it opened.

    Raises:
        UserError: see `ending_of`; or parquet files have other columns than the first, and do not fit into one.
    """
    ending = ending_of(entry)
    if ending == ".tar":
        return TarFiles(pool)
    if ending != ".parquet":
        embedded = entry["_target_"] == _EMBEDDED
        return JsonFile(cast(Path, pool.image_root).with_name("pool.json") if embedded else Path(str(entry["file"])))
    if entry["_target_"] == _PARQUET:
        layout_of(files_of(Path(str(entry["file"]))))
        return ParquetFiles(Path(str(entry["file"])))
    dataset, name, revision, split = (entry[key] for key in ("dataset", "name", "revision", "split"))
    return HubRows(dataset, name, revision, split, pool.data_state)


_JSON = {f"selectmm.pool.{name}.open_{name}" for name in ("llava_json", "sharegpt", "lrv")}
_PARQUET, _HUB = "selectmm.pool.parquet.open_parquet", "selectmm.pool.hub.open_hub"
_WEBDATASET = "selectmm.pool.webdataset.open_webdataset"
_EMBEDDED = "selectmm.quickstart.embedded.open_pool"
