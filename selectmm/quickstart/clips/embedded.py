"""The embedded pool, model and benchmarks with clips, beside those without."""

import hashlib
import shutil
from pathlib import Path

from selectmm.cache.stage import run_stage
from selectmm.models.vlm import VLM
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool
from selectmm.quickstart import base, embedded
from selectmm.quickstart.clips import rows

HERE = Path(__file__).parent


def open_pool(cache: str, beside: int | None = None) -> Pool:
    """The embedded pool with 600 rows about clips behind it; written as LLaVA JSON once, and read like anybody's.

    Args:
        beside: how many of the embedded pool's own rows, a fixed uniform draw; None: all.

    Raises:
        UserError: it has fewer rows.
    """

    def make(folder: Path) -> None:
        rows.write_pool(folder, beside=beside)

    size = {} if beside is None else {"beside": beside}
    stage = run_stage(Path(cache), "embedded-clips-pool", {"code": _code(), **size}, make)
    return open_llava_json(str(stage.folder / "pool.json"), str(stage.folder / "images"), "stop", cache)


def open_model(dtype: str, device: str, cache: str, frames: int) -> VLM:
    """The embedded model, which is shown a clip as so many evenly spaced frames, each an image."""
    return base.load(device=device, dtype=dtype, folder=str(Path(cache) / "embedded-model"), frames=frames)


def suite_folder(cache: str) -> Path:
    """The embedded mini-benchmarks and mini-MVBench."""
    images = embedded.suite_folder(cache)

    def make(folder: Path) -> None:
        shutil.copytree(images, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("stage.json"))
        rows.write_benchmark(folder)
        for task in (HERE / "tasks").glob("*.yaml"):
            shutil.copy(task, folder)

    return run_stage(Path(cache), "embedded-clips-suite", {"code": _code(), "images": images.name}, make).folder


def _code() -> str:
    """What is generated follows from the code that generates it."""
    content = hashlib.sha256()
    for file in sorted([*HERE.parent.glob("*.py"), *HERE.glob("*.py"), *HERE.glob("tasks/*.yaml")]):
        content.update(file.name.encode() + file.read_bytes())
    return content.hexdigest()[:16]
