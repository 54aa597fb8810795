"""The page of results/tables, from the records of results/performance alone.

python experiments/performance/page.py [FOLDER]
"""

import json
import sys
from pathlib import Path

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.performance.floor import WITHOUT
from selectmm.cache.stage import write_atomically

ROOT = Path(__file__).resolve().parents[2]
HEAD = "<!-- Made by `python experiments/performance/page.py`; never edited by hand. -->"
ORDER = (
    "prism",
    "scalselect",
    "shared_pass",
    "gradients",
    "clusters",
    "kmeans_665k",
    "open_pool",
    "mixed_rows",
    "large_pool",
    "training",
    "mask",
    "waiting",
    "two_ranks",
    "leaderboard",
    "gpu_step",
    "evaluation",
)
FLOOR = ("what", "what has to be done", "amount", "at", "floor", "measured", "times the floor")
COLUMNS = (
    "what",
    "against",
    "ours",
    "baseline",
    "on a core: ours",
    "baseline",
    "ratio",
    "ratio on a core",
    "aim",
    "met",
    "memory: ours",
    "baseline",
    "numbers differ by",
)


def make(folder: Path, records: Path = ROOT / "results" / "performance") -> Path:
    """Write ``performance.md`` under ``folder``; the same records give the same bytes.

    Returns:
        The page's path.
    """
    found = [
        json.loads((records / f"{name}.json").read_text()) for name in ORDER if (records / f"{name}.json").exists()
    ]
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "performance.md"
    write_atomically(
        page, "\n".join([HEAD, "# performance\n", _opening(found), *map(_section, found), _reading(found)])
    )
    return page


def _opening(records: list[dict]) -> str:
    aimed = [c for record in records if not _busy(record) for c in record["comparisons"] if c["aim"] is not None]
    missed = [f"{c['what']} against {c['baseline']} ({_ratio(c)}, aim {_aim(c)})" for c in aimed if not c["met"]]
    answer = f"{len(aimed) - len(missed)} of the {len(aimed)} aims that could be judged are met."
    rest = "" if not missed else " Not met: " + "; ".join(missed) + "."
    question = "**What do the fast forms save, against a stated baseline in the same run?**"
    return f"{question} {answer if aimed else 'No aim could be judged yet.'}{rest}\n{_warning(records)}"


def _warning(records: list[dict]) -> str:
    busy = [record["name"] for record in records if _busy(record)]
    absent = [name for name in ORDER if name not in {record["name"] for record in records}]
    text = ""
    if busy:
        text += f"""
**Provisional.** While {", ".join(busy)} ran, the machine was busy with other work (the load is given below), so the two
sides were not timed under the same conditions: no aim is judged. Read the ratio on a core, and measure again on an idle
machine. Sizes are those in the tables, some of them smaller than the sizes that the aims are for.
"""
    return text + (f"\n**Not measured yet**: {', '.join(absent)}.\n" if absent else "")


def _busy(record: dict) -> bool:
    """More was running than the side itself and something light; figures of a GPU do not mind.

    A side of one thread does not either, where the record has the seconds that it was held up: they are not counted.
    """
    alone = record["threads"] == 1 and all("held_up" in c["ours"] for c in record["comparisons"])
    return bool(record["comparisons"]) and not alone and record["load"] > record["threads"] + 1


def _section(record: dict) -> str:
    origin = record["provenance"]
    command = origin["command"].rpartition("/")[2]  # older records hold the script's name, newer ones its path
    commit = (origin["commit"] or "unknown")[:10] + (" with local changes" if origin["dirty"] else "")
    lines = [f"- {name}: {value}" for name, value in record.get("figures", {}).items()]
    if record["comparisons"]:
        lines += [""] if lines else []
        lines += [f"| {' | '.join(COLUMNS)} |", "| --- | --- |" + " ---: |" * 7 + " --- |" + " ---: |" * 3]
    lines += [f"| {' | '.join(_cells(c, _busy(record)))} |" for c in record["comparisons"]]
    cores = origin["hardware"]["cores"]
    return "\n".join(
        [
            f"## {record['name']}\n",
            f"`python experiments/performance/{command}` at commit {commit}, threads: {record['threads']}, "
            f"cores: {cores}, {origin['hardware']['cpu']}, torch {origin['packages']['torch']};",
            f"load of the whole machine over the last five minutes: {record['load']:.1f}.\n",
            *lines,
            "",
            *_floors(record),
        ]
    )


def _floors(record: dict) -> list[str]:
    """The least that each could take here, how far above it we are, and whether a missed aim is below it."""
    if record["name"] in WITHOUT:
        return [WITHOUT[record["name"]], ""]
    if not record.get("floors"):
        return ["No floor: this was measured before its script stated one; the next measurement has it.", ""]
    rows = [_floor(floor) for floor in record["floors"]]
    head = [f"| {' | '.join(FLOOR)} |", "| --- | --- |" + " ---: |" * 5]
    return [*head, *rows, "", *[f"{line}\n" for line in _verdicts(record)]]


def _floor(floor: dict) -> str:
    parts = [("", part) for part in floor["parts"]] + [("beside it: ", part) for part in floor["beside"]]
    what = "; ".join(beside + part["what"] for beside, part in parts)
    amounts = "; ".join(f"{_large(part['amount'])} {part['unit']}" for _, part in parts)
    rates = "; ".join("" if floor["unit"] == "MiB" else f"{_large(part['rate'])}/s" for _, part in parts).strip("; ")
    least, measured = (_in_unit(floor[value], floor["unit"]) for value in ("least", "measured"))
    cells = (floor["of"], what, amounts, rates or "–", least, measured, f"{floor['times']:.2g}")
    return f"| {' | '.join(cells)} |"


def _verdicts(record: dict) -> list[str]:
    """A sentence about each aim that is missed and has a floor, and the floors' own remarks."""
    lines = [floor["remark"] for floor in record["floors"] if floor["remark"]]
    for c in [] if _busy(record) else record["comparisons"]:
        unit = "s" if c["of"] == "seconds" else "MiB"
        stated = [floor for floor in record["floors"] if (floor["of"], floor["unit"]) == (c["what"], unit)]
        if c["met"] is False and stated:
            theirs = c["theirs"][c["of"]]
            needed = theirs / c["aim"] if c["at_least"] else theirs * c["aim"]
            least, ours = stated[0]["least"], c["ours"][c["of"]]
            why = "less than the floor: no code meets it here" if needed < least else "more than the floor"
            lines.append(
                f"Not met: {c['what']} against {c['baseline']}. The aim of {_aim(c)} would need "
                f"{_in_unit(needed, unit)}, which is {why} ({_in_unit(least, unit)}); measured were "
                f"{_in_unit(ours, unit)}."
            )
    return lines


def _in_unit(value: float, unit: str) -> str:
    return f"{value:,.0f} MiB" if unit == "MiB" else f"{value * 1000:.2g} ms" if value < 0.1 else _seconds(value)


def _large(number: float) -> str:
    """Three digits, with a thousand's power by name."""
    for power, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= power:
            return f"{number / power:.3g} {name}"
    return f"{number:.3g}"


def _cells(c: dict, busy: bool) -> tuple[str, ...]:
    ours, theirs = c["ours"], c["theirs"]
    met = {None: "–", True: "yes", False: "**no**"}[c["met"]] if not busy else "not judged"
    times = [_seconds(side[kind]) for kind in ("seconds", "busy") for side in (ours, theirs)]
    memory = [f"{side['grown']:,.0f} MiB" for side in (ours, theirs)]
    differ = "–" if c["differs"] is None else f"{c['differs']:.0e}"
    of = {"seconds": "", "grown": " (memory)", "peak": " (whole peak)"}[c["of"]]
    return c["what"], c["baseline"], *times, _ratio(c) + of, _on_a_core(c), _aim(c), met, *memory, differ


def _ratio(c: dict) -> str:
    return f"{c['ratio']:.3g}"


def _on_a_core(c: dict) -> str:
    """The same ratio of seconds on a core, which other work on the machine disturbs less."""
    ours, theirs = c["ours"]["busy"], c["theirs"]["busy"]
    return "–" if c["of"] != "seconds" else f"{theirs / ours if c['at_least'] else ours / theirs:.3g}"


def _aim(c: dict) -> str:
    return "–" if c["aim"] is None else f"{'≥' if c['at_least'] else '≤'} {c['aim']:g}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds:.2f} s"


def _reading(records: list[dict]) -> str:
    peaks = [side["peak"] for r in records for c in r["comparisons"] for side in (c["ours"], c["theirs"])] or [0]
    return f"""## How to read it

- *Seconds* are those of the wall clock without those in which the side's first thread was ready to go on and other
  programs had the cores (Linux counts them). So a side of one thread may be measured on a machine that does other work;
  caches and memory are shared all the same. Records from before 29 November 2026 count every second, and so does a side
  of several threads: its aims are not judged if the machine was busy.
- *Floor*: what has to be read and computed, divided by the rate at which this machine did it in the same run, with as
  many threads; each script's `floors` states the formula. *Times the floor* is how far above it we are.
- *Ratio*: baseline / ours where the aim is "at least", ours / baseline where it is "at most"; of time, or of memory.
- *On a core*: seconds that the side's threads spent computing; beside the wall clock it shows waiting, for the disk or
  for a busy machine's other work. A load well above what the side itself uses means a busy machine.
- *Memory*: the most that the process held while the measured part ran, less what it held before (`ru_maxrss`; every
  side runs in a process of its own). Records from before 1 December 2026 subtract the most that it had held until then,
  which may hide memory that preparing needed for a moment. The *whole peak*, with Python, PyTorch and the model, is in
  the records: {min(peaks):,.0f} to {max(peaks):,.0f} MiB.
- *Cold*: the file's pages were dropped from this machine's cache (`posix_fadvise`, after `fsync`). What the host of a
  virtual machine keeps cannot be dropped from inside, so a cold disk of one's own may be slower, which favours ours.
- *Numbers differ by*: largest difference of both sides' results, as a share of the largest.
- Every time is one run, or the median of rounds in which the sides take turns where the script says so: differences of
  some per cent mean nothing, and on a virtual machine whose speed changes within minutes larger ones do not either.
"""


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
