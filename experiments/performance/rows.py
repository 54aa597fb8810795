"""The model and the pool's rows that passes are measured on."""

from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selectmm.models import llava
from selectmm.models.vlm import VLM
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool
from selectmm.quickstart.embedded import open_model, open_pool

LIMIT = 512  # tokens per row, as the embedded recipe has it


@dataclass(frozen=True)
class Rows:
    """Which rows of which pool, and the model.

    Attributes:
        count: rows, drawn at random; with ``repeating``, those whose images have the most rows.
        times: how often the pool holds each of them.
        model: folder of a LLaVA. pool: a LLaVA JSON with its images in ``images`` beside it. None: the embedded ones.
    """

    count: int
    cache: str
    batch_size: int
    model: str | None = None
    pool: str | None = None
    repeating: bool = False
    times: int = 1

    def open_model(self) -> VLM:
        """In float32, on the CPU."""
        if self.model is None:
            return open_model("float32", "cpu", self.cache)
        return llava.load(self.model, dtype="float32", device="cpu")

    def open_pool(self) -> Pool:
        """In the whole pool's order; the fingerprint is not a real one."""
        if self.pool is None:
            pool = open_pool(Path(self.cache))
        else:
            pool = open_llava_json(self.pool, str(Path(self.pool).parent / "images"), "stop", self.cache)
        chosen = np.tile(np.sort(self._chosen(pool)), self.times)
        return Pool(pool.table.take(chosen), pool.image_root, f"{len(chosen)} of {pool.fingerprint}")

    def _chosen(self, pool: Pool) -> np.ndarray:
        if not self.repeating:
            return np.random.default_rng(0).permutation(len(pool))[: self.count]
        visual = np.flatnonzero(pool.image_of >= 0)
        shared = np.bincount(pool.image_of[visual])[pool.image_of[visual]]
        return visual[np.lexsort((pool.image_of[visual], -shared))[: self.count]]


def parser(description: str, rows: int) -> ArgumentParser:
    """The arguments that choose rows and a model, and ``--out``."""
    made = ArgumentParser(description=description, formatter_class=ArgumentDefaultsHelpFormatter)
    made.add_argument("--rows", type=int, default=rows)
    made.add_argument("--batch-size", type=int, default=32)
    made.add_argument("--model", help="folder of another LLaVA than the embedded one")
    made.add_argument("--pool", help="LLaVA JSON of another pool, its images in a folder 'images' beside it")
    made.add_argument("--cache", default="outputs/cache")
    made.add_argument("--out", type=Path, default=Path("outputs/performance"))
    return made
