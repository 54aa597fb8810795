"""The images, sounds and clips of local benchmark data are those that the data hold.

A cell of an image column holds a file's bytes or names a file: a path anywhere on this machine, or an address.
`datasets` would open or fetch whatever it names, and whoever made the data may have written anything there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import features

from selectmm.errors import UserError
from selectmm.printable import printable

BYTES, PLACE = "bytes", "path"  # the parts of such a cell


@contextmanager
def held_alone(data: Path) -> Iterator[None]:
    """Let `datasets` decode the files that cells hold, and none that they name, inside the block.

    It has no option for that, and where a data set says what its columns are (its README, its files, several formats)
    is its own affair; so the one method of each kind of column that opens files is wrapped.

    Args:
        data: where the benchmarks' data lie, for the message.

    Raises:
        UserError: in the block, where a cell names a file.
    """
    before = {kind: kind.decode_example for kind in _kinds()}
    for kind, decode in before.items():
        kind.decode_example = _checked(decode, data)
    try:
        yield
    finally:
        for kind, decode in before.items():
            kind.decode_example = decode


def _kinds() -> list[Any]:
    """The kinds of columns whose cells are files."""
    found = [kind for kind in vars(features).values() if isinstance(getattr(kind, "pa_type", None), pa.StructType)]
    return [kind for kind in found if {BYTES, PLACE} <= set(kind.pa_type.names)]


def _checked(decode: Callable, data: Path) -> Callable:
    @wraps(decode)
    def decoded(self: object, value: Any, *others: Any, **named: Any) -> Any:
        if value[BYTES] is None and value[PLACE] is not None:
            raise UserError(
                f"Benchmark data in {data} name the file '{printable(value[PLACE]):.200}' instead of holding it, and "
                f"only what they hold is opened; save them with the files inside (datasets.table.embed_table_storage)."
            )
        return decode(self, value, *others, **named)

    return decoded
