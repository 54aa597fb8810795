"""Read LRV-Instruction's own JSON: ``[{"image_id", "question", "answer", "task"}, …]`` on Visual Genome's images."""

from pathlib import Path
from typing import Literal

from selectmm.errors import UserError
from selectmm.pool.examine import healthy
from selectmm.pool.pool import Pool
from selectmm.pool.reading import content_of, folder_of, opened, read_rows
from selectmm.pool.row import PLACEHOLDER, Row, row_of
from selectmm.pool.sample import Turn
from selectmm.pool.stream import json_rows

SHAPE = 'LRV rows look like {"image_id": "2392588", "question": …, "answer": …, "task": "negative"}'


def open_lrv(file: str, images: str, bad_rows: Literal["stop", "drop", "keep"], cache: str) -> Pool:
    """Open a file of LRV-Instruction (github.com/FuxiaoLiu/LRV-Instruction) and a folder of Visual Genome as a pool.

    Image ``i`` is ``i.jpg`` in ``images``. A row's source is its ``task``, or ``lrv``.

    Args:
        file, images, bad_rows, cache: as for `selectmm.pool.llava_json.open_llava_json`.

    Raises:
        UserError: the file is not LRV's, or bad rows were found and are not to be dropped.
    """
    path = Path(file)
    content, root = content_of(path), folder_of(images)
    identity = {"reader": "lrv", "sha256": content}
    folder, noted = read_rows(Path(cache), identity, lambda _: json_rows(path), read_lrv)
    return healthy(opened(folder, root, {"rows": noted.content}), noted, bad_rows, Path(cache))


def read_lrv(content: object, where: str) -> Row:
    """A question about an image and its answer.

    Raises:
        UserError: it does not have LRV's shape; the sentence names it.
    """
    row = content if isinstance(content, dict) else {}
    image, question, answer = (row.get(key) for key in ("image_id", "question", "answer"))
    if not isinstance(image, str | int) or not isinstance(question, str) or not isinstance(answer, str):
        raise UserError(f"{where} lacks 'image_id', 'question' or 'answer'; {SHAPE}.")
    turns = [Turn("user", f"{PLACEHOLDER}\n{question}"), Turn("assistant", answer)]
    return row_of(where, turns, f"{image}.jpg", row.get("task") or "lrv", row.get("id"))
