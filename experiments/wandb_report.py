"""Make a report at wandb.ai of uploaded runs: their scores by method, score against cost, and training curves.

python experiments/wandb_report.py ENTITY/PROJECT outputs/records/*.json

The records say which experiments and benchmarks there are; the numbers are those of the uploaded runs (`tracker.mode`,
or ``wandb sync``). Runs of these experiments that are uploaded later appear in the report by themselves, and everything
in it can be changed on its page. Needs ``pip install wandb-workspaces==0.4.5`` and a key (``wandb login``).
"""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from selectmm.errors import UserError
from selectmm.records.files import load
from selectmm.records.record import RunRecord

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as wr

METHOD = "chosen.method"  # in the configuration of a run
COST = "finetune/device_seconds"
CURVES = ("finetune/loss", "finetune/gradient_norm")


def main(arguments: Sequence[str]) -> str:
    """Make the report and print its address; returns that.

    Raises:
        UserError: the package is not installed, a record cannot be read, there is no such project, or W&B refuses.
    """
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", metavar="ENTITY/PROJECT", help="where the runs were uploaded")
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORD", help="run records (JSON files)")
    asked = parser.parse_args(arguments)
    entity, slash, project = asked.project.partition("/")
    if not (entity and slash and project):
        parser.error(f"{asked.project!r} is no ENTITY/PROJECT; the address of a project ends in it")
    records = [load(path) for path in asked.records]
    try:
        report = report_of(records, entity, project)
    except ImportError as problem:
        raise UserError(
            f"W&B's reports cannot be made ({problem}); install their package: pip install wandb-workspaces==0.4.5"
        ) from problem
    try:
        report.save()
    except Exception as problem:  # the package raises Exception itself, and errors of the client below it
        raise UserError(
            f"W&B did not take the report ({problem}); name a project that has runs, and be logged in to W&B."
        ) from problem
    print(report.url)
    return str(report.url)


def report_of(records: Sequence[RunRecord], entity: str, project: str) -> "wr.Report":
    """The report, not saved yet. Scores and curves are means over each method's runs, with their standard deviation."""
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr

    experiments = sorted({record.experiment for record in records})
    benchmarks = sorted({score.benchmark for record in records for score in record.scores})
    scores = {name: wr.SummaryMetric(f"evaluate/{name}") for name in benchmarks}
    by_method = {"groupby": wr.Config(METHOD), "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    bars = [wr.BarPlot(title=name, metrics=[score], **by_method) for name, score in scores.items()]
    cost = wr.SummaryMetric(COST)
    points = [wr.ScatterPlot(title=name, x=cost, y=score, log_x=True) for name, score in scores.items()]
    curves = [wr.LinePlot(title=name, x="Step", y=[name], **by_method) for name in CURVES]
    runs = wr.Runset(entity, project, "runs", filters=expr.And(expr.Metric("Group").isin(experiments)))
    return wr.Report(
        project,
        entity,
        title=f"Data selection: {', '.join(experiments)}",
        description=f"{len(benchmarks)} benchmarks, made by experiments/wandb_report.py",
        blocks=[
            wr.H1("Scores"),
            wr.P("The mean over the runs of each method, and the standard deviation."),
            wr.PanelGrid(runsets=[runs], panels=bars),
            wr.H1("Score against cost"),
            wr.P("Each point is a run. The cost is that of tuning, in device-seconds, without selection."),
            wr.PanelGrid(runsets=[runs], panels=points),
            wr.H1("Training"),
            wr.PanelGrid(runsets=[runs], panels=curves),
            wr.H1("What differs between the runs"),
            wr.PanelGrid(runsets=[runs], panels=[wr.RunComparer(diff_only="split")]),
        ],
    )


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as problem:
        sys.exit(str(problem))
