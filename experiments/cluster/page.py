"""The page of results/tables on the run under Slurm, from the record of results/metrics alone.

python experiments/cluster/page.py [FOLDER]
"""

import json
import sys
from pathlib import Path

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import flowed, table
from experiments.cluster.slurm import troubles
from selectmm.cache.stage import write_atomically

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "results" / "metrics" / "slurm.json"
HEAD = "<!-- Made by `python experiments/cluster/page.py`; never edited by hand. -->"
COMPARED = {
    "stages": "stages in the cache",
    "files": "their files, byte by byte",
    "subsets": "of these: subsets",
    "weights": "adapters' weights",
    "answers": "scores and answers",
    "records": "records, but for costs and the number of nodes",
}


def make(folder: Path, record: Path = RECORD) -> Path:
    """Write ``slurm.md`` under ``folder``; the same record gives the same bytes. Returns its path."""
    found = json.loads(record.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "slurm.md"
    sweep = _sweep(found) if "sweep" in found else "The sweep was left out of this run.\n"
    parts = [HEAD, "# slurm\n", _opening(found), _compared(found), sweep, _origin(found)]
    write_atomically(page, flowed("\n".join(parts)))
    return page


def _opening(record: dict) -> str:
    wrong = troubles(record)
    answer = "Yes." if not wrong else f"**No.** {len(wrong)} findings: {'; '.join(wrong)}."
    return (
        f"**Does one run over two Slurm nodes{', preempted and requeued or not,' if 'preempted' in record else ''} end "
        f"as the same run with two ranks on one node?** {answer}\n\n"
        f"A controller and two node daemons of {record['slurm']} on one machine without a GPU. The run makes a feature "
        f"pass, trains with ZeRO-2 and evaluates, each with one rank a node, on {record['rows']} rows of the built-in "
        f"pool. So this shows the scheduling, the rendezvous and the shared cache. It shows nothing about a network "
        f"between machines, a network file system, or GPUs.\n"
    )


def _compared(record: dict) -> str:
    named = {"two nodes": "two nodes", "preempted": "two nodes, preempted"}
    parts = [part for part in named if part in record]
    rows = [[name, *(str(record[part][key]) for part in parts)] for key, name in COMPARED.items()]
    rows.append(["not the same", *(str(len(record[part]["differ"])) for part in parts)])
    head = ["compared with two ranks on one node", *(named[part] for part in parts)]
    two = record["two nodes"]
    lines = (
        f"## One run over two nodes\n\n{table(head, rows)}\n"
        f"- Two nodes: `{two['command']}` took {two['seconds']} s; two ranks on one node took "
        f"{record['alone']['seconds']} s on the same two cores.\n"
    )
    if "preempted" not in record:
        return f"{lines}- The run that is preempted and requeued was left out.\n"
    preempted = record["preempted"]
    return (
        f"{lines}- Preempted: `{preempted['command']}`. When {preempted['checkpoint']} had been written, a job in a "
        f"partition of higher priority took both nodes. Slurm requeued the run {_times(preempted['restarts'])}, and it "
        f"went on from its checkpoint.\n"
    )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _sweep(record: dict) -> str:
    sweep = record["sweep"]
    rows = [[name, str(count)] for name, count in sweep["stages"].items()]
    return (
        f"## A sweep whose jobs share stages\n\n"
        f"`{sweep['command']}`: {sweep['jobs']} Slurm jobs of one pretended GPU each, two at a time, wrote "
        f"{sweep['records']} records in {sweep['seconds']} s. Stages in their common cache, each made by one of the "
        f"jobs and read by the others:\n\n{table(['stage', 'made'], rows)}\n"
    )


def _origin(record: dict) -> str:
    origin = record["provenance"]
    changed = " with local changes" if origin["dirty"] else ""
    packages = ", ".join(f"{name} {origin['packages'][name]}" for name in ("torch", "deepspeed", "pytorch-lightning"))
    return (
        f"- Command: `{origin['command']}`\n"
        f"- Commit: {str(origin['commit'])[:10]}{changed}; {packages}; {origin['hardware']['cores']} cores of "
        f"{origin['hardware']['cpu']}\n"
    )


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
