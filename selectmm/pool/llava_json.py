"""Read LLaVA's JSON: ``[{"id", "image", "conversations": [{"from": "human", "value": …}, {"from": "gpt", …}]}, …]``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from selectmm.errors import UserError
from selectmm.pool.examine import healthy
from selectmm.pool.pool import Pool
from selectmm.pool.reading import content_of, folder_of, opened, read_rows
from selectmm.pool.row import Row, one_image, row_of, turn_of
from selectmm.pool.stream import json_rows

SHAPE = 'LLaVA rows look like {"image": …, "conversations": [{"from": "human", "value": …}, {"from": "gpt", …}]}'


def open_llava_json(
    file: str,
    images: str,
    bad_rows: Literal["stop", "drop", "keep"],
    cache: str | Path,
    text_only: Literal["take", "leave_out"] = "take",
    source: str = "source",
) -> Pool:
    """Open a LLaVA JSON or JSONL file and its image folder as a pool.

    The file is parsed once into memory-mapped Arrow under ``cache``. Every image is then looked for and decoded once
    per state of the folder, and empty answers are counted, before anything long starts.

    Args:
        file: a list in JSON, or a row on each line if its name ends in ``.jsonl``.
        images: the folder that the image paths are relative to.
        bad_rows: what to do with rows whose image is missing or broken or whose answer is empty: ``stop`` with a
            sentence, or ``drop`` them (counted in the record); ``keep`` is for who looks at them.
        cache: root of the stage cache.
        text_only: whether rows without an image are taken or left out.
        source: the field that names a row's source; in a row without it that is the first folder of the image path
            (``coco``, ``gqa``, …), or ``text``.

    Raises:
        UserError: the file is not LLaVA's, or bad rows were found and are not to be dropped.
    """
    if text_only not in ("take", "leave_out"):
        raise UserError(f"There is no pool.text_only={text_only}; there are: take, leave_out.")
    path, cache = Path(file), Path(cache)
    content, root = content_of(path), folder_of(images)
    asked = {"text_only": text_only, "source": source}
    more = {key: value for key, value in asked.items() if value != _DEFAULTS[key]}
    identity = {"reader": "llava_json", "sha256": content, **more}
    folder, noted = read_rows(cache, identity, lambda _: json_rows(path), _Reader(text_only == "take", source))
    # Version 1 is how pools were named whose texts were stripped by the reader; where there was nothing to strip, the
    # pool is the same.
    return healthy(opened(folder, root, {**identity, "version": 1 if noted.plain else 2}), noted, bad_rows, cache)


_DEFAULTS = {"text_only": "take", "source": "source"}  # not part of the identity, so that old pools keep theirs


@dataclass(frozen=True)
class _Reader:
    text_only: bool
    source: str

    def __call__(self, content: object, where: str) -> Row | None:
        row = read_llava(content, where, self.source)
        return row if self.text_only or row.image else None


def read_llava(content: object, where: str, source: str = "source") -> Row:
    """A row as LLaVA writes it; ``source`` is the field that names its source.

    Raises:
        UserError: it does not have LLaVA's shape; the sentence names it.
    """
    if not isinstance(content, dict) or not isinstance(content.get("conversations"), list):
        raise UserError(f"{where} has no list 'conversations'; {SHAPE}.")
    image = one_image(content.get("image"), where)
    turns = [turn_of(turn, "from", "value", where, SHAPE) for turn in content["conversations"]]
    return row_of(where, turns, image, content.get(source), content.get("id"))
