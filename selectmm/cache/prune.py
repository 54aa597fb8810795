"""Remove stages from a cache: whole ones, never one that a process uses, never what is not a stage."""

import os
import shutil
from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from selectmm.cache.in_use import unused
from selectmm.cache.inventory import LOCK, PARTIAL, REMOVED, Entry, Inventory
from selectmm.cache.no_links import open_unlinked
from selectmm.cache.stage import ENTRY
from selectmm.errors import UserError

DAY = 86400.0  # seconds


def choose(
    inventory: Inventory,
    now: float,
    stages: Collection[str] = (),
    unused_days: float | None = None,
    max_gib: float | None = None,
    unfinished: bool = False,
) -> list[Entry]:
    """The stages to remove, the one that was used longest ago first; what is in use, or may be, is not among them.

    Args:
        now: seconds since 1970. stages: only of these names. unused_days: only what no run has used for so long.
        unfinished: only those that no run has finished.
        max_gib: no more than it takes for the whole cache to have this size. Without any of the four, nothing.

    Raises:
        UserError: the cache has no stage of a name that was given.
    """
    there = sorted({entry.stage for entry in inventory.entries})
    for name in stages:
        if name not in there:
            raise UserError(f"The cache {inventory.root} has no stage '{name}'; it has: {', '.join(there) or 'none'}.")
    if not (stages or unfinished) and unused_days is None and max_gib is None:
        return []
    left = sum(entry.size for entry in inventory.entries)
    chosen = []
    for entry in inventory.entries:
        wanted = not stages or entry.stage in stages
        wanted &= unused_days is None or now - entry.used >= unused_days * DAY
        wanted &= not unfinished or entry.state == "partial"
        wanted &= max_gib is None or left > max_gib * 2**30
        if wanted and entry.in_use is False:
            chosen.append(entry)
            left -= entry.size
    return chosen


def remove(root: Path, entry: Entry) -> bool:
    """Remove a stage: first out of the way in one step, then its files, so that no half of one is ever found.

    A kill in between leaves a folder below `REMOVED`, which `remove_leftovers` deletes.

    Returns:
        False if a process has begun to use it, or something else has become of it.

    Raises:
        UserError: it cannot be moved or deleted.
    """
    if entry.folder.is_symlink() or entry.folder.parent.is_symlink():
        return False
    beside = root / REMOVED / f"{entry.stage}-{entry.folder.name}-{os.getpid()}"
    try:
        with ExitStack() as stack:
            for lock in _locks(entry):
                if stack.enter_context(unused(lock)) is not True:
                    return False
            beside.parent.mkdir(exist_ok=True)
            entry.folder.rename(beside)
        _delete(beside)
        _delete_lock(entry.folder.with_suffix(LOCK))
    except FileNotFoundError:
        return False
    except OSError as problem:
        raise _cannot(entry.folder, problem) from problem
    return True


def _locks(entry: Entry) -> list[Path]:
    """What has to be free: a finished stage's own file; of an unfinished one its lock and those inside."""
    if entry.state == "finished":
        return [entry.folder / ENTRY]
    lock = entry.folder.with_suffix(LOCK)
    open_unlinked(lock, "ab").close()
    return [lock, *entry.folder.glob(f"*{LOCK}")]


def remove_leftovers(inventory: Inventory) -> None:
    """Delete what was being deleted when a prune was killed, and locks whose stage is gone.

    Raises:
        UserError: something cannot be deleted.
    """
    for path in inventory.leftovers:
        try:
            if path.suffix == LOCK and path.parent.name != REMOVED:
                _delete_lock(path)
            else:
                _delete(path)
        except OSError as problem:
            raise _cannot(path, problem) from problem
    home = inventory.root / REMOVED
    if home.is_dir() and not home.is_symlink() and not any(home.iterdir()):
        home.rmdir()


def _delete(path: Path) -> None:
    """A folder or file; a symbolic link goes, what it leads to stays."""
    with suppress(FileNotFoundError):  # another prune deletes it too
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _delete_lock(lock: Path) -> None:
    """A stage's lock, if there is no such stage. A run that waits for it sees that it went, and makes another."""
    if lock.is_file():
        with unused(lock) as free:
            if free and not any(lock.with_suffix(ending).exists() for ending in ("", PARTIAL)):
                lock.unlink(missing_ok=True)


def _cannot(path: Path, problem: OSError) -> UserError:
    return UserError(
        f"{path} cannot be removed: {problem.strerror} ({problem.filename}). "
        f"Stages that were removed before it stay removed."
    )


def sum_of(entries: Sequence[Entry]) -> tuple[int, float]:
    """Bytes and device-seconds of some stages; a cost that several share counts once, one that is not known as none."""
    costs: dict[object, float] = {}
    for entry in entries:
        key = entry.shares or entry.folder
        costs[key] = max(costs.get(key, 0.0), entry.device_seconds or 0.0)
    return sum(entry.size for entry in entries), sum(costs.values())
