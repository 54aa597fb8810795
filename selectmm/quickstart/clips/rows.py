"""Rows about clips, for the pool and for the benchmark.

Skewed like the embedded pool: a third of the rows ask for a colour, which any frame shows and the base can answer; the
others ask what only the order of frames tells, openly or in MVBench's layout.
"""

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from selectmm.quickstart import pool as embedded
from selectmm.quickstart.clips import mp4
from selectmm.quickstart.clips.motion import FPS, KINDS, Kind, Motion, Part, motions
from selectmm.quickstart.formats import SHORT

HELD: dict[Kind, int] = {"direction": 40, "existence": 20, "size": 20, "order": 20}  # items of the benchmark
BEST = "Only give the best option."  # MVBench's post_prompt, without the line break that would end a question
FOLDER = "clips"  # below the pool's images, and beside the benchmark's rows
README = """\
---
configs:
- config_name: moving_direction
  data_files:
  - split: train
    path: train.parquet
---
"""


@dataclass(frozen=True)
class Counts:
    """Rows of each source, divided evenly among the kinds of motion; each pair of reverses is whole."""

    color: int = 200
    motion: int = 200
    choice: int = 200


def write_pool(folder: Path, counts: Counts = Counts(), beside: int | None = None) -> Path:
    """Write ``folder/pool.json`` and ``folder/images``: the embedded pool and, behind it, rows about clips.

    Args:
        beside: how many of the embedded pool's own rows, a fixed uniform draw; None: all.

    Raises:
        UserError: it has fewer rows.
    """
    path = folder / "pool.json"
    entries = [] if beside == 0 else json.loads(embedded.write(folder, beside).read_text())
    for source, motion, question, answer in _rows(counts):
        name = mp4.write(motion.frames, FPS, folder / "images" / FOLDER)
        said = [{"from": "human", "value": f"<video>\n{question}"}, {"from": "gpt", "value": answer}]
        entry = {"id": f"{source}-{len(entries)}", "conversations": said, "source": source}
        entries.append({**entry, "video": f"{FOLDER}/{name}"})
    path.write_text(json.dumps(entries, indent=0, ensure_ascii=False))
    return path


def _rows(counts: Counts) -> list[tuple[str, Motion, str, str]]:
    """Source, motion, question and answer of every row."""
    steady = [kind for kind in KINDS if kind != "order"]  # whose shapes keep one colour
    opened, chosen = counts.motion // len(KINDS), counts.choice // len(KINDS)
    found: list[tuple[str, Motion, str, str]] = []
    for kind in KINDS:
        some = list(islice(motions(kind, "pool"), opened + chosen))
        found += [("clips_motion", one, one.question + SHORT, one.answer) for one in some[:opened]]
        found += [("clips_choice", one, asked(one), letter(one)) for one in some[opened:]]
    for place, kind in enumerate(steady):
        share = counts.color // len(steady) + (place < counts.color % len(steady))
        for one in islice(motions(kind, "pool"), share):  # the clips above, as rows of a picture share a file
            found.append(("clips_color", one, "What color is the shape?" + SHORT, one.colour))
    return found


def write_benchmark(folder: Path) -> None:
    """Write ``folder/mvbench``: `HELD` in the columns of MVBench's data set, and the clips beside them."""
    data = folder / "mvbench"
    rows = [
        {
            "video": mp4.write(one.frames, FPS, data / FOLDER),
            "question": one.question,
            "candidates": list(one.options),
            "answer": one.answer,
        }
        for one in held_out()
    ]
    pq.write_table(pa.Table.from_pylist(rows), data / "train.parquet")
    (data / "README.md").write_text(README)


def held_out(part: Part = "held") -> list[Motion]:
    """The benchmark's items, as many of each answer: the same on every machine."""
    return [one for kind, count in HELD.items() for one in islice(motions(kind, part), count)]


def asked(one: Motion) -> str:
    """The question in MVBench's layout, as lmms-eval's task puts it."""
    options = "".join(f"({chr(65 + place)}) {option}\n" for place, option in enumerate(one.options))
    return f"Question:{one.question}\nOption:\n{options}{BEST}"


def letter(one: Motion) -> str:
    """The letter of the right option."""
    return chr(65 + one.options.index(one.answer))
