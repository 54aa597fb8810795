"""Does it take longer to read rows with several images, system prompts and tools than LLaVA's own?

python experiments/performance/mixed_rows.py [--rows 665298] [--out FOLDER]

Both files are made up, of as many rows. In the mixed one every third row shows two or three images, every fourth brings
a system prompt and every eighth calls a tool; it has about as many characters a row as LLaVA's. The images are those of
`open_pool`, and are opened in both.
"""

import json
import shutil
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Callable
from pathlib import Path

import numpy as np

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.performance.open_pool import IMAGES, ROWS, image_name, texts_of, write_images, write_rows
from experiments.performance.sides import Comparison, keep, measure
from selectmm.pool.llava_json import open_llava_json

AIM = 1.2  # of the time that LLaVA's rows take


def by_reading(file: Path, images: Path, cache: Path) -> Callable[[], np.ndarray]:
    """The pool opened for the first time."""

    def run() -> np.ndarray:
        pool = open_llava_json(str(file), str(images), "stop", cache, system="turn")
        return np.array([len(pool), len(pool.images)])

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
        settings = {"rows": given.rows, "megabytes": round(mixed.stat().st_size / 1e6)}
        (ours, found), (llava, expected) = (
            measure(by_reading, file, images, place / file.stem) for file in (mixed, plain)
        )
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if not np.array_equal(found, expected):
        raise RuntimeError(f"the sides found {found} and {expected}")
    what = f"a pool of {given.rows:,} mixed rows, opened for the first time"
    aim = AIM if given.rows == ROWS else None
    return keep(
        "mixed_rows", settings, [Comparison(what, "as many of LLaVA's rows", ours, llava, aim, False)], given.out
    )


def write_mixed(path: Path, rows: int) -> Path:
    """A LLaVA JSON of rows of every kind."""
    rng = np.random.default_rng(0)
    asked, answers = (texts_of(rng, words) for words in (12, 24))
    tool = {"type": "function", "function": {"name": "zoom", "parameters": {"type": "object"}}}
    call = json.dumps({"name": "zoom", "arguments": {"box": [0, 0, 8, 8]}})
    with path.open("w") as stream:
        for row in range(rows):
            shown = [image_name((row * 7 + n) % IMAGES) for n in range(1 + row % 2 + 1 if row % 3 == 0 else 1)]
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
