"""Read chats as ShareGPT, LLaMA-Factory and ms-swift write them: ``{"messages": [{"role", "content"}], "images"}``.

Turns are in ``messages`` or ``conversations``, each with ``role`` and ``content`` or ``from`` and ``value``; images
are paths in ``images`` (a list) or ``image``, and are placed by ``<image>``, as `selectmm.pool.row` says; or a turn is
OpenAI's list of parts, see `selectmm.pool.content`. Tools and their calls are read as `selectmm.pool.tools` says. An
answer or a call with ``loss: false`` or ``weight: 0`` is context.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from selectmm.pool.bad import BadRow, shown
from selectmm.pool.content import Named
from selectmm.pool.examine import healthy
from selectmm.pool.fields import check_boxes, check_fields
from selectmm.pool.image_path import images_of, roots_of
from selectmm.pool.pool import Pool
from selectmm.pool.reading import File, content_of, opened, read_rows
from selectmm.pool.root import root_of
from selectmm.pool.row import Row, row_of
from selectmm.pool.stream import counted_in, json_rows
from selectmm.pool.system import System, check_system, joined, system_of
from selectmm.pool.tools import with_tools
from selectmm.pool.turns import list_of_turns, spelling_of, turns_of

SHAPE = 'rows look like {"messages": [{"role": "user", "content": …}, {"role": "assistant", …}], "images": ["a/1.png"]}'


def open_sharegpt(
    file: str, images: str, bad_rows: Literal["stop", "drop", "keep"], cache: str, system: System, source: str
) -> Pool:
    """Open a JSON or JSONL file of chats and its image folder as a pool.

    Args:
        file, images, bad_rows, cache: as for `selectmm.pool.llava_json.open_llava_json`.
        system, source: see `ChatReader`.

    Raises:
        UserError: the file holds no rows, or bad rows were found and are not to be dropped.
    """
    path = Path(file)
    content, root = content_of(path), root_of(images, cache)
    reader = ChatReader(system, source, roots_of(root))
    identity = {
        "reader": "sharegpt",
        "sha256": content,
        "system": system,
        "source": source,
        "counted_in": counted_in(path),
        "roots": reader.roots,
    }
    folder, noted = read_rows(Path(cache), identity, File(file, counted_in(path)), lambda _: json_rows(path), reader)
    return healthy(opened(folder, root, {"rows": noted.content}), noted, bad_rows, Path(cache), folder)


@dataclass(frozen=True)
class ChatReader:
    """Reads a row with turns of either spelling.

    Attributes:
        system: what becomes of a row's system prompt, see `selectmm.pool.system.System`.
        source: the field that names a row's source, if the row has it.
        roots: of the image folder, see `selectmm.pool.image_path.roots_of`.
    """

    system: System
    source: str = "source"
    roots: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_system(self.system)

    def __call__(self, content: object) -> Row:
        """The row, checked.

        Raises:
            BadRow: it is no chat, says something that is not read yet, or has a system prompt and ``system`` is
                ``stop``.
        """
        if not isinstance(content, dict):
            raise BadRow("another shape", f"is no object: {shown(content)}; {SHAPE}")
        unread = [] if _READ.issuperset(content) else list(check_fields(content, {*_READ, self.source}))
        said = list_of_turns(content, "messages", "conversations")
        spelling = spelling_of(said)
        system, said = system_of(content, said, spelling, unread)
        inside = Named([], [])
        turns = turns_of(said, spelling, unread, inside)
        check_boxes(content, turns)
        images = images_of(content, self.roots, inside.images)
        videos = (
            images_of(content, self.roots, inside.videos, "video") if _VIDEOS & content.keys() or inside.videos else ()
        )
        turns = with_tools(joined(turns, system, self.system) if system else turns, content)
        return row_of(
            turns, images, content.get(self.source), content.get("id"), bool(system), tuple(unread), videos=videos
        )


_VIDEOS = frozenset({"video", "videos"})
_READ = (
    frozenset({"messages", "conversations", "image", "images", "system", "id", "source", "tools", "functions"})
    | _VIDEOS
)
