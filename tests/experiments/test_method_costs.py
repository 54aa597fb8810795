"""The page of method costs follows from the committed records."""

import json
import shutil
from pathlib import Path

from experiments.studies.method_costs import NAME, ROOT, make

RECORDS = ROOT / "results" / "records"


def test_the_committed_page_is_made_again(tmp_path: Path) -> None:
    assert make(tmp_path).read_text() == (ROOT / "results" / "tables" / f"{NAME}.md").read_text()


def test_methods_that_were_measured_by_themselves_have_a_table_with_a_unit_of_its_own(tmp_path: Path) -> None:
    """Records of two methods stand for those of the second experiment."""
    cost = {}
    for path in RECORDS.glob("methods-*.json"):
        shutil.copy(path, tmp_path / path.name)
    for name in ("perplexity", "tive"):
        path = next(RECORDS.glob(f"methods-{name}-*-s0-*.json"))
        (tmp_path / "costs").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "costs" / path.name.replace("methods-", "costs-"))
        stages = json.loads(path.read_text())["costs"]
        cost[name] = sum(stages[stage]["device_seconds"] for stage in ("warmup", "features", "select") if stages[stage])
    page = make(tmp_path, tmp_path).read_text()
    alone = page.split("## Measured by themselves")[1]
    assert f"One forward pass is {cost['perplexity']:.1f} s here." in alone.replace("\n", " ")
    assert f"| `tive` | {cost['tive'] / cost['perplexity']:.2f} |" in alone and "| `perplexity` |" not in alone
