"""Which share of its time does the model of a feature pass wait for pictures?

python experiments/performance/waiting.py [--rows 512] [--loaders 2] [--out FOLDER]

Pictures of 640×480 pixels as JPEG files, read and encoded for LLaVA-1.5 (336 pixels) by loader processes as a pass on a
GPU reads them. Where there is a GPU, a thread of PyTorch receives batches and pins their memory; here a thread receives
them too. First the loaders are timed alone. Then something in the model's place takes as long for a batch as they took,
asleep as a processor is beside a busy GPU, and the time is counted in which it has nothing to do. Starting the loaders
is left out: it takes the same time however many rows there are.
"""

import json
import sys
import tempfile
import time
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.performance.floor import Floor, Part, decoding
from experiments.performance.gpu_step import TOWER, random_llava
from experiments.performance.sides import keep
from selectmm.features.loaded import Loaded
from selectmm.features.onepass import batches_of
from selectmm.features.reading import Reader, read
from selectmm.models.forward import Reads
from selectmm.models.together import TOKENS
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool

from transformers import LlamaConfig  # isort: skip  (only once selectmm has let torchvision import)

AIM = 0.10  # of the time
BATCH, LIMIT = 8, 2048


def pictures(folder: Path, rows: int) -> Pool:
    """Rows of one picture each; the pictures have detail everywhere, so that they take as long as photographs."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    entries = []
    for row in range(rows):
        coarse = Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).resize((640, 480))
        coarse.save(folder / "images" / f"{row}.jpg", quality=90)
        talk = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "It is noise."}]
        entries.append({"id": str(row), "image": f"{row}.jpg", "conversations": talk})
    (folder / "rows.json").write_text(json.dumps(entries))
    return open_llava_json(str(folder / "rows.json"), str(folder / "images"), "stop", str(folder / "cache"))


def received(batches: Iterator[list[Loaded]]) -> Iterator[list[Loaded]]:
    """The batches, each received by a thread while the one before it is computed."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield batch


def waited(reader: Reader, pool: Pool, loaders: int, seconds: float) -> tuple[float, float]:
    """Seconds from the second batch on, and how many of them nothing was there to compute.

    Args:
        seconds: that something in the model's place takes for a batch.
    """
    stream = received(read(reader, batches_of(pool, "conversation", range(len(pool)), BATCH), loaders))
    next(stream)
    start, idle = time.perf_counter(), 0.0
    while True:
        time.sleep(seconds)
        asked = time.perf_counter()
        if next(stream, None) is None:
            return asked - start, idle
        idle += time.perf_counter() - asked


def main(arguments: list[str]) -> Path:
    """Measure, print and keep; returns the record's path."""
    made = ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter)
    made.add_argument("--rows", type=int, default=512)
    made.add_argument("--loaders", type=int, default=2)
    made.add_argument("--out", type=Path, default=Path("outputs/performance"))
    given = made.parse_args(arguments)
    body = LlamaConfig(vocab_size=320, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1)
    vlm = random_llava(body, TOWER, torch.device("meta"))
    with tempfile.TemporaryDirectory() as name:
        pool = pictures(Path(name), given.rows)
        reader = Reader(vlm, pool, "conversation", Reads(layers=frozenset({1})), LIMIT, TOKENS)
        alone, _ = waited(reader, pool, given.loaders, 0.0)
        batch = alone / (given.rows / BATCH - 1)
        whole, idle = waited(reader, pool, given.loaders, batch)
        stated = floors((Path(name) / "images" / "0.jpg").read_bytes(), given.loaders, batch / BATCH)
    figures = {
        "milliseconds of a picture, loaders alone": round(1000 * batch / BATCH, 2),
        "share of its time that the model waits": round(idle / whole, 3),
        "aim": f"at most {AIM}: {'met' if idle <= AIM * whole else 'NOT met'}",
    }
    for key, value in figures.items():
        print(f"{key}: {value}")
    settings = {"rows": given.rows, "loaders": given.loaders, "batch": BATCH}
    return keep("waiting", settings, [], given.out, figures, [stated.record()])


def floors(picture: bytes, loaders: int, measured: float) -> Floor:
    """Seconds of a picture: its 640 × 480 pixels have to be decoded, by one of the loaders.

    Making it smaller, cutting it and turning it into numbers is the image processor's way of doing it, and not counted.
    """
    what = "a picture, loaders alone"
    part = Part(
        f"640 × 480 pixels decoded, by {loaders} loaders at once", 640 * 480, "pixels", loaders * decoding(picture)
    )
    return Floor(what, measured, (part,), remark="Wall clock: the loaders are processes of their own.")


if __name__ == "__main__":
    main(sys.argv[1:])
