"""The README.md beside exported rows: what they are and how to train on them."""

from collections.abc import Callable, Sequence
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
        *(["- ids: those of the pool's file, as texts; a row without one has none"] if kind.row else []),
        "",
        kind.usage.format(images=_where(pool)),
        "",
        *_warning(pool, kind, marked),
        *_context(pool, subset, kind),
        *_unfit(pool, subset, kind),
        *_left_out(pool, kind),
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
    if kind.masks:
        return []
    advice = (
        "context for selectmm and ms-swift. This trainer learns from them too; take these rows out if that matters."
    )
    return _rows_with("answers with `loss: false`", advice, _untrained, pool, subset)


def _unfit(pool: Pool, subset: Subset, kind: Format) -> list[str]:
    """Rows with turns that the trainer does not take."""
    if kind.unfit is None:
        return []
    what, advice = kind.unfit_note
    return _rows_with(what, f"{advice}.", lambda turns, rows: kind.unfit(_roles(turns), rows), pool, subset)


def _rows_with(
    what: str, advice: str, test: Callable[[pa.StructArray, np.ndarray], np.ndarray], pool: Pool, subset: Subset
) -> list[str]:
    """How many of the rows have turns that pass ``test``, which is given some turns and the row of each."""
    if "turns" not in pool.table.column_names:
        return []
    rows = np.intersect1d(subset.rows, _passing(pool.table["turns"], test)).tolist()
    if not rows:
        return []
    first = in_markdown(", ".join(pool.named(row) for row in rows[:10]))
    return [f"**{counted(len(rows), 'row has', 'rows have')} {what}** ({first}…): {advice}", ""]


def _passing(turns: pa.ChunkedArray, test: Callable[[pa.StructArray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Positions of the rows with a turn that passes, ascending; [rows] of int64.

    Chunk by chunk: no array holds the texts of all rows where they are more than 2 GiB.
    """
    found, start = [np.empty(0, np.int64)], 0
    for chunk in turns.chunks:
        rows = pc.list_parent_indices(chunk).to_numpy()
        found.append(start + np.unique(rows[test(chunk.flatten(), rows)]))
        start += len(chunk)
    return np.concatenate(found)


def _untrained(turns: pa.StructArray, rows: np.ndarray) -> np.ndarray:
    return pc.equal(pc.struct_field(turns, "trained"), False).fill_null(False).to_numpy(zero_copy_only=False)


def _roles(turns: pa.StructArray) -> np.ndarray:
    return pc.struct_field(turns, "role").to_numpy(zero_copy_only=False)


def _left_out(pool: Pool, kind: Format) -> list[str]:
    """What rows of the pool's own file have and selectmm does not read, or took out as it read them."""
    health = pool.health
    if kind.row is None or health is None:
        return []
    fields = ", ".join(
        f"`{in_markdown(name)}` ({counted(rows, 'row')})" for name, rows in sorted(health.fields.items())
    )
    entries = [f"- fields that selectmm does not read: {fields}"] if fields else []
    if health.trimmed:
        which = "an answer before the first question, or a last question without an answer, with the images it shows"
        entries.append(f"- {which} ({counted(len(health.trimmed), 'row')})")
    if health.spoken:
        entries.append(f"- `<image>` in the texts of rows without an image ({counted(len(health.spoken), 'row')})")
    if not entries:
        return []
    return ["Left out (rows are counted over the whole pool); `--format original` keeps it:", "", *entries, ""]


def _counts(subset: Subset, pool: Pool) -> dict[str, dict[str, int]]:
    return cast(dict[str, dict[str, int]], subset.coverage(pool)["per_source"])
