"""Provenance: the command as typed, the commit, the versions, the machine."""

import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from selectmm.cache.provenance import (
    CHECKOUT,
    PACKAGES,
    Hardware,
    command_line,
    git_state,
    hardware,
    provenance,
    version_of,
)


@pytest.mark.parametrize(
    ("argv", "typed"),
    [
        (["/x/selectmm/__main__.py", "-m", "seed=0,1"], "python -m selectmm -m seed=0,1"),
        (["/x/selectmm/__main__.py", "experiment=a b"], "python -m selectmm 'experiment=a b'"),
        (["/x/bin/pytest", "-q"], "pytest -q"),
        ([str(CHECKOUT / "experiments" / "a" / "b.py"), "to"], "python experiments/a/b.py to"),
        (["/x/own.py"], "python own.py"),
    ],
)
def test_the_command_can_be_typed_again(argv: list[str], typed: str) -> None:
    assert command_line(argv) == typed


def test_versions_of_what_decides_results() -> None:
    packages = provenance().packages
    assert tuple(packages) == PACKAGES
    assert packages["numpy"] == version("numpy")


def test_the_version_of_a_package_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a package that is replaced under a running process, the one that was imported goes on computing."""
    read: list[str] = []
    monkeypatch.setattr("selectmm.cache.provenance.version", lambda name: read.append(name) or "1.0")
    assert [version_of("made-up-package"), version_of("made-up-package")] == ["1.0", "1.0"]
    assert read == ["made-up-package"]
    version_of.cache_clear()


def test_the_machine_has_a_name_and_sizes() -> None:
    machine = hardware()
    assert machine.cpu and machine.cores >= 1 and machine.memory_gib > 0.1
    assert machine.threads == torch.get_num_threads()


@pytest.mark.parametrize(
    ("threads", "gpus", "said"),
    [
        (None, (), "2 cores of toy"),
        (1, (), "2 cores of toy, 1 thread"),
        (2, ("H200",), "2 cores of toy, 2 threads + H200"),
    ],
)
def test_the_machine_in_words(threads: int | None, gpus: tuple[str, ...], said: str) -> None:
    assert str(Hardware("toy", 2, 8.0, gpus, threads)) == said


def _git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@t"]
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_commit_and_dirt(tmp_path: Path) -> None:
    assert git_state(tmp_path) == (None, None)
    _git(tmp_path, "init", "-q")
    assert git_state(tmp_path) == (None, None)
    (tmp_path / "code.py").write_text("1")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-qm", "x")
    commit = _git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "result.json").write_text("untracked files are results, not changes")
    assert git_state(tmp_path) == (commit, False)
    (tmp_path / "selectmm" / "methods").mkdir(parents=True)
    (tmp_path / "selectmm" / "methods" / "mine.py").write_text("a method that nobody committed")
    assert git_state(tmp_path) == (commit, True)
    _git(tmp_path, "add", "selectmm")
    _git(tmp_path, "commit", "-qm", "y")
    commit = _git(tmp_path, "rev-parse", "HEAD")
    assert git_state(tmp_path / "selectmm") == (commit, False)
    (tmp_path / "code.py").write_text("2")
    assert git_state(tmp_path) == (commit, True)


def test_a_copy_inside_another_checkout_has_no_commit(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "commit", "-qm", "theirs", "--allow-empty")
    (tmp_path / "site-packages").mkdir()
    assert git_state(tmp_path / "site-packages") == (None, None)
