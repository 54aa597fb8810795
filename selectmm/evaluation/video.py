"""Benchmarks that show clips: which they are, and whether a model can be asked."""

import re

from selectmm.errors import UserError
from selectmm.evaluation.local import task_files
from selectmm.evaluation.suite import Benchmark, Suite
from selectmm.models.vlm import VLM

_VIDEO = re.compile(r"^\s+(?:- )?video:\s*[Tt]rue\b", re.MULTILINE)


def shows_clips(benchmark: Benchmark, suite: Suite) -> bool:
    """Whether its task's files say ``video: True``, by which lmms-eval knows that a data set has clips."""
    return any(_VIDEO.search(file.read_text(encoding="utf-8")) for file in task_files(benchmark, suite.tasks))


def check_clips(vlm: VLM, suite: Suite, served: bool) -> None:
    """What can be known of a suite's clips before anything is computed.

    Args:
        served: whether vLLM answers.

    Raises:
        UserError: a benchmark shows clips, and the model, or vLLM as it is asked here, takes none.
    """
    if vlm.family.template.video is not None and not served:
        return
    for benchmark in suite.benchmarks:
        if benchmark.harness == "lmms-eval" and shows_clips(benchmark, suite):
            if vlm.family.template.video is None:
                raise UserError(f"{benchmark.name} shows clips, {not_taken(vlm)}")
            raise UserError(f"{benchmark.name} shows clips, and vLLM is given images alone; evaluate with engine=null.")


def not_taken(vlm: VLM) -> str:
    """The end of a sentence about a benchmark with clips, for a model that takes none."""
    return (
        f"which the model ({vlm.family.name}) does not take; choose a Qwen model or LLaVA-OneVision, set "
        f"model.frames for LLaVA (model=embedded_clips is the embedded one), or leave the benchmark out "
        f"(suite.only=[…])."
    )
