"""Run the pipeline on a real Slurm of two nodes, both on this machine, and compare with a run without Slurm.

python experiments/cluster/slurm.py [--place FOLDER] [--out FOLDER] [--parts PART …]

Needs Linux, root, and Debian's packages slurm-wlm and munge. Starts a controller, two node daemons and munge of its
own, which end with it; no other Slurm is touched. Writes a record (JSON); `page.py` makes the page from it. Ends with
status 1 if anything is not as it should be.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.chaos.comparing import compare
from selectmm.cache.provenance import provenance
from selectmm.cache.stage import write_atomically
from selectmm.errors import UserError
from selectmm.launch.nodes import free_port
from selectmm.quickstart.embedded import open_pool

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("slurmctld", "slurmd", "munged", "srun", "sbatch", "squeue", "scontrol")
PARTS = ("alone", "two nodes", "preempted", "sweep")
ROWS = 32  # of the embedded pool
LIMIT = 1800.0  # seconds for one job, many times what it takes
WORDS = (
    "method=perplexity", "experiment=slurm", "tracker=none", "cache=cache", "records=records", "tables=tables",
    "budget=0.5", "batch_size=1", "recipe.batch_size=4", "recipe.micro_batch=2", "recipe.checkpoint_every=1",
    "suite.only=[mini-SQA]", "suite.limit=8", "suite.batch_size=2", "contamination=false",
)  # fmt: skip
CONFIGURATION = """\
ClusterName=selectmm
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool-%n
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd-%n.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=2,requeue_delay=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=10
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=8000 Gres=gpu:1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=8000 Gres=gpu:1
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 PreemptMode=REQUEUE State=UP
PartitionName=high Nodes=n1,n2 PriorityTier=10 PreemptMode=OFF State=UP
"""


@contextmanager
def cluster(place: Path) -> Iterator[dict[str, str]]:
    """A Slurm of two nodes for the length of the block; yields the environment of its commands.

    Raises:
        UserError: a program is missing, this is not root, or a daemon does not start.
    """
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} not found; apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        raise UserError("Slurm's daemons start jobs as other users, so this needs root.")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    place.chmod(0o755)  # munge wants folders that only their owner writes
    for name in ("state", "spool-n1", "spool-n2", "munge"):
        (place / name).mkdir()
    ports = [free_port() for _ in range(3)]
    (place / "slurm.conf").write_text(CONFIGURATION.format(host=socket.gethostname(), place=place, ports=ports))
    (place / "gres.conf").write_text("NodeName=n[1-2] Name=gpu File=/dev/null\n")
    key = place / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    environment = {**os.environ, "PATH": _path(), "SLURM_CONF": str(place / "slurm.conf")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    munge = [
        "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={place}/munge.socket",
        f"--pid-file={place}/munge/pid", f"--log-file={place}/munge/log", f"--seed-file={place}/munge/seed",
    ]  # fmt: skip
    daemons = []
    try:
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "n1"], ["slurmd", "-D", "-N", "n2"]):
            with (place / f"{command[0]}-{len(daemons)}.out").open("wb") as log:
                daemons.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            time.sleep(2)
        _wait(lambda: _states(environment) == ["idle", "idle"], 60, "both nodes are idle", environment)
        yield environment
    finally:
        subprocess.run(["scancel", "--user=root"], env=environment, capture_output=True)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(30)


def main() -> None:
    """Run everything, write the record and, where something is not the same, say so."""
    parser = argparse.ArgumentParser("slurm.py", description=__doc__.split("\n")[0])
    parser.add_argument("--place", type=Path, default=Path("outputs/slurm"), help="folder; parts done there are kept")
    parser.add_argument("--out", type=Path, default=Path("outputs/metrics"), help="folder for the record")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to run (default: all)")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the daemons end, too
    place = asked.place.absolute()
    words = [*WORDS, *_rows(place)]
    spread = [*words, "strategy=zero2"]
    found = _run(place, asked.parts, words, spread)
    version = subprocess.run(["slurmctld", "-V"], capture_output=True, text=True, env={"PATH": _path()}).stdout.strip()
    record = {"slurm": version, "rows": ROWS, "words": [word.replace(str(place), "PLACE") for word in spread], **found}
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / "slurm.json"
    content = json.dumps({**record, "provenance": asdict(provenance())}, indent=1, ensure_ascii=False)
    write_atomically(path, content.replace(str(place), "PLACE").replace(str(asked.out), "OUT") + "\n")
    print(path)
    if wrong := troubles(record):
        sys.exit("\n".join(wrong))


def _run(
    place: Path, wanted: Sequence[str], words: Sequence[str], spread: Sequence[str]
) -> dict[str, dict[str, object]]:
    """What was found in each part; those that are done already are not run again."""
    found = {name: place / f"{name}.json" for name in PARTS if name in wanted}
    if not all(file.exists() for file in found.values()):
        with cluster(place / "daemons") as environment:
            parts: dict[str, Callable[[], dict[str, object]]] = {
                "alone": lambda: _alone(place / "alone", [*spread, "devices=2"], environment),
                "two nodes": lambda: _two_nodes(place, [*spread, "devices=1"], environment),
                "preempted": lambda: _preempted(place, [*spread, "devices=1"], environment),
                "sweep": lambda: _sweep(place, words, environment),
            }
            for name, file in found.items():
                _once(file, parts[name])
    return {name: json.loads(file.read_text()) for name, file in found.items()}


def _once(done: Path, part: Callable[[], dict[str, object]]) -> None:
    if not done.exists():
        shutil.rmtree(done.with_suffix(""), ignore_errors=True)
        print(done.stem, flush=True)
        write_atomically(done, json.dumps(part()))


def troubles(record: dict) -> list[str]:
    """What was not as it should be, one line each."""
    lines = [f"{part}: {what}" for part in PARTS[1:3] if part in record for what in record[part]["differ"]]
    if "preempted" in record and record["preempted"]["restarts"] < 1:
        lines.append("preempted: the job was not started again")
    if "sweep" in record and record["sweep"]["records"] != record["sweep"]["jobs"]:
        lines.append(f"sweep: {record['sweep']['records']} records of {record['sweep']['jobs']} jobs")
    return lines


def _alone(folder: Path, words: Sequence[str], environment: dict[str, str]) -> dict[str, object]:
    """The run that the others are compared with: two ranks on one node, without Slurm."""
    began = time.monotonic()
    _started([sys.executable, "-m", "selectmm", *words], folder, environment)
    return {"seconds": round(time.monotonic() - began)}


def _two_nodes(place: Path, words: Sequence[str], environment: dict[str, str]) -> dict[str, object]:
    """The same run as one task on each of two nodes."""
    began = time.monotonic()
    command = [*_srun(), sys.executable, "-m", "selectmm", *words, _rendezvous()]
    _started(command, place / "two nodes", environment)
    same = _compared(place / "alone", place / "two nodes")
    return {"seconds": round(time.monotonic() - began), "command": _shown(command), **same}


def _preempted(place: Path, words: Sequence[str], environment: dict[str, str]) -> dict[str, object]:
    """The same as a batch job that a job of a higher partition takes the nodes from, after its first checkpoint."""
    folder = place / "preempted"
    folder.mkdir()
    command = " ".join([*_srun(), sys.executable, "-m", "selectmm", *(f"'{word}'" for word in words), _rendezvous()])
    (folder / "job.sh").write_text(f"#!/bin/bash\n{command}\n")
    batch = ["sbatch", "--parsable", "--partition=low", "--nodes=2", "--ntasks-per-node=1", "--requeue"]
    job = _out([*batch, "--open-mode=append", "--output=log.txt", "job.sh"], folder, environment)
    _wait(lambda: any(folder.glob("cache/adapter/*.partial/checkpoint-*")), LIMIT, "there is a checkpoint", environment)
    checkpoint = max(path.name for path in folder.glob("cache/adapter/*.partial/checkpoint-*"))
    rival = ["sbatch", "--parsable", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null"]
    _out([*rival, "--wrap", "sleep 5"], folder, environment)
    _wait(lambda: _restarts(job, environment) > 0, LIMIT, "the job was requeued", environment)
    _wait(lambda: not _out(["squeue", "--noheader"], folder, environment), LIMIT, "all jobs have ended", environment)
    return {
        "restarts": _restarts(job, environment),
        "checkpoint": checkpoint,
        "command": f"sbatch --requeue: {_shown(command.split())}",
        **_compared(place / "alone", folder),
    }


def _sweep(place: Path, words: Sequence[str], environment: dict[str, str]) -> dict[str, object]:
    """A sweep whose jobs are Slurm jobs of one (pretended) GPU each, and share the pool and a pass over it."""
    methods = ("random", "perplexity", "el2n")
    choices = [word for word in words if not word.startswith("method=")]
    launcher = ["hydra/launcher=slurm", "hydra.launcher.partition=low", "hydra.launcher.cpus_per_task=2"]
    launcher += ["hydra.launcher.mem_gb=6", "hydra.launcher.timeout_min=60", "hydra.launcher.array_parallelism=2"]
    command = [sys.executable, "-m", "selectmm", "-m", f"method={','.join(methods)}", *choices, *launcher]
    began = time.monotonic()
    _started(command, place / "sweep", environment)
    stages = sorted(path.parent.parent.name for path in (place / "sweep" / "cache").glob("*/*/stage.json"))
    return {
        "seconds": round(time.monotonic() - began),
        "command": _shown(command),
        "jobs": len(methods),
        "records": len(list((place / "sweep" / "records").glob("*.json"))),
        "stages": {name: stages.count(name) for name in dict.fromkeys(stages)},
    }


def _compared(alone: Path, other: Path) -> dict[str, object]:
    """All but the configuration, which says on how many nodes."""
    found = asdict(compare(alone, other))
    return {**found, "differ": [what for what in found["differ"] if not what.endswith(": config")]}


def _rows(place: Path) -> list[str]:
    """Some rows of the built-in pool as a pool of their own; the choices that name it."""
    pool = open_pool(str(place / "embedded"))
    rows = json.loads((pool.image_root.parent / "pool.json").read_text())
    file = place / "rows.json"
    file.write_text(json.dumps(rows[:: len(rows) // ROWS][:ROWS]))
    return ["pool=llava_json", f"pool.file={file}", f"pool.images={pool.image_root}"]


def _srun() -> list[str]:
    return ["srun", "--nodes=2", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]


def _rendezvous() -> str:
    """Given, because both nodes are this machine, whose names for them nobody can look up."""
    return f"rendezvous=127.0.0.1:{free_port()}"


def _started(command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    with (folder / "log.txt").open("ab") as log:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log, timeout=LIMIT)
    if done.returncode:
        raise UserError(f"{_shown(command)} ended with {done.returncode}; see {folder / 'log.txt'}")


def _out(command: Sequence[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{_shown(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()


def _restarts(job: str, environment: dict[str, str]) -> int:
    words = _out(["scontrol", "show", "job", job], ROOT, environment).split()
    return int(next(word for word in words if word.startswith("Restarts=")).removeprefix("Restarts="))


def _states(environment: dict[str, str]) -> list[str]:
    done = subprocess.run(["sinfo", "-hN", "-p", "low", "-o", "%t"], env=environment, capture_output=True, text=True)
    return done.stdout.split()


def _wait(true: Callable[[], bool], seconds: float, what: str, environment: dict[str, str]) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            seen = subprocess.run(["squeue"], env=environment, capture_output=True, text=True).stdout
            raise UserError(f"Waited {seconds:.0f} s in vain until {what}; the queue:\n{seen}")
        time.sleep(0.5)


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _shown(command: Sequence[str]) -> str:
    return " ".join("python" if word == sys.executable else word for word in command)


if __name__ == "__main__":
    try:
        main()
    except UserError as problem:
        sys.exit(str(problem))
