"""The leaderboard: its data by hand, and the page in a real browser where there is one."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from selectmm.commands.leaderboard import main
from selectmm.errors import UserError
from selectmm.records.files import save
from selectmm.records.record import MethodEntry, RunRecord, StageCost
from selectmm.report.leaderboard.boards import boards_of
from selectmm.report.leaderboard.page import address, html, write_leaderboard
from selectmm.report.names import name_of
from selectmm.screen import output
from tests.report.runs import run_of

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
with_browser = pytest.mark.skipif(BROWSER is None, reason="needs chromium on the PATH")


def runs() -> dict[str, RunRecord]:
    full = [run_of("full", {"POPE": 80.0 + seed}, seed=seed) for seed in (0, 1)]
    prism = [run_of("prism", {"POPE": 60.0 + seed}, seed=seed) for seed in (0, 1)]
    return {f"{record.method.name}-{record.seed}.json": record for record in [*full, *prism]}


def test_a_row_joins_its_seeds_and_names_their_files() -> None:
    (board,) = boards_of(runs(), {})
    prism = next(row for row in board["rows"] if row["method"] == "prism")
    assert prism["scores"]["POPE"] == {"mean": 60.5, "sd": pytest.approx(0.5**0.5), "n": 2}
    assert prism["rel"]["mean"] == pytest.approx(100 * 60.5 / 80.5)
    assert [run["file"] for run in prism["runs"]] == ["prism-0.json", "prism-1.json"]


def test_a_run_of_two_experiments_is_shown_once() -> None:
    records = runs()
    records["again.json"] = replace(records["prism-0.json"], experiment="other", finished="2027-01-01T00:00:00Z")
    (board,) = boards_of(records, {})
    prism = next(row for row in board["rows"] if row["method"] == "prism")
    assert [run["file"] for run in prism["runs"]] == ["prism-0.json", "prism-1.json"], "of the larger experiment"
    assert [run["again"] for run in prism["runs"]] == [["again.json"], []], "what is not shown is named"


def test_who_makes_full_again_does_not_change_the_others_costs() -> None:
    records = runs()
    before = boards_of(records, {})
    slow = replace(records["full-1.json"], finished="2027-01-01T00:00:00Z")
    slow = replace(slow, costs=replace(slow.costs, finetune=StageCost(999.0, 999.0, 1.0, False)))
    (board,), (old,) = boards_of({**records, "slow.json": slow}, {}), before
    assert [row["osc"] for row in board["rows"]] == [row["osc"] for row in old["rows"]]


def test_a_run_made_again_that_chose_otherwise_stops_no_leaderboard() -> None:
    records = runs()
    other = replace(records["prism-0.json"].subset, fingerprint="other")
    records["again.json"] = replace(records["prism-0.json"], subset=other, finished="2027-01-01T00:00:00Z")
    (board,) = boards_of(records, {})
    assert [len(row["runs"]) for row in board["rows"]] == [2, 2]


def test_the_same_rows_under_another_recipe_of_the_same_name_are_another_run() -> None:
    records = {**runs(), "slow.json": run_of("prism", {"POPE": 50.0}, lr=1e-5)}
    assert [sum(len(row["runs"]) for row in board["rows"]) for board in boards_of(records, {})] == [4, 1]


def test_a_record_is_found_from_where_the_page_is(tmp_path: Path) -> None:
    assert address(tmp_path / "records" / "a.json", tmp_path / "page.html") == "records/a.json"
    assert address(tmp_path / "a.json", tmp_path / "deep" / "page.html") == "../a.json"


def test_what_must_not_be_compared_stands_on_another_board() -> None:
    records = runs()
    records["other.json"] = replace(records["prism-0.json"], model="model1")
    first, second = boards_of(records, {})
    assert len(first["rows"]) == 2 and len(second["rows"]) == 1
    assert "differ in base model" in second["apart"]


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
    page = html(boards_of(runs(), {}))
    assert not re.findall(r"""(?:src|href)=|url\(|@import|https?://(?!www\.w3\.org/2000/svg)""", page)
    assert "default-src 'none'" in page


def test_a_stranger_s_text_cannot_end_the_data() -> None:
    record = replace(runs()["prism-0.json"], method=MethodEntry("</script><script>alert(1)</script>", {}))
    page = html(boards_of({"x.json": record}, {}))
    assert "<script>alert" not in page
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(data)[0]["rows"][0]["method"] == "</script><script>alert(1)</script>"


def test_the_same_records_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    records = runs()
    write_leaderboard(records, tmp_path / "a.html", {})
    write_leaderboard(dict(reversed(records.items())), tmp_path / "b.html", {})
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_no_records_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no records to rank; name record files, such as results/records/\*\.json"):
        write_leaderboard({}, tmp_path / "a.html", {})


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(save(record, tmp_path)) for record in runs().values()]
    with output(json=True):
        main([*paths, "--to", str(tmp_path / "board.html")])
    shown = capsys.readouterr()
    assert shown.err == f"Leaderboard  {tmp_path}/board.html: 4 records, 2 rows on 1 board\n"
    document = json.loads(shown.out)
    assert (document["page"], document["records"]) == (str(tmp_path / "board.html"), 4)
    assert [row["method"] for row in document["boards"][0]["rows"]] == ["full", "prism"]


def drawn(path: Path, state: str) -> str:
    """The page's DOM after its script has run at an address that holds a state."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={path.parent / 'browser'}"]
    command = [BROWSER, *flags, "--virtual-time-budget=2000", "--dump-dom", f"{path.as_uri()}#{state}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def methods(dom: str) -> list[str]:
    return re.findall(r'<tr class="row"[^>]*><td[^>]*><div class="name">([^<]+)</div></td>', dom)


@with_browser
def test_a_browser_sorts_filters_and_opens_a_row(tmp_path: Path) -> None:
    page = tmp_path / "board.html"
    hostile = replace(runs()["prism-0.json"], method=MethodEntry("<img src=x onerror=alert(1)>", {}))
    write_leaderboard({**runs(), "hostile.json": hostile}, page, {})
    dom = drawn(page, "sort=rel&open=0-0")
    assert methods(dom)[0] == "full" and "&lt;img src=x" in dom and "<img" not in dom
    assert "Seed 0" in dom and "python -m selectmm method=prism" in dom and 'href="./full-1.json"' in dom
    assert dom.count("<circle") == 3, "the picture has a point per row"
    assert re.findall(r"<circle [^>]*class=\"one\"", dom) != [] and dom.count('class="one"') == 1, "one seed is hollow"
    assert dom.count('class="point"') == 2 and dom.count('class="point open" style="color:#000000" tabindex="0"') == 1
    assert methods(drawn(page, "sort=rel&up=1"))[-1] == "full"
    filtered = drawn(page, "method=prism&budget=30+%25")
    assert methods(filtered) == ["prism"]
    assert '<option value="100 %"' not in filtered, "prism has no run of it"
    assert "No run is of all these." in drawn(page, "method=nothing")


PRESSES = """<script>
const press = (query, key) => {
  const found = document.querySelector(query);
  found.focus();
  found.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
};
const told = [], tell = () => told.push(`${location.hash} ${JSON.stringify({ ...document.activeElement.dataset })}`);
const steps = [() => press('[data-point="0-1"]', "Enter"), () => press('[data-row="0-0"]', " "),
  () => { const b = document.querySelector('[data-sort="0-POPE"]'); b.focus(); b.click(); }];
const next = () => {
  if (!steps.length) return document.body.append(told.join("; "));
  steps.shift()();
  setTimeout(() => { tell(); next(); }, 100);
};
next();
</script>"""


@with_browser
def test_a_keyboard_is_enough_and_does_not_lose_its_place(tmp_path: Path) -> None:
    page = tmp_path / "board.html"
    write_leaderboard(runs(), page, {})
    page.write_text(page.read_text().replace("</body>", f"{PRESSES}</body>"))
    assert re.search(
        r'#open=0-1 {"point":"0-1"}; #open=0-0 {"row":"0-0"}; #open=0-0&amp;sort=POPE {"sort":"0-POPE"}',
        drawn(page, ""),
    )
