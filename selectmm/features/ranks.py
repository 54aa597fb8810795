"""Passes over a pool by several processes: each rank takes every n-th shard that is not there yet."""

import shutil
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra.utils import get_class

from selectmm.cache.no_links import refuse_links
from selectmm.cache.progress import track
from selectmm.features.feature import Feature
from selectmm.features.onepass import Pass, Sizes
from selectmm.launch.devices import aside
from selectmm.launch.launch import launched
from selectmm.launch.nodes import ALONE, Nodes
from selectmm.models.vlm import VLM
from selectmm.pool.arrow import open_arrow, write_table
from selectmm.pool.root import root_spelled, spelled

PLACE, ROWS = "ranks", "rows.arrow"
POLL = 0.5  # seconds between looks at how many shards are done


@dataclass(frozen=True)
class Ranks:
    """How many processes make a pass, one per device, and what they load.

    Attributes:
        build: the model's configuration (``_target_`` and arguments). adapter: a folder of `finetune` that the model
            carries, None for the model as it is. nodes: that the processes are on.
    """

    count: int
    build: Mapping[str, object]
    adapter: Path | None = None
    nodes: Nodes = ALONE


def run_over(ranks: Ranks, vlm: VLM, passes: Sequence[Pass], todo: Sequence[Sequence[range]]) -> None:
    """Compute the shards ``todo`` of each of several passes over one pool, with ``ranks``.

    ``vlm`` is this process's own model, which makes room for theirs.

    Raises:
        UserError: a rank failed; what was finished is kept.
    """
    place = next(iter(passes[0].wanted.values())).resolve() / PLACE
    shutil.rmtree(place, ignore_errors=True)
    refuse_links([place])
    place.mkdir()
    write_table(place / ROWS, passes[0].pool.table)
    module, job = "selectmm.features.worker", _job(ranks, passes, todo)
    with (
        aside(vlm) as device,
        launched(module, place, job, ranks.count, device, "fewer devices", ranks.nodes) as process,
    ):
        names = " and ".join(each.name for each in passes)
        deque(track(_finished(process, place), names, sum(map(len, todo))), maxlen=0)
    shutil.rmtree(place)


def passes_of(job: Mapping[str, Any], place: Path) -> tuple[Ranks, list[tuple[Pass, list[range]]]]:
    """What `run_over` asks for: the model, and every pass with its open shards, for all ranks."""
    pool = open_arrow(place / ROWS, root_spelled(job["images"]), "", job["frames"])
    passes = []
    for entry in job["passes"]:
        wanted = {feature_of(kind): Path(folder) for kind, folder in entry["wanted"]}
        passes.append((Pass(pool, entry["view"], wanted, Sizes(**job["sizes"])), [range(*s) for s in entry["shards"]]))
    adapter = None if job["adapter"] is None else Path(job["adapter"])
    return Ranks(job["count"], job["build"], adapter), passes


def _job(ranks: Ranks, passes: Sequence[Pass], todo: Sequence[Sequence[range]]) -> dict[str, Any]:
    pool = passes[0].pool
    return {
        "build": ranks.build,
        "adapter": None if ranks.adapter is None else str(ranks.adapter.resolve()),
        "count": ranks.count,
        "images": spelled(pool.image_root),
        "frames": pool.frames_spelled,
        "sizes": asdict(passes[0].sizes),
        "passes": [
            {
                "view": each.view,
                "wanted": [(config_of(feature), str(folder.resolve())) for feature, folder in each.wanted.items()],
                "shards": [(shard.start, shard.stop) for shard in shards],
            }
            for each, shards in zip(passes, todo, strict=True)
        ],
    }


def config_of(feature: Feature) -> dict[str, object]:
    """A feature as JSON can hold it, for `feature_of`."""
    kind = type(feature)
    return {"_target_": f"{kind.__module__}.{kind.__qualname__}", **asdict(feature)}


def feature_of(config: Mapping[str, object]) -> Feature:
    """The feature that `config_of` described, equal to it; JSON has no tuples, and a list could not be hashed."""
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in config.items() if name != "_target_"}
    return get_class(str(config["_target_"]))(**values)


def _finished(process: subprocess.Popen, place: Path) -> Iterator[Path]:
    """Yield a mark for each shard that a rank has written, until the process has ended."""
    seen: set[Path] = set()
    ended = False
    while not ended:
        ended = process.poll() is not None
        new = set(place.glob("done-*")) - seen
        yield from new
        seen |= new
        if not new and not ended:
            time.sleep(POLL)
