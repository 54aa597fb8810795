"""What is committed under results/ was made from its records, and the README shows it as it is."""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console

from experiments.studies.verdicts import FULL_RUNS_OF
from selectmm.errors import UserError
from selectmm.evaluation.suite import Score
from selectmm.records.answers import load_answers
from selectmm.records.files import load
from selectmm.records.record import RunRecord
from selectmm.report.leaderboard.page import write_leaderboard
from selectmm.report.references import references_for
from selectmm.report.relative import is_full
from selectmm.report.report import HEAD, write_report
from selectmm.statistics.compare import AGREES
from selectmm.statistics.tally import Tally, tally_of

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
RECORDS = sorted((RESULTS / "records").glob("*.json"))
OF_COSTS = sorted((RESULTS / "records" / "costs").glob("*.json"))  # their scores are of four items and compare nothing
OF_A_TRIAL = sorted((RESULTS / "records" / "quickstart-trial").glob("*.json"))  # on no page: see experiments/quickstart
ANEW = sorted((RESULTS / "records" / "all-methods-processor").glob("*.json"))  # made again on another processor
REFERENCES = sorted(file for file in (RESULTS / "references").glob("*.json") if not file.match("*.record.json"))
PAGES = sorted((RESULTS / "tables").glob("*.md"))
TABLES = [page for page in PAGES if page.read_text().startswith(HEAD)]


loaded = cache(load)  # every record is read once


def committed() -> list[tuple[Path, RunRecord]]:
    """Every record with its file."""
    return [(path, loaded(path)) for path in RECORDS]


Kept = Mapping[str, tuple[int, Tally | None]]  # by benchmark: how many answers, and what they add up to


def kept_by(record: RunRecord, path: Path) -> Kept:
    """What the answers beside a record say."""
    answers = load_answers(record, path)
    return {name: (len(many), tally_of(record, name, many)) for name, many in answers.items()}


@cache  # answers are most of what is read here, and their tallies small
def kept(path: Path) -> Kept:
    """What the answers beside a committed record say."""
    return kept_by(loaded(path), path)


def complaints(record: RunRecord, path: Path) -> list[str]:
    """What in a record does not follow from the rest of it and from the answers beside it."""
    per_source = record.subset.coverage.per_source.values()
    found = []
    if sum(entry.kept for entry in per_source) != record.subset.rows:
        found.append("what it kept by source does not add up")
    if not sum(entry.pool for entry in per_source) == sum(record.pool.per_source.values()) == record.pool.rows:
        found.append("its pool does not add up")
    if record.answers is None:
        return [*found, "no answers are kept"]
    its = kept(path) if record is loaded(path) else kept_by(record, path)
    return found + [odd for score in record.scores if (odd := _unlike(score, *its.get(score.benchmark, (0, None))))]


def _unlike(score: Score, count: int, found: Tally | None) -> str:
    if count != score.items:
        return f"{score.benchmark}: {count} answers are kept"
    if found is None or abs(found.total - score.value) <= AGREES:
        return ""  # None: its metric is no property of single items
    return f"{score.benchmark}: its answers give {found.total:.2f}, the record says {score.value:.2f}"


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
    full = FULL_RUNS_OF.get(page.stem)
    mine = [
        (path, record)
        for path, record in committed()
        if record.experiment == page.stem or (record.experiment == full and is_full(record))
    ]
    records = [record for _, record in mine]
    references = ROOT / records[0].config["references"]
    assert references_for(references, records), (
        "the references that are printed were measured on these records' model and prompts"
    )
    tallies = {record.name: {name: one for name, (_, one) in kept(path).items() if one} for path, record in mine}
    report = write_report(records, tmp_path, page.stem, [references], Console(file=io.StringIO()), tallies)
    assert report.markdown.read_text() == page.read_text()
    for svg in report.svgs:
        assert svg.read_text() == (page.parent / svg.name).read_text()


@pytest.mark.parametrize(
    ("document", "marker", "table"),
    [
        ("experiments/quickstart/README.md", "quickstart", "quickstart"),
        ("selectmm/quickstart/README.md", "room", "quickstart-room"),
    ],
)
def test_a_table_in_a_document_is_copied_from_results(document: str, marker: str, table: str) -> None:
    text = (ROOT / document).read_text()
    shown = text.split(f"<!-- {marker}:begin -->")[1].split(f"<!-- {marker}:end -->")[0]
    lines = [line for line in shown.splitlines() if line.startswith("|")]
    made = (RESULTS / "tables" / f"{table}.md").read_text().splitlines()
    assert len(lines) > 4
    assert set(lines) <= set(made)


def test_the_leaderboard_is_what_the_records_say(tmp_path: Path) -> None:
    records = {f"records/{path.name}": record for path, record in committed()}
    write_leaderboard(records, tmp_path / "leaderboard.html", REFERENCES)
    assert (tmp_path / "leaderboard.html").read_text() == (RESULTS / "leaderboard.html").read_text(), (
        "make it again: selectmm leaderboard results/records/*.json --references "
        + " ".join(str(file.relative_to(ROOT)) for file in REFERENCES)
    )


@pytest.mark.parametrize("path", [*RECORDS, *OF_COSTS, *OF_A_TRIAL, *ANEW], ids=lambda path: path.stem)
def test_a_record_is_whole_and_was_made_from_a_commit(path: Path) -> None:
    record = loaded(path)
    assert record.name == path.stem, f"a record's file has the name of what was asked for: {record.name}.json"
    commit, dirty = record.provenance.commit, record.provenance.dirty
    assert re.fullmatch("[0-9a-f]{40}", commit or ""), f"{path.name} was not made in a git checkout"
    again = "commit what is yours and start the same command again, whose stages come from the cache"
    assert dirty is False, f"{path.name} was made with changes that are in no commit; {again}"
    assert str(Path.home()) not in path.read_text()
    assert complaints(record, path) == []
    parts = [str(record.config[group]["_target_"]) for group in ("pool", "model")]
    assert record.scale == "embedded" or not any(part.startswith("selectmm.quickstart.") for part in parts)


@pytest.mark.parametrize("path", RECORDS[:1], ids=lambda path: path.stem)
def test_a_record_that_was_edited_is_noticed(path: Path) -> None:
    """Whoever raises a score, a count or what was kept has to raise the answers too, whose checksum then differs."""
    record, first = load(path), load(path).scores[0]

    def scored(**changes: float) -> RunRecord:
        return replace(record, scores=(replace(first, **changes), *record.scores[1:]))

    assert complaints(scored(value=first.value + 1.0), path)[0].startswith(f"{first.benchmark}: its answers give")
    assert complaints(scored(items=first.items + 1), path) == [f"{first.benchmark}: {first.items} answers are kept"]
    with pytest.raises(UserError, match=f"it answers '{first.benchmark}', for which the record has no score"):
        complaints(replace(record, scores=record.scores[1:]), path)
    assert complaints(replace(record, answers=None), path) == ["no answers are kept"]
    more = replace(record.subset, rows=record.subset.rows - 1)
    assert complaints(replace(record, subset=more), path) == ["what it kept by source does not add up"]
    assert complaints(replace(record, pool=replace(record.pool, rows=1)), path) == ["its pool does not add up"]


def test_records_of_the_same_items_agree_on_what_chance_gives() -> None:
    """What is at chance is left out of Rel.: an edited floor would change every method's."""
    seen: dict[str, set[tuple[float | None, ...]]] = {}
    for _, record in committed():
        for score in record.scores:
            asked = json.dumps([score.benchmark, asdict(record.suite.evaluator[score.benchmark])], sort_keys=True)
            seen.setdefault(asked, set()).add((score.chance, score.majority, score.items))
    assert {asked: found for asked, found in seen.items() if len(found) > 1} == {}


@pytest.mark.parametrize("paths", [RECORDS, OF_COSTS, OF_A_TRIAL, ANEW], ids=["records", "costs", "trial", "anew"])
def test_no_answers_lie_there_without_their_record(paths: list[Path]) -> None:
    named = {loaded(path).answers.file for path in paths if loaded(path).answers is not None}
    found = {f"answers/{path.name}" for path in (paths[0].parent / "answers").iterdir()}
    assert found == named


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("*.json")), ids=lambda path: str(path.relative_to(RESULTS)))
def test_a_command_names_no_folder_of_the_machine_that_it_ran_on(path: Path) -> None:
    commands = re.findall(r'"command": "(.*?)"[,}]', path.read_text())
    assert not [command for command in commands if re.search(r"(^|[\s=])/", command)]


def test_results_stay_small() -> None:
    """Per-item answers are most of it, and compressed."""
    assert sum(path.stat().st_size for path in RESULTS.rglob("*") if path.is_file()) < 40e6
