"""The report as a page: what the Markdown page says, word for word, and nothing that a browser would obey."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from selectmm.commands.report import main
from selectmm.records.files import save
from selectmm.records.record import RunRecord, SourceCounts
from selectmm.report.html.against import NAME, against
from selectmm.report.html.kept import kept_of, kept_table
from selectmm.report.html.page import report_page
from selectmm.report.html.picture import tooltip
from selectmm.report.points import points
from selectmm.report.published import Reproduces, beside_published, read_printed
from selectmm.report.references import Reference
from selectmm.report.report import write_report
from selectmm.report.rows import compare
from selectmm.report.verdict import answers
from tests.browser import acted, with_browser
from tests.report.runs import references_file, run_of

EVIL = "<script>document.title = 'obeyed'</script><img src=x onerror=\"document.title = 'obeyed'\">|"
REFERENCES = {"POPE": Reference(chance=50.0, base=60.0), "low": Reference(chance=29.0)}


def kept(record: RunRecord, **sources: tuple[int, int]) -> RunRecord:
    """The record with what it kept of each source, as (pool, kept)."""
    counts = {name: SourceCounts(pool, pool, 0, some) for name, (pool, some) in sources.items()}
    return replace(record, subset=replace(record.subset, coverage=replace(record.subset.coverage, per_source=counts)))


def runs() -> list[RunRecord]:
    """Two tables: the last record has another learning rate. On "low" the full run is at chance."""
    fulls = [run_of("full", {"POPE": 80.0 + seed, "low": 30.0}, seed=seed) for seed in (0, 1)]
    some = [
        kept(
            run_of("prism", {"POPE": 60.0 + seed, "low": 31.0}, seed=seed, seconds=(9.0, 1.0, 8.0)),
            coco=(60, 15 * seed),
        )
        for seed in (0, 1)
    ]
    randoms = [run_of("random", {"POPE": 61.5, "low": 28.0}, seed=seed, seconds=(0.0, 0.0, 8.0)) for seed in (0, 1)]
    return [*fulls, *some, *randoms, run_of(EVIL, {"POPE": 55.0}, lr=1e-3)]


class Cells(HTMLParser):
    """Tables as lists of rows, list items, and all tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.items: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._at: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")
        elif tag == "li":
            self.items.append("")
        self._at = [tag] if tag in {"td", "th", "li"} else self._at

    def handle_endtag(self, tag: str) -> None:
        self._at = [] if tag in {"td", "th", "li"} else self._at

    def handle_data(self, data: str) -> None:
        if self._at == ["li"]:
            self.items[-1] += data
        elif self._at:
            self.tables[-1][-1][-1] += data


def of_markdown(text: str) -> tuple[list[list[list[str]]], list[str]]:
    """The same of the Markdown page, read by its own rules: pipes part cells unless a backslash stands before them."""
    tables: list[list[list[str]]] = []
    for line in text.splitlines():
        cells = [cell.replace("\\|", "|").replace("&lt;", "<") for cell in re.split(r" (?<!\\)\| ", line[2:-2])]
        if line.startswith("| method |"):
            tables.append([cells])
        elif line.startswith("| ") and not line.startswith("| ---"):
            tables[-1].append(cells)
    return tables, [
        line[2:].replace("\\|", "|").replace("&lt;", "<") for line in text.splitlines() if line.startswith("- ")
    ]


def without(column: str, table: list[list[str]]) -> list[list[str]]:
    place = table[0].index(column) if column in table[0] else len(table[0])
    return [row[:place] + row[place + 1 :] for row in table]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The Markdown page's text and the HTML page."""
    folder = tmp_path_factory.mktemp("report")
    references = [references_file(folder / "references.json", REFERENCES)]
    report = write_report(runs(), folder, "toy", references, Console(file=io.StringIO()), html=True)
    assert report.html == folder / "toy.html"
    return report.markdown.read_text(), report.html


def test_the_page_has_the_cells_and_the_sentences_of_the_markdown(pages: tuple[str, Path]) -> None:
    tables, items = of_markdown(pages[0])
    found = Cells(pages[1].read_text())
    shown = [without(NAME, table) for table in found.tables if "all" not in table[0]]  # without what only this page has
    assert len(shown) == len(tables) == 2
    for mine, other in zip(shown, tables, strict=True):
        assert sorted(mine[0]) == sorted(other[0]) and mine[0][:4] == ["method", "budget", "Rel. %", "selection"]
        by_name = [[dict(zip(table[0], row, strict=True)) for row in table[1:]] for table in (mine, other)]
        assert by_name[0] == by_name[1] and len(by_name[0]) > 0
    assert found.items == items and any("keeps" in item for item in items)


def test_every_heading_and_every_point_explains_itself(pages: tuple[str, Path]) -> None:
    tips = [
        (tag, attributes["data-tip"])
        for tag, attributes in Cells(pages[1].read_text()).tags
        if "data-tip" in attributes
    ]
    heads = [tip for tag, tip in tips if tag == "th"]
    assert any(tip.startswith("PRISM's cost score") for tip in heads)
    assert sum("Rel. leaves this benchmark out" in tip for tip in heads) == 1, "of the benchmark that is at chance"
    assert [tip for tag, tip in tips if tag == "g"] == [
        tooltip(point) for point in points(compare(runs()[:-1], REFERENCES))
    ]


def test_every_column_of_every_table_explains_itself(pages: tuple[str, Path]) -> None:
    """Those of a paper's table too, whose cells are the paper's number, ours and the difference."""
    beside = beside_published(Reproduces("PRISM", "main"), compare(runs()[:-1], {}), read_printed("PRISM", "main"))
    papers = report_page("toy", [], [beside])
    for page in (pages[1].read_text(), papers):
        heads = [of for tag, of in Cells(page).tags if tag == "th" and of.get("scope") == "col"]
        assert heads and [of for of in heads if not of.get("data-tip") or of.get("tabindex") != "0"] == []
    tips = [of["data-tip"] for tag, of in Cells(papers).tags if tag == "th" and of.get("scope") == "col"]
    said = dict(zip(beside.columns, tips, strict=True))
    assert said["rows"] == "How many rows were kept: the paper's number / ours."
    assert said["evidence"].startswith("Where we read the paper's numbers: ")
    assert said["Rel. %"].endswith(
        "over the benchmarks that the paper averages: the paper's number / ours / difference."
    )
    assert said[beside.columns[3]] == "Score on this benchmark: the paper's number / ours / difference."
    assert said["OSC"].startswith("PRISM's cost score")


def test_the_verdicts_are_those_of_the_sentence(pages: tuple[str, Path]) -> None:
    """Two methods far from random and one like it; the sentence above the table names them with the same numbers."""
    chosen = {"good": 75.0, "alike": 60.5, "bad": 40.0, "random": 60.0}
    many = [run_of(name, {"POPE": score + seed / 10}, seed=seed) for name, score in chosen.items() for seed in range(5)]
    comparison = compare([*(run_of("full", {"POPE": 80.0}, seed=seed) for seed in range(5)), *many], {})
    cells = dict(zip([row.method for row in comparison.rows], against(comparison), strict=True))
    (sentence,) = answers(comparison)
    better, worse, alike = (re.search(rf"{name} \(([^)]+)\)", sentence)[1] for name in ("good", "bad", "alike"))
    assert re.search(
        "Significantly better: good .*Significantly worse: bad .*No significant difference: alike", sentence
    )
    assert (
        f">▲ {better}</td>" in cells["good"] and f">▼ {worse}</td>" in cells["bad"] and f">{alike}<" in cells["alike"]
    )
    assert cells["full"] == cells["random"] == "<td>–</td>"
    assert "Significantly better.\ngood − random at 30 % under toy-epochs" in cells["good"]
    assert NAME in Cells(pages[1].read_text()).tables[0][0]


def test_a_point_in_words() -> None:
    """By hand: two seeds of 60 and 61 beside a full run of 80; 18 of 30 seconds."""
    seeds = [run_of("prism", {"POPE": 60.0 + seed}, seed=seed, seconds=(9.0, 1.0, 8.0)) for seed in (0, 1)]
    (_, prism) = points(compare([run_of("full", {"POPE": 80.0}), *seeds], {}))
    assert tooltip(prism) == "prism, toy-epochs\nRel. 75.6 ± 0.9 % at 60 % of the full run's cost"


def test_what_was_kept_by_hand(pages: tuple[str, Path]) -> None:
    """Seed 0 kept none of 60 rows and seed 1 kept 15: 12.5 %."""
    (one,) = [one for one in kept_of(compare(runs()[:-1], {})) if one.row.method == "prism"]
    assert (one.share("coco"), one.overall, one.share("text")) == (0.125, 0.125, None)
    found = Cells(pages[1].read_text())
    (table,) = [table for table in found.tables if "all" in table[0]]
    assert table == [["method", "budget", "coco", "all"], ["prism", "30 %", "12 %", "12 %"]]
    assert ("td", "prism: 7.5 of 60 rows of coco") in [(tag, of.get("data-tip")) for tag, of in found.tags]


def test_a_source_without_rows_in_the_pool_has_no_share() -> None:
    empty = kept(run_of("prism", {"POPE": 1.0}), coco=(0, 1))
    assert kept_table(compare([empty], {})).count("<td>unknown</td>") == 2, "of the source, and of all"


def test_the_page_asks_for_nothing_and_holds_no_tag_of_a_record(pages: tuple[str, Path]) -> None:
    page = pages[1].read_text()
    assert "default-src 'none'" in page and not re.findall(r"@import|url\((?!#)|https?://(?!www\.w3\.org/)", page)
    links = {name: value for _, of in Cells(page).tags for name, value in of.items() if name.endswith(("src", "href"))}
    assert all(str(value).startswith("#") for value in links.values()), links
    tags = [tag for tag, _ in Cells(page).tags]
    assert tags.count("script") == 1 and "img" not in tags
    ids = [attributes["id"] for _, attributes in Cells(page).tags if "id" in attributes]
    assert len(ids) == len(set(ids)), "two pictures on one page"


def test_the_command_writes_the_page_if_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some = [*runs()[:2], run_of("prism", {"POPE": 60.0, "low": 31.0})]
    files = [str(save(record, tmp_path / "records")) for record in some]
    main([*files, "--to", str(tmp_path), "--name", "plain"])
    assert not (tmp_path / "plain.html").exists() and "Page" not in capsys.readouterr().out
    main([*files, "--to", str(tmp_path), "--name", "v1.5", "--html"])
    assert (tmp_path / "v1.5.html").exists() and f"Page     {tmp_path}/v1.5.html\n" in capsys.readouterr().out


@with_browser
def test_a_narrow_screen_says_that_the_picture_goes_on(pages: tuple[str, Path]) -> None:
    """And a screen on which the whole picture fits does not."""
    ask = "[find('.narrow').checkVisibility(), find('figure').scrollWidth > find('figure').clientWidth]"
    found = [acted(pages[1], [("", ask)], "", f"--window-size={width},900") for width in (390, 500, 560, 1280)]
    assert found == [[[True, True]], [[True, True]], [[False, False]], [[False, False]]]


@with_browser
def test_on_a_phone_the_page_does_not_move_sideways(pages: tuple[str, Path]) -> None:
    ask = "[innerWidth, document.documentElement.scrollWidth - document.documentElement.clientWidth]"
    assert acted(pages[1], [("", ask)], "", "--window-size=390,800") == [[390, 0]]


@with_browser
def test_a_browser_explains_a_point_and_obeys_no_record(pages: tuple[str, Path]) -> None:
    found = acted(
        pages[1],
        [
            ("find('.point').focus()", "[document.title, find('#tip').checkVisibility() && find('#tip').textContent]"),
            ("press('ArrowRight')", "document.activeElement.getAttribute('aria-label')"),
            ("find('.cells [data-tip]').focus(); press('End'); press('ArrowUp')", "document.activeElement.cellIndex"),
            ("", "[...document.querySelectorAll('main [tabindex]')].filter((one) => one.tabIndex === 0).length"),
            ("find('#theme-dark').click()", "getComputedStyle(find('.picture path')).fill"),
        ],
    )
    full, random = (tooltip(point) for point in points(compare(runs()[:-1], REFERENCES))[:2])
    verdict = 3
    stops = 4  # a picture with points, two tables and what was kept
    assert found == [["toy", full], random, verdict, stops, "rgb(26, 30, 34)"]
