"""The page from records: through the function, the command and the end of a real Hydra sweep."""

import errno
import io
import json
import runpy
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from selectmm.commands.report import main
from selectmm.errors import UserError
from selectmm.records.files import load, save
from selectmm.records.record import RunRecord, now
from selectmm.records.tracker import NoTracker
from selectmm.report.jobs import alone, keep_record
from selectmm.report.references import Reference, references_for
from selectmm.report.report import write_report
from selectmm.report.sweep import SweepReport
from selectmm.screen import output
from tests.forked import command
from tests.report.runs import references_file, run_of

FULL = run_of("full", {"POPE": 80.0}, seconds=(0.0, 0.0, 100.0))
PRISM = run_of("prism", {"POPE": 72.0})
OTHER = run_of("prism", {"POPE": 70.0}, lr=1e-3)
SILENT = Console(file=io.StringIO())


def test_the_page_has_every_table_with_its_picture(tmp_path: Path) -> None:
    report = write_report([OTHER, PRISM, FULL], tmp_path, "toy", (), SILENT)
    page = report.markdown.read_text()
    assert [len(table.rows) for table in report.tables] == [2, 1]
    assert "![Rel. against cost](toy.svg)" in page and "![Rel. against cost](toy-2.svg)" in page
    assert "they differ in recipe.lr (here 0.001)" in page and "| prism | 30 % |" in page
    assert all(path.stat().st_size > 1000 for path in (*report.svgs, *report.pngs))


def test_the_order_of_the_records_does_not_matter(tmp_path: Path) -> None:
    for name, records in (("1", [OTHER, PRISM, FULL]), ("2", [FULL, OTHER, PRISM])):
        write_report(records, tmp_path / name, "toy", (), SILENT)
    for file in (tmp_path / "1").iterdir():
        assert file.read_bytes() == (tmp_path / "2" / file.name).read_bytes()


def test_nothing_to_report_on_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no records to report on; start a run first"):
        write_report([], tmp_path, "toy", ())


def test_the_command_makes_the_page_from_files_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(save(record, tmp_path / "records")) for record in (FULL, PRISM)]
    references = tmp_path / "references.json"
    references.write_text('{"POPE": {"chance": 50}}')
    references.with_suffix(".record.json").write_text('{"model": "model0", "suite": {"POPE": {"prompts": "p0"}}}')
    asked = [*files, "--to", str(tmp_path / "tables"), "--name", "toy", "--references", str(references)]
    with output(json=True):
        main(asked)
    assert "(chance)" in (tmp_path / "tables" / "toy.md").read_text()
    shown = capsys.readouterr()
    assert f"Table    {tmp_path}/tables/toy.md" in shown.err
    document = json.loads(shown.out)
    assert document["page"] == f"{tmp_path}/tables/toy.md"
    (table,) = document["tables"]
    assert all(len(row) == len(table["columns"]) for row in table["rows"])
    assert {point["method"] for point in table["points"]} == {"full", "prism"}
    with pytest.raises(UserError, match=r"no reference scores at misspelt\.json"):
        main([*files, "--to", str(tmp_path), "--references", "misspelt.json"])
    references.with_suffix(".record.json").unlink()
    with pytest.raises(UserError, match=r"no references\.record\.json, which says what they were measured on"):
        main([*files, "--to", str(tmp_path), "--references", str(references)])


def test_a_folder_that_is_a_file_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save(FULL, tmp_path)
    with pytest.raises(UserError, match=r"\.json could not be written: File exists; make room, or give --to another"):
        main([str(file), "--to", str(file)])

    def closed(*_: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("selectmm.report.report.show", closed)
    with pytest.raises(BrokenPipeError):  # of the screen
        main([str(file), "--to", str(tmp_path)])


def test_references_of_another_model_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    references = tmp_path / "references.json"
    references.write_text('{"POPE": {"base": 50}}')
    assert references_for(references, [FULL]) == {}, "nothing says what they were measured on"
    references.with_suffix(".record.json").write_text('{"model": "model1", "suite": {}}')
    assert references_for(references, [FULL]) == {}
    expected = (
        "measured on another model, other items or prompts, or scored otherwise, and are left out: POPE. Measure them"
    )
    assert expected in caplog.text
    references.with_suffix(".record.json").write_text('{"model": "model0", "suite": {"POPE": {"prompts": "p0"}}}')
    assert references_for(references, [FULL])["POPE"].base == 50


def test_each_table_has_the_references_that_fit_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A second table, of another model, once took them from the first."""
    others = [replace(record, model="model1") for record in (FULL, PRISM)]
    files = [str(save(record, tmp_path / "records")) for record in (FULL, PRISM, OTHER, *others[:1])]
    mine = references_file(tmp_path / "mine.json", {"POPE": Reference(base=51.0)})
    theirs = references_file(tmp_path / "theirs.json", {"POPE": Reference(base=52.0)}, model="model1")
    asked = [*files, "--to", str(tmp_path), "--name", "toy", "--references", str(mine)]
    main(asked)
    page = (tmp_path / "toy.md").read_text()
    assert page.count("| (base) | – | – | 51.0 |") == 2 == page.count("| (base) ")
    expected = "and are left out of table 2 (suite toy, base model model1): POPE. Measure them again"
    assert expected in caplog.text and caplog.text.count("left out") == 1
    caplog.clear()
    main([*asked, str(theirs)])
    page = (tmp_path / "toy.md").read_text()
    assert page.count("| (base) | – | – | 51.0 |") == 2 and page.count("| (base) | – | – | 52.0 |") == 1
    assert "left out" not in caplog.text


@pytest.mark.parametrize(
    ("kind", "other"),
    [("judge", "url"), ("task", "pope_asked"), ("metric", "accuracy"), ("harness", "lmms-eval 0.8"),
     ("material", "other pictures"), ("limit", 50), ("prompts", "p1")],
)  # fmt: skip
def test_references_that_were_scored_otherwise_are_left_out(tmp_path: Path, kind: str, other: object) -> None:
    references = tmp_path / "references.json"
    references.write_text('{"POPE": {"base": 50}}')
    entry = asdict(FULL.suite.evaluator["POPE"])

    def found(**changes: object) -> bool:
        measured = {"model": "model0", "suite": {"POPE": {**entry, **changes}}}
        references.with_suffix(".record.json").write_text(json.dumps(measured))
        return "POPE" in references_for(references, [FULL])

    assert found() and not found(**{kind: other})
    assert found(material="") and found(material="", limit=50), "of before items were hashed"


def test_the_commands_errors_are_one_sentence(tmp_path: Path) -> None:
    ended = command(["report", str(tmp_path / "gone.json")], tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith("\nThere is no record to read at ") and ended.stderr.count("\n") == 2
    with pytest.raises(UserError, match=r"Is a directory\); name its files: .*/\*\.json\."):
        load(tmp_path)


def _config(folder: Path, tracker: str) -> object:
    target = {"none": {"_target_": "selectmm.records.tracker.NoTracker"}}
    target["wandb"] = {
        "_target_": "selectmm.records.wandb_tracker.WandbTracker",
        "project": "p",
        "folder": str(folder),
        "group": "${experiment}",
    }
    swept = {"sweep": {"dir": str(folder / "sweep")}}
    return OmegaConf.create(
        {"records": str(folder / "records"), "experiment": "toy", "tracker": target[tracker], "hydra": swept}
    )


def test_failed_jobs_are_told_in_their_order_and_end_the_sweep_with_a_status(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (10, 2):
        (tmp_path / "sweep" / str(number)).mkdir(parents=True)
        with alone(tmp_path / "sweep" / str(number), ["method=x", f"seed={number}"]):
            raise UserError("it cannot work.") if number == 2 else ZeroDivisionError("a bug")
    caplog.clear()
    _swept(tmp_path, FULL)
    with pytest.raises(SystemExit) as ended:
        SweepReport(str(tmp_path / "tables")).on_multirun_end(_config(tmp_path, "none"))
    assert ended.value.code == 1 and (tmp_path / "tables" / "toy.md").exists()
    assert [line for line in caplog.messages if line.startswith("Failed")] == [
        "Failed   method=x seed=2: it cannot work.",
        "Failed   method=x seed=10: ZeroDivisionError: a bug",
    ]
    assert "2 of the sweep's jobs failed" in caplog.text


def _swept(folder: Path, *records: RunRecord) -> None:
    """As a sweep's jobs leave them."""
    for number, record in enumerate(records):
        place = folder / "sweep" / str(number)
        place.mkdir(parents=True, exist_ok=True)
        keep_record(place, save(record, folder / "records"))


def test_a_sweep_reports_on_its_own_records_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(replace(OTHER, finished=now()), tmp_path / "records")  # of a sweep of the same name at the same time
    callback = SweepReport(str(tmp_path / "tables"))
    callback.on_multirun_start(_config(tmp_path, "none"))
    _swept(tmp_path, FULL, PRISM, PRISM)
    with caplog.at_level("INFO", "selectmm"):
        callback.on_multirun_end(_config(tmp_path, "none"))
    assert f"Table    {tmp_path}/tables/toy.md" in caplog.text
    assert f"Picture  {tmp_path}/tables/toy.png and .svg" in caplog.text
    assert f"Records  {tmp_path}/records (2)" in caplog.text
    assert "0.001" not in (tmp_path / "tables" / "toy.md").read_text()


def test_a_sweeps_report_is_tracked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _swept(tmp_path, FULL)
    with caplog.at_level("INFO", "selectmm"):
        SweepReport(str(tmp_path / "tables")).on_multirun_end(_config(tmp_path, "wandb"))
    media = sorted(file.parent.name for file in tmp_path.glob("wandb/offline-run-*/files/media/*/*"))
    assert media == ["images", "table", "table"], "the page's, and the scatter's"
    assert f"W&B      {tmp_path}/wandb/offline-run-* (1;" in caplog.text


def test_a_sweep_without_records_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit):
        SweepReport(str(tmp_path / "tables")).on_multirun_end(_config(tmp_path, "none"))
    assert "The report is incomplete: There are no records to report on" in caplog.text


def test_a_sweep_of_which_every_job_failed_speaks_of_no_report_and_of_no_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "sweep" / "0").mkdir(parents=True)
    with alone(tmp_path / "sweep" / "0", ["method=x"]):
        raise UserError("it cannot work.")
    caplog.clear()
    with pytest.raises(SystemExit) as ended:
        SweepReport(str(tmp_path / "tables")).on_multirun_end(_config(tmp_path, "none"))
    assert ended.value.code == 1
    assert caplog.messages == [
        "Failed   method=x: it cannot work.",
        "\nNone of the sweep's jobs wrote a record, so there is no report.",
    ]


def test_a_tracker_that_breaks_hides_neither_the_table_nor_the_failures(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(self: object, *_: object) -> None:
        raise ConnectionError("no answer")

    monkeypatch.setattr(NoTracker, "stage", breaks)
    _swept(tmp_path, FULL)
    (tmp_path / "sweep" / "1").mkdir(parents=True)
    with alone(tmp_path / "sweep" / "1", ["method=x"]):
        raise UserError("it cannot work.")
    with pytest.raises(SystemExit), caplog.at_level("INFO", "selectmm"):
        SweepReport(str(tmp_path / "tables")).on_multirun_end(_config(tmp_path, "none"))
    assert f"Table    {tmp_path}/tables/toy.md" in caplog.text and "ConnectionError: no answer" in caplog.text
    assert "Failed   method=x: it cannot work." in caplog.text


def test_an_experiment_may_be_named_like_a_path(tmp_path: Path) -> None:
    report = write_report([FULL, PRISM], tmp_path, "a/b", (), SILENT)
    assert report.markdown == tmp_path / "a" / "b.md" and (tmp_path / "a" / "b.svg").exists()
    assert "](b.svg)" in report.markdown.read_text()


SWEEP = """
from dataclasses import replace
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
from selectmm.records.files import save
from selectmm.records.record import now
from selectmm.report.jobs import keep_record
from tests.report.runs import run_of

@hydra.main(version_base="1.3", config_path=".", config_name="run")
def job(config):
    record = run_of(config.method, {"POPE": 80.0 - config.seed}, seed=config.seed)
    path = save(replace(record, experiment=config.experiment, finished=now()), Path(config.records))
    keep_record(Path(HydraConfig.get().runtime.output_dir), path)

job()
"""

RUN = """
defaults: [_self_]
experiment: toy
method: full
seed: 0
records: outputs/records
tracker: {_target_: selectmm.records.tracker.NoTracker}
hydra:
  callbacks:
    report: {_target_: selectmm.report.sweep.SweepReport, tables: outputs/tables}
"""


def test_a_real_multirun_ends_with_its_table(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(SWEEP)
    (tmp_path / "run.yaml").write_text(RUN)
    words = ["-m", "method=full,random,prism", "seed=0,1", "experiment=mine"]
    done = command(words, tmp_path, lambda: runpy.run_path("job.py", run_name="__main__"))
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "outputs" / "tables" / "mine.md").read_text()
    assert page.count("(2)") >= 6 and "- A random 30 % keeps" in page
    assert "Table    outputs/tables/mine.md" in done.stdout and "Records  outputs/records (6)" in done.stdout
