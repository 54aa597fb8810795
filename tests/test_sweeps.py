"""Two sweeps that share a cache, one of them killed outright in the middle."""

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_line import overrides

STAGES = ("features", "select", "finetune", "evaluate")


def start(place: Path, name: str) -> subprocess.Popen:
    """A sweep of two methods; its records and tables are its own, its cache is both's."""
    given = [
        *overrides(place, "llava15_7b", "both"),
        "suite.only=[mini-POPE]",
        f"records={place / name}",
        f"tables={place / name / 'tables'}",
    ]
    command = [sys.executable, "-m", "selectmm", "-m", "method=full,prism", f"experiment={name}", *given]
    return subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(sweep: subprocess.Popen) -> dict[str, dict]:
    """Its records' costs, by method."""
    told, _ = sweep.communicate()
    assert sweep.returncode == 0, told
    folder = Path(sweep.args[-2].removeprefix("records="))
    records = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return {record["method"]["name"]: record["costs"] for record in records}


def test_two_sweeps_at_once_make_each_stage_once_and_a_killed_one_goes_on(place: Path) -> None:
    left, right = start(place, "left"), start(place, "right")
    while not list(place.glob("both/cache/evaluation/*")):  # the first job has been tuned, by either
        with contextlib.suppress(subprocess.TimeoutExpired):
            pytest.fail(f"ended before it could be killed, with status {left.wait(0.05)}")
    left.send_signal(signal.SIGKILL)
    left.communicate()
    survived, resumed = finished(right), finished(start(place, "left"))
    assert survived.keys() == resumed.keys() == {"full", "prism"}
    for method, costs in resumed.items():
        for stage in STAGES:
            assert costs[stage]["cached"] or not costs[stage]["seconds"], "the other sweep had made it"
            assert costs[stage]["device_seconds"] == survived[method][stage]["device_seconds"]
    for kind in ("subset", "adapter", "evaluation"):
        assert len(list(place.glob(f"both/cache/{kind}/*/stage.json"))) == 2
    assert not list(place.glob("both/cache/*/*.partial"))
    assert "| prism | 30 % |" in (place / "left" / "tables" / "left.md").read_text()
