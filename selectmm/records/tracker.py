"""Where a run is tracked besides its record: what a tracker has to offer, and the one that does nothing."""

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from selectmm.errors import UserError


class Run(Protocol):
    """What a stage can say while it is tracked."""

    def log(self, metrics: Mapping[str, float]) -> None:
        """A point of each curve, by name; ``step``, which never falls, is the x-axis (without it: one further)."""
        ...

    def summary(self, values: Mapping[str, Any]) -> None:
        """Final values, by name."""
        ...

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table; every row has a cell per column."""
        ...

    def scatter(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]], x: str, y: str) -> None:
        """A table whose columns ``x`` and ``y`` are drawn as points; no dots in names (Vega reads paths)."""
        ...

    def image(self, name: str, path: Path) -> None:
        """A picture file."""
        ...

    def artifact(self, path: Path | None, name: str, kind: str, made_from: Sequence[str] = ()) -> None:
        """A file, or the files of a folder, to keep: a subset, an adapter, a record.

        Args:
            path: None for what has a name alone: a pool, whose files are the user's.
            made_from: names of the artifacts that this one was made from, pool → subset → adapter → record.
        """
        ...


class Tracker(Protocol):
    """Opens one tracked run per job, with the job's stages inside::

    with tracker.job("prism-0.3-s0", ["prism", "mini"], config):
        with tracker.stage("finetune", config) as run:
            run.log({"step": 1, "loss": 2.3})
            run.summary({"seconds": 61.0})
            run.artifact(folder / "adapter.safetensors", "adapter-0a1b", "adapter")
    """

    @property
    def folders(self) -> list[Path]:
        """Folders of the offline runs that this tracker has opened, oldest first."""
        ...

    def job(self, name: str, tags: Sequence[str], config: Mapping[str, Any]) -> AbstractContextManager[None]:
        """A run for the stages inside the block; it is finished when the block ends, however it ends.

        Raises:
            UserError: the tracker cannot be reached or written.
        """
        ...

    def stage(self, job_type: str, config: Mapping[str, Any]) -> AbstractContextManager[Run]:
        """A part of the job's run, whose curves and final values are called ``<job_type>/…``; outside of a job a run of
        its own, with names as they are.

        Raises:
            UserError: the tracker cannot be reached or written.
        """
        ...


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """The block makes folders for what a tracker writes.

    Raises:
        UserError: it cannot; a full disk stays what it is.
    """
    try:
        yield
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"The tracker cannot write to {folder} ({problem.strerror}); set tracker.folder to a folder of yours, or "
            f"leave the tracker out with tracker=none."
        ) from problem


@dataclass(frozen=True)
class NoTracker:
    """Tells nobody; records, tables and pictures are still written as files."""

    @property
    def folders(self) -> list[Path]:
        """No folders: nothing is written."""
        return []

    @contextmanager
    def job(self, name: str, tags: Sequence[str], config: Mapping[str, Any]) -> Iterator[None]:
        """A job that nobody follows."""
        yield

    @contextmanager
    def stage(self, job_type: str, config: Mapping[str, Any]) -> Iterator[Run]:
        """A stage that nobody follows."""
        yield _Silence()


@dataclass(frozen=True)
class _Silence:
    def log(self, metrics: Mapping[str, float]) -> None:
        pass

    def summary(self, values: Mapping[str, Any]) -> None:
        pass

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        pass

    def scatter(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]], x: str, y: str) -> None:
        pass

    def image(self, name: str, path: Path) -> None:
        pass

    def artifact(self, path: Path | None, name: str, kind: str, made_from: Sequence[str] = ()) -> None:
        pass
