"""One stage for every format: raw rows in, checked rows out, as memory-mapped Arrow with a note of what was seen."""

import gc
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import file_digest, sha256
from pathlib import Path

from selectmm.errors import UserError
from selectmm.pool.arrow import open_arrow, write_arrow
from selectmm.pool.pool import Pool
from selectmm.pool.row import Row
from selectmm.pool.sample import digest_of
from selectmm.pool.stream import Raw
from selectmm.records.stage import fingerprint, run_stage, write_atomically

VERSION = 2  # of how rows are read; another number reads every pool again


@dataclass
class Noted:
    """What was seen while rows were read: positions of rows, ascending, and the content of all.

    Attributes:
        plain: no text begins or ends with a blank, and every image opens its first question. Readers once saw to that
            themselves, and such a pool keeps the fingerprint it had then.
        content: hash over the digests of all rows, in order.
    """

    plain: bool = True
    content: str = ""
    empty_answer: list[int] = field(default_factory=list)
    unplaced: list[int] = field(default_factory=list)
    spoken: list[int] = field(default_factory=list)
    system: list[int] = field(default_factory=list)
    trimmed: list[int] = field(default_factory=list)
    left_out: int = 0


def read_rows(
    cache: Path,
    identity: Mapping[str, object],
    raw: Callable[[Path], Iterable[Raw]],
    read: Callable[[object, str], Row | None],
) -> tuple[Path, Noted]:
    """Read rows into ``pool.arrow`` of a stage's folder, unless that was done before.

    Args:
        identity: names the rows' content.
        raw: gives the rows of the format; it may write images into the folder ``images`` of the folder it is given.
        read: checks one; the words say where it stands. None leaves it out.

    Raises:
        UserError: rows cannot be read: the first one's sentence, and how many more there are.
    """

    def make(folder: Path) -> None:
        noted = Noted()
        with _no_collector():
            write_arrow(folder / "pool.arrow", _digested(_checked(raw(folder), read, noted), noted))
        write_atomically(folder / "noted.json", json.dumps(asdict(noted)))

    stage = run_stage(cache, "pool-rows", {**identity, "version": VERSION}, make)
    return stage.folder, Noted(**json.loads((stage.folder / "noted.json").read_text()))


def opened(folder: Path, root: Path, identity: Mapping[str, object]) -> Pool:
    """The pool that `read_rows` wrote to ``folder``, named by the fingerprint of ``identity``."""
    return open_arrow(folder / "pool.arrow", root, fingerprint(identity))


def content_of(path: Path, option: str = "pool.file") -> str:
    """SHA-256 of a file.

    Raises:
        UserError: it is not there; ``option`` is what would name another.
    """
    if not path.is_file():
        raise UserError(f"There is no pool file {path}; set {option} to the file of the pool's rows.")
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def folder_of(images: str | Path) -> Path:
    """The image folder.

    Raises:
        UserError: it is not there.
    """
    root = Path(images)
    if not root.is_dir():
        raise UserError(f"There is no image folder {root}; set pool.images to the folder of the pool's images.")
    return root


@contextmanager
def _no_collector() -> Iterator[None]:
    """Without Python's search for cycles: rows form none, and it takes a third of the time to read them."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _checked(raw: Iterable[Raw], read: Callable[[object, str], Row | None], noted: Noted) -> Iterator[Row]:
    """The rows that are not left out; what cannot be read is counted to the end, so that it is mended in one go."""
    first, more = "", -1
    for where, content in raw:
        try:
            row = read(content, where)
        except UserError as problem:
            first, more = first or str(problem), more + 1
            continue
        if row is None:
            noted.left_out += 1
        elif not first:
            yield row
    if first:
        raise UserError(first + (f" ({more:,} more rows cannot be read either.)" if more else ""))


def _digested(rows: Iterable[Row], noted: Noted) -> Iterator[tuple[str, Row]]:
    """Each row with its digest; what is seen on the way goes into ``noted``."""
    content, position = sha256(), -1
    for position, row in enumerate(rows):
        _note(row, position, noted)
        try:
            digest = digest_of(row.source, row.turns, row.image, row.image_turn)
        except UnicodeEncodeError as problem:
            raise UserError(f"Row {position} holds half a character ({problem.reason}); mend its text.") from problem
        content.update(digest.encode())
        yield digest, row
    if position < 0:
        raise UserError("The pool has no rows" + (": all were left out." if noted.left_out else "."))
    noted.content = content.hexdigest()


def _note(row: Row, position: int, noted: Noted) -> None:
    if noted.plain:
        noted.plain = not row.image_turn and all(turn.text == turn.text.strip() for turn in row.turns)
    if any(turn.role == "assistant" and (not turn.text or turn.text.isspace()) for turn in row.turns):
        noted.empty_answer.append(position)
    if row.unplaced:
        noted.unplaced.append(position)
    if row.spoken:
        noted.spoken.append(position)
    if row.system:
        noted.system.append(position)
    if row.trimmed:
        noted.trimmed.append(position)
