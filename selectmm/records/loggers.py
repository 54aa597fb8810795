"""The same numbers for users of TensorBoard, MLflow or plain CSV files, through PyTorch Lightning's loggers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from selectmm.models import torchvision_ops  # noqa: F401  # isort: skip  (before Lightning imports torchvision)
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger

from selectmm.errors import UserError
from selectmm.records.tracker import Run, writable


@dataclass(frozen=True)
class LoggerTracker:
    """Curves and final values of a job's stages, named ``<stage>/<name>``. Tables, pictures and artifacts are left out:
    they are files anyway.

    Attributes:
        kind: ``tensorboard`` (package tensorboard), ``mlflow`` (package mlflow) or ``csv``.
        folder: where they are written. group: the experiment's name.
    """

    kind: Literal["tensorboard", "mlflow", "csv"]
    folder: Path
    group: str
    _jobs: list[Logger] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))

    @property
    def folders(self) -> list[Path]:
        """No folders, as none would have to be uploaded."""
        return []

    @contextmanager
    def job(self, name: str, tags: Sequence[str], config: Mapping[str, Any]) -> Iterator[None]:
        """A logger's run of that name."""
        with writable(self.folder):
            logger = self._opened(name, tags)
        logger.log_hyperparams(dict(config))
        self._jobs.append(logger)
        status = "failed"
        try:
            yield
            status = "success"
        finally:
            self._jobs.pop()
            logger.finalize(status)

    @contextmanager
    def stage(self, job_type: str, config: Mapping[str, Any]) -> Iterator[Run]:
        """A part of the job's run; outside of a job a run of its own."""
        if self._jobs:
            yield _Part(self._jobs[-1], job_type)
            return
        with self.job(job_type, [], config):
            yield _Part(self._jobs[-1], job_type)

    def _unused(self, name: str) -> str:
        """A name that no earlier run has, which a logger would write over: ``name``, or with ``-2``, ``-3``, … behind.

        So a run that is continued has its later steps in a folder of its own.
        """
        version, number = name, 1
        while True:
            try:
                (self.folder / self.group / version).mkdir(parents=True)
                return version
            except FileExistsError:
                number += 1
                version = f"{name}-{number}"

    def _opened(self, name: str, tags: Sequence[str]) -> Logger:
        try:
            if self.kind == "tensorboard":
                return TensorBoardLogger(self.folder, name=self.group, version=self._unused(name))
            if self.kind == "mlflow":
                named = {f"tag{number}": tag for number, tag in enumerate(tags, 1)}
                place = f"file:{self.folder.absolute()}"
                return MLFlowLogger(self.group, run_name=name, tracking_uri=place, tags=named)
            return CSVLogger(self.folder, name=self.group, version=self._unused(name))
        except ModuleNotFoundError as problem:
            raise UserError(
                f"tracker={self.kind} needs the package {self.kind}, which is not installed; install it, or choose "
                f"tracker=wandb, tracker=csv or tracker=none."
            ) from problem


@dataclass(frozen=True)
class _Part:
    """What one stage says. ``_steps`` counts points that come without a step."""

    logger: Logger
    stage: str
    _steps: list[int] = field(default_factory=lambda: [0])

    def log(self, metrics: Mapping[str, float]) -> None:
        step = int(metrics.get("step", self._steps[0] + 1))
        self._steps[0] = step
        self._log(metrics, step)

    def summary(self, values: Mapping[str, Any]) -> None:
        self._log(values, self._steps[0])

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        numbers = {f"{self.stage}/{name}": float(v) for name, v in values.items() if isinstance(v, int | float)}
        self.logger.log_metrics(numbers, step)
        self.logger.save()

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        pass

    def scatter(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]], x: str, y: str) -> None:
        pass

    def image(self, name: str, path: Path) -> None:
        pass

    def artifact(self, path: Path | None, name: str, kind: str, made_from: Sequence[str] = ()) -> None:
        pass
