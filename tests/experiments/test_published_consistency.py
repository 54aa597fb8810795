"""What follows from printed cells, by hand, and the committed page made again."""

from pathlib import Path

import pytest

from experiments.studies.published_consistency import (
    CHECKS,
    NAME,
    RATIOS,
    REL,
    ROOT,
    Check,
    lines,
    make,
    ratio_of_means,
)
from selectmm.report.published import Printed

FULL = Printed("full", "", {"A": 50.0, "B": 100.0, REL: 100.0}, "paper")
CHECK = Check("X", "main", REL, RATIOS, 2, 0.1)


def verdict(values: dict[str, float]) -> list[str]:
    (line,) = lines(CHECK, [FULL, Printed("m", "", values, "paper")])
    return line[1:]


def test_a_number_follows_or_not_by_hand() -> None:
    # (40/50 + 90/100) / 2 = 85 %
    assert verdict({"A": 40.0, "B": 90.0, REL: 85.0}) == ["85", "85.00", "+0.0", "follows"]
    assert verdict({"A": 40.0, "B": 90.0, REL: 87.0}) == ["87", "85.00", "-2.0", "**does not follow**"]


def test_a_missing_cell_decides_nothing() -> None:
    found = verdict({"A": 40.0, REL: 85.0})
    assert found[1:] == ["(80.00)", "–", "*cannot be told*: 1 of 2 cells are readable"]
    assert verdict({REL: 85.0})[1] == "*unknown*"


def test_the_two_readings_of_a_relative_score_differ() -> None:
    assert ratio_of_means({"A": 40.0, "B": 90.0}, FULL.values | {}) == pytest.approx(100 * 65 / 75)


def test_every_check_finds_its_numbers_and_the_committed_page_is_made_again(tmp_path: Path) -> None:
    page = make(tmp_path)
    assert page.read_text() == (ROOT / "results" / "tables" / f"{NAME}.md").read_text()
    assert all(f"{check.paper}, {check.table}" in page.read_text() for check in CHECKS)
