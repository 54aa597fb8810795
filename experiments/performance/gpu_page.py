"""The page of `gpu.py`, from its record alone: `python experiments/performance/gpu_page.py` makes it again."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import flowed, table
from selectmm.cache.stage import write_atomically

ROOT = Path(__file__).resolve().parents[2]
NAME = "gpu"
HEAD = "<!-- Made by `python experiments/performance/gpu.py`; never edited by hand. -->"
COLUMNS = ["what", "seconds", "planned", "measured / planned", "share of peak", "memory, GiB", "planned", "remarks"]


@dataclass(frozen=True)
class Row:
    """One measurement; None where there is none.

    Attributes:
        seconds, planned: wall clock, and what `selectmm plan` estimates. share: of the device's peak.
        memory, planned_memory: most memory of the device, GiB.
    """

    what: str
    seconds: float | None = None
    planned: float | None = None
    share: float | None = None
    memory: float | None = None
    planned_memory: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Part:
    """Measurements of one kind; ``about`` says which, ``why`` what kept the rest from being made."""

    name: str
    about: str
    rows: list[Row]
    why: str


def make(folder: Path, record: Path) -> Path:
    """Write the page from a record; returns its path."""
    found = json.loads(record.read_text())
    parts = [
        Part(part["name"], part["about"], [Row(**row) for row in part["rows"]], part["why"]) for part in found["parts"]
    ]
    missing = [part for part in parts if not part.rows]
    pieces = [HEAD, "# What has been measured on a GPU", _opening(found, parts)]
    pieces += [_section(part) for part in parts if part.rows]
    if missing:
        some = len(missing) < len(parts)  # else the first sentence says why
        lines = [f"- **{part.name}**: {part.about}" + (f" Why not: {part.why}." if some else "") for part in missing]
        pieces += ["## Not measured", "\n".join(lines)]
    page = folder / f"{NAME}.md"
    write_atomically(page, flowed("\n\n".join([*pieces, _origin(found)])) + "\n")
    return page


def _opening(found: dict, parts: list[Part]) -> str:
    measured = [part for part in parts if part.rows]
    if found["tiny"]:
        return "**This is no measurement of a GPU.** Tiny models went through the same code on a CPU: it runs."
    if not measured:
        return (
            "**Nothing yet**: this project has had no machine with a GPU. On one H100 or H200, "
            "`python experiments/performance/gpu.py` measures what is listed here in at most eight minutes, with "
            "random weights and nothing downloaded, compares it with the plan, and writes this page again. Until then "
            "all times and memory of 7B models in this repository are estimates."
        )
    return (
        f"LLaVA-1.5 7B with random weights on one {found['device']}, {found['minutes']:g} minutes in all. *Planned* is "
        f"what `selectmm plan` estimates without correction; seconds are of all timed steps, after one to warm "
        f"up."
    )


def _section(part: Part) -> str:
    cells = [
        [
            row.what,
            _number(row.seconds, 3),
            _number(row.planned, 3),
            "–" if row.seconds is None or not row.planned else f"{row.seconds / row.planned:.2f}",
            "–" if row.share is None else f"{row.share:.1%}",
            _number(row.memory, 1),
            _number(row.planned_memory, 1),
            row.note or "–",
        ]
        for row in part.rows
    ]
    after = f"\n\nNot all of it was measured: {part.why}." if part.why else ""
    return f"## {part.name}\n\n{part.about}\n\n{table(COLUMNS, cells).rstrip()}{after}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _origin(found: dict) -> str:
    origin = found["provenance"]
    commit = (origin["commit"] or "unknown")[:10] + (" with local changes" if origin["dirty"] else "")
    versions = ", ".join(f"{package} {origin['packages'][package]}" for package in ("torch", "transformers", "peft"))
    device = found["device"] or origin["hardware"]["cpu"]
    return (
        f"Command: `{origin['command']}`, commit {commit}, seed {found['seed']}, Python {origin['python']}, "
        f"{versions}; {device}."
    )


if __name__ == "__main__":
    print(make(ROOT / "results" / "tables", ROOT / "results" / "metrics" / f"{NAME}.json"))
