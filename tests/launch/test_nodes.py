"""Nodes that do not fit together, or that are lost: one sentence on each of them."""

import importlib
import json
import logging
import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
from torch.distributed import TCPStore

from selectmm.errors import UserError
from selectmm.launch import follower
from selectmm.launch import nodes as module
from selectmm.launch.follower import Follower
from selectmm.launch.nodes import free_port, leading
from selectmm.launch.place import Place
from selectmm.stages.follow import follow, same_on_all
from tests.launch.nodes import experiment, two_nodes

PLACE = Place(2, 1, host="127.0.0.1", seconds=5.0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks in shorter intervals than between machines."""
    for name, seconds in {"POLL": 0.01, "LOST": 1.0, "PARTING": 0.5}.items():
        monkeypatch.setattr(module, name, seconds)
    for name, seconds in {"POLL": 0.01, "LOST": 1.0, "BEAT": 0.1, "SHARED": 0.2}.items():
        monkeypatch.setattr(follower, name, seconds)


def refused(cache: Path, *given: SimpleNamespace) -> tuple[str, ...]:
    """What the first and the second node say."""
    others = []
    with pytest.raises(UserError) as first, two_nodes(cache, *given) as (nodes, following):
        others.append(following)
        nodes.agree("pool", "pool")
    return str(first.value), *(str(following.exception()) for following in others)


def test_nodes_that_have_the_same_agree_and_part(tmp_path: Path) -> None:
    port = free_port()
    for _ in range(2):  # the jobs of a sweep meet one after the other
        with two_nodes(tmp_path, port=port) as (nodes, following):
            nodes.agree("pool", "pool")
        assert following.result() is None
    assert not list(tmp_path.iterdir()), "the file that the others had to see is gone"


def test_another_runs_node_1_is_refused_and_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a second one of the same command, started by hand."""
    monkeypatch.setattr(follower, "POLL", 0.2)
    for part in (module, follower):
        monkeypatch.setattr(part, "LOST", 30.0)  # a busy machine takes more than a second to connect
    with two_nodes(tmp_path) as (nodes, following):
        for command in (experiment(budget=0.5), experiment()):
            other = replace(nodes.place, node=1, seconds=1)
            with pytest.raises(
                UserError, match=r"^The run at 127\.0\.0\.1:\d+ has a node 1 already, on .+; wait until"
            ):
                follow(other, command)
        assert module._Signs(nodes._store, nodes.hosts).trouble() is None
        nodes.agree("pool", "pool")
    assert following.result() is None


def test_another_pool(tmp_path: Path) -> None:
    first, second = refused(tmp_path, experiment(), experiment(pool="other"))
    assert first.startswith("Node 1 (") and "has another pool than node 0 (other and pool); give both the" in first
    assert second.startswith("Node 0 (") and second.endswith(f"stopped: {first}")


@pytest.mark.parametrize(
    ("other", "what"),
    [(experiment(budget=0.5), "command"), (experiment(devices=4), "number of devices")],
    ids=["command", "devices"],
)
def test_another_command(tmp_path: Path, other: SimpleNamespace, what: str) -> None:
    first, *_ = refused(tmp_path, experiment(), other)
    assert f"): its {what} (" in first and first.endswith("make them the same.")


def test_other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.launch import nodes

    monkeypatch.setattr(nodes, "same_on_all", lambda *_: {"selectmm's code and packages": "older"})
    first, *_ = refused(tmp_path)
    assert "): its selectmm's code and packages (" in first and "is not that of node 0 (older)" in first


OWN = """
from dataclasses import dataclass
from selectmm.features.tokens import TokenCount
from selectmm.methods.method import Needs

class Mine(TokenCount):
    scale = 1

@dataclass(frozen=True)
class Own:
    def needs(self):
        return Needs((Mine(),))
"""


def test_code_of_ones_own_counts_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no part of this package: one node may have another state of it."""
    file = tmp_path / "own_method_of_nodes.py"
    file.write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    own = experiment(method=importlib.import_module(file.stem).Own())
    before = same_on_all(own, PLACE)
    file.write_text(OWN.replace("scale = 1", "scale = 2"))
    after = same_on_all(own, PLACE)
    assert {name for name in before if before[name] != after[name]} == {
        "code of own_method_of_nodes.Own",
        "code of own_method_of_nodes.Mine",
    }
    assert "code of selectmm.schedules.static.Static" in before


FAMILY = """
from own_template import TEMPLATE

def load(path):
    return TEMPLATE, path
"""


def test_a_family_of_ones_own_and_a_format_of_pools_count_with_what_lies_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_family.py").write_text(FAMILY)
    (tmp_path / "own_format.py").write_text("def rows(file):\n    return file\n")
    (tmp_path / "own_template.py").write_text("TEMPLATE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = {"_target_": "own_family.load", "path": "weights"}
    pool = {"_target_": "selectmm.pool.llava_json.open_llava_json", "read": [{"_target_": "own_format.rows"}]}
    own = experiment(model=model, targets=pool)
    before = same_on_all(own, PLACE)
    assert {name for name in before if "own_" in name} == {"code of own_family.load", "code of own_format.rows"}
    (tmp_path / "own_template.py").write_text("TEMPLATE = 2\n")
    (tmp_path / "own_format.py").write_text("def rows(file):\n    return None\n")
    after = same_on_all(own, PLACE)
    assert {name for name in before if before[name] != after[name]} == {name for name in before if "own_" in name}


def test_another_family_of_ones_own_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_other.py").write_text("def load(path):\n    return path\n")
    monkeypatch.syspath_prepend(tmp_path)
    own = experiment(model={"device": "cpu", "_target_": "own_other.load"})
    told = {**same_on_all(own, PLACE), "code of own_other.load": "older"}
    from tests.launch import nodes

    monkeypatch.setattr(nodes, "same_on_all", lambda *_: told)
    first, *_ = refused(tmp_path, own)
    assert "): its code of own_other.load (" in first
    assert first.endswith("is not that of node 0 (older); make them the same.")


def test_what_is_no_code_here_is_not_what_another_node_has() -> None:
    told = same_on_all(experiment(model={"_target_": "nobody.load"}), PLACE)
    assert told["code of nobody.load"] == "it cannot be read here: No module named 'nobody'"


def test_code_of_a_suites_own_tasks_counts(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("task: own\n")
    (tmp_path / "rows.parquet").write_text("no code")
    before = same_on_all(experiment(tasks=tmp_path), PLACE)
    (tmp_path / "rows.parquet").write_text("other")
    assert same_on_all(experiment(tasks=tmp_path), PLACE) == before
    (tmp_path / "score.py").write_text("def score():\n    return 1\n")
    after = same_on_all(experiment(tasks=tmp_path), PLACE)
    assert {name for name in before if before[name] != after[name]} == {f"code of the tasks in {tmp_path}"}


def test_a_folder_that_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = tmp_path / "not-there"
    monkeypatch.setattr(module, "_probe", lambda _: probe)
    first, *_ = refused(tmp_path)
    assert f"): it does not see {probe}, which node 0 (" in first
    assert first.endswith("set cache= to a folder that all nodes share, under the same path.")


def test_fewer_devices_than_asked_for(tmp_path: Path) -> None:
    first, *_ = refused(tmp_path, experiment(device="cuda", devices=198))
    assert "): devices=99 needs as many GPUs, but there are" in first


def test_a_rendezvous_that_nobody_joins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "selectmm")
    place = Place(3, host="127.0.0.1", port=free_port(), seconds=0.2)
    with pytest.raises(
        UserError, match=r"^Node 1, 2 of 3 did not connect to 127\.0\.0\.1:\d+ within 0\.2 s; start the"
    ):
        with leading(place, {}, tmp_path):
            pass
    with pytest.raises(UserError, match=r"^Node 1 found no node 0 at 127\.0\.0\.1:\d+ within 0\.2 s \("):
        Follower(Place(3, 1, host="127.0.0.1", port=place.port, seconds=0.2))
    where = f"127.0.0.1:{place.port}, at most 0.2 s"
    assert caplog.messages == [
        f"  waiting   for node 1, 2 to connect to {where}",
        f"  waiting   for node 0 at {where}",
    ]


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as (nodes, _):
        with pytest.raises(UserError, match=r"^Node 0 cannot open the rendezvous 127\.0\.0\.1:\d+ \(.*\); set rendez"):
            with leading(nodes.place, {}, tmp_path):
                pass


def test_a_node_that_falls_silent(tmp_path: Path) -> None:
    def silent(place: Place, given: SimpleNamespace) -> None:
        follower = Follower(place)
        follower.check({})
        follower._over.set()

    with pytest.raises(UserError, match=r"^Node 1 \(.*\) has not been heard of for 1 s; if it is gone, start the same"):
        with two_nodes(tmp_path, other=silent) as (nodes, _):
            nodes.agree("pool", "pool")


@pytest.mark.parametrize(
    ("stop", "number"), [(SystemExit(128 + signal.SIGTERM), 15), (KeyboardInterrupt(), 2)], ids=["SIGTERM", "Ctrl-C"]
)
def test_node_0_is_stopped(stop: BaseException, number: int, tmp_path: Path) -> None:
    """As by a batch system, see `selectmm.__main__.end_in_order`."""
    with pytest.raises(type(stop)), two_nodes(tmp_path) as (_, following):
        raise stop
    assert str(following.exception()).endswith(
        f") stopped: it received signal {number}; start the same command again on all nodes to continue."
    )


def test_node_0_fails_while_another_node_opens_the_pool(tmp_path: Path) -> None:
    """Which may take an hour; its reason is known at once."""
    slow, opened = experiment(), Event()
    slow.open_pool = lambda: opened.wait(30)
    try:
        with pytest.raises(UserError, match="No checkpoint"), two_nodes(tmp_path, None, slow) as (_, following):
            raise UserError("No checkpoint at 'llava'; give a path.")
        with pytest.raises(UserError, match=r"^Node 0 \(.*\) stopped: No checkpoint at 'llava'; give a path\.$"):
            following.result(20)
    finally:
        opened.set()


def opened_store(port: int, cache: Path) -> TCPStore:
    """Node 0's, as the others find it."""
    store, probe = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False), module._probe(cache)
    leader = {"settings": same_on_all(experiment(), PLACE), "probe": str(probe), "host": "first"}
    store.set("leader", json.dumps(leader))
    return store


def lead_until_stopped(port: int, cache: Path) -> None:
    """A process of node 0's, which stops as if its machine hung."""
    store = opened_store(port, cache)
    while not store.check(["pool-1"]):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGSTOP)


def test_node_0_no_longer_answers(tmp_path: Path) -> None:
    """Nothing closes the connection where a machine hangs, or where the network drops what is sent."""
    port = free_port()
    leader = multiprocessing.get_context("fork").Process(target=lead_until_stopped, args=(port, tmp_path))
    leader.start()
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow, replace(PLACE, port=port), experiment())
        try:
            with pytest.raises(
                UserError, match=r"^Node 0 \(first\) has not been heard of for 1 s; what was finished is"
            ):
                following.result(20)
        finally:
            leader.kill()
            leader.join()


def test_node_0_is_gone(tmp_path: Path) -> None:
    """Killed, that is: its store is closed without a word."""
    port = free_port()
    lost = opened_store(port, tmp_path)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow, replace(PLACE, port=port), experiment())
        while not lost.check(["host-1"]):
            time.sleep(0.01)
        del lost
        with pytest.raises(UserError, match=r"^Node 0 \(first\) is gone; what was finished is kept\. Start the same"):
            following.result()
