"""How many of the pictures that each method of studies/all_methods kept are copies of one another; from its cache.

python experiments/studies/kept_rows.py [CACHE [FILE]]

Subsets that FILE has already stay in it, so that the seeds of the study need not be run on one machine.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from selectmm.cache.provenance import provenance
from selectmm.cache.stage import write_atomically
from selectmm.contamination.pictures import nearly, same
from selectmm.errors import UserError
from selectmm.pool.pictures import Pictures, load_pictures
from selectmm.pool.pool import Pool
from selectmm.quickstart import embedded

ROOT = Path(__file__).resolve().parents[2]
TO = ROOT / "results" / "metrics" / "all-methods-kept.json"


def measure(cache: Path) -> dict[str, Any]:
    """By subset fingerprint: pictures that are shown, how many of them differ, and how many have a near-copy there.

    Raises:
        UserError: the cache holds no pictures of the built-in pool, or no subset of it.
    """
    pool = embedded.open_pool(str(cache))
    looks = [file for file in cache.glob("pool-pictures/*/pictures.npz") if _identity(file)["pool"] == pool.fingerprint]
    subsets = [json.loads(file.read_text()) for file in sorted(cache.glob("subset/*/subset.json"))]
    ours = {one["fingerprint"]: one["rows"] for one in subsets if one["pool"] == pool.fingerprint}
    if not looks or not ours:
        raise UserError(f"No runs on the built-in pool are in {cache}; run experiments=studies/all_methods first.")
    pictures = load_pictures(looks[0])
    kept = {name: counted(pool, pictures, rows) for name, rows in sorted(ours.items()) if len(rows) < len(pool)}
    return {"provenance": [asdict(provenance())], "pool": pool.fingerprint, "subsets": kept}


def continued(file: Path, found: dict[str, Any]) -> dict[str, Any]:
    """``found`` with the subsets that an earlier call wrote to ``file``, and where these came from.

    Raises:
        UserError: they are of another pool.
    """
    if not file.exists():
        return found
    earlier = json.loads(file.read_text())
    if earlier["pool"] != found["pool"]:
        raise UserError(f"{file} counts subsets of another pool; name another file.")
    return {
        "provenance": [*earlier["provenance"], *found["provenance"]],
        "pool": found["pool"],
        "subsets": dict(sorted({**earlier["subsets"], **found["subsets"]}.items())),
    }


def counted(pool: Pool, pictures: Pictures, rows: Sequence[int]) -> dict[str, int]:
    """``pictures``: rows with one; ``distinct``: different ones; ``alike``: rows with a near-copy in another row."""
    shown = pool.image_of[np.unique(rows)]
    shown = shown[shown >= 0]
    own = Pictures(pictures.digests[shown], pictures.hashes[shown], pictures.thumbnails[shown])
    alike = sum(len(others) > 1 for others in nearly(own, own))
    return {"pictures": len(shown), "distinct": len({min(others) for others in same(own, own)}), "alike": alike}


def _identity(file: Path) -> dict[str, str]:
    return json.loads((file.parent / "stage.json").read_text())["identity"]


if __name__ == "__main__":
    cache = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "outputs" / "cache"
    file = Path(sys.argv[2]) if len(sys.argv) > 2 else TO
    try:
        write_atomically(file, json.dumps(continued(file, measure(cache)), indent=1) + "\n")
    except UserError as problem:
        sys.exit(str(problem))
    print(file)
