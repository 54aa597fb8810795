"""A node other than 0, at the store through which the nodes of a run talk (see `selectmm.launch.nodes`)."""

import json
import logging
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import TypeVar

from torch.distributed import TCPStore

from selectmm.errors import UserError
from selectmm.launch.nodes import LOST, POLL, Launch, first_line, wait_of
from selectmm.launch.place import Place

Result = TypeVar("Result")

log = logging.getLogger("selectmm")

BEAT = 2.0  # seconds between a node's signs of life
SHARED = 20.0  # seconds until another node's new file must be seen: network file systems remember what was not there


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
        UserError: nobody leads there, or another process has this node's number.
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
        """The store. Asks again where nobody leads yet, or another run does, such as a sweep's last one, which ends."""
        place = self.place
        deadline = time.monotonic() + place.seconds
        log.info("  waiting   for node 0 at %s:%d, at most %g s", place.host, place.port, place.seconds)
        while True:
            try:
                return apart(self._connect).result(place.seconds + LOST)
            except UserError as taken:
                why = taken
            except (RuntimeError, ValueError, TimeoutError) as problem:
                why = UserError(
                    f"Node {place.node} found no node 0 at {place.host}:{place.port} within {place.seconds:g} s "
                    f"({first_line(problem) or 'no answer'}); start the same command on node 0, look whether this "
                    f"machine can reach that port, or raise join_seconds."
                )
            if time.monotonic() > deadline:
                raise why
            time.sleep(POLL)

    def _connect(self) -> TCPStore:
        """The store, in which this process has taken its node's number.

        The first process that comes keeps it: what a second one said would be taken for the first one's.
        """
        place, name = self.place, f"host-{self.place.node}"
        store = TCPStore(place.host, place.port, is_master=False, wait_for_workers=False, timeout=wait_of(place))
        leader, mine = json.loads(store.get("leader")), f"{socket.gethostname()} {uuid.uuid4().hex}"
        if (holder := store.compare_set(name, "", mine).decode()) != mine:
            raise UserError(
                f"The run at {place.host}:{place.port} has a node {place.node} already, on {holder.partition(' ')[0]}; "
                f"wait until it has ended, or set rendezvous=HOST:PORT on all nodes to a port that is free."
            )
        self.leader = leader
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

    def check(self, settings: Mapping[str, str]) -> None:
        """Compare with node 0.

        Raises:
            UserError: something is not the same there, or node 0's files are not seen here.
        """
        for name, value in settings.items():
            if (theirs := self.leader["settings"].get(name)) != value:
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
        """Leave a value of this node in the store, for `Nodes.agree`."""
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
        return why

    def _there(self, name: str) -> bool:
        return self._ask(lambda: self._store.check([name]))

    def _get(self, name: str) -> str:
        return self._ask(lambda: self._store.get(name)).decode()

    def _set(self, name: str, value: str) -> None:
        self._ask(lambda: self._store.set(name, value))
