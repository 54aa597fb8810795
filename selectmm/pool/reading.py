"""One stage for every format: raw rows in, checked rows out, as memory-mapped Arrow with a note of what was seen."""

import gc
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import file_digest, sha256
from io import TextIOWrapper
from os.path import isfile
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from selectmm.cache.no_links import open_unlinked
from selectmm.cache.stage import fingerprint, run_stage, write_atomically
from selectmm.errors import UserError
from selectmm.pool.arrow import Read, open_arrow, write_arrow
from selectmm.pool.bad import BadRow, excerpt, id_of, shown
from selectmm.pool.pool import Pool
from selectmm.pool.root import Root
from selectmm.pool.row import VIDEO, Row
from selectmm.pool.sample import ANSWERS, digest_of
from selectmm.pool.stream import CountedIn, Raw

VERSION = 8  # of how rows are read; another number reads every pool again
UNREAD = "unread.jsonl"  # in a stage's folder: each row that cannot be read, a line each
EXAMPLES = 3  # of each reason
FIELDS = 100  # names of unread fields that are counted; a file may have another one in every row


@dataclass(frozen=True)
class File:
    """The file that rows come from, as sentences name it, how places in it are counted, and which option names it."""

    name: str
    counted_in: CountedIn = "row"
    option: str = "pool.file"

    def place(self, number: int) -> str:
        """Words that open a sentence."""
        return f"{self.counted_in.capitalize()} {number} of {self.name}"


class LeftOut(NamedTuple):
    """A row that can be read, and that the pool was asked to leave out.

    Attributes:
        anew: earlier versions did not leave it out, so that the pool must not have the name it had.
    """

    anew: bool = False


@dataclass
class Noted:
    """What was seen while rows were read: positions among the rows that could be read, ascending, and their content.

    Attributes:
        plain: no text begins or ends with a blank, and every image opens its first question. Readers once saw to that
            themselves, and such a pool keeps the fingerprint it had then.
        content: hash over the digests of all rows, in order.
        anew: a row was read, or left out, otherwise than by earlier versions.
        unfilmed: a turn says ``<video>``, and the row has no clip for it. It stays in the text, as in LLaVA: it is an
            element of HTML, too.
        untrained: rows with an answer that is context only.
        blank: numbers of the file's lines that hold no row and lie in front of one, ascending.
        bad: rows that cannot be read, by reason. first: of each reason the first rows' places, and what follows them in
            a sentence. examples: these sentences, with the name of the file that was opened; another file of the same
            content may be known from before.
        unread: rows that have a field which is not read, by its name.
    """

    plain: bool = True
    content: str = ""
    anew: bool = False
    empty_answer: list[int] = field(default_factory=list)
    unplaced: list[int] = field(default_factory=list)
    spoken: list[int] = field(default_factory=list)
    unfilmed: list[int] = field(default_factory=list)
    system: list[int] = field(default_factory=list)
    trimmed: list[int] = field(default_factory=list)
    untrained: list[int] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    left_out: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    first: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    unread: dict[str, int] = field(default_factory=dict)


def read_rows(
    cache: Path,
    identity: Mapping[str, Any],
    file: File,
    raw: Callable[[Path], Iterable[Raw]],
    read: Callable[[object], Row | LeftOut],
) -> tuple[Path, Noted]:
    """Read rows into ``pool.arrow`` of a stage's folder, unless that was done before; `UNREAD` there lists bad ones.

    Args:
        identity: names the rows' content, and all that reading depends on.
        raw: gives the rows of the format; it may write images into the folder ``images`` of the folder it is given.
        read: checks one, or leaves it out; a `BadRow` counts it.

    Raises:
        UserError: the file cannot be read, or holds no rows.
    """

    def make(folder: Path) -> None:
        noted = Noted()
        with _no_collector(), TextIOWrapper(open_unlinked(folder / UNREAD, "wb"), encoding="utf-8") as listing:
            write_arrow(folder / "pool.arrow", _checked(raw(folder), read, file, noted, listing), file.counted_in)
        write_atomically(folder / "noted.json", json.dumps(asdict(noted)))

    stage = run_stage(cache, "pool-rows", {**identity, "version": VERSION}, make)
    noted = Noted(**json.loads((stage.folder / "noted.json").read_text()))
    for reason, rows in noted.first.items():
        noted.examples[reason] = [f"{file.place(place)}{fault}" for place, fault in rows]
    return stage.folder, noted


def opened(folder: Path, root: Root, identity: Mapping[str, Any]) -> Pool:
    """The pool that `read_rows` wrote to ``folder``, named by the fingerprint of ``identity``."""
    return open_arrow(folder / "pool.arrow", root, fingerprint(identity))


def content_of(path: Path, option: str = "pool.file") -> str:
    """SHA-256 of a file.

    Raises:
        UserError: it is not there or cannot be read; ``option`` is what would name another.
    """
    if not isfile(path):  # False also for a name that no file can have
        raise UserError(f"There is no pool file {excerpt(path)}; set {option} to the file of the pool's rows.")
    try:
        with path.open("rb") as stream:
            return file_digest(stream, "sha256").hexdigest()
    except OSError as problem:
        raise UserError(
            f"The pool file {excerpt(path)} cannot be read ({problem.strerror}); make it readable, or set {option} to "
            f"another file."
        ) from problem


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


def _checked(
    raw: Iterable[Raw], read: Callable[[object], Row | LeftOut], file: File, noted: Noted, listing: TextIO
) -> Iterator[Read]:
    """The rows that can be read and are not left out; all that is seen on the way goes into ``noted``.

    What cannot be read is counted to the end, so that it can be fixed in one go, and listed line by line.
    """
    content, position, following = sha256(), 0, 1
    for place, said in raw:
        if file.counted_in == "line":
            noted.blank += range(following, place)
            following = place + 1
        try:
            if isinstance(said, BadRow):
                raise said
            row = read(said)
            if isinstance(row, LeftOut):
                noted.left_out += 1
                noted.anew |= row.anew
                continue
            digest = digest_of(row.source, row.turns, row.images)
        except BadRow as problem:
            _count(problem.reason, str(problem), place, said, file, noted, listing)
        except UnicodeEncodeError as problem:
            fault = f"holds half a character ({problem.reason}) in a text or its source; fix it"
            _count("half a character", fault, place, said, file, noted, listing)
        except RecursionError:
            _count("values nested too deeply", "is nested too deeply", place, said, file, noted, listing)
        else:
            _note(row, position, noted)
            content.update(digest.encode())
            yield place, digest, row
            position += 1
    if not position and not noted.bad:
        why = ": all were left out; set pool.text_only=take, or " if noted.left_out else "; "
        raise UserError(f"The pool has no rows{why}set {file.option} to what has some.")
    noted.content = content.hexdigest()


def _count(reason: str, fault: str, place: int, said: object, file: File, noted: Noted, listing: TextIO) -> None:
    """Count a row that cannot be read, keep its sentence if it is one of the first, and list it."""
    id = said.get("id") if isinstance(said, dict) else None
    noted.bad[reason] = noted.bad.get(reason, 0) + 1
    if noted.bad[reason] <= EXAMPLES:
        named = "" if id is None else f" (id {shown(id)})"
        noted.first.setdefault(reason, []).append((place, f"{named} {fault}"))
    entry = {file.counted_in: place, "id": id_of(id), "reason": reason, "message": fault}
    listing.write(json.dumps(entry) + "\n")


def _note(row: Row, position: int, noted: Noted) -> None:
    _, turns, images, _, unplaced, spoken, system, trimmed, unread, anew = row
    _, texts, trained = zip(*turns, strict=True)
    bare = tuple([text.strip() for text in texts])
    if bare != texts or (images and images[0].turn):
        noted.plain = False
    if not (all(bare) and all(trained)):  # seldom
        _note_answers(row, position, noted)
    if VIDEO in "\n".join(texts):  # those of clips are taken out
        noted.unfilmed.append(position)
    if unplaced:
        noted.unplaced.append(position)
    if spoken:
        noted.spoken.append(position)
    if system:
        noted.system.append(position)
    if trimmed:
        noted.trimmed.append(position)
    if anew:
        noted.anew = True
    if unread:
        _note_unread(unread, noted)


def _note_answers(row: Row, position: int, noted: Noted) -> None:
    answers = [turn for turn in row.turns if turn.role in ANSWERS]
    if not all(turn.trained for turn in answers):
        noted.untrained.append(position)
    if any(turn.trained and not turn.text.strip() for turn in answers):
        noted.empty_answer.append(position)


def _note_unread(names: Sequence[str], noted: Noted) -> None:
    for name in dict.fromkeys(names):  # several turns may have it
        known = name if name in noted.unread or len(noted.unread) < FIELDS else "further fields"
        noted.unread[known] = noted.unread.get(known, 0) + 1
