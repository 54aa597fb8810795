"""Which of several machines (nodes) this process runs on: from the options, or from what its scheduler says."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from selectmm.errors import UserError

RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# How other variables of torchrun's and MPI's begin that libraries act on. Slurm's stay: submitit reads them.
PREFIXES = ("GROUP_", "ROLE_", "TORCHELASTIC_", "PET_", "PMI_", "PMIX_")
FIRST_HOSTS = re.compile(r"(?:[^[,]|\[[^]]*\])+")  # of Slurm's list, such as gpu[7-8,12] or rack[1-2]n[1-4],login
NUMBERS = re.compile(r"\[([^],-]+)[^]]*\]")  # the first of them is a name's
FIRST_PORT, PORTS = 20_000, 10_000  # where a Slurm job's rendezvous is, by the job's number
HOW = "on all of them rendezvous=HOST:PORT, a free port of the first one"


TORCH_LEVEL = "TORCH_CPP_LOG_LEVEL"  # what PyTorch's C++ code prints; the command line sets it to ERROR for itself
SRUN = "srun"
SHELL = ", or unset SLURM_STEP_NUM_NODES if you typed it in a shell that srun opened"


@dataclass(frozen=True)
class Started:
    """What a scheduler says of a process that it started.

    Attributes:
        by: the scheduler. node, nodes: the number of its machine, and of how many. local: its number among the
            processes on its machine. host, port: of node 0, where the nodes may meet.
    """

    by: str
    node: int
    nodes: int
    local: int
    host: str
    port: int


@dataclass(frozen=True)
class Place:
    """This process among the nodes of a run.

    Attributes:
        idle: whether another process on this node does the work: there is one a node, which starts those of the stages.
        seconds: how long nodes wait for one another at the start.
    """

    nodes: int = 1
    node: int = 0
    idle: bool = False
    host: str = ""
    port: int = 0
    seconds: float = 60.0


def place_of(options: Mapping[str, Any], started: Started | None) -> Place:
    """This process's place.

    Args:
        options: ``nodes``, ``node``, ``rendezvous`` and ``join_seconds`` of a configuration.
        started: see `started`.

    Raises:
        UserError: options do not fit together, or not with what the scheduler says.
    """
    nodes, node = (_number(options, key) for key in ("nodes", "node"))
    if started is None and nodes in (1, None):
        if node:
            raise UserError(f"node={node}, but nodes={nodes or 'auto'}; set nodes to the number of nodes.")
        return Place()
    if nodes is None:
        nodes = started.nodes
    elif started is not None and nodes != started.nodes:
        raise UserError(
            f"nodes={nodes}, but {started.by} started this command on {started.nodes}; leave nodes out, or start it on "
            f"as many{SHELL if started.by == SRUN else ''}."
        )
    if node is None and started is None:
        raise UserError(
            f"nodes={nodes}: which of them is this one? Start the command with srun or torchrun on all of them, or set "
            f"node=0 on the first, node=1 on the next, and {HOW}."
        )
    node = started.node if node is None else node
    if node >= nodes:
        raise UserError(f"node={node}, but nodes={nodes}: nodes are numbered from 0 to {nodes - 1}.")
    idle = started is not None and started.local > 0
    if nodes == 1:
        return Place(idle=idle)
    host, port = _meeting(options, started)
    return Place(nodes, node, idle, host, port, _seconds(options))


@cache
def started() -> Started | None:
    """What a scheduler says of this process, which from now on looks like one that was started alone.

    Libraries that find such variables (accelerate, lmms-eval, Lightning) would take this process for one of the ranks.
    """
    found = read_started(os.environ)
    if found is not None:
        forget_ranks()
    return found


def read_started(environment: Mapping[str, str]) -> Started | None:
    """The same from the variables of torchrun, srun, or a PyTorch job on Kubernetes; None if there are none."""

    def number(name: str) -> int:
        """The variable's value; a UserError if it is not a whole number."""
        try:
            return int(environment[name])
        except ValueError:
            raise UserError(f"The environment variable {name}={environment[name]} is not a number; unset it.") from None

    def there(*names: str) -> bool:
        return all(name in environment for name in names)

    if there("TORCHELASTIC_RUN_ID", "GROUP_RANK", "GROUP_WORLD_SIZE", *RANKS):
        places = number("GROUP_RANK"), number("GROUP_WORLD_SIZE"), number("LOCAL_RANK")
        # The port itself is torchrun's.
        return Started("torchrun", *places, environment["MASTER_ADDR"], number("MASTER_PORT") + 1)
    # A batch script that srun did not start has other variables of Slurm's, not this one.
    if there("SLURM_STEP_NUM_NODES", "SLURM_STEP_NODELIST", "SLURM_NODEID", "SLURM_LOCALID", "SLURM_JOB_ID"):
        places = number("SLURM_NODEID"), number("SLURM_STEP_NUM_NODES"), number("SLURM_LOCALID")
        first = NUMBERS.sub(r"\1", FIRST_HOSTS.match(environment["SLURM_STEP_NODELIST"])[0])
        return Started(SRUN, *places, first, FIRST_PORT + number("SLURM_JOB_ID") % PORTS)
    if there("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") and environment.get("LOCAL_WORLD_SIZE", "1") == "1":
        address = environment["MASTER_ADDR"], number("MASTER_PORT")
        return Started("the scheduler", number("RANK"), number("WORLD_SIZE"), 0, *address)
    if there("PET_NODE_RANK", "PET_NNODES", "PET_MASTER_ADDR", "PET_MASTER_PORT"):
        address = environment["PET_MASTER_ADDR"], number("PET_MASTER_PORT")
        return Started("Kubernetes", number("PET_NODE_RANK"), number("PET_NNODES"), 0, *address)
    return None


def forget_ranks() -> None:
    """Remove the variables that say that this process is one of several."""
    for name in [name for name in os.environ if name in RANKS or name.startswith(PREFIXES)]:
        del os.environ[name]


def _number(options: Mapping[str, Any], key: str) -> int | None:
    value = options.get(key, "auto")
    if value == "auto":
        return None
    least = 1 if key == "nodes" else 0
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{key}={value} is neither a whole number from {least} on nor auto.")
    return value


def _seconds(options: Mapping[str, Any]) -> float:
    value = options.get("join_seconds", Place.seconds)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise UserError(f"join_seconds={value} is not a number of seconds above 0.")
    return float(value)


def _meeting(options: Mapping[str, Any], started: Started | None) -> tuple[str, int]:
    """Host and port of node 0 where the nodes meet."""
    given = options.get("rendezvous", "auto")
    if given == "auto":
        if started is None:
            raise UserError(f"Several nodes need an address at which they connect; set {HOW}.")
        return started.host, started.port
    host, _, port = str(given).rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(f"rendezvous={given} is not HOST:PORT, such as gpu1:29400.")
    return host, int(port)
