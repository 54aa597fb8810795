"""A node other than 0, at the store through which the nodes of a run talk (see `selectmm.stages.nodes`)."""

import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

from torch.distributed import DistError, TCPStore

from selectmm.errors import UserError
from selectmm.stages.nodes import POLL, Launch, first_line, wait_of
from selectmm.stages.place import Place

BEAT = 2.0  # seconds between a node's signs of life
SHARED = 20.0  # seconds until another node's new file must be seen: network file systems remember what was not there

_left: set[str] = set()  # runs that this process has left, by the file that told that folders are shared


class Follower:
    """A node other than 0: its side of the store.

    Raises:
        UserError: nobody leads there.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._store = self._connected()
        self._over = Event()
        self._number = 0
        self._heart = Thread(target=self._beat, daemon=True)
        self._heart.start()

    def _connected(self) -> TCPStore:
        place, deadline = self.place, time.monotonic() + self.place.seconds
        while True:
            try:
                patience = wait_of(place)
                store = TCPStore(place.host, place.port, is_master=False, wait_for_workers=False, timeout=patience)
                self.leader = json.loads(store.get("leader"))
                if self.leader["probe"] not in _left:
                    store.set(f"host-{place.node}", socket.gethostname())
                    return store
                del store  # of the sweep's last job, which is about to end
            except (DistError, RuntimeError, ValueError) as problem:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"Node {place.node} found no node 0 at {place.host}:{place.port} within {place.seconds:g} s "
                        f"({first_line(problem)}); start the same command on node 0, look whether this machine can "
                        f"reach that port, or raise join_seconds."
                    ) from problem
            time.sleep(POLL)

    def _beat(self) -> None:
        with suppress(DistError, RuntimeError):
            while not self._over.wait(BEAT):
                self._store.add(f"alive-{self.place.node}", 1)

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
            if time.monotonic() > deadline or self.ended():
                raise UserError(
                    f"it does not see {probe}, which node 0 ({self.leader['host']}) has written; set cache= to a "
                    f"folder that all nodes share, under the same path."
                )
            time.sleep(POLL)
        self._store.set(f"ready-{self.place.node}", "")

    def tell(self, what: str, value: str) -> None:
        """For `Nodes.agree`."""
        self._store.set(f"{what}-{self.place.node}", value)

    def launches(self) -> Iterator[Launch]:
        """Every launch of the run, until its end; `report` follows each.

        Raises:
            UserError: node 0 stopped, or is gone.
        """
        while True:
            while not self._store.check([f"launch-{self._number}"]):
                if self.ended():
                    return
                time.sleep(POLL)
            yield Launch(**json.loads(self._store.get(f"launch-{self._number}")))
            self._number += 1

    def stopped(self) -> bool:
        """Whether the running launch is to be ended."""
        return self._store.check([f"stop-{self._number}"]) or self.ended()

    def report(self, code: int) -> None:
        """Tell how this node's agent has ended."""
        self._store.set(f"ended-{self._number}-{self.place.node}", str(code))

    def ended(self) -> bool:
        """Whether node 0 has ended the run."""
        return self._store.check(["end"])

    def leave(self, problem: str = "") -> str:
        """Say goodbye, with the reason if it is this node's; returns what node 0 stopped for, which may be nothing."""
        node, why = self.place.node, ""
        with suppress(DistError, RuntimeError):
            if problem:
                self._store.set(f"problem-{node}", problem)
            elif self.ended():
                why = self._store.get("end").decode()
            self._store.set(f"left-{node}", "")
        self._over.set()
        _left.add(self.leader["probe"])
        return why
