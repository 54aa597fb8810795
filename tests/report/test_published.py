"""A paper's table with ours in it: what is printed, what is ours, and what nobody knows."""

from dataclasses import replace
from pathlib import Path

import pytest

from selectmm.errors import UserError
from selectmm.records.record import RunRecord
from selectmm.report.published import Reproduces, beside_papers, beside_published, read_printed
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
    table = beside_published(Reproduces("X", "main"), [comparison], read_printed("X", "main", cells))
    assert table.columns == ("method", "rows", "evidence", "POPE", "MMMU", "Rel. %")
    return {row[0]: row for row in table.rows}


def _at(run: RunRecord, scale: str) -> RunRecord:
    return replace(run, scale=scale)


def test_a_cell_is_published_ours_and_their_difference(cells: Path) -> None:
    rows = rows_of(cells, scale="full")
    assert rows["full"][2:] == ("paper", "86 / 80.0 / -6.0", "unknown / 40.0 / unknown", "100 / 100.0 / +0.0")
    # Rel. = (84/80 + 20/40) / 2
    assert rows["prism"][3:] == ("84.5 / 84.0 / -0.5", "34.5 / 20.0 / -14.5", "unknown / 77.5 / unknown")


def test_what_only_one_side_has_is_said(cells: Path) -> None:
    rows = rows_of(cells, scale="full")
    assert rows["icons"][3:] == ("unknown / not run / –", "unknown / not run / –", "98.6 / not run / –")
    assert rows["random"][2:4] == ("unknown", "unknown / 60.0 / unknown")


def test_the_embedded_scale_never_stands_beside_a_paper(cells: Path) -> None:
    rows = rows_of(cells, scale="embedded")
    assert set(rows) == {"full", "prism", "icons"}
    assert all(" / not run / –" in cell for row in rows.values() for cell in row[3:])


def test_a_budget_sweep_is_matched_by_its_number_of_rows(cells: Path) -> None:
    runs = [_at(run_of("full", {"POPE": 80.0}), "full"), _at(run_of("prism", {"POPE": 60.0}), "full")]
    comparison = compare(runs, {})
    kept = runs[1].subset.rows
    printed = read_printed("X", "budgets", cells)
    table = beside_published(Reproduces("X", "budgets"), [comparison], printed)
    told = {row[1]: row[-1] for row in table.rows}
    for samples in (100, 200):
        assert ("not run" in told[str(samples)]) == (abs(kept - samples) > 0.01 * kept)


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


def test_models_of_one_printed_table_stand_in_it_each_relative_to_its_own_full(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(CSV + "X,models,s,prism small,,Rel,97.0,paper\nX,models,s,prism large,,Rel,99.0,paper\n")
    reproduces = Reproduces("X", "models", models={"toy_s": "small", "toy_l": "large"})
    comparisons = []
    for model, full in (("toy_s", 80.0), ("toy_l", 40.0)):
        runs = [_at(run_of(name, {"a": value}), "full") for name, value in (("full", full), ("prism", 40.0))]
        comparisons.append(
            compare([replace(run, model=model, config={"chosen": {"model": model}}) for run in runs], {})
        )
    table = beside_published(reproduces, comparisons, read_printed("X", "models", path))
    assert [(row[0], row[-1]) for row in table.rows[:2]] == [
        ("prism small", "97 / 50.0 / -47.0"),
        ("prism large", "99 / 100.0 / +1.0"),
    ]
    assert [row[0] for row in table.rows[2:]] == ["full", "full"], "which the paper does not print"


@pytest.mark.parametrize("told", ["main", {"paper": "PRISM"}, {"paper": "PRISM", "table": "main", "methods": 3}])
def test_what_a_stranger_s_record_reproduces_is_checked(told: object) -> None:
    run = run_of("prism", {"mini-POPE": 84.0})
    run.config["published"] = told
    with pytest.raises(UserError, match="configuration does not say which table it reproduces: field 'published"):
        beside_papers([compare([run], {})])
