"""What vLLM needs to answer a suite: many sequences at a time, as many as their keys and values leave room for."""

import math
from collections.abc import Mapping
from dataclasses import replace

from selectmm.evaluation.engine import Engine
from selectmm.evaluation.suite import Suite
from selectmm.flops.formulas import Load, decoder, forward
from selectmm.planning.known.benchmarks import TASKS
from selectmm.planning.memory import Memory, forward_memory
from selectmm.planning.work import Device, Work

DEFAULT = Engine(python=None, window=None, memory=0.9, block=256, batch_invariant=False)  # configs/engine/vllm.yaml
SEATS = 256  # sequences at a time at most: vLLM's own default on most GPUs
CHUNK = 8192  # tokens that vLLM reads at a time, by its own default
STEP = 5e-3  # seconds of a step beside the model's own work: scheduling and sampling; kernels start as one CUDA graph
START = 90  # seconds of a process until it answers: reading the checkpoint, compiling, recording CUDA graphs
MEAN, LONGEST = 0.5, 2.0  # tokens of an answer on average, and of a block's longest, against `TaskSize.said`

ASSUMED = (
    f"vLLM (engine=vllm): as many sequences at a time as its memory holds keys and values of, {SEATS} at most; a block "
    f"of requests goes on until its longest answer ends, at {LONGEST:g} × the tokens named above, and an answer has "
    f"{MEAN:g} × as many on average; each step takes {STEP * 1e3:g} ms beside reading weights, keys and values; "
    f"{START} s to start; no prompt shares another's beginning. None of this was measured on a GPU"
)


def served(
    device: Device, load: Load, items: Mapping[str, int | None], suite: Suite, engine: Engine, gpus: int, memory: float
) -> Work:
    """Read and answer the items of every task (`selectmm.planning.items`), one process on each of ``gpus``.

    Args:
        load: rows that tasks which are not known are like. memory: bytes of one GPU.
    """
    held = memory * engine.memory
    weights = device.size * device.body.parameters
    room = Memory(weights, activations=max(0.0, held - weights))
    if None in items.values():
        return Work(memory=room, precision=device.precision)
    free = held - forward_memory(device.body, device.size, CHUNK).total
    each = [_task(device, load, task, count or 0, suite, engine, gpus, free) for task, count in items.items()]
    total = {name: sum(getattr(one, name) for one in each) for name in ("tokens", "flops", "streamed", "overhead")}
    total["overhead"] += START * gpus
    return Work(memory=room, precision=device.precision, **total)


def _task(
    device: Device, load: Load, task: str, items: int, suite: Suite, engine: Engine, gpus: int, free: float
) -> Work:
    """One task. A process that has no block left while another works counts too, because its GPU is held."""
    asked = TASKS.get(task)
    read = device.asked(load, asked, items)
    said, longest = (MEAN * asked.said, LONGEST * asked.said) if asked else (suite.max_new_tokens,) * 2
    prompt = read.tokens / max(read.rows, 1)
    kept = 2 * device.size * sum(layer.keys for layer in device.body.layers)  # bytes of keys and values of a token
    seats = min(SEATS, engine.block, max(1, int(free / (kept * (prompt + said)))))
    spoken = Load(rows=items, tokens=items * said, squares=items * said * (prompt + said / 2))
    head = 2 * device.body.head * spoken.tokens
    if not said:  # likelihoods: vLLM takes them of every token of a prompt
        read = replace(read, answers=read.tokens)
    flops = forward(device.body, read) + decoder(device.body, spoken) + head
    blocks = gpus * math.ceil(items / (engine.block * gpus))
    steps = blocks * _steps(min(engine.block, items), seats, said, longest)
    streamed = steps * device.size * device.body.language_parameters + kept * spoken.squares
    return Work(read.tokens + spoken.tokens, flops, streamed=streamed, overhead=STEP * steps)


def _steps(requests: int, seats: int, said: float, longest: float) -> float:
    """Steps of a block: each seat takes one request after the other, and the last one of all may be the longest."""
    return said * max(0, requests - seats) / seats + longest
