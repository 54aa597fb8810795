"""The benchmark of the leaderboard, shrunken; nothing is asserted on time."""

import json
from pathlib import Path

import pytest

from experiments.performance import leaderboard, sides
from tests.browser import with_browser


@with_browser
def test_a_leaderboard_of_copied_records_is_built_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaderboard, "TRIES", 1)
    monkeypatch.setattr(sides, "START", "fork")
    record = json.loads(leaderboard.main(["--records", "20", "--out", str(tmp_path)]).read_text())
    assert record["settings"] == {"records": 20} and record["comparisons"] == []
    figures = record["figures"]
    assert figures["rows of the leaderboard"] > 1 and figures["megabytes of the page"] > 0
    drawn = [value for key, value in figures.items() if key.startswith("seconds until the page is drawn")]
    assert len(drawn) == 1 and drawn[0] > 0
    assert figures["aim of drawing it, by the smaller of the two"] == "–", "only at full size"
    assert [path.name for path in tmp_path.iterdir()] == ["leaderboard.json"], "the copies are deleted"


def test_copies_of_records_are_rows_and_seeds_of_their_own(tmp_path: Path) -> None:
    committed = len(list((leaderboard.ROOT / "results" / "records").glob("*.json")))
    first, *_, last = leaderboard.write_records(tmp_path / "records", committed + 1)
    one, other = (json.loads(path.read_text()) for path in (first, last))
    assert other["seed"] == one["seed"] + 1_000
    assert "copy" in other["method"]["options"] and "copy" not in one["method"]["options"]
