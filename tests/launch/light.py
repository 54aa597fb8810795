"""A rank that imports nothing of PyTorch's: what it says is how torchrun started it."""

import gc
import os
from pathlib import Path

COLLECTING = gc.isenabled()


def main(arguments: list[str]) -> int:
    """Write this rank's number, how many there are, and which node it is on into the folder of the launch."""
    assert gc.isenabled() and not COLLECTING, "garbage is looked for, but not while a rank imports"
    folder, rank = Path(arguments[0]), os.environ["RANK"]
    (folder / f"said-{rank}").write_text(f"{rank} of {os.environ['WORLD_SIZE']} on {os.environ['GROUP_RANK']}")
    return 0
