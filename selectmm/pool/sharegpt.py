"""Read chats as ShareGPT, LLaMA-Factory and ms-swift write them: ``{"messages": [{"role", "content"}], "images"}``.

Turns are in ``messages`` or ``conversations``, each with ``role`` and ``content`` or ``from`` and ``value``; the image
is one path in ``images`` (a list) or ``image``, and is placed by ``<image>``, as `selectmm.pool.row` says.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from selectmm.errors import UserError
from selectmm.pool.examine import healthy
from selectmm.pool.pool import Pool
from selectmm.pool.reading import content_of, folder_of, opened, read_rows
from selectmm.pool.row import Row, one_image, row_of, turn_of
from selectmm.pool.sample import Turn
from selectmm.pool.stream import json_rows

SHAPE = 'rows look like {"messages": [{"role": "user", "content": …}, {"role": "assistant", …}], "images": ["a/1.png"]}'

System = Literal["stop", "join", "leave_out"]


def open_sharegpt(
    file: str, images: str, bad_rows: Literal["stop", "drop", "keep"], cache: str, system: System, source: str
) -> Pool:
    """Open a JSON or JSONL file of chats and its image folder as a pool.

    Args:
        file, images, bad_rows, cache: as for `selectmm.pool.llava_json.open_llava_json`.
        system, source: see `ChatReader`.

    Raises:
        UserError: rows are not chats, or bad rows were found and are not to be dropped.
    """
    path = Path(file)
    content, root = content_of(path), folder_of(images)
    identity = {"reader": "sharegpt", "sha256": content, "system": system, "source": source}
    folder, noted = read_rows(Path(cache), identity, lambda _: json_rows(path), ChatReader(system, source))
    return healthy(opened(folder, root, {"rows": noted.content}), noted, bad_rows, Path(cache))


@dataclass(frozen=True)
class ChatReader:
    """Reads a row with turns of either spelling.

    Attributes:
        system: a model family's template brings one system prompt for all rows, so a row's own has no place of its own:
            ``stop`` says so, ``join`` puts its text in front of the first question, a blank line between, and
            ``leave_out`` takes it out. Rows that had one are counted.
        source: the field that names a row's source, if the row has it.
    """

    system: System
    source: str = "source"

    def __post_init__(self) -> None:
        if self.system not in ("stop", "join", "leave_out"):
            raise UserError(f"There is no pool.system={self.system}; there are: stop, join, leave_out.")

    def __call__(self, content: object, where: str) -> Row:
        """The row, checked.

        Raises:
            UserError: it is no chat, or has a system turn and ``system`` is ``stop``.
        """
        said = _turns(content, where)
        role, text = ("role", "content") if "role" in _keys(said) else ("from", "value")
        system = content.get("system") or ""
        if said and isinstance(said[0], dict) and said[0].get(role) == "system":
            system, said = said[0].get(text), said[1:]
        turns = [turn_of(turn, role, text, where, SHAPE) for turn in said]
        image = one_image(content.get("images", content.get("image")), where)
        return row_of(
            where,
            self._joined(turns, system, where) if system else turns,
            image,
            content.get(self.source),
            content.get("id"),
            bool(system),
        )

    def _joined(self, turns: list[Turn], system: object, where: str) -> list[Turn]:
        if self.system == "stop" or not isinstance(system, str):
            raise UserError(
                f"{where} has a system turn, for which the models' templates have no place; set pool.system=join to "
                f"put its text in front of the first question, or pool.system=leave_out."
            )
        if self.system == "leave_out" or not turns:
            return turns
        return [Turn(turns[0].role, f"{system}\n\n{turns[0].text}"), *turns[1:]]


def _turns(content: object, where: str) -> list[object]:
    found = content.get("messages", content.get("conversations")) if isinstance(content, dict) else None
    if not isinstance(found, list):
        raise UserError(f"{where} has no list 'messages' or 'conversations'; {SHAPE}.")
    return found


def _keys(said: list[object]) -> set[str]:
    return set(said[0]) if said and isinstance(said[0], dict) else set()
