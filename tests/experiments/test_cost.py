"""PRISM's cost page follows from the committed records of prism/main."""

from pathlib import Path

import pytest

from experiments.prism.cost import NAME, PARTS, ROOT, make, spent
from selectmm.report.rows import compare
from tests.report.runs import run_of


def test_the_committed_page_and_picture_are_made_again(tmp_path: Path) -> None:
    make(tmp_path)
    for ending in ("md", "svg"):
        made, kept = tmp_path / f"{NAME}.{ending}", ROOT / "results" / "tables" / f"{NAME}.{ending}"
        assert made.read_text() == kept.read_text()


def test_a_stage_s_cost_is_its_mean_over_seeds() -> None:
    runs = [run_of("prism", {"a": 1.0}, seed=seed, seconds=(seed + 1.0, 2.0, 30.0)) for seed in (0, 1)]
    (row,) = compare(runs, {}).rows
    assert [spent(row, part) for part in PARTS] == [0.0, pytest.approx(1.5), 2.0, 30.0]
