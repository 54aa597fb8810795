"""The page of the run under Slurm follows from its record, which found everything as it should be."""

import json
from pathlib import Path

from experiments.cluster.page import RECORD, ROOT, make
from experiments.cluster.slurm import troubles


def test_the_committed_page_is_made_again(tmp_path: Path) -> None:
    assert make(tmp_path).read_text() == (ROOT / "results" / "tables" / "slurm.md").read_text()


def test_nothing_was_wrong() -> None:
    record = json.loads(RECORD.read_text())
    assert troubles(record) == []
    two = record["two nodes"]
    assert two["weights"] and two["answers"] and not two["half_written"]
