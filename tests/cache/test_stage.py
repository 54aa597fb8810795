"""Stages: made once, resumed after any death, never half visible, cost added up."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
from filelock import FileLock

from selectmm.cache.cost import Cost, computing, measure, note_used, used
from selectmm.cache.stage import fingerprint, giving_way, run_stage
from selectmm.errors import UserError

WHAT = {"model": "toy", "layer": 1}


def _write_value(folder: Path) -> None:
    (folder / "value.txt").write_text("42")


def test_a_stage_is_made_once_and_keeps_its_cost(tmp_path: Path) -> None:
    first = run_stage(tmp_path, "select", WHAT, _write_value)
    again = run_stage(tmp_path, "select", WHAT, lambda folder: pytest.fail("made twice"))
    assert (first.cached, again.cached) == (False, True)
    assert first.folder == again.folder == tmp_path / "select" / fingerprint(WHAT)
    assert first.cost == again.cost
    assert first.cost.seconds > 0 and first.cost.peak_gib > 0
    assert (again.folder / "value.txt").read_text() == "42"
    assert json.loads((again.folder / "stage.json").read_text())["identity"] == WHAT


def test_a_copy_of_another_stage_keeps_the_cost_that_is_known(tmp_path: Path) -> None:
    known = Cost(3.0, 6.0, 1.5, 2.0, 4.0)
    assert run_stage(tmp_path, "select", WHAT, _write_value, known=known).cost == known


def test_a_kill_before_the_last_rename_loses_neither_work_nor_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def killed(path: Path, to: Path) -> Path:
        if path.suffix == ".partial":
            raise KeyboardInterrupt
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        run_stage(tmp_path, "select", WHAT, _write_value, devices=1000)
    partial = tmp_path / "select" / f"{fingerprint(WHAT)}.partial"
    text = json.loads((partial / "stage.json").read_text())["cost"]
    monkeypatch.setattr(Path, "rename", rename)
    again = run_stage(tmp_path, "select", WHAT, lambda folder: pytest.fail("made twice"))
    assert again.cost.device_seconds == text["device_seconds"] > 0
    assert sorted(file.name for file in again.folder.iterdir()) == ["stage.json", "value.txt"]


def test_an_unfinished_stage_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """Others may be able to write to the cache; what a stage writes and deletes would be somewhere else."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "cache" / "work").mkdir(parents=True)
    partial = tmp_path / "cache" / "work" / f"{fingerprint({'a': 1})}.partial"
    partial.symlink_to(elsewhere)
    with pytest.raises(UserError, match=f"^{partial} is a link, but no stage makes links; delete it"):
        run_stage(tmp_path / "cache", "work", {"a": 1}, lambda folder: None)
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("name", ["shard-0", "spent.json", "rounds/train/losses.jsonl", "images"])
@pytest.mark.parametrize("target", ["mine", "nothing", "folder"])
def test_an_unfinished_stage_that_holds_a_link_is_not_gone_on_with(tmp_path: Path, name: str, target: str) -> None:
    """Whoever can write to the cache could let it lead to a file of the next user."""
    (tmp_path / "mine").write_text("content")
    (tmp_path / "folder").mkdir()
    link = tmp_path / "cache" / "features" / f"{fingerprint(WHAT)}.partial" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / target)
    with pytest.raises(UserError, match=f"^{link} is a link, but no stage makes links; delete it, and"):
        run_stage(tmp_path / "cache", "features", WHAT, lambda folder: pytest.fail("made"))
    assert (tmp_path / "mine").read_text() == "content" and not (tmp_path / "nothing").exists()
    link.unlink()
    assert not run_stage(tmp_path / "cache", "features", WHAT, _write_value).cached


def test_another_identity_is_another_stage(tmp_path: Path) -> None:
    one = run_stage(tmp_path, "select", WHAT, _write_value)
    other = run_stage(tmp_path, "select", {**WHAT, "layer": 2}, _write_value)
    assert one.folder != other.folder and not other.cached


def test_the_fingerprint_is_the_same_everywhere_and_blind_to_order() -> None:
    assert fingerprint({"a": 1, "b": "ä"}) == fingerprint({"b": "ä", "a": 1}) == "f5300ffcfd6fd3fc"


def test_devices_multiply_seconds(tmp_path: Path) -> None:
    cost = run_stage(tmp_path, "finetune", WHAT, _write_value, devices=4).cost
    assert cost.device_seconds == pytest.approx(4 * cost.seconds)


def test_costs_add_up_and_peaks_do_not() -> None:
    assert Cost(1.0, 2.0, 3.0) + Cost(10.0, 20.0, 1.0) == Cost(11.0, 22.0, 3.0)
    counted, old = Cost(1.0, 2.0, 3.0, 0.5, 1e9), Cost.read({"seconds": 1.0, "device_seconds": 2.0, "peak_gib": 3.0})
    assert counted + counted == Cost(2.0, 4.0, 3.0, 1.0, 2e9)
    assert (old.busy_seconds, old.flops) == ((counted + old).busy_seconds, (counted + old).flops) == (None, None)


def test_what_a_device_computed_is_counted_here_and_in_other_processes() -> None:
    with measure(devices=2) as clock:
        assert clock.cost().busy_seconds is None  # nobody counts
        with computing():
            pass
        alone = clock.cost().busy_seconds
        assert 0 < alone <= clock.cost().device_seconds
        note_used('{"peak": 999.0, "busy": 5.0, "flops": 7.0}')
        note_used('{"peak": 1.0, "busy": null, "flops": null}')
        cost = clock.cost()
    assert (cost.peak_gib, cost.flops) == (999.0, 7.0) and cost.busy_seconds == pytest.approx(alone + 5.0)
    assert json.loads(used())["busy"] >= 5.0


def test_an_interrupted_stage_continues_and_its_costs_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 7.0, 100.0, 105.0])  # start and end of each attempt
    monkeypatch.setattr("selectmm.cache.cost.time", SimpleNamespace(perf_counter=lambda: next(now)))

    def dies(folder: Path) -> None:
        (folder / "shard-0").write_text("done")
        raise KeyboardInterrupt

    def continues(folder: Path) -> None:
        assert (folder / "shard-0").read_text() == "done"
        (folder / "shard-1").write_text("done")

    with pytest.raises(KeyboardInterrupt):
        run_stage(tmp_path, "features", WHAT, dies)
    assert not (tmp_path / "features" / fingerprint(WHAT)).exists()
    done = run_stage(tmp_path, "features", WHAT, continues)
    assert (done.cost.seconds, done.cached) == (12.0, False)
    assert sorted(file.name for file in done.folder.iterdir()) == ["shard-0", "shard-1", "stage.json"]


KILLED = """
import os, signal, sys
from pathlib import Path
from selectmm.cache import stage
stage.HEARTBEAT = 0.01
def make(folder):
    while not (folder / "spent.json").exists():
        pass
    os.kill(os.getpid(), signal.SIGKILL)
stage.run_stage(Path(sys.argv[1]), "finetune", {"x": 1}, make)
"""


def test_a_process_that_is_killed_outright_leaves_its_cost_behind(tmp_path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert died.returncode == -signal.SIGKILL
    spent = json.loads((tmp_path / "finetune" / f"{fingerprint({'x': 1})}.partial" / "spent.json").read_text())
    assert spent["seconds"] > 0
    done = run_stage(tmp_path, "finetune", {"x": 1}, _write_value)
    assert done.cost.seconds > spent["seconds"]
    assert {file.name for file in done.folder.iterdir()} == {"stage.json", "value.txt"}


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"seconds": "1"}', '{"more": 2}'])
def test_a_cost_of_before_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    partial = tmp_path / "finetune" / f"{fingerprint({'x': 1})}.partial"
    partial.mkdir(parents=True)
    (partial / "spent.json").write_text(text)
    assert 0 <= run_stage(tmp_path, "finetune", {"x": 1}, _write_value).cost.seconds < 60


TWICE = """
import sys
from pathlib import Path
from selectmm.cache.stage import run_stage
root = Path(sys.argv[1])
def make(folder):
    with (root / "makers").open("a") as made:
        made.write("x")
    (root / "one-is-inside").touch()
    while not (root / "both-have-started").exists():
        pass
(root / sys.argv[2]).touch()
print(run_stage(root, "select", {"x": 1}, make).cached)
"""


def test_who_waits_says_for_which_process_and_gives_its_device_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun, waiting, given = Event(), Event(), []

    @contextmanager
    def aside() -> Iterator[None]:
        given.append("given back")
        waiting.set()
        yield
        given.append("taken again")

    def make(folder: Path) -> None:
        begun.set()
        assert waiting.wait(20)
        (folder / "value.txt").write_text("made once")

    caplog.set_level("INFO", "selectmm")
    with ThreadPoolExecutor(1) as pool, giving_way(aside):
        first = pool.submit(run_stage, tmp_path, "features", WHAT, make)
        assert begun.wait(20)
        second = run_stage(tmp_path, "features", WHAT, make)
    assert second.cached and first.result().folder == second.folder
    assert given == ["given back", "taken again"]
    [line] = [record.getMessage() for record in caplog.records]
    assert line == (
        f"  waiting   for process {os.getpid()} on {socket.gethostname()} to finish stage 'features', {second.folder}"
    )
    assert {file.name for file in second.folder.iterdir()} == {"stage.json", "value.txt"}


def test_waiting_for_a_stage_inside_of_another_is_not_charged_to_the_outer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As features are: the stages of a pass lie inside each other, and another process may be making one of them."""
    begun, waits, now = Event(), Event(), [0.0]

    class Lock(FileLock):
        def acquire(self, *arguments: object, **named: object) -> object:
            if "timeout" not in named:  # it is taken, and is waited for
                waits.set()
            return super().acquire(*arguments, **named)

    def inner(folder: Path) -> None:
        begun.set()
        assert waits.wait(20)
        now[0] += 100.0

    def outer(folder: Path) -> None:
        assert run_stage(tmp_path, "features", WHAT, inner).cached
        now[0] += 1.0

    monkeypatch.setattr("selectmm.cache.stage.FileLock", Lock)
    monkeypatch.setattr("selectmm.cache.cost.time", SimpleNamespace(perf_counter=lambda: now[0]))
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(run_stage, tmp_path, "features", WHAT, inner)
        assert begun.wait(20)
        made = run_stage(tmp_path, "features", {**WHAT, "of": "another"}, outer, devices=2)
    assert (made.cost.seconds, made.cost.device_seconds, other.result().cost.device_seconds) == (1.0, 2.0, 100.0)


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    both = [
        subprocess.Popen([sys.executable, "-c", TWICE, str(tmp_path), name], stdout=subprocess.PIPE, text=True)
        for name in ("first", "second")
    ]
    while not all((tmp_path / name).exists() for name in ("first", "second", "one-is-inside")):
        assert any(process.poll() is None for process in both)
    (tmp_path / "both-have-started").touch()
    assert sorted(process.communicate()[0].strip() for process in both) == ["False", "True"]
    assert (tmp_path / "makers").read_text() == "x"
