"""What a cache shows from outside: which stages are being made now, and whether a finished shard ever changes."""

import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

OUTSIDE = "outside of stages"  # start, pool and model being opened, record and table being written


def in_progress(cache: Path) -> list[str]:
    """``name/fingerprint`` of each stage that a living process makes: its partial folder is there, its lock is held."""
    partial = [folder for folder in cache.glob("*/*.partial") if _locked(folder.with_suffix(".lock"))]
    return [f"{folder.parent.name}/{folder.stem}" for folder in partial]


def finished(cache: Path) -> dict[str, Path]:
    """Every finished folder of a cache (stages, and the embedded model), by ``name/fingerprint``."""
    folders = (path for path in cache.glob("*/*") if path.is_dir() and not path.suffix)
    return {f"{folder.parent.name}/{folder.name}": folder for folder in folders}


def _locked(file: Path) -> bool:
    try:
        handle = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


@dataclass
class Shards:
    """The shards of features that were seen: a shard is written once, so its inode and time stay what they were.

    Attributes:
        known: of each shard's path, its inode and time of writing (ns).
        at_a_kill: shards that were finished when a process was killed, and so must not be computed again.
        again: those that were.
    """

    known: dict[Path, tuple[int, int]] = field(default_factory=dict)
    at_a_kill: set[Path] = field(default_factory=set)
    again: set[Path] = field(default_factory=set)

    def look(self, cache: Path) -> None:
        """Note new shards, and known ones that are other files now."""
        for path, file in _shards(cache):
            if self.known.setdefault(path, file) != file:
                self.again.add(path)

    def killed(self, cache: Path) -> None:
        """Note the shards that are there when a process has been killed."""
        self.look(cache)
        self.at_a_kill |= {path for path, _ in _shards(cache)}


def _shards(cache: Path) -> Iterator[tuple[Path, tuple[int, int]]]:
    for path in cache.glob("features/*.partial/shard-*.npy"):
        try:
            found = path.stat()
        except FileNotFoundError:  # joined in between
            continue
        yield path, (found.st_ino, found.st_mtime_ns)
