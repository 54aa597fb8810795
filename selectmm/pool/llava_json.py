"""Read LLaVA's JSON: ``[{"id", "image", "conversations": [{"from": "human", "value": …}, {"from": "gpt", …}]}, …]``."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from selectmm.errors import UserError
from selectmm.pool.arrow import open_arrow, write_arrow
from selectmm.pool.examine import healthy
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Role, Turn, digest_of
from selectmm.records.stage import run_stage

ROLES: dict[str, Role] = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
SHAPE = 'LLaVA rows look like {"image": …, "conversations": [{"from": "human", "value": …}, {"from": "gpt", …}]}'


@dataclass(frozen=True)
class Row:
    """What a JSON row says, checked."""

    source: str
    turns: tuple[Turn, ...]
    image: str | None


def open_llava_json(file: str, images: str, bad_rows: Literal["stop", "drop"], cache: str | Path) -> Pool:
    """Open a LLaVA JSON file and its image folder as a pool.

    The JSON is parsed once into memory-mapped Arrow under ``cache``. Every image is then looked for and decoded once
    per state of the folder, and empty answers are counted, before anything long starts.

    Args:
        file: the JSON. A row's ``source`` field names its source; without one it is the first folder of its image
            path (``coco``, ``gqa``, …), or ``text``.
        images: the folder that the image paths are relative to.
        bad_rows: what to do with rows whose image is missing or broken or whose answer is empty: ``stop`` with a
            sentence, or ``drop`` them (counted in the record).
        cache: root of the stage cache.

    Raises:
        UserError: the file is not LLaVA's, or bad rows were found and are not to be dropped.
    """
    path, root, cache = Path(file), Path(images), Path(cache)
    if not path.is_file():
        raise UserError(f"There is no pool file {path}; set pool.file to a LLaVA JSON file.")
    if not root.is_dir():
        raise UserError(f"There is no image folder {root}; set pool.images to the folder of the pool's images.")
    with path.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    stage = run_stage(cache, "pool", {"reader": "llava_json", "version": 1, "sha256": content}, _Parse(path))
    return healthy(open_arrow(stage.folder / "pool.arrow", root, stage.fingerprint), bad_rows, cache)


@dataclass(frozen=True)
class _Parse:
    """The stage that turns the JSON into Arrow."""

    file: Path

    def __call__(self, folder: Path) -> None:
        rows = parse(_load(self.file), self.file)
        write_arrow(folder / "pool.arrow", _columns(rows))


def _load(path: Path) -> list[object]:
    try:
        rows = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise UserError(f"{path} is not JSON ({problem}); export it again as LLaVA JSON.") from problem
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path} holds no list of rows; {SHAPE}.")
    return rows


def parse(rows: Sequence[object], path: Path) -> Iterator[Row]:
    """Yield each row checked.

    Raises:
        UserError: a row does not have LLaVA's shape; the sentence names it.
    """
    for index, row in enumerate(rows):
        where = f"Row {index} of {path}"
        if not isinstance(row, dict) or not isinstance(row.get("conversations"), list):
            raise UserError(f"{where} has no list 'conversations'; {SHAPE}.")
        image = row.get("image")
        if not (image is None or (isinstance(image, str) and image)):
            raise UserError(f"{where} has an 'image' that is not one path: {image!r}; one image per row is supported.")
        turns = tuple(_turn(turn, where) for turn in row["conversations"])
        _check_order(turns, where)
        yield Row(str(row.get("source") or _source_of(image)), turns, image)


def _turn(turn: object, where: str) -> Turn:
    if not isinstance(turn, dict) or turn.get("from") not in ROLES or not isinstance(turn.get("value"), str):
        raise UserError(f"{where} has a turn without 'from' (human or gpt) and a text 'value': {turn!r}; {SHAPE}.")
    return Turn(ROLES[turn["from"]], turn["value"].replace("<image>", "").strip())


def _check_order(turns: tuple[Turn, ...], where: str) -> None:
    roles = [turn.role for turn in turns]
    if roles != ["user", "assistant"] * (len(roles) // 2) or not roles:
        raise UserError(
            f"{where} does not alternate human and gpt, ending in gpt: {roles}; every question needs its row."
        )


def _source_of(image: str | None) -> str:
    if image is None:
        return "text"
    parts = Path(image).parts
    return parts[0] if len(parts) > 1 else "images"


def _columns(rows: Iterator[Row]) -> Iterator[dict[str, object]]:
    for row in rows:
        yield {
            "digest": digest_of(row.source, row.turns, row.image),
            "source": row.source,
            "image": row.image,
            "turns": [{"role": turn.role, "text": turn.text} for turn in row.turns],
        }
