"""Files made elsewhere, and methods that read them."""

import json
from pathlib import Path

import numpy as np

from selectmm.features.feature import Features
from selectmm.methods.check import invented_pool
from selectmm.methods.method import Method
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool

POOL = invented_pool(9)


def select(method: Method, pool: Pool = POOL, budget: int = 4) -> Subset:
    assert method.needs().features == ()
    return method.select(pool, Features({}), budget, np.random.default_rng(0))


def written(folder: Path, content: object, name: str = "file.json") -> str:
    """JSON of anything; bytes and arrays as they are."""
    path = folder / name
    if isinstance(content, np.ndarray):
        np.save(path, content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return str(path)
