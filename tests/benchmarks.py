"""The mini-benchmarks, made once for all tests of a run: making them takes as long as a tiny model is tuned for."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from selectmm.quickstart import embedded, items

MAKE = embedded.suite_folder
STAGE = "embedded-suite"


def copied(shared: Path) -> Callable[..., Path]:
    """`embedded.suite_folder` for caches that begin with a copy of what lies under ``shared``, made by the first."""

    def suite_folder(cache: str, times: int = 1) -> Path:
        folder = Path(cache) / STAGE
        if times == 1 and not folder.exists() and embedded.held_out is items.held_out:
            MAKE(str(shared))
            folder.parent.mkdir(parents=True, exist_ok=True)
            copy = Path(tempfile.mkdtemp(dir=shared)) / STAGE
            shutil.copytree(shared / STAGE, copy)
            try:
                os.rename(copy, folder)  # a cache has all of them or none
            except OSError:  # another process was first
                shutil.rmtree(copy)
        return MAKE(cache, times)

    return suite_folder
