"""Read LRV-Instruction's own JSON: ``[{"image_id", "question", "answer", "task"}, …]`` on Visual Genome's images."""

from functools import partial
from pathlib import Path
from typing import Literal

from selectmm.pool.bad import BadRow, absent, shown
from selectmm.pool.examine import healthy
from selectmm.pool.fields import check_fields
from selectmm.pool.image_path import below, roots_of
from selectmm.pool.pool import Pool
from selectmm.pool.reading import File, content_of, opened, read_rows
from selectmm.pool.root import root_of
from selectmm.pool.row import PLACEHOLDER, Row, row_of
from selectmm.pool.sample import Turn
from selectmm.pool.stream import counted_in, json_rows

SHAPE = 'LRV rows look like {"image_id": "2392588", "question": …, "answer": …, "task": "negative"}'
_READ = frozenset({"image_id", "question", "answer", "task", "id"})


def open_lrv(file: str, images: str, bad_rows: Literal["stop", "drop", "keep"], cache: str) -> Pool:
    """Open a file of LRV-Instruction (github.com/FuxiaoLiu/LRV-Instruction) and a folder of Visual Genome as a pool.

    Image ``i`` is ``i.jpg`` in ``images``. A row's source is its ``task``, or ``lrv``.

    Args:
        file, images, bad_rows, cache: as for `selectmm.pool.llava_json.open_llava_json`.

    Raises:
        UserError: the file holds no rows, or bad rows were found and are not to be dropped.
    """
    path = Path(file)
    content, root = content_of(path), root_of(images, cache)
    roots = roots_of(root)
    identity = {"reader": "lrv", "sha256": content, "counted_in": counted_in(path), "roots": roots}
    read = partial(read_lrv, roots=roots)
    folder, noted = read_rows(Path(cache), identity, File(file, counted_in(path)), lambda _: json_rows(path), read)
    return healthy(opened(folder, root, {"rows": noted.content}), noted, bad_rows, Path(cache), folder)


def read_lrv(content: object, roots: tuple[str, ...] = ()) -> Row:
    """A question about an image and its answer.

    Raises:
        BadRow: it does not have LRV's shape.
    """
    row = content if isinstance(content, dict) else {}
    image, question, answer = (row.get(key) for key in ("image_id", "question", "answer"))
    has_image = isinstance(image, str | int) and not isinstance(image, bool) and image != ""
    if not has_image or not isinstance(question, str) or not isinstance(answer, str):
        raise BadRow("another shape", f"lacks 'image_id', 'question' or 'answer': {shown(content)}; {SHAPE}")
    unread = check_fields(row, _READ)
    turns = [Turn("user", f"{PLACEHOLDER}\n{question}"), Turn("assistant", answer)]
    task = row.get("task")
    source = "lrv" if absent(task) else task
    return row_of(turns, (below(f"{image}.jpg", roots),), source, row.get("id"), unread=unread)
