"""The leaderboard: its data by hand, and the page in a real browser where there is one."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from selectmm.commands.leaderboard import main
from selectmm.errors import UserError
from selectmm.records.files import save
from selectmm.records.record import MethodEntry, RunRecord, SourceCounts, StageCost
from selectmm.report.leaderboard.boards import boards_of
from selectmm.report.leaderboard.page import address, html, write_leaderboard
from selectmm.report.names import name_of
from selectmm.report.references import Reference
from selectmm.screen import output
from tests.browser import acted, drawn, with_browser
from tests.report.runs import references_file, run_of


def runs() -> dict[str, RunRecord]:
    full = [run_of("full", {"POPE": 80.0 + seed}, seed=seed) for seed in (0, 1)]
    prism = [run_of("prism", {"POPE": 60.0 + seed}, seed=seed) for seed in (0, 1)]
    return {f"{record.method.name}-{record.seed}.json": record for record in [*full, *prism]}


def test_a_row_joins_its_seeds_and_names_their_files() -> None:
    (board,) = boards_of(runs())
    prism = next(row for row in board["rows"] if row["method"] == "prism")
    assert prism["scores"]["POPE"] == {"mean": 60.5, "sd": pytest.approx(0.5**0.5), "n": 2}
    assert prism["rel"]["mean"] == pytest.approx(100 * 60.5 / 80.5)
    assert [run["file"] for run in prism["runs"]] == ["prism-0.json", "prism-1.json"]


def test_a_run_of_two_experiments_is_shown_once() -> None:
    records = runs()
    records["again.json"] = replace(records["prism-0.json"], experiment="other", finished="2027-01-01T00:00:00Z")
    (board,) = boards_of(records)
    prism = next(row for row in board["rows"] if row["method"] == "prism")
    assert [run["file"] for run in prism["runs"]] == ["prism-0.json", "prism-1.json"], "of the larger experiment"
    assert [run["again"] for run in prism["runs"]] == [["again.json"], []], "what is not shown is named"


def test_who_makes_full_again_does_not_change_the_others_costs() -> None:
    records = runs()
    before = boards_of(records)
    slow = replace(records["full-1.json"], finished="2027-01-01T00:00:00Z")
    slow = replace(slow, costs=replace(slow.costs, finetune=StageCost(999.0, 999.0, 1.0, False)))
    (board,), (old,) = boards_of({**records, "slow.json": slow}), before
    assert [row["osc"] for row in board["rows"]] == [row["osc"] for row in old["rows"]]


def test_a_run_made_again_that_chose_otherwise_stops_no_leaderboard() -> None:
    records = runs()
    other = replace(records["prism-0.json"].subset, fingerprint="other")
    records["again.json"] = replace(records["prism-0.json"], subset=other, finished="2027-01-01T00:00:00Z")
    (board,) = boards_of(records)
    assert [len(row["runs"]) for row in board["rows"]] == [2, 2]


def test_the_same_rows_under_another_recipe_of_the_same_name_are_another_run() -> None:
    records = {**runs(), "slow.json": run_of("prism", {"POPE": 50.0}, lr=1e-5)}
    assert [sum(len(row["runs"]) for row in board["rows"]) for board in boards_of(records)] == [4, 1]


def test_the_board_that_compares_most_methods_is_the_first() -> None:
    """Here three methods with one seed each, under another learning rate, before two with two seeds."""
    names = ("random", "prism", "length")
    others = {f"other-{name}.json": run_of(name, {"POPE": 50.0}, lr=1e-5) for name in names}
    boards = boards_of({**runs(), **others})
    assert [sorted(row["method"] for row in board["rows"]) for board in boards] == [sorted(names), ["full", "prism"]]


def test_another_training_length_under_one_name_is_another_run() -> None:
    def epochs(number: int, score: float) -> RunRecord:
        record = run_of("prism", {"POPE": score})
        return replace(record, recipe=replace(record.recipe, options={**record.recipe.options, "epochs": number}))

    (board,) = boards_of({"one.json": epochs(1, 40.0), "three.json": epochs(3, 50.0)})
    assert {row["recipe"]: row["scores"]["POPE"]["mean"] for row in board["rows"]} == {
        "toy-epochs (epochs=1)": 40.0,
        "toy-epochs (epochs=3)": 50.0,
    }


def test_a_record_is_found_from_where_the_page_is(tmp_path: Path) -> None:
    assert address(tmp_path / "records" / "a.json", tmp_path / "page.html") == "records/a.json"
    assert address(tmp_path / "a.json", tmp_path / "deep" / "page.html") == "../a.json"


def test_what_must_not_be_compared_stands_on_another_board() -> None:
    records = runs()
    records["other.json"] = replace(records["prism-0.json"], model="model1")
    first, second = boards_of(records)
    assert len(first["rows"]) == 2 and len(second["rows"]) == 1
    assert "differ in base model" in second["apart"]
    apart = "Not to be compared with other boards. It differs from board {} in base model."
    assert [first["differs"], second["differs"]] == [apart.format(2), apart.format(1)]


def test_boards_of_which_one_lacks_what_the_other_says_of_its_evaluator_differ_in_the_evaluator() -> None:
    more = run_of("prism", {"POPE": 50.0}, evaluator={"POPE": {"generation": {"greedy": True}}})
    records = {**runs(), "more.json": more}
    first, second = boards_of(records)
    apart = "Not to be compared with other boards. It differs from board {} in evaluator."
    assert [first["differs"], second["differs"]] == [apart.format(2), apart.format(1)]


def test_a_board_says_in_words_how_it_differs_from_each_other_one() -> None:
    """Another suite has other benchmarks and prompts, which need no words of their own."""
    records, prism = runs(), runs()["prism-0.json"]
    records["lr.json"] = run_of("prism", {"POPE": 50.0}, lr=1e-5)
    records["asked.json"] = run_of("prism", {"POPE": 50.0}, evaluator={"POPE": {"prompts": "p1"}})
    records["suite.json"] = replace(
        run_of("prism", {"POPE": 50.0, "SQA": 50.0}, evaluator={"POPE": {"prompts": "p1"}}),
        suite=replace(prism.suite, name="other", evaluator=prism.suite.evaluator),
        pool=replace(prism.pool, fingerprint="pool1"),
    )
    (one,) = boards_of(runs())
    assert one["differs"] == ""
    differs = {board["rows"][0]["runs"][0]["file"]: board["differs"] for board in boards_of(records)}
    assert differs["full-0.json"] == (
        "Not to be compared with other boards. "
        "It differs from board 2 in prompts; from board 3 in recipe (lr); from board 4 in pool and suite."
    )
    assert differs["suite.json"].endswith(
        "from boards 1 and 2 in pool and suite; from board 3 in pool, suite and recipe (lr)."
    )


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"_target_": "selectmm.quickstart.embedded.open_pool"}, "embedded"),
        ({"_target_": "selectmm.models.llava.load", "path": "llava-hf/llava-1.5-7b-hf@abc"}, "llava-1.5-7b-hf"),
        ({"_target_": "selectmm.pool.llava_json.open_llava_json", "file": "data/mix665k.json"}, "mix665k"),
        (None, "unknown"),
    ],
)
def test_a_pool_and_a_model_are_called_what_a_person_would_call_them(config: object, name: str) -> None:
    assert name_of(config) == name


def test_the_page_asks_for_nothing_from_outside() -> None:
    page = html(boards_of(runs()))
    assert not re.findall(r"""(?:src|href)=|url\(|@import|https?://(?!www\.w3\.org/2000/svg)""", page)
    assert "default-src 'none'" in page


def test_a_stranger_s_text_cannot_end_the_data() -> None:
    record = replace(runs()["prism-0.json"], method=MethodEntry("</script><script>alert(1)</script>", {}))
    page = html(boards_of({"x.json": record}))
    assert "<script>alert" not in page
    assert data_of(page, "boards")[0]["rows"][0]["method"] == "</script><script>alert(1)</script>"


def test_the_policy_lets_the_page_s_own_script_run_and_no_other() -> None:
    page = html(boards_of(runs()))
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert re.findall(r"script-src ([^;]*);", page) == [f"'sha256-{checksum}'"]


def test_a_row_names_all_its_experiments_and_records() -> None:
    """A filter by experiment finds shared runs too; a link by any of the records finds the row."""
    records = runs()
    again = replace(records["prism-0.json"], experiment="other", finished="2027-01-01T00:00:00Z")
    (board,) = boards_of({**records, "again.json": again})
    prism = next(row for row in board["rows"] if row["method"] == "prism")
    assert prism["experiments"] == ["other", "toy"]
    assert prism["names"] == [records["prism-0.json"].name, again.name, records["prism-1.json"].name]


def test_runs_lie_apart_from_the_boards_and_every_method_has_its_colour() -> None:
    page = html(boards_of(runs()))
    (board,), (_, prism) = data_of(page, "boards"), data_of(page, "runs-0")
    assert not any("runs" in row for row in board["rows"])
    assert [run["file"] for run in prism] == ["prism-0.json", "prism-1.json"]
    assert "#D55E00" in data_of(page, "styles")["prism"]["colour"]


def data_of(page: str, name: str) -> object:
    """What the page's script reads from one of its elements."""
    return json.loads(re.search(rf'id="{name}">(.*?)</script>', page, re.DOTALL)[1])


def test_the_same_records_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    records = runs()
    write_leaderboard(records, tmp_path / "a.html")
    write_leaderboard(dict(reversed(records.items())), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_no_records_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no records to rank; name record files, such as results/records/\*\.json"):
        write_leaderboard({}, tmp_path / "a.html")


def test_a_page_that_is_a_folder_is_one_sentence(tmp_path: Path) -> None:
    file = save(run_of("full", {"POPE": 80.0}), tmp_path)
    with pytest.raises(UserError, match="could not be written: Is a directory; make room, or give --to another file"):
        main([str(file), "--to", str(tmp_path)])


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(save(record, tmp_path)) for record in runs().values()]
    with output(json=True):
        main([*paths, "--to", str(tmp_path / "board.html")])
    shown = capsys.readouterr()
    assert shown.err == f"Leaderboard  {tmp_path}/board.html: 4 records, 2 rows on 1 board\n"
    document = json.loads(shown.out)
    assert (document["page"], document["records"]) == (str(tmp_path / "board.html"), 4)
    assert [row["method"] for row in document["boards"][0]["rows"]] == ["full", "prism"]


def methods(dom: str) -> list[str]:
    return re.findall(
        r'<tr class="row"[^>]*><td[^>]*><div class="name"><svg.*?</svg><span>([^<]+)</span></div></td>', dom
    )


@with_browser
def test_a_browser_sorts_filters_and_opens_a_row(tmp_path: Path) -> None:
    page = tmp_path / "board.html"
    hostile = replace(runs()["prism-0.json"], method=MethodEntry("<img src=x onerror=alert(1)>", {}))
    write_leaderboard({**runs(), "hostile.json": hostile}, page)
    dom = drawn(page, f"sort=rel&open={runs()['full-1.json'].name}")
    assert methods(dom)[0] == "full" and "&lt;img src=x" in dom and "<img" not in dom
    assert "Seed 0" in dom and "python -m selectmm method=prism" in dom and 'href="./full-1.json"' in dom
    assert dom.count('<g class="point') == 3, "the picture has a point per row"
    assert ">share</th><th" in dom and ">share as a bar</th>" in dom
    assert dom.count('class="point open"') == 1 and "3 of 3 rows" in dom
    assert methods(drawn(page, "sort=rel&up=1"))[-1] == "full"
    filtered = drawn(page, "method=prism&budget=30+%25")
    assert methods(filtered) == ["prism"]
    assert '<option value="100 %"' not in filtered, "prism has no run of it"


@with_browser
def test_a_keyboard_is_enough_and_does_not_lose_its_place(tmp_path: Path) -> None:
    page = tmp_path / "board.html"
    write_leaderboard(runs(), page)
    focus = "((of) => of.row ?? of.point ?? of.sort)(document.activeElement.dataset)"
    at = f"[decodeURIComponent(location.hash), {focus}]"
    stops = "[...document.querySelectorAll('a, button, [tabindex]')].filter((one) => one.tabIndex === 0).length"
    names = {record.method.name: record.name for file, record in runs().items() if file.endswith("-0.json")}
    full, prism = names["full"], names["prism"]
    found = acted(
        page,
        [
            ("", stops),
            (f"press('Enter', '[data-point=\"{prism}\"]')", at),
            (f"press(' ', '[data-row=\"{full}\"]')", at),
            ("press('ArrowDown')", at),
            ("press('End', '[data-sort=\"0-method\"]')", at),
            ("press('ArrowLeft'); document.activeElement.click()", at),
            ("", stops),
        ],
    )
    assert found == [
        3,  # a heading, a row, a point: not one for each of them
        [f"#open={prism}", prism],
        [f"#open={full}", full],
        [f"#open={full}", prism],
        [f"#open={full}", "0-seeds"],
        [f"#open={full}&sort=recipe", "0-recipe"],
        5,  # the open row links to its two records
    ]


@with_browser
def test_headings_stay_in_sight_and_each_explains_itself(tmp_path: Path) -> None:
    page = tmp_path / "board.html"
    scores = {"POPE": 50.0, "low": 20.0}
    many = [run_of("prism", scores, budget=number / 60) for number in range(1, 51)]
    records = [*many, run_of("full", {"POPE": 80.0, "low": 25.0})]
    references = references_file(tmp_path / "references.json", {"low": Reference(chance=25.0)})
    write_leaderboard({f"{number}.json": record for number, record in enumerate(records)}, page, [references])
    moved = "find('.board').scrollTop = 1e6; find('.board').scrollLeft = 1e6"
    top = "find('thead th').getBoundingClientRect().top - find('.board').getBoundingClientRect().top"
    left = "find('tbody tr.row > td').getBoundingClientRect().left - find('.board').getBoundingClientRect().left"
    tips = "[...document.querySelectorAll('thead button')].map((one) => [one.textContent, one.dataset.tip])"
    ask = f"[find('.board').scrollTop > 300, find('.board').scrollLeft > 0, {top}, {left}, {tips}]"
    [(down, right, above, beside, explained)] = acted(page, [(moved, ask)], "", "--window-size=700,800")
    assert (down, right, above, beside) == (True, True, 0, 0)
    said = dict(explained)
    assert list(said)[:5] == ["method", "budget", "Rel. %", "share of full", "OSC"] and all(said.values())
    assert "even the full run is not clearly better than guessing" in said["low †"]
    assert "guessing" not in said["POPE"]


@with_browser
def test_on_a_phone_the_page_does_not_move_sideways_and_filters_are_folded(tmp_path: Path) -> None:
    page = tmp_path / "board.html"
    write_leaderboard(runs(), page)
    first = runs()["full-0.json"].name
    sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    ask = f"[innerWidth, {sideways}, find('#more').open, find('.board').scrollWidth > 390]"
    for state in ("", f"open={first}"):
        assert acted(page, [("", ask)], state, "--window-size=390,800") == [[390, 0, False, True]]


@with_browser
def test_search_filters_reset_and_colours(tmp_path: Path) -> None:
    page = tmp_path / "board.html"
    other = replace(runs()["prism-0.json"], experiment="other")
    write_leaderboard({**runs(), "other.json": other, "ifd.json": run_of("ifd", {"POPE": 50.0})}, page)
    rows = "[...document.querySelectorAll('tr.row .name span')].map((one) => one.textContent)"
    back = "getComputedStyle(document.body).backgroundColor"
    found = acted(
        page,
        [
            ("type('#search', 'PRI 30')", rows),
            ("type('#search', 'nothing like it')", f"[{rows}, find('.empty h2').textContent]"),
            ("find('[data-reset=empty]').click()", f"[{rows}.length, location.hash, find('#search').value]"),
            ("location.hash = 'experiment=other'", rows),
            ("find('[data-sort=\"0-osc\"]').focus()", "find('#tip').textContent"),
            ("find('#theme-light').click()", back),
            ("find('#theme-dark').click()", back),
        ],
    )
    assert found[:4] == [["prism"], [[], "No run matches."], [3, "", ""], ["prism"]]
    assert str(found[4]).startswith("PRISM's cost score: share of full / Rel.")
    light, dark = (sum(map(int, re.findall(r"\d+", str(colour)))) for colour in found[5:])
    assert light > 3 * 200 and dark < 3 * 60


@with_browser
def test_the_page_rounds_as_the_tables_do(tmp_path: Path) -> None:
    """25.25 lies exactly between 25.2 and 25.3; 0.15, as a computer keeps it, does not lie between 0.1 and 0.2."""
    values = [25.25, 25.75, 25.35, -25.25, 0.15, 0.25, 0.05, 2.5, 3.5, 0.5, 0.0, 99.95, 1e-9, 1234.125, -0.04, 7.0]
    values += [number / 16 for number in range(97)]
    page = tmp_path / "board.html"
    write_leaderboard({"full.json": run_of("full", {"POPE": 25.25}, budget=0.30625)}, page)
    found, cells, budgets = acted(
        page,
        [
            ("", f"{values}.map((value) => [0, 1, 2].map((digits) => fixed(value, digits)))"),
            ("", "[...document.querySelectorAll('tr.row td')].map((one) => one.textContent)"),
            ("", "[30.625, 30.635, 15, 100, 0.3125].map(percent)"),
        ],
    )
    assert found == [[f"{value:.{digits}f}" for digits in range(3)] for value in values]
    assert "25.2" in cells and "25.3" not in cells
    assert budgets == [f"{budget:.4g} %" for budget in (30.625, 30.635, 15, 100, 0.3125)]


@with_browser
def test_a_row_shows_that_it_opens_and_a_source_how_much_of_it_was_kept(tmp_path: Path) -> None:
    """Half of coco's 60 rows and all of text's 10: the bars are 50 and 100 % of their tracks."""
    page = tmp_path / "board.html"
    run = run_of("prism", {"POPE": 50.0})
    counts = {"coco": SourceCounts(60, 0, 0, 30), "text": SourceCounts(10, 0, 0, 10)}
    kept = replace(run.subset, coverage=replace(run.subset.coverage, per_source=counts))
    write_leaderboard({"a.json": replace(run, subset=kept), "b.json": run_of("ifd", {"POPE": 5.0}, lr=1e-5)}, page)
    cue = "[...document.querySelectorAll('tr.row .name')].map((one) => getComputedStyle(one, '::before').content)"
    bars = "[...document.querySelectorAll('.bar')].map((one) => one.offsetWidth / one.parentElement.offsetWidth)"
    about = "find('.about').textContent"
    fingerprints = "find('.exact').dataset.tip"
    unexplained = "[...document.querySelectorAll('.detail th')].filter((one) => !one.dataset.tip).length"
    shut, opened, widths, said, tip, silent = acted(
        page,
        [
            ("", cue),
            ("find('[data-row]').click()", cue),
            ("", bars),
            ("", about),
            ("", fingerprints),
            ("", f"[document.querySelectorAll('.detail th').length, {unexplained}]"),
        ],
    )
    assert silent == [10, 0]
    assert (shut, opened) == (['"▸"', '"▸"'], ['"▾"', '"▸"'])
    assert widths == [pytest.approx(0.5, abs=0.02), 1]
    assert str(said).startswith("Not to be compared with other boards. It differs from board 2 in recipe (lr). Fingerp")
    assert "must not be compared with each other; they differ in recipe.lr (here" in str(tip)


@with_browser
def test_the_names_on_a_picture_lie_neither_on_a_mark_nor_on_the_front(tmp_path: Path) -> None:
    """Points on a line, as on the board of the quickstart: each has its name, and no name lies on the line."""
    page = tmp_path / "board.html"
    made = (("random", 36.0, 15.0), ("prism", 40.0, 35.0), ("rds_plus", 56.0, 51.0), ("full", 100.0, 100.0))
    runs_on_it = [
        run_of(name, {"POPE": score / 2 + seed / 8}, seed=seed, seconds=(0.0, 0.0, cost))
        for name, score, cost in made
        for seed in (0, 1)
    ]
    write_leaderboard({f"{number}.json": run for number, run in enumerate(runs_on_it)}, page)
    hit = """(() => {
        const front = find('path.front'), many = front.getTotalLength(), svg = find('svg.plot');
        const boxes = [...document.querySelectorAll('.point text')].map((one) => one.getBBox());
        const marks = [...document.querySelectorAll('.point .shape')].map((one) => one.getBoundingClientRect());
        const {left, top} = svg.getBoundingClientRect(), on = (b, x, y) =>
            x > b.x && x < b.x + b.width && y > b.y && y < b.y + b.height;
        const line = Array.from({length: many}, (_, at) => front.getPointAtLength(at));
        return [boxes.length, boxes.filter((b) => line.some(({x, y}) => on(b, x, y))).length,
            boxes.filter((b) => marks.some((m) => m.right - left > b.x - 3 && m.left - left < b.x + b.width + 3 &&
                m.bottom - top > b.y && m.top - top < b.y + b.height)).length];
    })()"""
    assert acted(page, [("", hit)]) == [[4, 0, 0]]


@with_browser
def test_many_rows_are_drawn_when_they_are_asked_for(tmp_path: Path) -> None:
    page = tmp_path / "board.html"
    many = [run_of("prism", {"POPE": 50.0}, budget=number / 200) for number in range(1, 81)]
    records = {f"{number}.json": record for number, record in enumerate([*many, run_of("full", {"POPE": 80.0})])}
    write_leaderboard(records, page)
    count = "document.querySelectorAll('tr.row').length"
    # two equal Rel. keep their order, so that the last record's row is beyond the first fifty
    last = f"location.hash = 'open={many[-1].name}'"
    assert acted(page, [("", count), ("find('.board + .more').click()", count)]) == [50, 81]
    assert acted(page, [(last, f"[{count}, find('[aria-expanded=true]').dataset.row]")]) == [[81, many[-1].name]]


EVIL = "<script>document.title = 'obeyed'</script><img src=x onerror=\"document.title = 'obeyed'\">"


@with_browser
def test_a_record_s_text_is_never_obeyed(tmp_path: Path) -> None:
    """Without the page's policy too: whatever a record says becomes text."""
    page = tmp_path / "board.html"
    record = run_of(EVIL, {EVIL: 50.0, "POPE": 60.0}, options={EVIL: EVIL})
    record = replace(record, experiment=EVIL, scale=EVIL, deviations=(EVIL,), model=EVIL, finished=EVIL)
    record = replace(record, provenance=replace(record.provenance, command=EVIL))
    records = {
        "full.json": replace(run_of("full", {EVIL: 70.0, "POPE": 80.0}), scale=EVIL, model=EVIL),
        f"{EVIL}.json": record,
    }
    write_leaderboard(records, page)
    made = "document.querySelectorAll('img, main script').length"
    shown = "document.body.innerText.split(\"document.title = 'obeyed'\").length > 6"
    (found,) = acted(
        page,
        [("find('[data-row]').click(); press('Enter', 'tr.row:last-child')", f"[document.title, {made}, {shown}]")],
    )
    assert found == ["selectmm leaderboard", 0, True]
