"""The page of results/tables on kills, from the record of results/metrics alone.

python experiments/chaos/page.py [FOLDER]
"""

import json
import sys
from collections import Counter
from pathlib import Path

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import flowed, table
from experiments.chaos.chaos import troubles
from selectmm.cache.stage import write_atomically

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "results" / "metrics" / "chaos.json"
HEAD = "<!-- Made by `python experiments/chaos/page.py`; never edited by hand. -->"


def make(folder: Path, record: Path = RECORD) -> Path:
    """Write ``chaos.md`` under ``folder``; the same record gives the same bytes. Returns its path."""
    found = json.loads(record.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "chaos.md"
    parts = [HEAD, "# chaos\n", _opening(found), _kills(found), _compared(found), _origin(found)]
    write_atomically(page, flowed("\n".join(parts)))
    return page


def _opening(record: dict) -> str:
    wrong = troubles(record)
    answer = (
        "Everything that was compared is the same."
        if not wrong
        else f"**No.** {len(wrong)} findings: {'; '.join(wrong)}."
    )
    return (
        f"**Does a sweep whose processes are killed (`kill -9`) {len(record['kills'])} times at random moments, and "
        f"that is started again each time, end as one that is left alone?** {answer}\n"
    )


def _kills(record: dict) -> str:
    kinds = sorted({kill["process"] for kill in record["kills"]})
    counted = Counter((stage, kill["process"]) for kill in record["kills"] for stage in kill["stages"])
    stages = sorted({stage for stage, _ in counted})
    rows = [[stage, *(str(counted[stage, kind]) for kind in kinds)] for stage in stages]
    total = Counter(kill["process"] for kill in record["kills"])
    rows.append(["all", *(str(total[kind]) for kind in kinds)])
    return (
        f"## What was killed, and in which stage\n\n{table(['stage', *kinds], rows)}\n"
        f"The command was started {record['starts']} times, in {len(record['rounds'])} rounds; each round begins with "
        f"an empty cache and ends when the whole sweep is done. After the kill of a part (a training rank, torchrun, "
        f"an evaluation worker) that job fails and the sweep goes on with the next one, where it may be hit again. A "
        f"kill while two stages are being made, one inside the other, counts for both, and once in the last line.\n"
    )


def _compared(record: dict) -> str:
    rounds, shards = record["rounds"], record["shards"]
    names = {
        "stages": "stages in the cache",
        "files": "their files, byte by byte",
        "subsets": "of these: subsets",
        "weights": "adapters' weights",
        "answers": "scores and answers",
        "records": "records, but for costs",
    }
    rows = [[name, *(str(one[key]) for one in rounds)] for key, name in names.items()]
    rows.append(["not the same", *(str(len(one["differ"])) for one in rounds)])
    rows.append(["half-written files", *(str(len(one["half_written"])) for one in rounds)])
    head = ["compared with the sweep that was left alone", *(f"round {n}" for n in range(1, len(rounds) + 1))]
    return (
        f"## What was compared\n\n{table(head, rows)}\n"
        f"- Shards of features: {shards['seen']} were written, {shards['finished at a kill']} of them were finished "
        f"when something was killed; {len(shards['computed twice'])} were computed again. A shard that is written "
        f"again is another file: its inode or its time would have changed.\n"
        f"- Processes left behind: {len(record['left behind'])}. Those that lost the command which had started them "
        f"took at most {record['longest wait for orphans']:.0f} s to end by themselves, looked at after about half of "
        f"the starts (after the others the command was started again at once) and at the end of each round.\n"
        f"- Left out of the comparison, because they differ between any two runs: what stages cost and when they were "
        f"finished, seconds per training step, the random name of a feature's pass.\n"
    )


def _origin(record: dict) -> str:
    origin = record["provenance"]
    changed = " with local changes" if origin["dirty"] else ""
    packages = ", ".join(f"{name} {origin['packages'][name]}" for name in ("torch", "deepspeed", "pytorch-lightning"))
    return (
        f"- Command: `{origin['command']}`, seed of the kills: {record['seed']}\n"
        f"- The sweep: `python -m selectmm {' '.join(record['sweep'])}`\n"
        f"- Commit: {str(origin['commit'])[:10]}{changed}; {packages}; {origin['hardware']['cores']} cores of "
        f"{origin['hardware']['cpu']}, load {record['load']:.1f}\n"
    )


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
