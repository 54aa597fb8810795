"""DataProphet's metric on the embedded pool, from the frozen model: sources against mini-benchmarks, term by term.

python experiments/dataprophet/embedded_metric.py [FILE]
"""

import json
import sys
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from selectmm.cache.provenance import provenance
from selectmm.cache.stage import write_atomically
from selectmm.features.feature import Features, Targets
from selectmm.features.store import FeatureStore
from selectmm.methods.dataprophet import DataProphet
from selectmm.methods.transfer import Embedding, Transfer
from selectmm.quickstart import embedded

ROOT = Path(__file__).resolve().parents[2]
TO = ROOT / "results" / "metrics" / "dataprophet-embedded.json"
CACHE = ROOT / "outputs" / "cache"
SEED = 0


def measure() -> dict[str, object]:
    """The terms of M with the method's default options, and what they were computed from and by."""
    method = DataProphet()
    pool, targets = embedded.open_pool(str(CACHE)), embedded.open_targets(str(CACHE))
    vlm = embedded.open_model(dtype="auto", device="auto", cache=str(CACHE))
    store = FeatureStore(CACHE, vlm, batch_size=32, shard=512, limit=512)
    needed = method.needs().features
    given = Features(store.get(pool, needed), Targets(targets, store.get(targets, needed)))
    transfer = Transfer.of(pool, given, Embedding(method.layer), method.clusters, method.silhouette_rows, SEED)
    return {
        "provenance": asdict(provenance()),
        "method": asdict(method),
        "seed": SEED,
        "model": vlm.identity,
        "pool": pool.fingerprint,
        "examples": targets.fingerprint,
        **{entry.name: _plain(getattr(transfer, entry.name)) for entry in fields(transfer) if entry.name != "of_rows"},
    }


def _plain(value: list[str] | np.ndarray) -> list:
    return value if isinstance(value, list) else np.round(value, 6).tolist()


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else TO
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(measure(), indent=1) + "\n")
    print(file)
