"""Two sweeps that share a cache, one of them killed outright in the middle."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.forked import Started
from tests.forked import start as started
from tests.test_line import overrides

STAGES = ("features", "select", "finetune", "evaluate")


def start(place: Path, name: str) -> Started:
    """A sweep of two methods; its records and tables are its own, its cache is both's."""
    given = [
        *overrides(place, "llava15_7b", "both"),
        "suite.only=[mini-POPE]",
        f"records={place / name}",
        f"tables={place / name / 'tables'}",
    ]
    return started(["-m", "method=full,prism", f"experiment={name}", *given], place)


def finished(sweep: Started, folder: Path) -> dict[str, dict]:
    """The costs of its records, which lie in ``folder``, by method."""
    ended = sweep.ended()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    records = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return {record["method"]["name"]: record["costs"] for record in records}


@pytest.mark.slow
def test_two_sweeps_at_once_make_each_stage_once_and_a_killed_one_goes_on(place: Path) -> None:
    left, right = start(place, "left"), start(place, "right")
    while not list(place.glob("both/cache/evaluation/*")):  # the first job has been tuned, by either
        left.process.join(0.05)
        if left.process.exitcode is not None:
            pytest.fail(f"ended before it could be killed, with status {left.process.exitcode}")
    os.kill(left.process.pid, signal.SIGKILL)
    survived, resumed = finished(right, place / "right"), finished(start(place, "left"), place / "left")
    assert survived.keys() == resumed.keys() == {"full", "prism"}
    for method, costs in resumed.items():
        for stage in STAGES:
            assert costs[stage]["cached"] or not costs[stage]["seconds"], "the other sweep had made it"
            assert costs[stage]["device_seconds"] == survived[method][stage]["device_seconds"]
    for kind in ("subset", "adapter", "evaluation"):
        assert len(list(place.glob(f"both/cache/{kind}/*/stage.json"))) == 2
    assert not list(place.glob("both/cache/*/*.partial"))
    assert "| prism | 30 % |" in (place / "left" / "tables" / "left.md").read_text()
