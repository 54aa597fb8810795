"""What lies in a cache: every stage with its size and cost, when it was used last, and whether it is in use now."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from selectmm.cache.in_use import unused
from selectmm.cache.stage import ENTRY
from selectmm.errors import UserError
from selectmm.printable import printable

REMOVED = ".removed"  # folder of a cache where stages lie while they are being deleted
PARTIAL, LOCK = ".partial", ".lock"
PASS = "pass.txt"  # in a feature's stage: names the pass over the pool that it rode on, whose whole cost it states
_STAGE = re.compile("[a-z][a-z0-9-]*")
_MARK = re.compile("[0-9a-f]{16}")
_ROWS = re.compile(rb'"fingerprint": "([0-9a-f]{16})"')
_CLASS = re.compile(r"[\w.]+\.(\w+)@[0-9a-f]{16}")  # as `source_of` names a method or a feature
_HASH = re.compile("[0-9a-f]{16,64}")
UNTOLD = {"code", "version", "options", "ours", "harnesses", "features"}  # of an identity: not worth a reader's time


@dataclass(frozen=True)
class Entry:
    """A stage's folder.

    Attributes:
        size: bytes on disk. device_seconds: what it cost so far, None if that is not known.
        used: when a run used it last, or worked at it, in seconds since 1970.
        in_use: whether a process uses it now; None where the file system cannot say.
        shares: the name of the pass whose cost it shares with other stages, if it does.
        identity: what it follows from; an unfinished stage has not noted it yet. what: the same as a line to read.
    """

    stage: str
    folder: Path
    state: Literal["finished", "partial"]
    size: int
    device_seconds: float | None
    used: float
    in_use: bool | None
    shares: str | None
    identity: Mapping[str, Any] = field(repr=False)
    what: str = ""


@dataclass(frozen=True)
class Inventory:
    """A cache's content.

    Attributes:
        entries: its stages, the one that was used longest ago first.
        leftovers: what no run will look at again: folders that were being deleted, locks whose stage is gone.
        links: symbolic links in the place of stages. They are not followed, and what they lead to is never deleted.
        others: what is there besides, and is left alone.
    """

    root: Path
    entries: list[Entry]
    leftovers: list[Path]
    links: list[Path]
    others: list[Path]


def take_inventory(root: Path) -> Inventory:
    """Look through a cache; nothing is changed.

    Raises:
        UserError: the folder is not there, cannot be read, or does not look like a cache.
    """
    if not root.is_dir():
        raise UserError(f"There is no cache folder {root}; name another with --cache, as 'cache' of the runs names it.")
    found = Inventory(root, [], [], [], [])
    try:
        for path in sorted(root.iterdir()):
            _look_into(path, found)
    except OSError as problem:
        raise UserError(f"The cache {root} cannot be read: {problem.filename}: {problem.strerror}.") from problem
    if found.others and not (found.entries or found.leftovers):
        first = printable(str(found.others[0].relative_to(root)))
        raise UserError(
            f"{root} does not look like a cache of selectmm: no folder in it is a stage (there is {first}); name the "
            f"folder that 'cache' of the runs names with --cache."
        )
    described = [_described(entry, found.entries) for entry in found.entries]
    found.entries[:] = sorted(described, key=lambda entry: entry.used)
    return found


def _look_into(path: Path, found: Inventory) -> None:
    """One thing in the cache's folder."""
    if path.is_symlink():
        found.links.append(path)
    elif path.name == REMOVED and path.is_dir():
        found.leftovers.extend(sorted(path.iterdir()))
    elif path.is_dir() and _STAGE.fullmatch(path.name):
        for inside in sorted(path.iterdir()):
            with suppress(FileNotFoundError):  # a run has just finished or begun it
                _sort(inside, path.name, found)
    else:
        found.others.append(path)


def _sort(path: Path, stage: str, found: Inventory) -> None:
    """One thing in the folder of a stage's name. Whatever is not known to be ours is another's."""
    mark, _, ending = path.name.partition(".")
    ours = _MARK.fullmatch(mark) is not None
    if path.is_symlink():
        found.links.append(path)
    elif ours and not ending and (entry := _finished(path, stage)):
        found.entries.append(entry)
    elif ours and f".{ending}" == PARTIAL and path.is_dir():
        found.entries.append(_partial(path, stage))
    elif ours and f".{ending}" == LOCK and path.is_file():
        if not any(path.with_suffix(other).exists() for other in ("", PARTIAL)) and _free(path):
            found.leftovers.append(path)
    else:
        found.others.append(path)


def _finished(folder: Path, stage: str) -> Entry | None:
    """A finished stage, if the folder's own note says that it is one."""
    note = folder / ENTRY
    try:
        entry = json.loads(note.read_bytes())
        if (entry["stage"], entry["fingerprint"]) != (stage, folder.name) or note.is_symlink():
            return None
        seconds, identity = float(entry["cost"]["device_seconds"]), dict(entry["identity"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    used = note.stat().st_mtime
    return Entry(stage, folder, "finished", size_of(folder), seconds, used, _used(note), _pass_of(folder), identity)


def _partial(folder: Path, stage: str) -> Entry:
    """An unfinished stage; a process that makes it holds its lock, and one that trains a lock inside."""
    try:
        spent = folder / "spent.json"
        seconds, used = float(json.loads(spent.read_bytes())["device_seconds"]), spent.stat().st_mtime
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        seconds, used = None, folder.stat().st_mtime
    busy = [_used(lock) for lock in [folder.with_suffix(LOCK), *folder.glob(f"*{LOCK}")] if lock.is_file()]
    in_use = True if True in busy else None if None in busy else False
    return Entry(stage, folder, "partial", size_of(folder), seconds, used, in_use, _pass_of(folder), {})


def _pass_of(folder: Path) -> str | None:
    try:
        with (folder / PASS).open("rb") as stream:
            return stream.read(64).hex()
    except OSError:
        return None


def _used(file: Path) -> bool | None:
    with unused(file) as free:
        return None if free is None else not free


def _free(file: Path) -> bool:
    with unused(file) as free:
        return free is True


def size_of(folder: Path) -> int:
    """Bytes of all files below, without those that symbolic links lead to."""
    total, folders = 0, [str(folder)]
    while folders:
        with os.scandir(folders.pop()) as inside:
            for found in inside:
                if found.is_dir(follow_symlinks=False):
                    folders.append(found.path)
                else:
                    total += found.stat(follow_symlinks=False).st_size
    return total


def _described(entry: Entry, found: Sequence[Entry]) -> Entry:
    """With `Entry.what`: what a stage follows from, names and numbers first, then the stages that it was made from."""
    entries = [(printable(key[:60]), value) for key, value in entry.identity.items() if key not in UNTOLD]
    words = [(key, _word(value), _is_hash(value)) for key, value in entries]
    plain = [f"{key}={word}" for key, word, is_hash in words if word and not is_hash]
    made_from = [f"{key} {word}" for key, word, is_hash in words if is_hash]
    return replace(entry, what=", ".join([*_origin(entry, found), *plain, *made_from]))


def _origin(entry: Entry, found: Sequence[Entry]) -> list[str]:
    """The method whose rows an adapter was trained on, or an evaluation's adapter was, if its stage is there."""
    trained = entry.identity
    if entry.stage == "evaluation":
        name = trained.get("adapter")
        trained = next((e.identity for e in found if e.stage == "adapter" and e.folder.name == name), {})
    rows = str(trained.get("subset"))
    chosen = (other for other in found if other.stage == "subset" and entry.stage in ("adapter", "evaluation"))
    return [_word(other.identity.get("method")) for other in chosen if _rows_of(other.folder) == rows][:1]


@cache
def _rows_of(subset: Path) -> str:
    """The fingerprint of a subset's rows: it stands at the head of a file that may hold millions of numbers."""
    try:
        with (subset / "subset.json").open("rb") as stream:
            found = _ROWS.search(stream.read(500))
    except OSError:
        return ""
    return found[1].decode() if found else ""


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _word(value: object) -> str:
    """A value in a word: a class without its package and source, a fingerprint's start, a group by its name."""
    if isinstance(value, dict):
        value = value.get("name", value.get("kind"))
    if isinstance(value, str):
        named = _CLASS.fullmatch(value)
        return printable(value[:8] if _is_hash(value) else named[1] if named else value[:60])
    return f"{value:g}" if isinstance(value, float) else str(value)[:60] if type(value) is int else ""
