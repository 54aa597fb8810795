"""What ranks are started with; who watches a launch over several nodes does not stop because their store does."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
import torch
from torch.distributed import DistNetworkError

from selectmm.errors import UserError
from selectmm.launch import job, launch, nodes
from selectmm.launch.job import JOB, write_job
from selectmm.launch.nodes import Joined
from tests.launch.nodes import two_nodes


class Broken:
    """A store whose connection is gone."""

    def check(self, _names: list[str]) -> bool:
        raise DistNetworkError("Connection reset by peer\nException raised from recvBytes")

    def set(self, _name: str, _value: str) -> None:
        raise DistNetworkError("Broken pipe")


class Torchrun:
    """A process that runs until it is ended."""

    returncode = None

    def __init__(self) -> None:
        self._ended = Event()

    def terminate(self) -> None:
        self.returncode = -15
        self._ended.set()

    def wait(self) -> None:
        assert self._ended.wait(20), "nobody has ended it"


def test_a_store_that_breaks_ends_the_launch_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "POLL", 0.01)
    joined, process = Joined(Broken(), {1: "second"}, 0), Torchrun()
    watch = launch._Watch(joined, process)
    assert watch.wait(process) == (
        "Node 0 cannot ask the other nodes how they are (Connection reset by peer); start the same command again on "
        "all nodes: it continues from what is finished."
    )
    assert not watch._thread.is_alive()


def test_a_launch_whose_block_fails_raises_that_and_not_the_stores_error() -> None:
    one = nodes.Nodes(2, hosts={1: "second"}, _store=SimpleNamespace(set=lambda *_: None))
    with pytest.raises(ValueError, match="of the block"):
        with one.joining(nodes.Launch("m", "module", "folder", "job", 1, "cpu", "h", 1, 1.0)) as joined:
            joined._store = Broken()
            raise ValueError("of the block")


def test_ranks_on_gpus_do_not_take_the_cpu_for_deepspeeds_because_a_login_node_has_no_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    assert "DS_ACCELERATOR" not in launch.rank_environment(torch.device("cuda", 0), 1)
    assert launch.rank_environment(torch.device("cpu"), 1)["DS_ACCELERATOR"] == "cpu"


def test_ranks_print_pytorchs_warnings_which_the_command_line_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, kept in (("ERROR", None), ("INFO", "INFO")):
        monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", given)
        assert launch.rank_environment(torch.device("cpu"), 1).get("TORCH_CPP_LOG_LEVEL") == kept


def test_ranks_look_for_modules_where_this_process_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder may be a stranger's pool, and `python -m` would import what lies there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert launch.rank_environment(torch.device("cpu"), 1)["PYTHONSAFEPATH"] == "1"
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert "PYTHONSAFEPATH" not in launch.rank_environment(torch.device("cpu"), 1)


def test_ranks_beside_gpus_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torchrun gives each of several ranks one thread if nothing is set, and a single one all cores."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: set(range(24)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS")
    made = {ranks: launch.rank_environment(torch.device("cuda"), ranks)["OMP_NUM_THREADS"] for ranks in (1, 8, 32)}
    assert made == {1: "24", 8: "3", 32: "1"}
    assert launch.rank_environment(torch.device("cpu"), 8)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert launch.rank_environment(torch.device("cuda"), 8)["OMP_NUM_THREADS"] == "5"


def test_ranks_read_no_other_job_than_the_one_that_they_were_started_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job names the model's class, and whoever can write to a shared cache can write over it."""
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    digest, seen = write_job(tmp_path, {"build": {"_target_": "ours"}, "folder": tmp_path}), []
    arguments = [str(tmp_path), "mark", "1", digest]
    assert launch.serve(arguments, lambda _folder, found, _rank, _ranks: seen.append(found)) == 0
    assert seen == [{"build": {"_target_": "ours"}, "folder": str(tmp_path)}]
    monkeypatch.setattr(job, "SHARED", 0.0)
    (tmp_path / JOB).write_text('{"build": {"_target_": "os.system"}}')
    assert launch.serve(arguments, lambda _folder, found, _rank, _ranks: seen.append(found)) == 1 and len(seen) == 1
    assert (tmp_path / "error-mark.txt").read_text() == (
        f"{tmp_path / 'job.json'} is not what this run wrote there. Another process changed it; set cache= to a "
        f"folder that nobody else writes to, and start the same command again."
    )


@pytest.mark.parametrize("before", ["another job", "nothing"])
def test_a_rank_waits_until_its_node_sees_the_job(before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system shows for a while what a node had seen of the folder."""
    digest = write_job(tmp_path, {"pass": 2})
    right = (tmp_path / JOB).read_bytes()
    (tmp_path / JOB).unlink()
    if before == "another job":
        write_job(tmp_path, {"pass": 1})
    monkeypatch.setattr(job.time, "sleep", lambda _: (tmp_path / JOB).write_bytes(right))
    assert job.read_job(tmp_path, digest) == {"pass": 2}


@pytest.mark.slow
def test_two_nodes_start_their_ranks_as_one_launch(tmp_path: Path) -> None:
    """With processes of their own throughout, as for a user; see `tests.launch.forked_ranks`."""
    (tmp_path / "launch").mkdir()
    with two_nodes(tmp_path / "cache") as (nodes, following):
        with launch.launched("tests.launch.light", tmp_path / "launch", {}, 2, torch.device("cpu"), "", nodes):
            pass
    assert following.result() is None
    assert sorted(said.read_text() for said in (tmp_path / "launch").glob("said-*")) == ["0 of 2 on 0", "1 of 2 on 1"]


def test_output_of_ranks_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("content")
    (tmp_path / launch.LOG).symlink_to(tmp_path / "mine")
    link = tmp_path / launch.LOG
    with pytest.raises(UserError, match=f"^{link} is a link, but no stage makes"), launch.running(["true"], {}, link):
        pass
    assert (tmp_path / "mine").read_text() == "content"


def test_a_rank_that_the_system_killed_is_explained_with_the_way_out_of_its_stage(tmp_path: Path) -> None:
    (tmp_path / launch.LOG).write_text("... failed (exitcode: -9) local_rank: 0")
    found = launch._explain(tmp_path, "mark", 1, "fewer devices or strategy zero3", None)
    assert found.startswith("A worker process was killed from outside, as Linux does when main memory runs out; use fe")
    assert "use fewer devices or strategy zero3, or free some memory" in found and str(tmp_path / launch.LOG) in found


class Started:
    """A process that has done its work."""

    returncode = 0

    def wait(self) -> None:
        """There is nothing to wait for."""


def test_a_launch_tells_how_many_ranks_share_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    @contextmanager
    def running(_command: list[str], environment: Mapping[str, str], _log: Path) -> Iterator[Started]:
        given.append(environment["OMP_NUM_THREADS"])
        yield Started()

    monkeypatch.setattr("os.sched_getaffinity", lambda _process: set(range(24)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(launch, "running", running)
    with launch.launched("module", tmp_path, {}, 4, torch.device("cuda"), ""):
        pass
    assert given == ["6"]
