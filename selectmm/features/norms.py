"""Norms of gradients that need no pass: they are the first column of projected gradients that are in the cache."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from selectmm.cache.no_links import open_unlinked
from selectmm.cache.stage import ENTRY, Stage, find_stage, run_stage, write_atomically
from selectmm.features.shards import VALUES, shards_in


def projected(root: Path, name: str, like: Mapping[str, Any]) -> Stage | None:
    """A finished stage of projected gradients that has the identity ``like``, but for its dimension and seed."""
    for entry in sorted((root / name).glob(f"*/{ENTRY}")):
        with suppress(OSError, ValueError, LookupError, TypeError):  # a damaged stage is reported when it is asked for
            identity = json.loads(entry.read_text())["identity"]
            if _scoped(identity) == _scoped(like):
                return find_stage(root, name, identity)
    return None


def _scoped(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {**identity, "options": identity["options"]["scope"]}


def copy_norms(root: Path, name: str, identity: Mapping[str, Any], gradients: Stage, notes: tuple[str, ...]) -> Stage:
    """The stage of the norms, copied from that of the gradients, and as dear: whoever needs the norms needs that pass.

    Args:
        notes: files that say how the gradients were made, which holds for the norms too.
    """

    def make(folder: Path) -> None:
        for left in [*shards_in(folder), *folder.glob("seconds-*.json")]:  # of a pass that was killed
            left.unlink()
        with open_unlinked(folder / VALUES, "wb") as file:
            np.save(file, np.load(gradients.folder / VALUES, mmap_mode="r")[:, 0])
        for note in notes:
            if (gradients.folder / note).exists():
                write_atomically(folder / note, (gradients.folder / note).read_text())

    return run_stage(root, name, identity, make, known=gradients.cost)
