"""The page of method costs follows from the committed records."""

import json
import shutil
from pathlib import Path

from experiments.studies.method_costs import NAME, ROOT, make

RECORDS = ROOT / "results" / "records" / "costs"


def test_the_committed_page_is_made_again(tmp_path: Path) -> None:
    assert make(tmp_path).read_text() == (ROOT / "results" / "tables" / f"{NAME}.md").read_text()


def test_a_method_costs_what_its_stages_took_in_forward_passes(tmp_path: Path) -> None:
    cost = {}
    for name in ("perplexity", "icons"):
        path = next(RECORDS.glob(f"costs-{name}-*.json"))
        shutil.copy(path, tmp_path / path.name)
        stages = json.loads(path.read_text())["costs"]
        cost[name] = sum(stages[stage]["device_seconds"] for stage in ("warmup", "features", "select"))
    page = make(tmp_path, tmp_path).read_text()
    assert f"every row through the whole model once, {cost['perplexity']:.1f} s here." in page
    lines = [line.split(" | ")[:2] for line in page.splitlines() if line.startswith("| `")]
    assert lines == [["| `perplexity`", "1.00"], ["| `icons`", f"{cost['icons'] / cost['perplexity']:.2f}"]]
