"""The page of method costs follows from the committed records."""

import json
import shutil
from pathlib import Path

import pytest

from experiments.studies.method_costs import NAME, RECORDS, ROOT, make


def test_the_committed_page_is_made_again(tmp_path: Path) -> None:
    assert make(tmp_path).read_text() == (ROOT / "results" / "tables" / f"{NAME}.md").read_text()


def selection_of(path: Path) -> float:
    """Seconds of warm-up, features and choice, from the file itself."""
    stages = json.loads(path.read_text())["costs"]
    return sum(stages[stage]["device_seconds"] for stage in ("warmup", "features", "select") if stages[stage])


@pytest.mark.parametrize("runs", [1, 3])
def test_the_unit_is_the_mean_of_all_runs_of_perplexity(runs: int, tmp_path: Path) -> None:
    units = sorted(RECORDS.glob("costs-perplexity-*.json"))[:runs]
    dear = next(RECORDS.glob("costs-tive-*.json"))
    for path in (*units, dear):
        shutil.copy(path, tmp_path / path.name)
    took = sorted(selection_of(path) for path in units)
    unit = sum(took) / len(took)
    page = " ".join(make(tmp_path, tmp_path).read_text().split())
    if runs == 1:
        assert f"through the whole model once: {unit:.1f} s here. Work" in page
    else:
        assert f"{unit:.1f} s here, the mean of 3 runs ({took[0]:.1f} to {took[-1]:.1f} s)" in page
    assert "| `perplexity` | 1.00 |" in page and f"| `tive` | {selection_of(dear) / unit:.2f} |" in page
