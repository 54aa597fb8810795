"""Answers that change with the batch, and vLLM on a merged checkpoint: parts of `gpu.py`."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from experiments.performance.gpu_page import Row
from experiments.performance.gpu_step import recipe_of
from selectmm.errors import UserError
from selectmm.evaluation.decode import Until, ends_of
from selectmm.evaluation.generate import Completer, Question, generate
from selectmm.evaluation.vllm_backend import serving
from selectmm.export.model import merged
from selectmm.flops.anatomy import anatomy_of
from selectmm.flops.formulas import Load, decoder, forward
from selectmm.flops.gpus import UTILISATION, Gpu
from selectmm.launch.devices import aside
from selectmm.models.vlm import VLM
from selectmm.planning.serving import DEFAULT, STEP
from selectmm.planning.stages import seconds_of
from selectmm.planning.work import Work
from selectmm.tuning.adapter import injected, lora_config, save_adapter

PROMPT = 600  # tokens of a prompt, as of an image and a question


def changed_by_batch(vlm: VLM, rows: int, tokens: int) -> Row:
    """Answer questions together and each alone."""
    noise = np.random.default_rng(0)
    asked = [Question("".join(noise.choice(list("abcdefgh"), 40 + 5 * row)), tuple) for row in range(rows)]
    together = generate(vlm, asked, tokens, [])
    alone = [generate(vlm, [question], tokens, [])[0] for question in asked]
    changed = sum(one != other for one, other in zip(together, alone, strict=True))
    return Row(
        f"{rows} answers in a batch, and each alone",
        note=f"{changed} of {rows} answers of {tokens} tokens change; random weights make near ties frequent",
    )


def by_vllm(vlm: VLM, gpu: Gpu, python: str | None, rows: int, tokens: int) -> Iterator[Row]:
    """Write a merged checkpoint, start vLLM on it, and let it go on from random texts.

    Raises:
        UserError: there is no vLLM, or it fails.
    """
    if python is None and find_spec("vllm") is None:
        raise UserError("vLLM is not installed here; give --python an interpreter that has it")
    rows, tokens = 4 * rows, 4 * tokens  # a batch of its own making
    noise, (body, size) = np.random.default_rng(0), (anatomy_of(vlm), vlm.model.dtype.itemsize)
    # The special tokens come first, then the letters.
    texts = noise.integers(10, 200, (rows, PROMPT)).tolist()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        checkpoint = _written(vlm, folder)
        yield Row("write the merged checkpoint", time.perf_counter() - start)
        engine = replace(DEFAULT, python=python, window=PROMPT + tokens + 8)
        start = time.perf_counter()
        with aside(vlm), serving(engine, vlm, checkpoint, 1, folder) as backend:
            yield Row("start vLLM", time.perf_counter() - start, planned=90.0, note=backend.name)
            seconds = _asked(backend.complete, texts, Until(tokens, [], ends_of(vlm)))
    prompts = Load(rows, rows * PROMPT, rows * PROMPT**2, answers=rows)
    spoken = Load(rows, rows * tokens, rows * tokens * (PROMPT + tokens / 2))
    kept = 2 * size * sum(layer.keys for layer in body.layers)
    work = Work(
        flops=forward(body, prompts) + decoder(body, spoken) + 2 * body.head * spoken.tokens,
        streamed=tokens * size * body.language_parameters + kept * spoken.squares,
        overhead=tokens * STEP,
        precision="32-true" if size == 4 else "bf16-true",
    )
    note = f"{rows * tokens / seconds:,.0f} tokens/s at most, if none ended early"
    yield Row(
        f"{rows} texts of {PROMPT} tokens go on by {tokens}", seconds, seconds_of(work, gpu, UTILISATION), note=note
    )


def _written(vlm: VLM, folder: Path) -> Path:
    """The model with an untrained adapter, as a run writes it for vLLM."""
    adapter, checkpoint = folder / "adapter", folder / "checkpoint"
    for each in (adapter, checkpoint):
        each.mkdir()
    with injected(vlm, lora_config(vlm, recipe_of("llava15_lora"))) as wrapped:
        weights = {name: weight for name, weight in wrapped.named_parameters() if weight.requires_grad}
        save_adapter(wrapped, weights, adapter)
    with merged(vlm, adapter, checkpoint):
        pass
    return checkpoint


def _asked(complete: Completer, texts: Sequence[Sequence[int]], until: Until) -> float:
    """Seconds, after a few texts to warm up."""
    complete(texts[:2], until)
    start = time.perf_counter()
    complete(texts, until)
    return time.perf_counter() - start
