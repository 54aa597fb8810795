"""One rank of a pass over a pool, started through `selectmm.launch.rank`. See `selectmm.features.ranks`."""

import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from selectmm.cache.no_links import open_new
from selectmm.features.ranks import passes_of
from selectmm.features.reading import loaders_for
from selectmm.launch.launch import on_this_rank, serve
from selectmm.models.vlm import VLM
from selectmm.tuning.adapter import carry_adapter


def compute(folder: Path, job: Mapping[str, Any], rank: int, ranks: int) -> None:
    """Compute and write this rank's share of the open shards of every pass."""
    asked, passes = passes_of(job, folder)
    vlm: VLM = instantiate(on_this_rank(asked.build), _convert_="all")
    with nullcontext(vlm) if asked.adapter is None else carry_adapter(vlm, asked.adapter) as carried:
        loaders = loaders_for(carried.model.device, int(os.environ["LOCAL_WORLD_SIZE"]))
        for number, (each, shards) in enumerate(passes):
            for shard in each.compute(carried, shards[rank::ranks], loaders):
                open_new(folder / f"done-{number}-{shard.start}").close()


def main(arguments: list[str]) -> int:
    """What `selectmm.launch.rank` calls; see `serve`."""
    return serve(arguments, compute)
