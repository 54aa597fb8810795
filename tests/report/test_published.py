"""A paper's table with ours in it: what is printed, what is ours, and what nobody knows."""

from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import t

from selectmm.errors import UserError
from selectmm.records.record import RunRecord
from selectmm.report.margin import joined
from selectmm.report.published import COSTS, Reproduces, beside_papers, beside_published, read_printed
from selectmm.report.rows import compare
from tests.report.runs import run_of

CSV = """paper,table,setting,method,samples,benchmark,value,evidence
X,main,s,full,,POPE,86.0,paper
X,main,s,full,,Rel,100,paper
X,main,s,prism,,POPE,84.5,secondary
X,main,s,prism,,MMMU,34.5,secondary
X,main,s,icons,,Rel,98.6,paper
X,budgets,s,prism,100,Rel,97.0,paper
X,budgets,s,prism,200,Rel,99.0,paper
"""


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    path = tmp_path / "scores.csv"
    path.write_text(CSV)
    return path


def rows_of(cells: Path, *, scale: str) -> dict[str, tuple[str, ...]]:
    runs = [run_of("full", {"POPE": 80.0, "MMMU": 40.0}), run_of("prism", {"POPE": 84.0, "MMMU": 20.0})]
    runs += [run_of("random", {"POPE": 60.0, "MMMU": 30.0})]
    comparison = compare([_at(run, scale) for run in runs], {})
    table = beside_published(Reproduces("X", "main"), comparison, read_printed("X", "main", cells))
    assert table.columns == ("method", "rows", "evidence", "POPE", "MMMU", "Rel. %", *COSTS)
    return {row[0]: row for row in table.rows}


def _at(run: RunRecord, scale: str) -> RunRecord:
    return replace(run, scale=scale)


def test_a_cell_is_published_ours_and_their_difference(cells: Path) -> None:
    rows = rows_of(cells, scale="full")
    # One seed, whose standard error is 1: ± 1.96. Rel.'s is that of (a/80 + b/40) / 2, in per cent.
    assert rows["full"][1:5] == (
        "unknown / 100",
        "paper",
        "86 / 80.0 ± 2.0 (1) / -6.0",
        "unknown / 40.0 ± 2.0 (1) / unknown",
    )
    assert rows["full"][5] == "100 / 100.0 ± 2.7 (1) / +0.0"
    # Rel. = (84/80 + 20/40) / 2
    assert rows["prism"][3:6] == (
        "84.5 / 84.0 ± 2.0 (1) / -0.5",
        "34.5 / 20.0 ± 2.0 (1) / -14.5",
        "unknown / 77.5 ± 2.7 (1) / unknown",
    )
    assert rows["prism"][6:] == ("0.0 s", "30.0 s", "30.0 s", "100 %", "1.29")
    assert rows["(items)"] == ("(items)", "–", "–", "100", "100", "–", *["–"] * 5)
    assert rows["(chance)"][3:5] == ("unknown", "unknown")


def test_three_seeds_by_hand() -> None:
    """Values 60, 62, 64 with standard errors of 3: √(9 + 4/3), times Student's t of the joined variance."""
    found = joined([60.0, 62.0, 64.0], [3.0, 3.0, 3.0])
    freedom = (9 + 4 / 3) ** 2 / ((4 / 3) ** 2 / 2)
    assert (found.mean, found.n) == (62.0, 3)
    assert found.margin == pytest.approx(t.ppf(0.975, freedom) * (9 + 4 / 3) ** 0.5)
    assert joined([60.0, 62.0], [3.0, None]).margin is None


def test_what_only_one_side_has_is_said(cells: Path) -> None:
    rows = rows_of(cells, scale="full")
    assert rows["icons"][3:6] == ("unknown / not run / –", "unknown / not run / –", "98.6 / not run / –")
    assert set(rows["icons"][6:]) == {"not run"}
    assert rows["random"][2:4] == ("unknown", "unknown / 60.0 ± 2.0 (1) / unknown")


def test_the_embedded_scale_never_stands_beside_a_paper(cells: Path) -> None:
    rows = rows_of(cells, scale="embedded")
    assert set(rows) == {"full", "prism", "icons"}
    assert all("not run" in cell for row in rows.values() for cell in row[3:])


def test_a_budget_sweep_is_matched_by_its_number_of_rows(cells: Path) -> None:
    """Of 100 and 200 printed rows, 98 of ours are the first within 3 %, and 60 neither."""
    full = _at(run_of("full", {"POPE": 80.0}), "full")
    runs = [
        _at(run_of("prism", {"POPE": value}, budget=rows / 100), "full") for rows, value in ((60, 50.0), (98, 60.0))
    ]
    table = beside_published(
        Reproduces("X", "budgets"), compare([full, *runs], {}), read_printed("X", "budgets", cells)
    )
    found = {row[1]: row[-6] for row in table.rows}
    assert table.columns[3] == "POPE", "ours are shown where the paper's cells are not known"
    assert found["100 / 98"].startswith("97 / 75.0") and found["200 / not run"] == "99 / not run / –"
    assert found["unknown / 60"].startswith("unknown / 62.5")


def test_rel_is_to_the_method_that_the_paper_takes_over_its_benchmarks_alone_at_the_same_budget(cells: Path) -> None:
    asked = Reproduces("X", "main", relative_to="prism", rel_over=("POPE",))
    runs = [run_of("full", {"POPE": 90.0, "Text": 90.0})]
    for seed, value in ((0, 50.0), (1, 80.0)):
        runs += [
            run_of("prism", {"POPE": value, "Text": 10.0}, seed=seed),
            run_of("random", {"POPE": 40.0, "Text": 90.0}, seed=seed),
        ]
    runs.append(run_of("prism", {"POPE": 1.0, "Text": 1.0}, budget=0.1))
    table = beside_published(asked, compare([_at(run, "full") for run in runs], {}), read_printed("X", "main", cells))
    rel = {(row[0], row[1]): row[5] for row in table.rows}
    assert rel[("prism", "unknown / 10")].startswith("unknown / 100.0"), "a budget is measured against itself"
    assert rel[("random", "unknown / 30")].startswith("unknown / 61.5"), "40 / 65"


def test_full_is_measured_against_a_method_at_its_only_budget_and_against_none_of_several(cells: Path) -> None:
    asked = Reproduces("X", "main", relative_to="prism", rel_over=("POPE",))
    runs = [_at(run_of("full", {"POPE": 90.0}), "full"), _at(run_of("prism", {"POPE": 60.0}), "full")]
    small = _at(run_of("prism", {"POPE": 30.0}, budget=0.1), "full")

    def rel(*records: RunRecord) -> str:
        table = beside_published(asked, compare(records, {}), read_printed("X", "main", cells))
        return next(row[5] for row in table.rows if row[:2] == ("full", "unknown / 100"))

    assert rel(*runs).startswith("100 / 150.0")
    assert rel(*runs, small) == "100 / missing / unknown"


def test_runs_on_two_models_are_two_tables_and_each_meets_its_own_printed_row(tmp_path: Path) -> None:
    table = {
        "paper": "ScalSelect",
        "table": "T3",
        "models": {"qwen3_vl_4b": "qwen3-vl-4b", "qwen3_vl_8b": "qwen3-vl-8b"},
    }
    runs = []
    for size in ("4B", "8B"):
        config = {"published": table, "model": {"path": f"Qwen/Qwen3-VL-{size}-Instruct"}}
        config["chosen"] = {"model": f"qwen3_vl_{size.lower()}"}
        for method, value in (("full", 80.0), ("scalselect", 60.0)):
            run = run_of(method, {"MMB-en": value})
            runs.append(replace(run, scale="full", model=size, config=config))
    tables = beside_papers([compare(runs[:2], {}), compare(runs[2:], {})])
    found = [{row[0]: row for row in one.rows} for one in tables]
    assert "Qwen3-VL-4B-Instruct (4B)" in tables[0].caption
    assert found[0]["scalselect qwen3-vl-4b"][-6].startswith("104 / 75.0")
    assert found[0]["scalselect qwen3-vl-8b"][-6] == "102.39 / not run / –"
    assert found[1]["full qwen3-vl-8b"][4] == "84.3 / 80.0 ± 2.0 (1) / -4.3"
    assert any(note.startswith("Command: `python -m selectmm method=prism`") for note in tables[1].notes)
    assert any(note.startswith("Commit: 0123456789") and "lmms-eval 0.7.3" in note for note in tables[1].notes)


def test_a_table_that_is_not_in_the_file_is_refused(cells: Path) -> None:
    with pytest.raises(UserError, match="holds no table 'mian' of X; correct the experiment's 'published'"):
        read_printed("X", "mian", cells)


def test_the_page_of_an_experiment_that_reproduces_a_table_has_it() -> None:
    run = run_of("prism", {"mini-POPE": 84.0})
    run.config["published"] = {"paper": "PRISM", "table": "main"}
    (table,) = beside_papers([compare([run], {})])
    assert "PRISM, main: published / ours / difference · scale: full" in table.caption
    assert [row[0] for row in table.rows][:2] == ["full", "tive"]
    assert beside_papers([compare([run_of("prism", {"mini-POPE": 84.0})], {})]) == []


@pytest.mark.parametrize("message", ["main", {"paper": "PRISM"}, {"paper": "PRISM", "table": "main", "methods": 3}])
def test_what_a_stranger_s_record_reproduces_is_checked(message: object) -> None:
    run = run_of("prism", {"mini-POPE": 84.0})
    run.config["published"] = message
    with pytest.raises(UserError, match="configuration does not say which table it reproduces: field 'published"):
        beside_papers([compare([run], {})])
