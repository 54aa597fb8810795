"""Stages: made once, resumed after any death, never half visible, cost added up."""

import errno
import importlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError

from selectmm.errors import UserError
from selectmm.methods.full import Full
from selectmm.methods.prism import Prism
from selectmm.records import stage as stages
from selectmm.records import write_errors
from selectmm.records.cost import Cost, computing, measure, note_used, used
from selectmm.records.stage import fingerprint, giving_way, run_stage, source_of, write_atomically

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
    told = json.loads((partial / "stage.json").read_text())["cost"]
    monkeypatch.setattr(Path, "rename", rename)
    again = run_stage(tmp_path, "select", WHAT, lambda folder: pytest.fail("made twice"))
    assert again.cost.device_seconds == told["device_seconds"] > 0
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
    monkeypatch.setattr("selectmm.records.cost.time", SimpleNamespace(perf_counter=lambda: next(now)))

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
from selectmm.records import stage
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
from selectmm.records.stage import run_stage
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
    begun, told, given = Event(), Event(), []

    @contextmanager
    def aside() -> Iterator[None]:
        given.append("given back")
        told.set()
        yield
        given.append("taken again")

    def make(folder: Path) -> None:
        begun.set()
        assert told.wait(20)
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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_sentence_and_nothing_is_lost(tmp_path: Path, number: int) -> None:
    def fills_the_disk(folder: Path) -> None:
        (folder / "shard-0").write_text("done")
        raise OSError(number, os.strerror(number), str(folder / "shard-1"))

    with pytest.raises(UserError, match=r"Stage 'features' could not write .*: (No space|Disk quota).*free some space"):
        run_stage(tmp_path, "features", WHAT, fills_the_disk)
    assert run_stage(tmp_path, "features", WHAT, lambda folder: None).folder.joinpath("shard-0").exists()


def test_a_writer_that_does_not_say_why_is_explained_by_the_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torch_save(folder: Path) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    with pytest.raises(RuntimeError):
        run_stage(tmp_path, "finetune", WHAT, torch_save)
    monkeypatch.setattr(write_errors.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(UserError, match="No space left on device"):
        run_stage(tmp_path, "finetune", WHAT, torch_save)


def test_a_writer_that_takes_no_room_it_cannot_have_names_the_error_itself(tmp_path: Path) -> None:
    """As safetensors does on a small disk: it fails before it writes, and the disk is not full."""

    def safetensors_save(folder: Path) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(UserError, match=r"Stage 'finetune' could not write .*: No space left on device\. What was"):
        run_stage(tmp_path, "finetune", WHAT, safetensors_save)


def test_a_folder_that_may_not_be_written_is_one_sentence(tmp_path: Path) -> None:
    def forbidden(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder / "x"))

    with pytest.raises(UserError, match=r"Permission denied.*point 'cache' at another folder"):
        run_stage(tmp_path, "select", WHAT, forbidden)


def test_a_warm_cache_that_cannot_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a colleague's, or on a disk that is mounted read-only: no lock file can be made there."""
    made = run_stage(tmp_path, "select", WHAT, _write_value)
    (tmp_path / "select" / f"{fingerprint(WHAT)}.lock").unlink(missing_ok=True)

    def refuses(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path / "select"))

    for name in ("mkdir", "write_bytes", "write_text", "touch"):
        monkeypatch.setattr(Path, name, refuses)
    monkeypatch.setattr(stages, "FileLock", refuses)
    assert run_stage(tmp_path, "select", WHAT, lambda folder: pytest.fail("made twice")) == replace(made, cached=True)
    with pytest.raises(
        UserError, match=r"Stage 'select' could not write .*: Read-only file system\. .*point 'cache' at"
    ):
        run_stage(tmp_path, "select", {"x": 2}, _write_value)


@pytest.mark.parametrize(
    "then", [lambda folder: (folder / "next").write_text("x"), lambda folder: torch.save(1, folder / "x")]
)
def test_a_cache_that_is_deleted_under_a_stage_is_one_sentence(tmp_path: Path, then: Callable[[Path], object]) -> None:
    def deleted(folder: Path) -> None:
        shutil.rmtree(tmp_path / "cache")
        then(folder)

    said = (
        r"Stage 'finetune' could not write .*: .*\.partial was deleted while it was being written\. What was finished"
    )
    with pytest.raises(UserError, match=said):
        run_stage(tmp_path / "cache", "finetune", WHAT, deleted)
    assert not run_stage(tmp_path / "cache", "finetune", WHAT, _write_value).cached


def test_a_cache_whose_path_looks_like_a_pattern(tmp_path: Path) -> None:
    root = tmp_path / "[x]*?" / "{a,b}"
    assert not run_stage(root, "select", WHAT, _write_value).cached
    assert run_stage(root, "select", WHAT, _write_value).cached


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"cost": 3}', '{"cost": {"seconds": 1, "more": 2}}'])
def test_a_stage_whose_note_is_damaged_is_named(tmp_path: Path, text: str) -> None:
    made = run_stage(tmp_path, "select", WHAT, _write_value)
    (made.folder / "stage.json").write_text(text)
    with pytest.raises(UserError, match=rf"The stage {made.folder} is damaged: .*; delete the folder, and start again"):
        run_stage(tmp_path, "select", WHAT, _write_value)


def test_an_input_that_may_not_be_read_is_not_called_a_full_cache(tmp_path: Path) -> None:
    def forbidden(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/somewhere/else/image.png")

    with pytest.raises(PermissionError):
        run_stage(tmp_path, "select", WHAT, forbidden)


def test_a_users_error_passes_through_unchanged(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        raise UserError("The model overflows.")

    with pytest.raises(UserError, match=r"^The model overflows\.$"):
        run_stage(tmp_path, "select", WHAT, fails)


def test_a_file_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    write_atomically(path, "old")

    def half(stream: io.FileIO, content: bytes) -> None:
        io.FileIO.write(stream, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    full = type("Full", (io.FileIO,), {"write": half})
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(Path, "open", lambda self, mode: full(self, mode.replace("b", "")))
        write_atomically(path, "something new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("package", "imports"),
    [
        ("mine_a", "from mine_a.order import ranked"),
        ("mine_b", "from .order import ranked"),
        ("mine_c", "from . import order"),
        ("mine_d", "import mine_d.order"),
    ],
)
def test_who_mends_what_methods_share_does_not_get_the_old_result(
    package: str, imports: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever imports it, however; what lies elsewhere, or beside and is not imported, does not count."""
    folder = tmp_path / package
    folder.mkdir()
    files = {
        "__init__": "",
        "terse": f"import json\nimport pytest\n{imports}\n\n\nclass Terse:\n    pass\n",
        "order": f"from {package}.deep import step\n\n\ndef ranked():\n    return step\n",
        "deep": "step = 1\n",
        "other": "",
    }
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    made = importlib.import_module(f"{package}.terse").Terse()
    seen = [source_of(made)]
    for name in ("other", "deep", "order", "terse"):
        with (folder / f"{name}.py").open("a") as file:
            file.write("# mended\n")
        seen.append(source_of(made))
    assert seen[0] == seen[1] and len(set(seen)) == 4
    assert seen[0].startswith(f"{package}.terse.Terse@")


def test_the_source_of_our_methods_holds_what_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """PRISM's does not change with TIVE's file, and that of full not with PRISM's correlation."""
    read: list[str] = []
    text = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda file, **how: read.append(file.name) or text(file, **how))
    source_of(Prism())
    assert {"prism.py", "correlation.py", "order.py"} <= set(read) and "tive.py" not in read
    read.clear()
    source_of(Full())
    assert "correlation.py" not in read
