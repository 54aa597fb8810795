"""A node other than 0, at the store through which the nodes of a run talk (see `selectmm.stages.nodes`)."""

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import TypeVar

from torch.distributed import TCPStore

from selectmm.errors import UserError
from selectmm.stages.nodes import LOST, POLL, Launch, first_line, wait_of
from selectmm.stages.place import Place

Result = TypeVar("Result")

BEAT = 2.0  # seconds between a node's signs of life
SHARED = 20.0  # seconds until another node's new file must be seen: network file systems remember what was not there

_left: set[str] = set()  # runs that this process has left, by the file that told that folders are shared


class NodeGone(UserError):
    """Node 0 does not answer."""


def apart(work: Callable[[], Result]) -> Future[Result]:
    """Begin something in a thread of its own, which does not keep this process from ending, as an executor's would."""
    future: Future[Result] = Future()

    def do() -> None:
        try:
            future.set_result(work())
        except BaseException as problem:
            future.set_exception(problem)

    Thread(target=do, daemon=True).start()
    return future


class Follower:
    """A node other than 0: its side of the store.

    Every method that asks the store raises a `NodeGone` if node 0 has closed it, or does not answer for `LOST` seconds.

    Raises:
        UserError: nobody leads there.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._gone: NodeGone | None = None
        self._store = self._connected()
        self._over = Event()
        self._number = 0
        self._heart = Thread(target=self._beat, daemon=True)
        self._heart.start()

    def _connected(self) -> TCPStore:
        place, deadline = self.place, time.monotonic() + self.place.seconds
        while True:
            try:
                if (store := apart(self._connect).result(place.seconds + LOST)) is not None:
                    return store
            except (RuntimeError, ValueError, TimeoutError) as problem:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"Node {place.node} found no node 0 at {place.host}:{place.port} within {place.seconds:g} s "
                        f"({first_line(problem) or 'no answer'}); start the same command on node 0, look whether this "
                        f"machine can reach that port, or raise join_seconds."
                    ) from problem
            time.sleep(POLL)

    def _connect(self) -> TCPStore | None:
        """The store, with this node in it; None if it is that of the sweep's last job, which is about to end."""
        place = self.place
        store = TCPStore(place.host, place.port, is_master=False, wait_for_workers=False, timeout=wait_of(place))
        self.leader = json.loads(store.get("leader"))
        if self.leader["probe"] in _left:
            return None
        store.set(f"host-{place.node}", socket.gethostname())
        return store

    def _beat(self) -> None:
        with suppress(RuntimeError):
            while not self._over.wait(BEAT):
                self._store.add(f"alive-{self.place.node}", 1)

    def _ask(self, question: Callable[[], Result]) -> Result:
        """The store's answer. PyTorch waits for it without a limit, and a machine that hangs does not close the line.

        Raises:
            NodeGone: there is none, or there was none before.
        """
        if self._gone is not None:
            raise self._gone
        try:
            return apart(question).result(LOST)
        except TimeoutError:
            what = f"has not been heard of for {LOST:.0f} s"
        except RuntimeError:  # PyTorch's, of the store
            what = "is gone"
        self._gone = NodeGone(
            f"Node 0 ({self.leader['host']}) {what}; what was finished is kept. Start the same command again on all "
            f"nodes to continue."
        )
        raise self._gone

    def check(self, told: Mapping[str, str]) -> None:
        """Compare with node 0.

        Raises:
            UserError: something is not the same there, or node 0's files are not seen here.
        """
        for name, value in told.items():
            if (theirs := self.leader["told"].get(name)) != value:
                raise UserError(f"its {name} ({value}) is not that of node 0 ({theirs}); make them the same.")
        probe, deadline = Path(self.leader["probe"]), time.monotonic() + SHARED
        while not (probe.exists() and probe.read_text() == probe.name):
            if self.ended():
                return
            if time.monotonic() > deadline:
                raise UserError(
                    f"it does not see {probe}, which node 0 ({self.leader['host']}) has written; set cache= to a "
                    f"folder that all nodes share, under the same path."
                )
            time.sleep(POLL)
        self._set(f"ready-{self.place.node}", "")

    def unless_ended(self, work: Callable[[], Result]) -> Result | None:
        """What ``work``, which may take long, returns; None as soon as node 0 has ended the run."""
        working = apart(work)
        while not wait([working], POLL).done:
            if self.ended():
                return None
        return working.result()

    def tell(self, what: str, value: str) -> None:
        """For `Nodes.agree`."""
        self._set(f"{what}-{self.place.node}", value)

    def launches(self) -> Iterator[Launch]:
        """Every launch of the run, until its end; `report` follows each."""
        while True:
            while not self._there(f"launch-{self._number}"):
                if self.ended():
                    return
                time.sleep(POLL)
            yield Launch(**json.loads(self._get(f"launch-{self._number}")))
            self._number += 1

    def stopped(self) -> bool:
        """Whether the running launch is to be ended."""
        return self._there(f"stop-{self._number}") or self.ended()

    def report(self, code: int) -> None:
        """Tell how this node's agent has ended."""
        self._set(f"ended-{self._number}-{self.place.node}", str(code))

    def ended(self) -> bool:
        """Whether node 0 has ended the run."""
        return self._there("end")

    def leave(self, problem: str = "") -> str:
        """Say goodbye, with the reason if it is this node's; returns what node 0 stopped for, which may be nothing."""
        node, why = self.place.node, ""
        with suppress(NodeGone):
            if problem:
                self._set(f"problem-{node}", problem)
            elif self.ended():
                why = self._get("end")
            self._set(f"left-{node}", "")
        self._over.set()
        _left.add(self.leader["probe"])
        return why

    def _there(self, name: str) -> bool:
        return self._ask(lambda: self._store.check([name]))

    def _get(self, name: str) -> str:
        return self._ask(lambda: self._store.get(name)).decode()

    def _set(self, name: str, value: str) -> None:
        self._ask(lambda: self._store.set(name, value))
