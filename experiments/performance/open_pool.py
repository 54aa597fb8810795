"""What does it take to open a pool of LLaVA-665K's size, the first time and again, and does memory grow with it?

python experiments/performance/open_pool.py [--rows 665298] [--out FOLDER]

The file is made up (rows of some 700 characters, 1,000 small images), written beside the result and deleted again. The
baseline is what LLaVA's own training does: the whole file through ``json``. Whether memory grows with the rows is seen
from the memory that the process has of its own, without pages of mapped files, when the pool is opened twice more.
"""

import json
import shutil
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.performance.floor import Floor, Part, hashing, parsing, reading
from experiments.performance.own_memory import own_memory, watched
from experiments.performance.sides import Comparison, Side, keep, measure
from selectmm.pool.llava_json import open_llava_json

ROWS = 665_298
IMAGES = 1_000
SHARE = 8  # the smaller pool has this fraction of the rows
SOURCES = ("coco/train2017", "gqa/images", "ocr_vqa/images", "textvqa/train_images", "vg/VG_100K")
AIMS = 0.1, 1.1  # share of the baseline's memory; memory of 8 times the rows


def by_reading_on(file: Path, images: Path, cache: Path) -> Callable[[], np.ndarray]:
    """Ours: the pool opened, and what every run asks of it."""

    def run() -> np.ndarray:
        pool = open_llava_json(str(file), str(images), "stop", cache)
        last = pool[len(pool) - 1]
        return np.array([len(pool), len(pool.counts()), (pool.image_of < 0).sum(), len(last.turns)])

    return run


def by_holding(file: Path, images: Path, cache: Path) -> Callable[[], np.ndarray]:
    """The same; the process's own memory before and at most, MiB."""
    return watched(by_reading_on(file, images, cache))


def by_json(file: Path) -> Callable[[], np.ndarray]:
    """The whole file as Python objects."""

    def run() -> np.ndarray:
        rows = json.loads(file.read_bytes())
        sources = {row["image"].split("/")[0] if "image" in row else "text" for row in rows}
        return np.array(
            [len(rows), len(sources), sum("image" not in row for row in rows), len(rows[-1]["conversations"])]
        )

    return run


def main(arguments: list[str]) -> Path:
    """Measure and keep; returns the record's path."""
    parser = ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--out", type=Path, default=Path("outputs/performance"))
    given = parser.parse_args(arguments)
    place = given.out / "open_pool"
    try:
        images = write_images(place / "images")
        sizes = [given.rows // SHARE, given.rows]
        few, many = (_measured(write_rows(place / f"{rows}.json", rows), images, place / f"{rows}") for rows in sizes)
        file = place / f"{given.rows}.json"
        settings = {"rows": given.rows, "megabytes": round(file.stat().st_size / 1e6)}
        stated = floors(file, given.rows, many)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    comparisons = _comparisons(few, many, sizes, given.rows == ROWS)
    return keep("open_pool", settings, comparisons, given.out, floors=[one.record() for one in stated])


def floors(file: Path, rows: int, sides: tuple[Side, ...]) -> list[Floor]:
    """A pool is known by its content, so the file is read and hashed each time; the first time it is parsed as well.

    Every row gets a digest of its own the first time, so its text goes through SHA-256 once more; that is the file's
    size, less quotes and names of fields, for which a fifth is taken off. Writing the rows and looking at images are
    not counted.
    """
    first, again, *_ = sides
    size = file.stat().st_size
    whole = (
        Part("the file read from the disk cache", size, "bytes", reading(file)),
        Part("the file through SHA-256", size, "bytes", hashing()),
    )
    rest = (
        Part("the file parsed, by Python's json", size, "bytes", parsing(file)),
        Part("each row through SHA-256, 4/5 of the file", 0.8 * size, "bytes", hashing()),
    )
    what = f"a pool of {rows:,} rows, opened"
    return [
        Floor(f"{what} for the first time", first.seconds, (*whole, *rest)),
        Floor(f"{what} again", again.seconds, whole),
    ]


def _measured(file: Path, images: Path, cache: Path) -> tuple[Side, ...]:
    """The first time, again, and the baseline, which all find the same; the first time and again in own memory."""
    (first, found), (again, same) = (measure(by_reading_on, file, images, cache) for _ in range(2))
    whole, expected = measure(by_json, file)
    if not (np.array_equal(found, expected) and np.array_equal(same, expected)):
        raise RuntimeError(f"the sides found {found}, {same} and {expected}")
    shutil.rmtree(cache)
    return first, again, whole, *(own_memory(*measure(by_holding, file, images, cache)) for _ in range(2))


def _comparisons(few: tuple[Side, ...], many: tuple[Side, ...], sizes: list[int], judged: bool) -> list[Comparison]:
    smaller, flat = AIMS if judged else (None, None)
    first, again, whole, fresh, later = many
    rows, less = f"{sizes[1]:,} rows", f"{sizes[0]:,} rows"
    plain = "json.loads of the whole file"
    return [
        Comparison(f"a pool of {rows}, opened for the first time", plain, first, whole, None),
        Comparison(f"a pool of {rows}, opened for the first time", plain, first, whole, smaller, False, "grown"),
        Comparison(f"a pool of {rows}, opened again", plain, again, whole, None),
        Comparison(f"a pool of {rows}, opened again", plain, again, whole, smaller, False, "grown"),
        Comparison(
            f"a pool of {rows}, opened for the first time: own memory", less, fresh, few[3], flat, False, "peak"
        ),
        Comparison(f"a pool of {rows}, opened again: own memory", less, later, few[4], flat, False, "peak"),
        Comparison(f"the whole file of {rows} through json.loads", less, whole, few[2], None, False, "peak"),
    ]


def write_images(folder: Path) -> Path:
    """Small images under the folders that LLaVA-665K has."""
    for number in range(IMAGES):
        path = folder / image_name(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number % 256, number // 256, 0)).save(path, "JPEG")
    return folder


def write_rows(path: Path, rows: int) -> Path:
    """A LLaVA JSON of one to three questions a row; every sixteenth row is text-only."""
    rng = np.random.default_rng(0)
    asked, answers = (texts_of(rng, words) for words in (12, 24))
    with path.open("w") as stream:
        for row in range(rows):
            shown = {} if row % 16 == 15 else {"image": image_name(row * 7 % IMAGES)}
            said = []
            for turn in range(1 + row % 3):
                opening = "<image>\n" if shown and not turn else ""
                said.append({"from": "human", "value": opening + asked[(row * 31 + turn) % len(asked)]})
                said.append({"from": "gpt", "value": answers[(row * 37 + turn) % len(answers)]})
            entry = {"id": f"{row % (rows - rows // 9 + 1):012d}", **shown, "conversations": said}
            stream.write(("[" if row == 0 else ",\n") + json.dumps(entry))
        stream.write("]")
    return path


def texts_of(rng: np.random.Generator, words: int) -> list[str]:
    """Many texts of so many words of six letters."""
    letters = rng.integers(ord("a"), ord("z") + 1, (997, words, 6))
    return [" ".join("".join(map(chr, word)) for word in text) for text in letters]


def image_name(number: int) -> str:
    return f"{SOURCES[number % len(SOURCES)]}/{number:012d}.jpg"


if __name__ == "__main__":
    main(sys.argv[1:])
