"""An evaluation by several ranks: each answers a share of the questions, and the process that started them scores."""

import shutil
import subprocess
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from selectmm.cache.no_links import refuse_links
from selectmm.cache.progress import track
from selectmm.evaluation.evaluate import unfinished
from selectmm.evaluation.suite import Images, Suite
from selectmm.launch.devices import aside
from selectmm.launch.launch import launched
from selectmm.launch.nodes import ALONE, Nodes
from selectmm.models.vlm import VLM

PLACE = "ranks"
POLL = 0.5  # seconds between looks at how many benchmarks are done


@dataclass(frozen=True)
class Job:
    """What ranks evaluate, the same for all.

    Attributes:
        model, suite: their configurations, as `selectmm.instantiate` takes them.
        adapter: a folder of `finetune`, None for the base.
        seed, images: as `evaluate` has them.
    """

    model: Mapping[str, object]
    suite: Mapping[str, object]
    adapter: str | None
    seed: int
    images: Images = "shown"


def answer_over(devices: int, job: Job, vlm: VLM, suite: Suite, folder: Path, nodes: Nodes = ALONE) -> None:
    """Let ``devices`` ranks answer the suite's questions into ``folder``, where `evaluate` then finds the answers.

    They do not depend on the number of ranks: every batch is the same one, whoever answers it.

    Args:
        vlm: this process's own model, which makes room for theirs. suite: what ``job.suite`` describes.
        folder: of the evaluation.

    Raises:
        UserError: a rank failed; what was answered is kept.
    """
    groups = unfinished(suite, job.images, folder)
    if not groups:
        return
    place = folder.resolve() / PLACE
    refuse_links([place])
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    content = asdict(job) | {"adapter": None if job.adapter is None else str(Path(job.adapter).resolve())}
    module, way_out = "selectmm.evaluation.worker", "fewer devices"
    with aside(vlm) as device, launched(module, place, content, devices, device, way_out, nodes) as ranks:
        deque(track(_done(ranks, place), f"evaluate: {devices} ranks", devices * len(groups)), maxlen=0)
    shutil.rmtree(place)


def _done(process: subprocess.Popen, place: Path) -> Iterator[Path]:
    """Yield a mark for each benchmark whose share a rank has answered, until the process has ended."""
    seen: set[Path] = set()
    running = True
    while running:
        try:
            process.wait(POLL)
            running = False
        except subprocess.TimeoutExpired:
            pass
        new = set(place.glob("done-*")) - seen
        yield from new
        seen |= new
