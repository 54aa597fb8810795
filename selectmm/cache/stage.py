"""A stage: work whose result is a folder named by what went into it."""

import hashlib
import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from threading import Event, Thread
from typing import Any, cast

from filelock import FileLock, Timeout

from selectmm.cache.cost import Clock, Cost, measure, waiting
from selectmm.cache.in_use import hold
from selectmm.cache.no_links import refuse_links
from selectmm.cache.provenance import PACKAGES, version_of
from selectmm.cache.write_errors import explain_failed_writes
from selectmm.errors import UserError

log = logging.getLogger("selectmm")

ENTRY = "stage.json"  # says what a finished stage was made from and what it cost
MAKER = "maker.json"  # in an unfinished stage: the process that makes it
SPENT = "spent.json"  # there too: the cost of the attempts that did not finish
HEARTBEAT = 5.0  # seconds between notes of what an unfinished stage has cost so far

_held: list[Callable[[], AbstractContextManager[object]]] = []  # what is given back while waiting for another process


@dataclass(frozen=True)
class Stage:
    """A finished stage: its folder, the fingerprint of its inputs, what it cost when it ran, and whether it ran now.

    ``packages`` are the versions that it was made with; empty for a stage that was cached before they were kept.
    """

    name: str
    folder: Path
    fingerprint: str
    cost: Cost
    cached: bool
    identity: Mapping[str, Any] = field(repr=False)
    packages: Mapping[str, str] = field(default_factory=dict, repr=False)


def fingerprint(identity: Mapping[str, Any]) -> str:
    """16 hex characters of the canonical JSON of ``identity``; the same on every machine.

    A file's name may hold bytes that are no text, which Python keeps as lone surrogates.
    """
    canonical = json.dumps(identity, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode(errors="surrogatepass")).hexdigest()[:16]


def options_of(made: object) -> dict[str, Any]:
    """The options of a method, a schedule or a feature: a dataclass's fields, which no protocol can ask for."""
    return asdict(cast(Any, made))


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write beside, then rename, so that a reader never sees half a file; lone surrogates as escapes (JSON's, too)."""
    beside = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        with beside.open("xb") as file:  # new, so that it is no link that somebody put there
            file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def run_stage(
    root: Path,
    name: str,
    identity: Mapping[str, Any],
    make: Callable[[Path], None],
    devices: int = 1,
    share: Callable[[Path], float] | None = None,
    known: Cost | None = None,
) -> Stage:
    """Return the stage's folder ``root/name/<fingerprint>``, making it first if it is not there.

    ``make`` fills a folder that ends in ``.partial`` and is renamed when ``make`` returns, so a folder without that
    ending is complete. A killed ``make`` finds its partial folder again and may continue from what lies there; the
    cost of every attempt is added up, each second counting ``devices`` times, without those in which another process
    made a stage inside of this one; ``share`` says of the finished folder which part of that is this stage's own, where
    several are made at once. ``known`` is the cost of a result that is copied from another stage, in place of what
    copying takes. Two processes that want the same stage do it once: the second logs which process it waits for, and
    meanwhile gives back what `giving_way` names.

    A finished stage is read without a lock, so that a cache that cannot be written can be used once it is warm.

    Raises:
        UserError: the disk is full; or the folder cannot be written, was deleted meanwhile, or is damaged.
    """
    mark = fingerprint(identity)
    folder = root / name / mark
    cached = hold(folder / ENTRY)  # until this process ends: `cache prune` removes nothing that is in use
    if not cached:
        with explain_failed_writes(f"Stage '{name}'", folder, root):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _alone(folder, name):
                cached = hold(folder / ENTRY) or folder.exists()  # now, if another process has made it
                if not cached:
                    _make(folder, name, mark, identity, make, devices, share, known)
                    hold(folder / ENTRY)
    return _finished(folder, name, mark, identity, cached)


@contextmanager
def giving_way(aside: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
    """Enter ``aside()`` inside the block while a stage is waited for that another process makes.

    Args:
        aside: makes room on a device, until it is left.
    """
    _held.append(aside)
    try:
        yield
    finally:
        _held.pop()


@contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """Hold a stage's lock; if another process has it, log which one, and wait."""
    lock = FileLock(folder.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("  waiting   for %s to finish stage '%s', %s", _maker(folder), name, folder)
        with ExitStack() as stack:
            for aside in _held:
                stack.enter_context(aside())
            with waiting():
                lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _maker(folder: Path) -> str:
    """The process that makes a stage, in words."""
    try:
        maker = json.loads((folder.with_suffix(".partial") / MAKER).read_text())
        return f"process {maker['process']} on {maker['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has only just begun, or is about to end
        return "another process"


def find_stage(root: Path, name: str, identity: Mapping[str, Any]) -> Stage | None:
    """The stage of that identity if it is finished under ``root``; nothing is made, nothing is written."""
    mark = fingerprint(identity)
    folder = root / name / mark
    return _finished(folder, name, mark, identity, cached=True) if folder.exists() else None


def _finished(folder: Path, name: str, mark: str, identity: Mapping[str, Any], cached: bool) -> Stage:
    try:
        entry = json.loads((folder / ENTRY).read_text())
        cost, packages = Cost.read(entry["cost"]), dict(entry.get("packages", {}))
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise damaged(folder, ENTRY, problem) from problem
    return Stage(name, folder, mark, cost, cached, identity, packages)


def damaged(folder: Path, file: str, problem: Exception) -> UserError:
    """What to say of a finished stage one of whose files cannot be read."""
    return UserError(
        f"The stage {folder} is damaged: its {file} cannot be read ({problem}); delete the folder, and start again."
    )


def _make(
    folder: Path,
    name: str,
    mark: str,
    identity: Mapping[str, Any],
    make: Callable[[Path], None],
    devices: int,
    share: Callable[[Path], float] | None,
    known: Cost | None,
) -> None:
    partial = folder.with_suffix(".partial")
    partial.mkdir(exist_ok=True)
    _refuse_links_in(partial)
    maker = partial / MAKER
    write_atomically(maker, json.dumps({"process": os.getpid(), "host": socket.gethostname()}))
    if _complete(partial, mark):  # a process was killed just before it could rename the folder
        _take_out(partial)
        partial.rename(folder)
        return
    spent = partial / SPENT
    before = Cost.noted(spent)
    with measure(devices) as clock, _noted(spent, before, clock):
        make(partial)
    total = before + (clock.cost() if known is None else known)
    cost = total if share is None else total.part(share(partial))
    entry = {
        "stage": name,
        "fingerprint": mark,
        "identity": identity,
        "cost": asdict(cost),
        "packages": {package: version_of(package) for package in PACKAGES},
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_atomically(partial / ENTRY, json.dumps(entry, indent=1, ensure_ascii=False))
    _take_out(partial)
    partial.rename(folder)


def _refuse_links_in(partial: Path) -> None:
    """Look for links where a stage goes on, which an earlier attempt cannot have made.

    Raises:
        UserError: the folder is a link, or holds one at any depth.
    """
    inside = (Path(folder, name) for folder, *names in os.walk(partial) for name in chain(*names))
    refuse_links(chain([partial], inside))


def _complete(partial: Path, mark: str) -> bool:
    """Whether all of a stage is there, its entry, which is written last, included."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        return bool(json.loads((partial / ENTRY).read_text())["fingerprint"] == mark)
    return False


def _take_out(partial: Path) -> None:
    """Delete what is no part of a finished stage; also what a kill in the middle of `write_atomically` left beside."""
    for left in [partial / SPENT, partial / MAKER, *partial.glob(".*.[0-9]*")]:
        left.unlink(missing_ok=True)


@contextmanager
def _noted(spent: Path, before: Cost, clock: Clock) -> Iterator[None]:
    """Keep ``spent`` up to date while a block runs, because a process that is killed outright cannot write it then."""
    over = Event()

    def note() -> None:
        write_atomically(spent, json.dumps(asdict(before + clock.cost())))

    def beat() -> None:
        while not over.wait(HEARTBEAT):
            with suppress(OSError):  # a full disk is reported when the stage's own write fails
                note()

    thread = Thread(target=beat, daemon=True)
    thread.start()
    finished = False
    try:
        yield
        finished = True
    finally:
        over.set()
        thread.join()
        if not finished:
            with suppress(OSError):
                note()
