"""Attention kernels against one another, and subsets in bfloat16 against float32: parts of `gpu.py`."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from transformers.utils import is_flash_attn_2_available

from experiments.performance.gpu_page import Row
from selectmm.features.answers import AnswerLoss
from selectmm.features.feature import Feature, Seen
from selectmm.features.loaded import encoded
from selectmm.features.states import ImageStates
from selectmm.methods.correlation import mean_correlation
from selectmm.methods.order import ranked
from selectmm.models.encode import Batch, Conversation, encode
from selectmm.models.inputs import to_device
from selectmm.models.lengths import image_tokens
from selectmm.models.losses import answer_loss
from selectmm.models.pack import pack, varlen
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn
from selectmm.tuning.adapter import trainable
from selectmm.tuning.fit import _checkpointing, _ready
from selectmm.tuning.recipe import Recipe

SIZE = (640, 480)
KEPT = 0.376  # of the rows, PRISM's own share
NO_FLASH = "not measured: the package flash-attn is not installed"


def compared(vlm: VLM, recipe: Recipe, steps: int) -> Iterator[Row]:
    """Forward and backward of rows of different lengths, without and with packing."""
    rows = max(2, recipe.micro_batch // 4)  # a pack of more would take PyTorch's dense mask long
    batch = mixed_rows(vlm, rows, recipe.max_length)
    padded, packed = to_device(batch, vlm.model), to_device(pack(vlm, batch), vlm.model)
    flash = is_flash_attn_2_available() and vlm.model.device.type == "cuda"
    forms: list[tuple[str, Batch, str | None]] = [
        ("PyTorch's attention, rows padded on the right, no mask", padded, "sdpa"),
        ("FlashAttention 2, rows padded on the right", padded, "flash_attention_2" if flash else None),
        ("PyTorch's attention, rows packed: a dense mask", packed, "sdpa"),
        ("FlashAttention 2, rows packed: each by itself (varlen)", packed, "varlen" if flash else None),
    ]
    first: float | None = None
    with trainable(vlm, replace(recipe, dropout=0.0), keep=True) as wrapped, _checkpointing(wrapped, recipe):
        _ready(wrapped, recipe)
        for what, given, kernel in forms:
            if kernel is None:
                yield Row(what, note=NO_FLASH)
                continue
            loss, seconds, memory = _timed(vlm, wrapped.get_base_model(), given, kernel, recipe, steps)
            first = loss if first is None else first
            yield Row(what, seconds, memory=memory, note=f"loss {loss:.5f}, {loss - first:+.1e} from the first line's")


def mixed_rows(vlm: VLM, rows: int, limit: int) -> Batch:
    """Rows with an image, the longest of ``limit`` tokens, the shortest with a few words; a character is a token."""
    noise = np.random.default_rng(0)
    free = max(limit - image_tokens(vlm, [SIZE])[0] - 200, rows)  # the template has fewer than 200
    talks = []
    for number in range(rows):
        words = "".join(noise.choice(list("abcdefgh"), 2 + free * (number + 1) // rows))
        turns = (Turn("user", words[: len(words) // 2]), Turn("assistant", words[len(words) // 2 :]))
        talks.append(Conversation(turns, (_noise(noise),)))
    return encode(vlm, talks, side="right", limit=limit)


def _timed(
    vlm: VLM, model: torch.nn.Module, batch: Batch, kernel: str, recipe: Recipe, steps: int
) -> tuple[float, float, float | None]:
    """Loss, seconds of ``steps`` after one to warm up, and the peak of memory in GiB."""
    body = vlm.model.config.get_text_config()
    before, cuda = body._attn_implementation, vlm.model.device.type == "cuda"
    chosen = varlen(vlm.model, recipe.precision) if kernel == "varlen" else nullcontext()
    if kernel != "varlen":
        vlm.model.set_attn_implementation({"text_config": kernel})
    try:
        with chosen:
            loss = _step(vlm, model, batch, recipe)
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            _finish(cuda)
            start = time.perf_counter()
            for _ in range(steps):
                _step(vlm, model, batch, recipe)
            _finish(cuda)
            seconds = time.perf_counter() - start
    finally:
        vlm.model.set_attn_implementation({"text_config": before})
    return loss, seconds, torch.cuda.max_memory_allocated() / 2**30 if cuda else None


def _step(vlm: VLM, model: torch.nn.Module, batch: Batch, recipe: Recipe) -> float:
    half = recipe.precision == "bf16-mixed"
    with torch.enable_grad(), torch.autocast(vlm.model.device.type, torch.bfloat16, enabled=half):
        loss = answer_loss(model, batch)
        loss.backward()
    for weight in model.parameters():
        weight.grad = None
    return float(loss.detach())


def _finish(cuda: bool) -> None:
    if cuda:
        torch.cuda.synchronize()


def subsets(vlm: VLM, together: int, rows: int, limit: int) -> Iterator[Row]:
    """Which rows PRISM and perplexity keep by features in bfloat16, and which by those of the same weights in float32.

    Images and words are noise, and weights are random: what is near to what is decided by small differences, so this is
    a hard case.

    Args:
        together: rows of a pass. rows: in all. limit: tokens of one.
    """
    batches = [_noise_rows(vlm, together, limit, seed) for seed in range(rows // together)]
    kinds: tuple[tuple[str, Feature, Callable[[np.ndarray], np.ndarray]], ...] = (
        ("PRISM's subset", ImageStates(1), _by_prism),
        ("perplexity's subset", AnswerLoss(), _by_perplexity),
    )
    dtype = vlm.model.dtype
    half = {what: _values(vlm, feature, batches, limit) for what, feature, _ in kinds}
    vlm.model.float()
    try:
        full = {what: _values(vlm, feature, batches, limit) for what, feature, _ in kinds}
    finally:
        vlm.model.to(dtype)
    for what, _, choose in kinds:
        one, other = set(choose(half[what]).tolist()), set(choose(full[what]).tolist())
        same = len(one & other)
        yield Row(what, note=f"{same} of {len(one)} rows are the same ({len(half[what])} rows of noise in all)")


def _noise_rows(vlm: VLM, rows: int, limit: int, seed: int) -> list[Conversation]:
    noise = np.random.default_rng(seed)
    free = max(1, min(limit - image_tokens(vlm, [SIZE])[0] - 200, 300))
    words = ["".join(noise.choice(list("abcdefgh"), free + 1)) for _ in range(rows)]
    halves = [(Turn("user", one[: free // 2]), Turn("assistant", one[free // 2 :])) for one in words]
    return [Conversation(turns, (_noise(noise),)) for turns in halves]


@torch.no_grad()
def _values(vlm: VLM, feature: Feature, batches: Sequence[list[Conversation]], limit: int) -> np.ndarray:
    """Of all rows; what a run keeps of them."""
    found = []
    for talks in batches:
        loaded = encoded(vlm, list(range(len(talks))), talks, pictures=False)
        found.append(feature.compute(Seen(vlm, loaded, feature.reads(), limit)).float().cpu().numpy())
    return np.concatenate(found)


def _by_prism(values: np.ndarray) -> np.ndarray:
    rows = np.arange(len(values))
    scores = mean_correlation(values, rows, np.zeros(len(rows), int), "corpus_mean")
    return ranked(scores, max(1, int(KEPT * len(rows))), "low")


def _by_perplexity(values: np.ndarray) -> np.ndarray:
    return ranked(values, max(1, int(KEPT * len(values))), "medium")


def _noise(noise: np.random.Generator) -> Image.Image:
    return Image.fromarray(noise.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8))
