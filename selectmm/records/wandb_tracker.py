"""The tracker that logs runs to Weights & Biases."""

import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from selectmm.errors import UserError
from selectmm.records.tracker import Run, writable

if TYPE_CHECKING:
    import wandb

log = logging.getLogger("selectmm")

NAME_UP_TO = 128  # characters of an artifact's name
TAG_UP_TO = 64  # characters of a tag
COPY_UP_TO = 2**20  # bytes: records and subsets are copied, adapters stay in their stage folder, which never changes
SYSTEM = 15.0  # seconds between notes of what the machine does
PATIENCE = 60.0  # seconds until a run says that it waits for W&B, whose client asks again for hours


@dataclass(frozen=True)
class WandbTracker:
    """Weights & Biases: one run per job with its stages inside, grouped by experiment.

    Attributes:
        mode: ``offline`` writes to ``folder`` and touches no network, whatever WANDB_MODE says; ``online`` uploads.
        folder: ``folder/wandb/offline-run-*`` are the offline runs; ``wandb sync <one of them>`` uploads it later.
        group: the experiment's name.
    """

    project: str
    folder: Path
    group: str
    mode: Literal["offline", "online"] = "offline"
    entity: str | None = None
    _opened: list[Path] = field(default_factory=list, init=False, repr=False, compare=False)
    _jobs: list["_WandbRun"] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        if self.mode not in ("offline", "online"):
            raise UserError(f"tracker.mode={self.mode} is not known; it is offline or online (or choose tracker=none).")
        # Copies wait beside the runs, not in the home directory; its crash reports would go out even when offline.
        os.environ.setdefault("WANDB_DATA_DIR", str(self.folder.absolute() / "wandb" / "data"))
        if self.mode == "offline":
            os.environ["WANDB_ERROR_REPORTING"] = "false"

    @property
    def folders(self) -> list[Path]:
        """Where the runs of this process lie."""
        return list(self._opened)

    @contextmanager
    def job(self, name: str, tags: Sequence[str], config: Mapping[str, Any]) -> Iterator[None]:
        """A W&B run of that name, finished however the block ends."""
        with self._run("run", config, name, tags) as run:
            self._jobs.append(run)
            try:
                yield
            finally:
                self._jobs.pop()

    @contextmanager
    def stage(self, job_type: str, config: Mapping[str, Any]) -> Iterator[Run]:
        """A part of the job's W&B run; outside of a job a run of its own."""
        if self._jobs:
            yield self._jobs[-1].part(job_type)
            return
        with self._run(job_type, config) as run:
            yield run

    @contextmanager
    def _run(
        self, job_type: str, config: Mapping[str, Any], name: str | None = None, tags: Sequence[str] = ()
    ) -> Iterator["_WandbRun"]:
        run, code = self._open(job_type, config, name, tags), 1
        try:
            yield _WandbRun(run)
            code = 0
        finally:
            with _waiting():
                run.finish(exit_code=code)

    def _open(self, job_type: str, config: Mapping[str, Any], name: str | None, tags: Sequence[str]) -> "wandb.Run":
        try:
            import wandb  # a second, which a run without a tracker does not pay
        except ImportError as problem:
            raise UserError(
                f"W&B cannot be imported ({problem}); install wandb, or leave it out with tracker=none: everything is "
                f"written as files too."
            ) from problem

        with writable(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        try:
            run = wandb.init(
                project=self.project,
                entity=self.entity,
                group=self.group,
                job_type=job_type,
                name=name,
                tags=[tag[:TAG_UP_TO] for tag in tags],
                config=dict(config),
                dir=str(self.folder),
                mode=self.mode,
                reinit="create_new",
                settings=_quiet(wandb),
            )
        except wandb.errors.Error as problem:
            raise UserError(
                f"W&B could not open a run ({problem}); log in with `wandb login`, or set tracker.mode=offline."
            ) from problem
        if self.mode == "offline":
            self._opened.append(Path(run.settings.sync_dir))
        return run


def _quiet(wandb: Any) -> "wandb.Settings":
    """No console capture, code or git: the record holds all that, and each costs time or privacy.

    What the machine does meanwhile (load of processors and GPUs, memory) is noted every `SYSTEM` seconds, which
    ``x_disable_machine_info`` would forbid.
    """
    return wandb.Settings(
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        save_code=False,
        disable_job_creation=True,
        x_disable_meta=True,
        x_stats_sampling_interval=SYSTEM,
        x_save_requirements=False,
    )


@contextmanager
def _waiting() -> Iterator[None]:
    """Tells after a while that it is W&B that a run waits for, and how to go on without; its client would be silent."""
    message = (
        "W&B has not answered for %.0f s, and its client keeps asking. Ctrl-C, as often as it takes, loses nothing: "
        "all is kept in files, and the same command with tracker.mode=offline goes on from there and logs it again."
    )
    timer = threading.Timer(PATIENCE, log.warning, (message, PATIENCE))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@dataclass(frozen=True)
class _WandbRun:
    """A W&B run or, with a ``prefix``, a stage's part of one; ``own`` are the artifacts that the run has logged."""

    run: "wandb.Run"
    prefix: str = ""
    own: set[str] = field(default_factory=set)

    def part(self, stage: str) -> "_WandbRun":
        """The tracker of a stage, whose steps count from their own beginning."""
        self.run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
        return _WandbRun(self.run, f"{stage}/", self.own)

    def _named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {f"{self.prefix}{name}": value for name, value in values.items()}

    def log(self, metrics: Mapping[str, float]) -> None:
        counts = "step" in metrics and not self.prefix  # W&B's own step must not fall, as a second stage's would
        self.run.log(self._named(metrics), step=int(metrics["step"]) if counts else None)

    def summary(self, values: Mapping[str, Any]) -> None:
        self.run.summary.update(self._named(values))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        import wandb

        table = wandb.Table(columns=list(columns), data=[list(row) for row in rows])
        with _waiting():
            self.run.log(self._named({name: table}))

    def scatter(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]], x: str, y: str) -> None:
        import wandb

        table = wandb.Table(columns=list(columns), data=[list(row) for row in rows])
        with _waiting():
            self.run.log(self._named({name: wandb.plot.scatter(table, x, y, title=f"{y} against {x}")}))

    def image(self, name: str, path: Path) -> None:
        import wandb

        with _waiting():
            self.run.log(self._named({name: wandb.Image(str(path))}))

    def artifact(self, path: Path | None, name: str, kind: str, made_from: Sequence[str] = ()) -> None:
        import wandb

        # As metadata, because W&B's own lineage (use_artifact) needs its server, and most runs are offline.
        parents = [_name(parent) for parent in made_from]
        artifact = wandb.Artifact(_name(name), type=kind, metadata={"made_from": parents})
        for file in _files(path):
            policy: Literal["mutable", "immutable"] = "mutable" if file.stat().st_size <= COPY_UP_TO else "immutable"
            inside = str(file.relative_to(path if path.is_dir() else path.parent))
            artifact.add_file(str(file), inside, policy=policy, skip_cache=True)
        with _waiting():
            if not self.run.offline:
                for parent in parents:
                    if parent not in self.own:  # a run does not use what it makes
                        self._use(parent, name)
            self.run.log_artifact(artifact)
        self.own.add(artifact.name)

    def _use(self, parent: str, name: str) -> None:
        import wandb

        try:
            self.run.use_artifact(f"{parent}:latest")
        except wandb.errors.CommError as problem:
            log.warning(
                "W&B has no %s in this project (%s); the lineage of %s is recorded in its metadata only.",
                parent,
                problem,
                name,
            )


def _name(name: str) -> str:
    """As W&B allows it; of one that is too long the beginning and the end, where the fingerprint stands."""
    allowed = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    return allowed if len(allowed) <= NAME_UP_TO else f"{allowed[: NAME_UP_TO // 2]}{allowed[-NAME_UP_TO // 2 :]}"


def _files(path: Path | None) -> list[Path]:
    if path is None:
        return []
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
