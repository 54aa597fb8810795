"""The README.md beside exported rows: what they are and how to train on them."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from selectmm.counted import counted
from selectmm.export.formats import Format
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool
from selectmm.printable import in_markdown
from selectmm.records.record import RunRecord


def note(pool: Pool, subset: Subset, kind: Format, record: RunRecord | None, paths: str, marked: Sequence[int]) -> str:
    """The page, in Markdown.

    Args:
        paths: ``relative``, ``absolute``, or "those of the file".
        marked: rows that hold one of the trainer's placeholders.
    """
    lines = [
        "# A subset of instruction rows",
        "",
        f"`{kind.file}` holds {counted(len(subset.rows), 'row')} ({len(np.unique(subset.rows)):,} different) of a pool "
        f"of {len(pool):,}, in the pool's order. A row that was chosen twice stands there twice.",
        "",
        *_origin(pool, subset, record),
        f"- images: paths are {paths}; the image folder is `{_where(pool)}`",
        "",
        kind.usage.format(images=_where(pool)),
        "",
        *_warning(pool, kind, marked),
        *_context(pool, subset, kind),
        *_without_place(pool, kind),
        "| source | in the pool | kept |",
        "|---|---:|---:|",
        *(f"| {in_markdown(name)} | {n['pool']:,} | {n['kept']:,} |" for name, n in _counts(subset, pool).items()),
    ]
    return "\n".join(lines) + "\n"


def _where(pool: Pool) -> str:
    return str(pool.image_root.resolve() if isinstance(pool.image_root, Path) else pool.image_root)


def _origin(pool: Pool, subset: Subset, record: RunRecord | None) -> list[str]:
    known = ["- method: unknown (no record was given)"]
    if record is not None:
        options = ", ".join(f"{name}={value}" for name, value in record.method.options.items()) or "none"
        known = [
            f"- method: {record.method.name} (options: {options}), seed {record.seed}",
            f"- budget: {record.budget:g} of the pool",
            f"- record: {record.name}, by `{record.provenance.command}`",
        ]
        known = [in_markdown(line) for line in known]  # the record may come from a stranger
    return [*known, f"- subset fingerprint: {subset.fingerprint}", f"- pool fingerprint: {pool.fingerprint}"]


def _warning(pool: Pool, kind: Format, marked: Sequence[int]) -> list[str]:
    if not marked:
        return []
    first = in_markdown(", ".join(pool.named(row) for row in marked[:10]))
    words = " or ".join(f"`{mark}`" for mark in kind.marks)
    which = "row says {} in its" if len(marked) == 1 else "rows say {} in their"
    return [f"**{len(marked):,} {which.format(words)} text** ({first}…). {kind.advice}", ""]


def _context(pool: Pool, subset: Subset, kind: Format) -> list[str]:
    """Rows with answers that the pool's own file keeps out of training."""
    if kind.masks or "turns" not in pool.table.column_names:
        return []
    rows = np.intersect1d(subset.rows, _untrained(pool.table["turns"])).tolist()
    if not rows:
        return []
    first = in_markdown(", ".join(pool.named(row) for row in rows[:10]))
    return [
        f"**{counted(len(rows), 'row has', 'rows have')} answers with `loss: false`** ({first}…): context for "
        f"selectmm and ms-swift. This trainer learns from them too; take these rows out if that matters.",
        "",
    ]


def _untrained(turns: pa.ChunkedArray) -> np.ndarray:
    """Positions of the rows with an answer that is not trained on, ascending; [rows] of int64.

    Chunk by chunk: no array holds the texts of all rows where they are more than 2 GiB.
    """
    found, start = [np.empty(0, np.int64)], 0
    for chunk in turns.chunks:
        trained = pc.struct_field(chunk.flatten(), "trained")
        found.append(start + np.unique(pc.list_parent_indices(chunk).filter(pc.equal(trained, False)).to_numpy()))
        start += len(chunk)
    return np.concatenate(found)


def _without_place(pool: Pool, kind: Format) -> list[str]:
    """Fields of the pool's own file that this format has no place for."""
    if kind.row is None or pool.health is None or not pool.health.fields:
        return []
    fields = ", ".join(
        f"`{in_markdown(name)}` ({counted(rows, 'row')})" for name, rows in sorted(pool.health.fields.items())
    )
    return [f"Left out, because this format has no place for them: {fields}. `--format original` keeps them.", ""]


def _counts(subset: Subset, pool: Pool) -> dict[str, dict[str, int]]:
    return cast(dict[str, dict[str, int]], subset.coverage(pool)["per_source"])
