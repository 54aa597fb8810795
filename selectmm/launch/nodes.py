"""Several nodes work on one run: node 0 leads, and the others join every launch of ranks.

Node 0's process alone decides what is done and what comes from the cache, as on one node. The others run the same
command, check that they have the same code, options and pool and see the same files, and then wait for launches: each
is a torchrun agent on every node (`selectmm.launch.launch`). What they tell one another goes through one store
(PyTorch's ``TCPStore``), which lives in node 0's process at the rendezvous.
"""

import json
import logging
import signal
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

from torch.distributed import DistError, TCPStore

from selectmm.cache.no_links import open_new
from selectmm.errors import UserError
from selectmm.launch.place import Place

log = logging.getLogger("selectmm")

POLL = 0.2  # seconds between looks at the store
LOST = 30.0  # seconds without one, after which a node counts as lost
ONE = Place()
PARTING = 10.0  # seconds that node 0 waits for the others to read that the run has ended


@dataclass(frozen=True)
class Launch:
    """What an agent on every node starts.

    Attributes:
        module, folder: see `selectmm.launch.launch.launched`. job: the SHA-256 of what the ranks are to do.
        per_node: ranks on each node. device: its type.
        host, port: where the agents meet.
    """

    mark: str
    module: str
    folder: str
    job: str
    per_node: int
    device: str
    host: str
    port: int
    seconds: float


@dataclass(eq=False)
class Nodes:
    """The nodes of a run, as node 0 sees them."""

    count: int = 1
    place: Place = ONE
    hosts: Mapping[int, str] = field(default_factory=dict)
    _store: TCPStore | None = None
    _number: int = 0

    def agree(self, what: str, value: str) -> None:
        """Wait until every other node has reported what it has, and compare.

        Raises:
            UserError: one has something else, could not get it, or is lost.
        """
        signs = _Signs(self._store, self.hosts)
        for node, host in self.hosts.items():
            while not self._store.check([f"{what}-{node}"]):
                if trouble := signs.trouble():
                    raise UserError(trouble)
                time.sleep(POLL)
            if (theirs := self._store.get(f"{what}-{node}").decode()) != value:
                raise UserError(
                    f"Node {node} ({host}) has another {what} than node 0 ({theirs} and {value}); give both the same "
                    f"files, best in a folder that they share."
                )

    @contextmanager
    def joining(self, launch: Launch) -> Iterator["Joined"]:
        """Let the other nodes join a launch for the length of the block; if that raises, they end theirs."""
        number, self._number = self._number, self._number + 1
        self._store.set(f"launch-{number}", json.dumps(asdict(launch)))
        joined = Joined(self._store, self.hosts, number)
        try:
            yield joined
        except BaseException:
            joined.stop()
            raise


ALONE = Nodes()


class Joined:
    """A launch that the other nodes have joined. Nothing raises, because that would end the watching of a launch."""

    def __init__(self, store: TCPStore, hosts: Mapping[int, str], number: int) -> None:
        self._store, self._hosts, self._number = store, hosts, number
        self._signs = _Signs(store, hosts)

    def failed(self) -> str | None:
        """Which node's agent has failed, or which node is lost; None as long as all is well."""
        try:
            for node in self._ended():
                code = int(self._store.get(f"ended-{self._number}-{node}"))
                if code:
                    return f"The ranks on node {node} ({self._hosts[node]}) ended with code {code}."
            return self._signs.trouble()
        except RuntimeError as problem:  # PyTorch's, of the store
            return (
                f"Node 0 cannot ask the other nodes how they are ({first_line(problem)}); start the same command again "
                f"on all nodes: it continues from what is finished."
            )

    def over(self) -> bool:
        """Whether all other nodes' agents have ended; not where nobody can be asked, which `failed` tells."""
        with suppress(RuntimeError):
            return len(self._ended()) == len(self._hosts)
        return False

    def stop(self) -> None:
        """Let the other nodes end their ranks."""
        with suppress(RuntimeError):
            self._store.set(f"stop-{self._number}", "")

    def _ended(self) -> list[int]:
        return [node for node in self._hosts if self._store.check([f"ended-{self._number}-{node}"])]


class _Signs:
    """Signs of life of nodes, which count up in the store."""

    def __init__(self, store: TCPStore, hosts: Mapping[int, str]) -> None:
        self._store, self._hosts = store, hosts
        self._last = dict.fromkeys(hosts, (-1, time.monotonic()))

    def trouble(self) -> str | None:
        """What is wrong with a node, if anything is."""
        now = time.monotonic()
        for node, host in self._hosts.items():
            if self._store.check([f"problem-{node}"]):
                return f"Node {node} ({host}): {self._store.get(f'problem-{node}').decode()}"
            count = self._store.add(f"alive-{node}", 0)
            before, since = self._last[node]
            if count != before:
                self._last[node] = count, now
            elif now - since > LOST:
                return (
                    f"Node {node} ({host}) has not been heard of for {LOST:.0f} s; if it is gone, start the same "
                    f"command again: it continues from what is finished."
                )
        return None


@contextmanager
def leading(place: Place, settings: Mapping[str, str], cache: Path) -> Iterator[Nodes]:
    """Be node 0 for the length of the block: meet the others, lead them, and tell them at the end how it went.

    Args:
        settings: what has to be the same on all nodes, by name; see `selectmm.stages.follow.same_on_all`.
        cache: the folder that the nodes have to share.

    Raises:
        UserError: another node did not come, or does not have the same.
    """
    if place.nodes == 1:
        yield ALONE
        return
    store = _opened(place)
    nodes, probe = Nodes(place.nodes, place, {}, store), _probe(cache)
    try:
        store.set("leader", json.dumps({"settings": settings, "probe": str(probe), "host": socket.gethostname()}))
        nodes.hosts = _met(store, place)
        log.info("  nodes     %d: %s", place.nodes, ", ".join([socket.gethostname(), *nodes.hosts.values()]))
        yield nodes
    except BaseException as problem:
        _part(store, place, _reason(problem))
        raise
    else:
        _part(store, place, "")
    finally:
        probe.unlink(missing_ok=True)
        nodes._store = store = None  # closes it, so that the next job of a sweep can open one


def _reason(problem: BaseException) -> str:
    """Why node 0 stops, in words; a signal ends it with 128 and its number as the exit code, or as Ctrl-C does."""
    if isinstance(problem, KeyboardInterrupt):
        number = int(signal.SIGINT)
    elif isinstance(problem, SystemExit) and isinstance(problem.code, int):
        number = problem.code - 128
    else:
        return str(problem) or type(problem).__name__
    return f"it received signal {number}; start the same command again on all nodes to continue."


def _opened(place: Place) -> TCPStore:
    try:
        return TCPStore(place.host, place.port, is_master=True, wait_for_workers=False, timeout=wait_of(place))
    except (DistError, RuntimeError, ValueError) as problem:
        raise UserError(
            f"Node 0 cannot open the rendezvous {place.host}:{place.port} ({first_line(problem)}); set "
            f"rendezvous=HOST:PORT, a name of this machine ({socket.gethostname()}) that the others know and a port "
            f"that is free."
        ) from problem


def _probe(cache: Path) -> Path:
    """A new file in the cache, which the other nodes have to see."""
    cache.mkdir(parents=True, exist_ok=True)
    probe = cache.resolve() / f".shared-{uuid.uuid4().hex[:12]}"
    with open_new(probe) as file:
        file.write(probe.name.encode())
    return probe


def _met(store: TCPStore, place: Place) -> dict[int, str]:
    """Wait for the other nodes; their hosts by number."""
    deadline = time.monotonic() + place.seconds
    others = set(range(1, place.nodes))
    logged = False
    while missing := {node for node in others if not store.check([f"host-{node}"])}:
        if not logged:
            where = f"{place.host}:{place.port}, at most {place.seconds:g} s"
            log.info("  waiting   for node %s to connect to %s", ", ".join(map(str, sorted(missing))), where)
            logged = True
        if time.monotonic() > deadline:
            named = ", ".join(map(str, sorted(missing)))
            raise UserError(
                f"Node {named} of {place.nodes} did not connect to {place.host}:{place.port} within {place.seconds:g} "
                f"s; start the same command there, look whether it can reach this port, or raise join_seconds."
            )
        time.sleep(POLL)
    hosts = {node: store.get(f"host-{node}").decode().partition(" ")[0] for node in sorted(others)}
    signs = _Signs(store, hosts)
    while not all(store.check([f"ready-{node}"]) for node in hosts):
        if trouble := signs.trouble():
            raise UserError(trouble)
        time.sleep(POLL)
    return hosts


def _part(store: TCPStore, place: Place, problem: str) -> None:
    """Tell the other nodes that the run is over; wait a little, because the store ends with this process."""
    with suppress(DistError, RuntimeError):
        store.set("end", problem)
        deadline = time.monotonic() + PARTING
        while time.monotonic() < deadline and not all(
            store.check([f"left-{node}"]) or store.check([f"problem-{node}"]) or not store.check([f"host-{node}"])
            for node in range(1, place.nodes)
        ):
            time.sleep(POLL)


def own_address(place: Place) -> str:
    """This machine's address as node 0 and the others reach it.

    Raises:
        UserError: node 0 cannot be reached.
    """
    if place.node == 0:
        return place.host
    try:
        with socket.create_connection((place.host, place.port), timeout=LOST) as line:
            return line.getsockname()[0]
    except OSError as problem:
        raise UserError(
            f"Node {place.node} cannot reach node 0 at {place.host}:{place.port} ({problem}); start the same command "
            f"again on all nodes: it continues from what is finished."
        ) from problem


def free_port() -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket() as line:
        line.bind(("", 0))
        return line.getsockname()[1]


def wait_of(place: Place) -> timedelta:
    """How long one answer of the store may take."""
    return timedelta(seconds=place.seconds)


def first_line(problem: BaseException) -> str:
    """The first line of an error of PyTorch's, which may be long."""
    return str(problem).partition("\n")[0][:200]
