"""Kill random processes of a sweep at random moments, start it again each time, and compare with one left alone.

python experiments/chaos/chaos.py [--kills 50] [--seed 0] [--place FOLDER] [--out FOLDER] [choices of the sweep]

Needs Linux. Writes a record (JSON); `page.py` makes the page from it. Ends with status 1 if anything is not the same.
"""

import argparse
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil

import selectmm.report.sweep
import selectmm.run  # noqa: F401  (imported here once, so that the processes forked from this one need not)
from experiments.chaos.comparing import Comparison, compare
from experiments.chaos.processes import Running, mark_of, start, wait_for_none
from experiments.chaos.watching import OUTSIDE, Shards, finished, in_progress
from selectmm.cache.provenance import provenance
from selectmm.cache.stage import write_atomically
from selectmm.errors import UserError
from selectmm.quickstart.embedded import open_pool

ROOT = Path(__file__).resolve().parents[2]
ROWS = 96  # of the embedded pool, which the sweep chooses among
POLL = 0.01  # seconds between looks at the cache
PATIENCE = 300.0  # seconds for processes that lost the sweep to end by themselves, many times what it takes
EARLY = 0.15  # share of kills that come at a moment after the start, wherever that is, and not inside a given stage
OWN = ("-m", "experiment=chaos", "tracker=none", "cache=cache", "records=records", "tables=tables")
CHOICES = (
    "method=prism,grand", "strategy=zero2", "devices=2", "budget=0.3", "batch_size=1",
    "recipe.micro_batch=4", "recipe.checkpoint_every=1", "suite.only=[mini-SQA,mini-MMLU]", "suite.limit=8",
    "suite.batch_size=2",
)  # fmt: skip


@dataclass(frozen=True)
class Kill:
    """What was killed: in which round and start, in which stages (by name), which kind of process, seconds after the
    start of the command."""

    round: int
    start: int
    stages: list[str]
    process: str
    seconds: float


@dataclass
class Chaos:
    """A chaos run: its kills, and what was seen beside them."""

    rng: random.Random
    limit: float  # seconds after which a command that has not ended hangs
    kills: list[Kill] = field(default_factory=list)
    starts: int = 0
    shards: Shards = field(default_factory=Shards)
    stayed: list[str] = field(default_factory=list)
    waited: float = 0.0  # longest time that processes without their sweep took to end, seconds
    failed: list[str] = field(default_factory=list)

    def round(self, number: int, words: Sequence[str], folder: Path, wanted: int, durations: dict[str, float]) -> None:
        """One sweep from an empty cache to its end, killed until ``wanted`` kills are made in all or it has ended."""
        folder.mkdir()
        quota = max(1, -(-wanted // max(1, len(durations))))  # kills per stage
        done = Counter[str]()
        while True:
            self.starts += 1
            running = start(words, folder, folder / "log.txt")
            self._disturb(running, number, folder, wanted, quota, done, durations)
            if running.process.exitcode == 0 or self.failed:
                break
            if not any(kill.start == self.starts for kill in self.kills):
                self.failed.append(f"start {self.starts} failed though nothing was killed: see {folder / 'log.txt'}")
                break
            if self.rng.random() < 0.5:  # else the next start meets what the last one left
                self._wait(folder)
        self._wait(folder)

    def _disturb(
        self, running: Running, number: int, folder: Path, wanted: int, quota: int, done: Counter[str],
        durations: dict[str, float],
    ) -> None:  # fmt: skip
        """Until the command has ended: each stage that has not had its kills gets one, at a random moment of it."""
        cache = folder / "cache"
        early = running.began + self.rng.uniform(0, 10) if self.rng.random() < EARLY else None
        due: dict[str, float] = {}
        while running.alive():
            now, stages = time.monotonic(), in_progress(cache)
            self.shards.look(cache)
            for stage in stages:
                if stage not in due and done[stage] < quota:
                    due[stage] = now + self.rng.triangular(0, durations.get(stage, 1.0), 0)
            members = running.members()
            ripe = [stage for stage in stages if due.get(stage, now + 1) <= now]
            if len(self.kills) < wanted and members and (ripe or (early is not None and now >= early)):
                early = None if not ripe else early
                done.update(ripe)
                due |= dict.fromkeys(ripe, float("inf"))
                self._kill(members, Kill(number, self.starts, _names(stages), "", now - running.began), cache)
            running.process.join(POLL)
            if now - running.began > self.limit:
                self.failed.append(f"start {self.starts} hangs in {', '.join(_names(stages))}")
                wait_for_none(mark_of(folder), 0)

    def _kill(self, members: list[tuple[psutil.Process, str]], kill: Kill, cache: Path) -> None:
        """Kill one process, rather of a kind that was not killed often yet."""
        before = Counter(made.process for made in self.kills)
        weights = [1 / (1 + before[kind]) for _, kind in members]
        process, kind = self.rng.choices(members, weights)[0]
        try:
            process.kill()
        except psutil.NoSuchProcess:
            return
        self.kills.append(Kill(kill.round, kill.start, kill.stages, kind, kill.seconds))
        self.shards.killed(cache)
        print(f"{len(self.kills):4}  {', '.join(kill.stages)}: {kind}, after {kill.seconds:.1f} s", flush=True)

    def _wait(self, folder: Path) -> None:
        seconds, stayed = wait_for_none(mark_of(folder), PATIENCE)
        self.waited = max(self.waited, seconds)
        self.stayed += stayed


def _names(stages: list[str]) -> list[str]:
    return sorted({stage.partition("/")[0] for stage in stages}) or [OUTSIDE]


def main(arguments: Sequence[str] | None = None) -> Path:
    """Run the sweep alone, then under kills, compare, and write the record.

    Raises:
        UserError: the folder is in use, or the sweep fails without any kill.
        SystemExit: with status 1, something was not the same.
    """
    asked = _parser().parse_intermixed_args(arguments)
    if asked.place.exists() and any(asked.place.iterdir()):
        raise UserError(f"{asked.place} is not empty; delete it, or name another with --place.")
    place = asked.place.absolute()
    place.mkdir(parents=True, exist_ok=True)
    words = [*OWN, *(asked.choices or [*CHOICES, *_rows(place)])]
    alone = place / "alone"
    alone.mkdir()
    left = start(words, alone, alone / "log.txt")
    left.process.join()
    if left.process.exitcode != 0:
        raise UserError(f"The sweep fails though nothing is killed; see {alone / 'log.txt'}.")
    chaos = Chaos(random.Random(asked.seed), limit=600 + 10 * (time.monotonic() - left.began))
    compared: list[Comparison] = []
    while len(chaos.kills) < asked.kills and not chaos.failed:
        folder = place / f"round-{len(compared) + 1}"
        before = len(chaos.kills)
        chaos.round(len(compared) + 1, words, folder, asked.kills, _durations(alone / "cache"))
        compared.append(compare(alone, folder))
        if len(chaos.kills) == before:
            raise UserError("A whole sweep passed without a kill; choose one that takes longer.")
    record = _record(asked, words, chaos, compared)
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / "chaos.json"
    write_atomically(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(path)
    if trouble := troubles(record):
        sys.exit("\n".join(trouble))
    return path


def _rows(place: Path) -> list[str]:
    """Some rows of the embedded pool, of every source, as a pool of their own; the choices that name it."""
    pool = open_pool(str(place / "embedded"))
    rows = json.loads((pool.image_root.parent / "pool.json").read_text())
    file = place / "rows.json"
    file.write_text(json.dumps(rows[:: len(rows) // ROWS][:ROWS]))
    return ["pool=llava_json", f"pool.file={file}", f"pool.images={pool.image_root}"]


def _durations(cache: Path) -> dict[str, float]:
    """Seconds that each stage took when it was left alone."""
    notes = {name: folder / "stage.json" for name, folder in finished(cache).items()}
    return {name: json.loads(file.read_text())["cost"]["seconds"] for name, file in notes.items() if file.exists()}


def _record(asked: argparse.Namespace, words: list[str], chaos: Chaos, compared: list[Comparison]) -> dict[str, object]:
    place = str(asked.place.absolute())
    return {
        "sweep": [word.replace(place, "PLACE") for word in words],
        "seed": asked.seed,
        "kills": [{**asdict(kill), "seconds": round(kill.seconds, 2)} for kill in chaos.kills],
        "starts": chaos.starts,
        "rounds": [asdict(one) for one in compared],
        "shards": {
            "seen": len(chaos.shards.known),
            "finished at a kill": len(chaos.shards.at_a_kill),
            "computed twice": sorted(str(path).replace(place, "PLACE") for path in chaos.shards.again),
        },
        "left behind": [command.replace(place, "PLACE") for command in chaos.stayed],
        "longest wait for orphans": round(chaos.waited, 1),
        "failed": [line.replace(place, "PLACE") for line in chaos.failed],
        "load": os.getloadavg()[1],
        "provenance": asdict(provenance()),
    }


def troubles(record: dict) -> list[str]:
    """What was not as it should be, one line each."""
    lines = [f"not the same: {what}" for one in record["rounds"] for what in one["differ"]]
    lines += [f"half-written: {what}" for one in record["rounds"] for what in one["half_written"]]
    lines += [f"computed twice: {what}" for what in record["shards"]["computed twice"]]
    return lines + [f"left behind: {what}" for what in record["left behind"]] + record["failed"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("chaos.py", description=__doc__.split("\n")[0])
    parser.add_argument("choices", nargs="*", help="of the sweep, in place of the small one with the embedded model")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of what is killed, and when (default: 0)")
    parser.add_argument("--place", type=Path, default=Path("outputs/chaos"), help="an empty folder for the sweeps")
    parser.add_argument("--out", type=Path, default=Path("outputs/metrics"), help="folder for the record")
    return parser


if __name__ == "__main__":
    try:
        main()
    except UserError as problem:
        sys.exit(str(problem))
