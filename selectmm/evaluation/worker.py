"""One rank of an evaluation, started through `selectmm.launch.rank`. See `selectmm.evaluation.workers`."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from selectmm.cache.no_links import open_new
from selectmm.evaluation.answering import Share
from selectmm.evaluation.evaluate import answer_share
from selectmm.evaluation.workers import Job
from selectmm.instantiate import open_model, open_suite
from selectmm.launch.launch import on_this_rank, serve
from selectmm.launch.place import forget_ranks
from selectmm.tuning.adapter import load_adapter


def answer(place: Path, content: Mapping[str, Any], rank: int, ranks: int) -> None:
    """Answer this rank's share of the job ``content``; ``place`` is a folder inside the evaluation's."""
    job = Job(**content)
    vlm, suite = open_model(on_this_rank(job.model)), open_suite(job.suite)
    forget_ranks()  # or the harnesses would wait for the other ranks
    with nullcontext(vlm) if job.adapter is None else load_adapter(vlm, Path(job.adapter), keep=False) as adapted:
        done = answer_share(adapted, suite, place.parent, job.seed, job.images, Share(rank, ranks))
        for number, _ in enumerate(done):
            open_new(place / f"done-{rank}-{number}").close()


def main(arguments: list[str]) -> int:
    """What `selectmm.launch.rank` calls; see `serve`."""
    return serve(arguments, answer)
