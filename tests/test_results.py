"""What is committed under results/ was made from its records, and the README shows it as it is."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from selectmm.records.answers import load_answers
from selectmm.records.record import load
from selectmm.report.leaderboard.page import write_leaderboard
from selectmm.report.references import references_for
from selectmm.report.report import HEAD, write_report

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
PAGES = sorted((RESULTS / "tables").glob("*.md"))
TABLES = [page for page in PAGES if page.read_text().startswith(HEAD)]


def test_there_are_tables() -> None:
    assert TABLES


@pytest.mark.parametrize("page", [page for page in PAGES if page not in TABLES], ids=lambda page: page.stem)
def test_a_page_not_made_from_records_names_the_script_that_made_it(page: Path) -> None:
    """And that script's own test, under tests/experiments, makes the page again."""
    script = re.match(r"<!-- Made by `python (experiments/\S+\.py)`; never edited by hand. -->\n", page.read_text())
    assert script and (ROOT / script[1]).exists()
    assert (ROOT / "tests" / "experiments" / f"test_{Path(script[1]).stem}.py").exists()


@pytest.mark.parametrize("page", TABLES, ids=lambda page: page.stem)
def test_a_table_is_what_its_records_say(page: Path, tmp_path: Path) -> None:
    found = [load(path) for path in sorted((RESULTS / "records").glob("*.json"))]
    records = [record for record in found if record.experiment == page.stem]
    references = references_for(RESULTS / "references" / "mini.json", records)
    assert references, "the references that are printed were measured on these records' model and prompts"
    report = write_report(records, tmp_path, page.stem, references, Console(file=io.StringIO()))
    assert report.markdown.read_text() == page.read_text()
    for svg in report.svgs:
        assert svg.read_text() == (page.parent / svg.name).read_text()


@pytest.mark.parametrize(
    ("document", "marker", "table"),
    [("README.md", "quickstart", "quickstart"), ("selectmm/quickstart/README.md", "room", "quickstart-room")],
)
def test_a_table_in_a_document_is_copied_from_results(document: str, marker: str, table: str) -> None:
    text = (ROOT / document).read_text()
    shown = text.split(f"<!-- {marker}:begin -->")[1].split(f"<!-- {marker}:end -->")[0]
    lines = [line for line in shown.splitlines() if line.startswith("|")]
    made = (RESULTS / "tables" / f"{table}.md").read_text().splitlines()
    assert len(lines) > 4
    assert set(lines) <= set(made)


def test_the_leaderboard_is_what_the_records_say(tmp_path: Path) -> None:
    records = {path.name: load(path) for path in sorted((RESULTS / "records").glob("*.json"))}
    references = references_for(RESULTS / "references" / "mini.json", list(records.values()))
    write_leaderboard(records, tmp_path / "leaderboard.html", references)
    assert (tmp_path / "leaderboard.html").read_text() == (RESULTS / "leaderboard.html").read_text(), (
        "make it again: python -m selectmm leaderboard results/records/*.json --references results/references/mini.json"
    )


@pytest.mark.parametrize("path", sorted((RESULTS / "records").glob("*.json")), ids=lambda path: path.stem)
def test_a_record_is_whole_and_was_made_from_a_commit(path: Path) -> None:
    record = load(path)
    assert record.name == path.stem
    assert record.provenance.commit and not record.provenance.dirty
    assert str(Path.home()) not in path.read_text()
    if record.answers is not None:
        kept = load_answers(record, path)
        assert {name: len(answers) for name, answers in kept.items()} == {s.benchmark: s.items for s in record.scores}


def test_results_stay_small() -> None:
    """Per-item answers are most of it, and compressed."""
    assert sum(path.stat().st_size for path in RESULTS.rglob("*") if path.is_file()) < 20 * 2**20
