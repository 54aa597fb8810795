"""Time ten steps of a setting with random weights on this machine; later plans use what was measured.

Options are those of a run: 'selectmm bench setting=llava15_7b_665k model=llava15_7b'. Neither pool nor weights are
read. Tuning, a pass for features, a pass for gradients and decoding run one after the other on one device, each with
the most rows that fit; the result is kept in the run's cache folder. It corrects plans for this kind of device, on any
number of them, of all models of the same shapes (wherever they lie) with the same recipe, dtype and kernels.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from rich.table import Table

from selectmm.cache.progress import wide
from selectmm.command_line.arguments import read_arguments
from selectmm.command_line.jobs import read_jobs
from selectmm.commands.plan import place
from selectmm.errors import UserError
from selectmm.flops.gpus import Gpu, gpu_of
from selectmm.instantiate import build, open_compute
from selectmm.models.gpu import check_gpu
from selectmm.models.load import pick_device, pick_dtype
from selectmm.models.vlm import VLM
from selectmm.planning.bench import Timed, bench, with_random_weights
from selectmm.planning.corrections import file_of, keep
from selectmm.planning.known.models import shapes_of
from selectmm.screen import answer

COLUMNS = ("work", "rows at a time", "tokens/s", "share of peak", "memory", "measured / planned")


def main(arguments: Sequence[str]) -> None:
    """Measure, print a table, and keep what corrects plans.

    Raises:
        UserError: of the choices, which may be no sweep; no GPU is there but needed; the machine cannot
            compute as asked; not even one row fits.
    """
    asked = read_arguments(_parser(), arguments)
    if asked.steps < 1:
        raise UserError(f"--steps {asked.steps} is not a number of steps; give 1 or more.")
    (config, method), *others = read_jobs(asked.choices, multirun=True)
    if others:
        raise UserError(f"These choices are {1 + len(others)} jobs, but bench times one; give one value of each key.")
    place(config, None, 1)
    experiment = build(config, method)
    options = experiment.config["model"]
    check_gpu(experiment.scale, str(options.get("device", "auto")))
    device = pick_device(str(options.get("device", "auto")))
    gpu = gpu_of("here" if device.type == "cuda" else "cpu")
    dtype, compute = pick_dtype(str(options.get("dtype", "auto")), device), open_compute(experiment.config["compute"])
    shapes = _shapes(experiment.open_shapes, experiment.config["model"], experiment.device)
    vlm = with_random_weights(shapes, device, dtype, compute)
    rows, together = experiment.batch_size, experiment.suite.batch_size
    found = bench(vlm, experiment.recipe, gpu, asked.steps, rows=rows, asked=together)
    _show(found, gpu)
    file = file_of(experiment.cache, experiment.config, experiment.recipe, shapes, gpu.name)
    name = torch.cuda.get_device_name() if device.type == "cuda" else gpu.source
    factors = {kind: timed.factor for kind, timed in found.items()}
    measured = {kind: asdict(timed) for kind, timed in found.items()}
    keep(file, {"date": time.strftime("%Y-%m-%d"), "device": name, "factors": factors, "measured": measured})
    plans = (
        f"plans for --gpu {gpu.name} on this cache folder whose model has these shapes and whose recipe learns the same"
    )
    print(f"Kept in {file}; it corrects {plans}.")
    answer({"file": file, "device": name, "gpu": gpu.name, "factors": factors, "measured": measured})


def _shapes(opened: Callable[[str], VLM], group: Mapping[str, Any], device: str) -> VLM:
    try:
        return opened(device)
    except UserError:
        known = shapes_of(group, device)
        if known is None:
            raise
        return known[0]


def _show(found: dict[str, Timed], gpu: Gpu) -> None:
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == COLUMNS[0] else "right")
    for kind, timed in found.items():
        table.add_row(
            kind,
            str(timed.rows),
            f"{timed.tokens / timed.seconds:,.0f}",
            f"{timed.share:.0%}",
            f"{timed.peak_gib:.1f} GiB",
            f"{timed.factor:.2g}",
        )
    console = wide(120)
    console.print(table)
    console.print(
        f"Peak: {gpu.bf16 / 1e12:,.3g} TFLOP/s in bfloat16, {gpu.fp32 / 1e12:,.3g} in float32 ({gpu.source})."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("selectmm bench", description=__doc__)
    parser.add_argument("choices", nargs="*", help="group=name and key=value, as for a run")
    parser.add_argument("--steps", type=int, default=10, help="steps of each kind, and tokens to decode (default: 10)")
    return parser
