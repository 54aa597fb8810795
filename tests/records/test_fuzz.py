"""One place of a committed record changed in any way: every reader shows it, or says a sentence."""

import gzip
import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from selectmm.errors import UserError
from selectmm.records.files import load
from selectmm.records.groups import comparable
from selectmm.records.record import RunRecord
from selectmm.report.html.page import Section, report_page
from selectmm.report.leaderboard.boards import boards_of
from selectmm.report.leaderboard.page import html
from selectmm.report.notes import caption, notes
from selectmm.report.pairing import tallies_of
from selectmm.report.points import cells
from selectmm.report.published import beside_papers
from selectmm.report.references import KINDS, references_for
from selectmm.report.rows import compare
from selectmm.report.table import majority_rel, show, tabulate, to_markdown
from selectmm.statistics import page as statistics_page
from selectmm.statistics import paired
from selectmm.statistics.compare import compare_files
from tests.bad_input import examples

RESULTS = Path(__file__).parents[2] / "results"
NAMES = {"full": "quickstart-full-", "random": "quickstart-random-", "prism": "quickstart-prism-"}
EXAMPLES = 25
Place = tuple[object, int | str]  # a list or an object, and a position or key of it

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three committed records and their answers, of one comparison."""
    folder = tmp_path_factory.mktemp("records")
    (folder / "answers").mkdir()
    for name, start in NAMES.items():
        source = min(path for path in (RESULTS / "records").glob("*.json") if path.name.startswith(start))
        content = json.loads(source.read_text())
        content["config"]["published"] = {"paper": "PRISM", "table": "main"}  # so that a page shows a paper's table too
        (folder / f"{name}.json").write_text(json.dumps(content))
        answers = load(source).answers.file
        shutil.copy(RESULTS / "records" / answers, folder / answers)
    return folder


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired, "RESAMPLES", 9)


def places(content: object) -> Iterator[Place]:
    keys = content.keys() if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in keys:
        yield content, key
        yield from places(content[key])


def change(content: object, data: st.DataObject) -> None:
    inside, key = data.draw(st.sampled_from(list(places(content))))
    how = data.draw(st.sampled_from(["delete", "exchange", "exchange", "rename"]))
    if how == "exchange":
        inside[key] = data.draw(JSON)
    else:
        value = inside.pop(key)
        if how == "rename" and isinstance(inside, dict):
            inside[data.draw(st.text(st.characters(), max_size=5))] = value


def shown(records: dict[str, RunRecord], folder: Path) -> str:
    """What report, leaderboard, compare and the pages beside exports make of records, but for pictures in files."""
    screen, files = Console(file=io.StringIO(), width=200), {name: folder / f"{name}.json" for name in records}
    tallies = tallies_of((files[name], record) for name, record in records.items())
    references = references_for(RESULTS / "references" / "mini.json", list(records.values()))
    comparisons = [(compare(group.records, references, tallies), group) for group in comparable(list(records.values()))]
    found = [
        html(
            boards_of(
                {f"{name}.json": record for name, record in records.items()}, [RESULTS / "references" / "mini.json"]
            )
        )
    ]
    sections, papers = [], beside_papers([comparison for comparison, _ in comparisons])
    for comparison, group in comparisons:
        table = tabulate(comparison, references, caption(comparison, group.apart), notes(comparison))
        show(table, screen)
        found += [to_markdown(table), str(cells(comparison))]
        sections.append(Section(table, comparison, majority_rel(comparison, references)))
    found += [report_page("records", sections, papers), *map(to_markdown, papers)]
    found += [record.name for record in records.values()]
    return "\n".join([*found, screen.file.getvalue()])


def test_nothing_is_wrong_with_them_as_they_are(folder: Path) -> None:
    text = shown({name: load(folder / f"{name}.json") for name in NAMES}, folder)
    assert "| prism |" in text and "PRISM, main" in text
    statistics_page.show(compare_files(folder / "random.json", folder / "prism.json"), Console(file=io.StringIO()))


@examples(EXAMPLES)
@given(st.data())
def test_a_changed_record_is_shown_or_a_sentence(folder: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(NAMES)))
    content = json.loads((folder / f"{name}.json").read_text())
    change(content, data)
    before = (folder / f"{name}.json").read_bytes()
    try:
        (folder / f"{name}.json").write_text(json.dumps(content))
        text = shown({name: load(folder / f"{name}.json") for name in NAMES}, folder)
        text.encode()
        assert not set(map(chr, range(32))) & set(text) - {"\n"}, "a terminal would obey it"
    except UserError as problem:
        str(problem).encode()
    finally:
        (folder / f"{name}.json").write_bytes(before)


@examples(EXAMPLES)
@given(st.data())
def test_changed_records_are_compared_or_a_sentence(folder: Path, data: st.DataObject) -> None:
    content = json.loads((folder / "prism.json").read_text())
    change(content, data)
    file = folder / "changed.json"
    file.write_text(json.dumps(content))
    screen = Console(file=io.StringIO())
    try:
        statistics_page.show(compare_files(folder / "random.json", file), screen)
        screen.file.getvalue().encode()
    except UserError:
        pass


@examples(EXAMPLES)
@given(st.data())
def test_changed_answers_are_read_or_a_sentence(folder: Path, data: st.DataObject) -> None:
    """A line's content, or the packed bytes; the record names whatever lies there."""
    record = load(folder / "prism.json")
    lines = gzip.decompress((folder / record.answers.file).read_bytes()).splitlines()[:20]
    number = data.draw(st.integers(0, len(lines) - 1))
    entry = json.loads(lines[number])
    change(entry, data)
    lines[number] = json.dumps(entry).encode()
    packed = bytearray(gzip.compress(b"\n".join(lines)))
    for place in data.draw(st.lists(st.integers(0, len(packed) - 1), max_size=2)):
        packed[place] = data.draw(st.integers(0, 255))
    file = folder / "answers" / "changed.jsonl.gz"
    file.write_bytes(packed)
    kept = replace(record.answers, file="answers/changed.jsonl.gz", sha256=hashlib.sha256(packed).hexdigest())
    try:
        tallies_of([(folder / "prism.json", replace(record, answers=kept))])
    except UserError:
        pass


@examples(EXAMPLES)
@given(st.data())
def test_changed_references_are_read_or_a_sentence(folder: Path, data: st.DataObject) -> None:
    records = [load(folder / "full.json")]
    for name in ("mini.json", "mini.record.json"):
        content = json.loads((RESULTS / "references" / name).read_text())
        change(content, data)
        (folder / name).write_text(json.dumps(content))
    try:
        for reference in references_for(folder / "mini.json", records).values():
            assert all(abs(getattr(reference, kind) or 0) < 1e16 for kind in KINDS)
    except UserError:
        pass


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"a": 3}', '{"a": {"chance": NaN}}', '{"a": {"base": Infinity}}']
)
def test_references_that_are_none_are_a_sentence(folder: Path, tmp_path: Path, text: str) -> None:
    """NaN in the majority of one benchmark moved a Rel. from 57.8 to 78.2 and marked no benchmark as at chance."""
    shutil.copy(RESULTS / "references" / "mini.record.json", tmp_path / "mini.record.json")
    (tmp_path / "mini.json").write_text(text)
    with pytest.raises(UserError, match=r"Reference scores .*mini\.json: .*; the expected form is \{"):
        references_for(tmp_path / "mini.json", [load(folder / "full.json")])
