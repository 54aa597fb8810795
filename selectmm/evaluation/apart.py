"""Whether held-out rows are rows of the pool too."""

import json
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from selectmm.errors import UserError
from selectmm.evaluation.own import AT_ONCE, DATA, ITEMS, asked, content_of, png_of
from selectmm.pool.image import found
from selectmm.pool.pool import Pool
from selectmm.pool.root import File

ROWS = 65_536  # rows of the pool looked at together


def check_apart(pool: Pool, tasks: Path | None) -> None:
    """Whether no row of the pool asks what a held-out row asks: the same first question about the same images, with the
    same answer. What is only nearly the same is reported by `selectmm.contamination`.

    Args:
        tasks: the suite's task folder.

    Raises:
        UserError: some rows do.
    """
    if tasks is None or not (tasks / ITEMS).exists():
        return
    held: dict[str, list[int]] = {}
    for number, said in enumerate(json.loads((tasks / ITEMS).read_text())):
        held.setdefault(json.dumps(said), []).append(number)
    file = pq.ParquetFile(tasks / DATA)
    questions = pa.array({json.loads(said)[0] for said in held}, pa.string())
    shared = [
        position
        for position in _asking(pool, questions)
        if any(_shows(pool, position, file, number) for number in held.get(json.dumps(content_of(pool[position])), ()))
    ]
    if shared:
        raise UserError(
            f"{len(shared):,} rows of the pool have the first question, images and answer of a held-out row (first: "
            f"{pool.named_with_images(shared[0])}), so training would teach the answers; take them out of one of the "
            f"two files."
        )


def _asking(pool: Pool, questions: pa.Array) -> Iterator[int]:
    """Positions of the rows whose first question is one of these."""
    start = 0
    for batch in pool.table.select(["turns"]).to_batches(max_chunksize=ROWS):
        turns = pc.list_flatten(batch["turns"])
        users = np.flatnonzero(pc.equal(pc.struct_field(turns, "role"), "user").to_numpy(zero_copy_only=False))
        rows, first = np.unique(pc.list_parent_indices(batch["turns"]).to_numpy()[users], return_index=True)
        texts = pc.struct_field(turns, "text").take(pa.array(users[first]))
        found = pc.is_in(texts, value_set=questions).to_numpy(zero_copy_only=False)
        yield from (start + rows[found]).tolist()
        start += len(batch)


def _shows(pool: Pool, position: int, file: pq.ParquetFile, number: int) -> bool:
    """Whether a row's images and clips are those of a held-out row. Their paths are equal; they may lie elsewhere."""
    group, place = divmod(number, AT_ONCE)
    wanted = [name for name in ("images", "clips") if name in file.schema_arrow.names]
    theirs = file.read_row_group(group, columns=wanted).slice(place, 1).to_pylist()[0]
    _, shown, _ = asked(pool[position])
    try:
        if [one["bytes"] for one in theirs["images"]] != [png_of(pool, one.path) for one in shown if not one.video]:
            return False
        clips = [Path(clip) for clip in theirs.get("clips", ()) if clip]
        ours = [found(pool.image_root, one.path, "Clip") for one in shown if one.video]
        return all(_same(one, other) for one, other in zip(ours, clips, strict=True))
    except (UserError, OSError):  # an image or a clip that cannot be read: nothing can be learned about it
        return False


def _same(one: File, other: Path) -> bool:
    """Whether two files hold the same bytes."""
    return one == other or (one.stat().st_size == other.stat().st_size and _digest(one) == _digest(other))


def _digest(file: File) -> bytes:
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").digest()
