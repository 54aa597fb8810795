"""The page of method costs follows from the committed records."""

from pathlib import Path

from experiments.studies.method_costs import NAME, ROOT, make


def test_the_committed_page_is_made_again(tmp_path: Path) -> None:
    assert make(tmp_path).read_text() == (ROOT / "results" / "tables" / f"{NAME}.md").read_text()
