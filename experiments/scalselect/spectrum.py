"""How the energy of ScalSelect's features spreads over directions, at three layers of the embedded model.

python experiments/scalselect/spectrum.py [FILE]
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from selectmm.cache.provenance import provenance
from selectmm.cache.stage import write_atomically
from selectmm.features.attended import AttendedStates
from selectmm.features.store import FeatureStore
from selectmm.methods.leverage import spectrum
from selectmm.quickstart import embedded

ROOT = Path(__file__).resolve().parents[2]
TO = ROOT / "results" / "metrics" / "scalselect-spectrum.json"
CACHE = ROOT / "outputs" / "cache"
LAYERS = {"first": 1, "middle": 2, "deep": 4}  # `depth` of configs/setting/embedded.yaml


def measure() -> dict[str, object]:
    """Every layer's energies (squared singular values, as shares), centred and not, and what they come from."""
    pool = embedded.open_pool(str(CACHE))
    vlm = embedded.open_model(dtype="auto", device="auto", cache=str(CACHE))
    wanted = {name: AttendedStates(layer) for name, layer in LAYERS.items()}
    found = FeatureStore(CACHE, vlm, batch_size=32, shard=512, limit=512).get(pool, tuple(wanted.values()))
    rows = np.flatnonzero(pool.image_of >= 0)
    layers = [
        {
            "name": name,
            "layer": LAYERS[name],
            "width": found[feature].shape[1],
            **{key: _shares(spectrum(found[feature], rows, key == "centred")) for key in ("centred", "uncentred")},
        }
        for name, feature in wanted.items()
    ]
    made = {"provenance": asdict(provenance()), "model": vlm.identity, "pool": pool.fingerprint, "rows": len(rows)}
    return {**made, "layers": layers}


def _shares(energies: np.ndarray) -> list[float]:
    return np.round(energies / energies.sum(), 8).tolist()


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else TO
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(measure()) + "\n")
    print(file)
