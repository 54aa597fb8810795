"""Rows named by their places in the pool's file, as `selectmm export subset --format indices` writes them."""

from hashlib import sha256
from json import dumps
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from selectmm.errors import UserError
from selectmm.pool.bad import shown
from selectmm.pool.pool import Pool
from selectmm.pool.table import PLACE


def places_of(pool: Pool, rows: np.ndarray) -> list[int]:
    """Places in the pool's file of rows of the pool, in their order; see `Pool.place_of`."""
    if PLACE not in pool.table.column_names:
        return rows.tolist()
    return pool.table[PLACE].take(pa.array(rows)).to_pylist()


def places_digest(pool: Pool) -> str:
    """A hash of the places and ids of all rows; 16 hex characters.

    The same rows have other places once the file has another row in front of them.
    """
    found = sha256(pool.counted_in.encode())
    for name in (PLACE, "id"):
        for chunk in pool.table[name].chunks if name in pool.table.column_names else ():
            found.update(dumps([name, chunk.to_pylist()]).encode())
    return found.hexdigest()[:16]


def positions_in(pool: Pool, content: object, file: str) -> object:
    """Positions in the pool of rows that are named as by `Pool.place_of`; any other content as it is.

    Raises:
        UserError: an entry names no row of the pool, or one with another id.
    """
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return content
    counted_in = pool.counted_in
    wanted: list[Any] = [entry.get(counted_in) if isinstance(entry, dict) else None for entry in content]
    odd = next((entry for entry, place in zip(content, wanted, strict=True) if type(place) is not int), None)
    if odd is not None:
        raise UserError(f"{file} lists {shown(odd)}, which has no whole number '{counted_in}': give rows of this pool.")
    columns = pool.table.column_names
    places = pool.table["place"] if "place" in columns else pa.array(range(len(pool)), pa.int64())
    if max(map(abs, wanted)) >= 2**63:
        raise UserError(f"{file} lists {counted_in} {max(wanted, key=abs):.6g}, which the pool does not have.")
    found = pc.index_in(pa.array(wanted, pa.int64()), value_set=places).to_pylist()
    for entry, position in zip(content, found, strict=True):
        if position is None:
            raise UserError(
                f"{file} lists {counted_in} {entry[counted_in]}, which the pool does not have: it was made for another "
                f"file, or that row was left out (pool.bad_rows, pool.text_only)."
            )
        id = pool.place_of(position)["id"]
        if "id" in entry and entry["id"] != id:
            raise UserError(
                f"{file} lists {counted_in} {entry[counted_in]} with id {shown(entry['id'])}, which in the pool has id "
                f"{shown(id)}: it was made for another file."
            )
    return found
