"""Does it take longer to read rows with several images, system prompts and tools than LLaVA's own?

python experiments/performance/mixed_rows.py [--rows 1000000] [--out FOLDER]

Both files are made up, of as many rows. In the mixed one every third row shows two or three images, every fourth brings
a system prompt and every eighth offers a tool, the same to all, and calls it; the texts are as long as LLaVA's. The
images are those of `open_pool`, and are opened in both. Each side is the median of three rounds in which they
alternate. The memory that the process has of its own, without pages of mapped files, is also compared with that of an
eighth of the mixed rows, in a round for itself. What a mixed row has more of, bytes, turns and images, is in the
record, and so is the time that decoding the JSON takes alone.
"""

import json
import shutil
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.performance.open_pool import IMAGES, SHARE, image_name, texts_of, write_images, write_rows
from experiments.performance.own_memory import own_memory, watched
from experiments.performance.sides import Comparison, Side, Work, keep, measure, median
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.stream import json_rows

ROWS = 1_000_000
ROUNDS = 3  # in which the sides alternate; reading varies by a quarter within minutes on a virtual machine
AIMS = 1.2, 1.1  # of the time and memory that LLaVA's rows take; of the memory of an eighth of the rows


def by_reading(file: Path, images: Path, cache: Path) -> Callable[[], np.ndarray]:
    """The pool opened for the first time; how many rows, images, turns, and places of images it has."""

    def run() -> np.ndarray:
        pool = open_llava_json(str(file), str(images), "stop", cache, system="turn")
        turns = pc.sum(pc.list_value_length(pool.table["turns"])).as_py()
        return np.array([len(pool), len(pool.images), turns, pool.shown[0][-1]])

    return run


def by_holding(file: Path, images: Path, cache: Path) -> Callable[[], np.ndarray]:
    """The pool opened for the first time; the process's own memory before and at most, MiB."""
    return watched(by_reading(file, images, cache))


def by_decoding(file: Path) -> Callable[[], np.ndarray]:
    """Every row's JSON made Python objects and let go again; how many rows there are."""

    def run() -> np.ndarray:
        return np.array([sum(1 for _ in json_rows(file))])

    return run


def main(arguments: list[str]) -> Path:
    """Measure and keep; returns the record's path."""
    parser = ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--out", type=Path, default=Path("outputs/performance"))
    given = parser.parse_args(arguments)
    place = given.out / "mixed_rows"
    try:
        images = write_images(place / "images")
        plain = write_rows(place / "plain.json", given.rows)
        mixed = write_mixed(place / "mixed.json", given.rows)
        few = write_mixed(place / "few.json", given.rows // SHARE)
        sizes = {f"megabytes_{file.stem}": round(file.stat().st_size / 1e6, 1) for file in (mixed, plain, few)}
        rounds = [[_opened(by_reading, file, images) for file in (mixed, plain)] for _ in range(ROUNDS)]
        (ours, found), (llava, expected) = (median(sides) for sides in zip(*rounds, strict=True))
        more, less = (_own_memory(file, images) for file in (mixed, few))
        decoded = [measure(by_decoding, file)[0].busy for file in (mixed, plain)]
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if not np.array_equal(found[:2], expected[:2]):
        raise RuntimeError(f"the sides found {found} and {expected}")
    comparisons = _comparisons((ours, llava), (more, less), given.rows)
    figures = _figures((ours, found, sizes["megabytes_mixed"]), (llava, expected, sizes["megabytes_plain"]), decoded)
    return keep("mixed_rows", {"rows": given.rows, **sizes}, comparisons, given.out, figures)


def _opened(work: Work, file: Path, images: Path) -> tuple[Side, np.ndarray]:
    """A pool opened into a cache of its own, which is deleted."""
    cache = file.with_suffix(".cache")
    side, found = measure(work, file, images, cache)
    shutil.rmtree(cache)
    return side, found


def _own_memory(file: Path, images: Path) -> Side:
    """A pool opened once more, with the process's own memory in place of all."""
    return own_memory(*_opened(by_holding, file, images))


def _figures(
    mixed: tuple[Side, np.ndarray, float], plain: tuple[Side, np.ndarray, float], decoded: Sequence[float]
) -> dict[str, str]:
    """What a row has and what is read in a second on a core: of mixed rows, and of LLaVA's."""
    sides = (mixed, plain)
    ratios = {
        "bytes a row": [1e6 * size / found[0] for _, found, size in sides],
        "turns a row": [found[2] / found[0] for _, found, _ in sides],
        "images shown a row": [found[3] / found[0] for _, found, _ in sides],
        "megabytes read a second on a core": [size / side.busy for side, _, size in sides],
        "seconds that decoding their JSON takes alone": decoded,
    }
    return {
        name: f"{one:.3g} in mixed rows, {other:.3g} in LLaVA's (ratio {one / other:.2f})"
        for name, (one, other) in ratios.items()
    }


def _comparisons(time: tuple[Side, Side], memory: tuple[Side, Side], rows: int) -> list[Comparison]:
    """At another size than `ROWS` nothing is judged.

    Args:
        time: of the mixed rows, and of LLaVA's. memory: of the mixed rows, and of an eighth of them.
    """
    (ours, llava), (more, less) = time, memory
    most, flat = AIMS if rows == ROWS else (None, None)
    what, plain = f"a pool of {rows:,} mixed rows, opened for the first time", "as many of LLaVA's rows"
    return [
        Comparison(what, plain, ours, llava, most, False),
        Comparison(what, plain, ours, llava, most, False, "peak"),
        Comparison(f"{what}: own memory", f"{rows // SHARE:,} mixed rows", more, less, flat, False, "peak"),
    ]


def write_mixed(path: Path, rows: int) -> Path:
    """A LLaVA JSON of rows of every kind."""
    rng = np.random.default_rng(0)
    asked, answers = (texts_of(rng, words) for words in (12, 24))
    tool = {"type": "function", "function": {"name": "zoom", "parameters": {"type": "object"}}}
    call = json.dumps({"name": "zoom", "arguments": {"box": [0, 0, 8, 8]}})
    with path.open("w") as stream:
        for row in range(rows):
            shown = [image_name((row * 7 + n) % IMAGES) for n in range(2 + row % 2 if row % 3 == 0 else 1)]
            said = [{"from": "system", "value": "Be brief."}] if row % 4 == 0 else []
            for turn in range(1 + row % 3):
                opening = "<image>\n" * len(shown) if not turn else ""
                said.append({"from": "human", "value": opening + asked[(row * 31 + turn) % len(asked)]})
                if row % 8 == 0 and not turn:
                    said += [{"from": "function_call", "value": call}, {"from": "observation", "value": "done"}]
                said.append({"from": "gpt", "value": answers[(row * 37 + turn) % len(answers)]})
            tools = {"tools": json.dumps([tool])} if row % 8 == 0 else {}
            entry = {"id": f"{row:012d}", "image": shown, "conversations": said, **tools}
            stream.write(("[" if row == 0 else ",\n") + json.dumps(entry))
        stream.write("]")
    return path


if __name__ == "__main__":
    main(sys.argv[1:])
