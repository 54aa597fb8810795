"""The end of a sweep: its table, its picture and where everything is.

Every job's process imports this module before the job chooses its GPUs, so what imports torch is imported later.
"""

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig

from selectmm.cache.write_errors import full_disk
from selectmm.errors import UserError
from selectmm.paths import here_or_shipped
from selectmm.records.files import load
from selectmm.records.record import Costs, RunRecord
from selectmm.records.summary import summary
from selectmm.records.tracker import Tracker
from selectmm.report.jobs import Failure, failures_in, forget, log_failures, records_in
from selectmm.screen import answer

if TYPE_CHECKING:
    from selectmm.report.report import Report

log = logging.getLogger("selectmm")


class SweepReport(Callback):
    """A Hydra callback: when all jobs of a multirun have ended, report on the records they wrote.

    Args:
        tables: folder of the page and its pictures, which are named after the experiment.
        references: JSON of reference scores (see `references_of_table`); if there is no such file, those that come with
            selectmm; if it has none either, none are shown.
    """

    def __init__(self, tables: str = "outputs/tables", references: str | None = None) -> None:
        self.tables = Path(tables)
        self.references = None if references is None else here_or_shipped(Path(references))
        self.began = time.time()

    def on_multirun_start(self, config: DictConfig, **_: object) -> None:
        """Remember when the sweep began, and forget an earlier one in the same folder."""
        from selectmm.launch.place import place_of, started  # seconds

        self.began = time.time()
        if place_of(config, started()).node == 0:
            forget(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **_: object) -> None:
        """Report on what succeeded, tell what failed, and end with status 1 if anything did.

        Hydra turns what a callback raises into a warning and status 0, so every error is said here.
        """
        from selectmm.launch.place import place_of, started  # seconds

        place = place_of(config, started())
        if place.idle:
            return
        failures = failures_in(Path(config.hydra.sweep.dir))
        reported = place.node > 0 or self._reported(config, failures)  # node 0 reports
        if failures:
            log_failures(failures, len(records_in(Path(config.hydra.sweep.dir))))
        if failures or not reported:
            sys.exit(1)

    def _reported(self, config: DictConfig, failures: Sequence[Failure]) -> bool:
        try:
            paths = records_in(Path(config.hydra.sweep.dir))
            if failures and not paths:
                return False  # there is nothing to report on
            report = self.report(paths, config.experiment, instantiate(config.tracker))
            runs = [{"record": path, **summary(load(path))} for path in paths]
            answer({"runs": runs, "failed": [asdict(failure) for failure in failures], **report.as_json()})
        except Exception as problem:
            message = str(problem) if isinstance(problem, UserError) else full_disk(problem)
            if message is not None:
                log.error("The report is incomplete: %s", message)
            else:
                log.exception(
                    "The report is incomplete. Every record is kept; make the report from them with `selectmm report`:"
                )
            return False
        return True

    def report(self, paths: Sequence[Path], experiment: str, tracker: Tracker) -> "Report":
        """Write, track and print the report of this sweep's records.

        Raises:
            UserError: no job wrote a record, or a record cannot be read.
        """
        from selectmm.report.pairing import tallies_of
        from selectmm.report.report import write_report

        records = [load(path) for path in paths]
        references = [self.references] if self.references else []
        tallies = tallies_of(zip(paths, records, strict=True))
        report = write_report(records, self.tables, experiment, references, tallies=tallies)
        _log_files(report, paths)  # before the tracker, which may be out of reach
        _track(report, tracker, records)
        self._log_runs(tracker)
        log.info("Time     %s", where_time_went(records, time.time() - self.began))
        return report

    def _log_runs(self, tracker: Tracker) -> None:
        """The jobs' offline runs lie beside the report's own; those that were written since the sweep began are its."""
        for folder in tracker.folders:
            runs = [run for run in folder.parent.glob("offline-run-*") if run.stat().st_mtime >= self.began]
            log.info("W&B      %s/offline-run-* (%d; `wandb sync` uploads them)", folder.parent, len(runs))


def where_time_went(records: Sequence[RunRecord], seconds: float) -> str:
    """The sweep's wall time in words, split over the stages that ran in it (not those that came from the cache).

    Args:
        seconds: from the sweep's start to now.
    """
    from selectmm.report.table import format_time

    names = [entry.name for entry in fields(Costs)]
    ran = {n: sum(c.seconds for r in records if not (c := getattr(r.costs, n)).cached) for n in names}
    parts = [f"{name} {format_time(spent)}" for name, spent in ran.items() if spent or name != "warmup"]
    rest = seconds - sum(ran.values())
    if rest < 0:  # a launcher of several jobs at a time
        return f"{format_time(seconds)}; of all jobs, side by side: {', '.join(parts)}"
    parts.append(f"the rest (imports, pool, model, W&B, this page) {format_time(rest)}")
    return f"{format_time(seconds)}: {', '.join(parts)}"


def _track(report: "Report", tracker: Tracker, records: Sequence[RunRecord]) -> None:
    from selectmm.report.points import COLUMNS, COST, REL

    parents = sorted(f"record-{record.name}" for record in records)
    with tracker.stage("report", {"page": str(report.markdown)}) as run:
        for number, (table, found) in enumerate(zip(report.tables, report.points, strict=True), 1):
            ending = "" if number == 1 else f"-{number}"
            run.table(f"table{ending}", table.columns, table.rows)
            run.scatter(f"cost_and_rel{ending}", COLUMNS, found, x=COST, y=REL)
            run.image(f"tradeoff{ending}", report.pngs[number - 1])
            svg = report.svgs[number - 1]
            run.artifact(svg, f"picture-{svg.stem}", "picture", made_from=parents)
        run.artifact(report.markdown, f"report-{report.markdown.stem}", "report", made_from=parents)


def _log_files(report: "Report", records: Sequence[Path]) -> None:
    log.info("\nTable    %s", report.markdown)
    log.info("Picture  %s and .svg", ", ".join(str(png) for png in report.pngs))
    log.info("Records  %s (%d)", records[0].parent, len(records))
