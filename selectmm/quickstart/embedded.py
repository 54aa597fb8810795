"""The embedded default: a pool, a model, target examples and a suite's task folder, opened as any others are."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from selectmm.cache.code_files import CODE_ENDINGS, check_code
from selectmm.cache.stage import run_stage
from selectmm.errors import UserError
from selectmm.models.vlm import VLM
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool
from selectmm.quickstart import base
from selectmm.quickstart.examples import write as write_examples
from selectmm.quickstart.items import held_out
from selectmm.quickstart.pool import write as write_pool
from selectmm.quickstart.schemas import write as write_benchmarks

HERE = Path(__file__).parent


def open_pool(cache: str, rows: int | None = None) -> Pool:
    """The embedded pool; written as LLaVA JSON once, and then read like anybody's.

    Args:
        rows: how many of its rows to use, a fixed uniform draw; None: all.

    Raises:
        UserError: the pool has fewer rows.
    """

    def make(folder: Path) -> None:
        write_pool(folder, rows)

    size = {} if rows is None else {"rows": rows}
    stage = run_stage(Path(cache), "embedded-pool", {"code": _code(), **size}, make)
    return open_llava_json(str(stage.folder / "pool.json"), str(stage.folder / "images"), "stop", cache)


def open_targets(cache: str, only: Sequence[str] | None = None) -> Pool:
    """Examples of the mini-benchmarks, made of material that neither the pool nor the benchmarks use.

    Args:
        only: names of the benchmarks, or None for all.

    Raises:
        UserError: there are examples of none of them.
    """

    def make(folder: Path) -> None:
        write_examples(folder)
        if only is not None:
            file = folder / "targets.json"
            chosen = [row for row in json.loads(file.read_text()) if row["source"] in only]
            if not chosen:
                raise UserError(f"targets=embedded has examples of no benchmark in suite.only=[{','.join(only)}].")
            file.write_text(json.dumps(chosen))

    part = {} if only is None else {"only": sorted(only)}
    stage = run_stage(Path(cache), "embedded-targets", {"code": _code(), **part}, make)
    return open_llava_json(str(stage.folder / "targets.json"), str(stage.folder / "images"), "stop", cache)


def open_model(dtype: str, device: str, cache: str, alignment: str | None = None) -> VLM:
    """The embedded model, put together from its packages the first time (about half a minute).

    Args:
        alignment: folder that `selectmm.quickstart.align` wrote, for another number of layers; None: the committed one.
    """
    given = base.ALIGNMENT if alignment is None else Path(alignment)
    return base.load(device=device, dtype=dtype, folder=str(Path(cache) / "embedded-model"), alignment=given)


def suite_folder(cache: str, times: int = 1) -> Path:
    """The mini-benchmarks: task YAMLs that include the harnesses' own, and data in the real tasks' schemas.

    Args:
        times: how many times as many items as `held_out` has by default.
    """

    def make(folder: Path) -> None:
        write_benchmarks(held_out(times), folder)
        for task in sorted((HERE / "tasks").iterdir()):
            if task.is_file():
                shutil.copy(task, folder / task.name)

    size = {} if times == 1 else {"times": times}
    folder = run_stage(Path(cache), "embedded-suite", {"code": _code(), **size}, make).folder
    tasks = [task for task in (HERE / "tasks").iterdir() if task.suffix in CODE_ENDINGS]
    check_code(folder, {task.name: task.read_bytes() for task in tasks})
    return folder


def _code() -> str:
    """What is generated follows from the code that generates it."""
    content = hashlib.sha256()
    for file in sorted([*HERE.glob("*.py"), *HERE.glob("tasks/*")]):
        if file.is_file():
            content.update(file.name.encode() + file.read_bytes())
    return content.hexdigest()[:16]
