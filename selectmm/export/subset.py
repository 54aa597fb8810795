"""Write chosen rows as somebody else's data set."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from selectmm.cache.progress import track
from selectmm.errors import UserError
from selectmm.export.folder import new_folder
from selectmm.export.formats import EMPTY, FORMATS, IMAGE, VIDEO, Format
from selectmm.export.formats import original as original_format
from selectmm.export.note import note
from selectmm.export.original import Original
from selectmm.methods.subset import Subset
from selectmm.pool.image import inside
from selectmm.pool.places import places_of
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Sample
from selectmm.records.record import RunRecord


def export_subset(
    pool: Pool, subset: Subset, format_name: str, to: Path, record: RunRecord | None = None, absolute: bool = False
) -> list[int]:
    """Write the rows in the pool's order, each as often as it was chosen, and a README.md that says what they are.

    Images are not copied: their paths stay relative to the pool's image folder, or become absolute.

    Args:
        format_name: one of `FORMATS`.
        to: a folder that does not exist yet, or is empty.
        record: of the run that chose them, for the README.

    Returns:
        Positions of the rows (ascending) that hold a text which the trainer takes for a placeholder.

    Raises:
        UserError: ``to`` is not empty or cannot be written, or a row's text would be taken for its image.
    """
    kind = FORMATS[format_name]
    _check_rows(subset)
    columns = _columns(pool, subset, kind)
    marked = []
    with new_folder(to) as folder:
        with (folder / kind.file).open("w", encoding="utf-8") as out:
            for piece, found in _pieces(pool, subset.rows, kind, absolute, columns):
                out.write(piece)
                marked += found
        for name, content in kind.beside_of(columns).items():
            (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        marked = sorted(set(marked))
        text = note(pool, subset, kind, record, "absolute" if absolute else "relative", marked)
        (folder / "README.md").write_text(text, encoding="utf-8")
    return marked


def export_original(pool: Pool, subset: Subset, original: Original, to: Path, record: RunRecord | None = None) -> None:
    """Write the rows as the pool's own file has them, in its order, and a README.md that says what they are.

    Args:
        to: a folder that does not exist yet, or is empty.

    Raises:
        UserError: ``to`` is not empty or cannot be written, or the pool's file changed.
    """
    kind = original_format(original.ending)
    _check_rows(subset)
    with new_folder(to) as folder:
        original.write(places_of(pool, subset.rows), folder / kind.file)
        (folder / "README.md").write_text(note(pool, subset, kind, record, "those of the file", []), encoding="utf-8")


def _check_rows(subset: Subset) -> None:
    if len(subset.rows) == 0:
        raise UserError("The subset has no rows, so there is nothing to export; choose a larger budget.")


def _columns(pool: Pool, subset: Subset, kind: Format) -> list[str]:
    """Those of `EMPTY` that some of the rows have something in.

    Raises:
        UserError: rows show clips, and the format has no place for them.
    """
    if kind.row is None:
        return []
    rows = np.intersect1d(pool.showing(pool.clips), subset.rows)
    if len(rows) and not kind.clips:
        raise UserError(
            f"{len(rows):,} of the rows show clips (first: {pool.named_with_images(int(rows[0]))}), which LLaVA's "
            f"format has no place for; export them with --format llama_factory, ms_swift or original."
        )
    tools = kind.clips and np.isin(_offering(pool), subset.rows).any()
    return ["videos"] * bool(len(rows)) + ["tools"] * bool(tools)


def _offering(pool: Pool) -> np.ndarray:
    """Positions of the rows that offer tools, [rows] of int64."""
    turns = pool.table["turns"]
    offers = pc.equal(pc.struct_field(pc.list_flatten(turns), "role"), "tools")
    return pc.list_parent_indices(turns).filter(offers).to_numpy()


def _pieces(
    pool: Pool, rows: np.ndarray, kind: Format, absolute: bool, columns: Sequence[str]
) -> Iterator[tuple[str, list[int]]]:
    """The file's text, one row after the other (memory does not grow with their number), and marked positions."""
    between = "\n" if kind.lines else ",\n"
    with_ids = kind.row is not None and _have_ids(pool, rows)
    for number, row in enumerate(track(rows.tolist(), "writing rows", len(rows))):
        sample = pool[row]
        for mark in (IMAGE, *[VIDEO] * ("videos" in columns)) if kind.row else ():
            if any(mark in turn.text for turn in sample.turns):
                raise UserError(
                    f"The pool's {pool.named(row)} says {mark} in its text, which every trainer takes for a picture; "
                    f"take the row out of the pool."
                )
        place = pool.place_of(row)
        content = kind.row(sample, _images(pool, sample, absolute)) if kind.row else place
        if with_ids:
            content = {"id": place["id"], **content}
        for name in columns:
            content.setdefault(name, EMPTY[name])
        entry = json.dumps(content, ensure_ascii=False)
        start = between if number else "" if kind.lines else "["
        held = any(mark in turn.text for turn in sample.turns for mark in kind.marks)
        yield start + entry, [row] if held else []
    yield ("\n" if kind.lines else "]\n"), []


def _images(pool: Pool, sample: Sample, absolute: bool) -> list[str]:
    paths = [image.path for image in sample.images]
    if not absolute:
        return paths
    if not isinstance(pool.image_root, Path):
        raise UserError(f"The pool's images lie in {pool.image_root} and have no absolute paths; leave out --absolute.")
    root = pool.image_root.resolve()
    return [str(inside(root, path)) for path in paths]  # as named there: links stay links


def _have_ids(pool: Pool, rows: np.ndarray) -> bool:
    """Whether one of the rows has an id in the pool's file. The others then have null: every row has the same columns.

    A place would be no id for them: another row may have it as its own.
    """
    if "id" not in pool.table.column_names:
        return False
    return bool(pc.is_valid(pool.table["id"]).to_numpy()[rows].any())
