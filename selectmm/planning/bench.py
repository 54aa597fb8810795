"""Some steps of each kind of work with random weights, timed against what is estimated for them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from selectmm.cache.cost import measure
from selectmm.errors import UserError
from selectmm.features.answers import AnswerLoss
from selectmm.features.feature import Feature, Seen
from selectmm.features.gradients import GradientNorm, row_gradients
from selectmm.features.loaded import Loaded
from selectmm.flops.anatomy import anatomy_of
from selectmm.flops.formulas import Load, decoder, forward, training
from selectmm.flops.formulas import row_gradients as gradient_flops
from selectmm.flops.gpus import UTILISATION, Gpu
from selectmm.flops.tower import pictures, projected, tower_flops
from selectmm.models.compute import PLAIN, Compute
from selectmm.models.encode import IGNORED, Batch
from selectmm.models.forward import Reads
from selectmm.models.inputs import inputs_of, to_device
from selectmm.models.lengths import image_tokens
from selectmm.models.losses import answer_loss
from selectmm.models.vlm import VLM
from selectmm.planning.memory import generating_memory, training_memory
from selectmm.planning.stages import seconds_of
from selectmm.planning.work import Device, Work
from selectmm.tuning.adapter import injected, lora_config, trainable
from selectmm.tuning.fit import _checkpointing, _ready
from selectmm.tuning.recipe import Recipe, Strategy
from selectmm.tuning.targets import lora_pattern

SIZE = (640, 480)  # pixels of the image of each row
WORDS = 300  # tokens of a row besides its image, about LLaVA-665K's mean
ANSWERED = 0.5  # share of them that the loss is taken on
PLAIN_WORDS = 30_000  # ids below this and from 10 on are no special tokens in any family's vocabulary
RANK = 128  # of the LoRA that gradients are taken of, where the recipe has none


@dataclass(frozen=True)
class Timed:
    """One kind of work.

    Attributes:
        rows: that fitted at a time. tokens: of all steps. seconds: of all steps, after one to warm up.
        estimated: seconds that a plan says without a correction. peak_gib: memory, see `selectmm.cache.cost.Cost`;
            ``planned_gib``: what a plan says of it. share: of the device's peak, see ``share_of_peak`` of a training.
    """

    rows: int
    tokens: float
    seconds: float
    estimated: float
    peak_gib: float
    share: float
    planned_gib: float | None = None

    @property
    def factor(self) -> float:
        """Measured against estimated seconds."""
        return self.seconds / self.estimated


def with_random_weights(vlm: VLM, device: torch.device, dtype: torch.dtype, compute: Compute = PLAIN) -> VLM:
    """A model of the same shapes, computed as a run computes it; nothing is read but the configuration.

    Raises:
        UserError: this machine cannot compute so, or the weights would be in 4 bits, which random ones are not.
    """
    if compute.weights != "as_is":
        raise UserError("Random weights are not in 4 bits, so bench cannot time them; use compute=plain for it.")
    compute.check(device)
    config = deepcopy(vlm.model.config)  # into which the attention is written; shapes are shared
    with torch.device(device):
        model = type(vlm.model)._from_config(config, dtype=dtype, **compute.options(device, dtype))
    compute.patch(model)
    return replace(vlm, model=model.to(device).eval().requires_grad_(False))


def rows_like(vlm: VLM, rows: int, limit: int) -> tuple[Batch, Load]:
    """Make rows of an image and random words on the model's device, and estimate what they come to.

    An image that has patches of any number (Qwen), or does not fit into the limit, is left out, and words stand in its
    place.
    """
    seen = pictures(vlm, SIZE, rows)
    shown = image_tokens(vlm, [SIZE])[0]
    shown -= 2 if vlm.family.name == "internvl3" else 0  # its two marks are words here
    fixed = "image_grid_thw" not in seen and shown < limit
    shown = shown if shown < limit else limit // 2
    tokens = min(shown + WORDS, limit)
    answers = int(ANSWERED * (tokens - shown))
    most = min(vlm.model.lm_head.out_features, PLAIN_WORDS)
    ids = torch.randint(10, most, (rows, tokens), generator=torch.Generator().manual_seed(0))
    if fixed:
        ids[:, 1 : 1 + shown] = vlm.image_token_id
    labels = ids.clone()
    labels[:, : tokens - answers] = IGNORED
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    if fixed:
        batch |= seen
    shown = shown if fixed else 0
    through = projected(vlm, batch, rows * shown) / rows
    one = Load(1, tokens, tokens**2, shown, answers, tower_flops(vlm, batch) / rows, tokens, through)
    return to_device(batch, vlm.model), one.as_many_as(rows)


def bench(vlm: VLM, recipe: Recipe, gpu: Gpu, steps: int, *, rows: int, asked: int) -> dict[str, Timed]:
    """Time tuning, a pass for features, a pass for gradients, and decoding on the model's device, in this order.

    Args:
        rows: of a pass. asked: sequences that are decoded together.
    """
    return {
        "tuning": time_tuning(vlm, recipe, gpu, steps),
        "features": time_feature(vlm, AnswerLoss(), gpu, steps, rows, recipe.max_length),
        "gradients": time_gradients(vlm, recipe, gpu, steps, rows),
        "decoding": time_decoding(vlm, gpu, steps, asked, recipe.max_length),
    }


def time_tuning(vlm: VLM, recipe: Recipe, gpu: Gpu, steps: int) -> Timed:
    """Micro-batches of the recipe: forward, backward, and AdamW on what is trained."""
    body = anatomy_of(vlm, lora_pattern(vlm, recipe) if recipe.tune == "lora" else None)  # before LoRA is in it
    size = vlm.model.dtype.itemsize

    def work(load: Load) -> Work:
        answered = load.answers / load.tokens
        memory = training_memory(body, recipe, Strategy("single", 1), size, load.longest, answered)
        return Work(flops=training(body, load, recipe), precision=recipe.precision, memory=memory)

    def again(load: Load) -> float:
        return training(body, load, recipe) - training(body, load, replace(recipe, gradient_checkpointing=False))

    with _tuning(vlm, recipe) as step:
        return _fitted(vlm, recipe.micro_batch, recipe.max_length, step, work, steps, gpu, again)


def time_feature(vlm: VLM, feature: Feature, gpu: Gpu, steps: int, rows: int, limit: int) -> Timed:
    """Batches of a pass for one feature of the model's states or answers; perplexity's is `AnswerLoss`.

    Args:
        limit: tokens of a row.
    """
    device = _device(vlm)

    def step(batch: Batch) -> None:
        feature.compute(Seen(vlm, _loaded(vlm, batch), feature.reads(), limit))

    def work(load: Load) -> Work:
        return device.features(load, [feature], 0, int(load.rows))

    with torch.no_grad():
        return _fitted(vlm, rows, limit, step, work, steps, gpu)


def time_gradients(vlm: VLM, recipe: Recipe, gpu: Gpu, steps: int, rows: int) -> Timed:
    """Batches of a pass for each row's gradients of the LoRA matrices of attention."""
    device, limit = _device(vlm), recipe.max_length  # before LoRA is in it
    lora = replace(recipe, tune="lora", rank=recipe.rank or RANK, lora_layers="all", projector_lr=0.0, vision_lr=0.0)
    recomputed = vlm.model.device.type == "cuda"

    def again(load: Load) -> float:
        return decoder(device.body, load, rank=lora.rank) if recomputed else 0

    def work(load: Load) -> Work:
        flops = gradient_flops(device.body, load, lora.rank, all_linear=False) + again(load)
        return replace(device.features(load, [GradientNorm()], lora.rank, int(load.rows)), flops=flops)

    def step(batch: Batch) -> None:
        row_gradients(Seen(vlm, _loaded(vlm, batch), Reads(), limit), "self_attn", lambda _name, gradient: None)

    with injected(vlm, lora_config(vlm, lora)) as wrapped:
        wrapped.eval().requires_grad_(False)
        return _fitted(vlm, rows, limit, step, work, steps, gpu, again)


def time_decoding(vlm: VLM, gpu: Gpu, tokens: int, rows: int, limit: int) -> Timed:
    """One batch of so many sequences, read and answered with so many tokens each by our own decoding."""
    device = _device(vlm)
    body, size = device.body, device.size

    def work(load: Load) -> Work:
        cache = 2 * size * sum(layer.keys for layer in body.layers) * load.tokens * tokens
        flops = forward(body, replace(load, answers=load.rows))
        spoken = Load(rows=load.rows, tokens=load.rows * tokens, squares=load.tokens * tokens)
        return Work(
            flops=flops + decoder(body, spoken) + 2 * body.head * spoken.tokens,
            streamed=tokens * size * body.language_parameters + cache,
            steps=tokens * len(body.layers),
            precision=device.precision,
            memory=generating_memory(body, size, load.tokens + spoken.tokens),
        )

    return _fitted(vlm, rows, limit, lambda batch: _decode(vlm, batch, tokens), work, 1, gpu)


def _device(vlm: VLM) -> Device:
    return Device(vlm, anatomy_of(vlm), vlm.model.dtype.itemsize)


def _loaded(vlm: VLM, batch: Batch) -> Loaded:
    """The batch as a feature reads it; what is neither image nor answer is the user's."""
    lengths = batch["attention_mask"].sum(1).cpu()
    asking = (batch["labels"] == IGNORED) & ~vlm.is_visual(batch["input_ids"])
    return Loaded(list(range(len(lengths))), lengths, {**batch, "instruction": asking}, None)


def _fitted(
    vlm: VLM,
    rows: int,
    limit: int,
    step: Callable[[Batch], None],
    work: Callable[[Load], Work],
    steps: int,
    gpu: Gpu,
    again: Callable[[Load], float] = lambda _load: 0,
) -> Timed:
    """Steps with ``rows`` rows or, where memory runs out, half of them, and so on.

    Args:
        again: the part of the work's FLOPs that is computed a second time.

    Raises:
        UserError: not even one row fits.
    """
    while True:
        try:
            return _timed(vlm, rows, limit, step, work, steps, gpu, again)
        except RuntimeError as problem:
            if not should_reduce_batch_size(problem):
                raise
            if rows == 1:
                raise UserError(
                    f"Not even one row fits into the memory of {gpu.name}; choose a smaller model."
                ) from problem
        clear_device_cache(garbage_collection=True)
        rows //= 2


def _timed(
    vlm: VLM,
    rows: int,
    limit: int,
    step: Callable[[Batch], None],
    work: Callable[[Load], Work],
    steps: int,
    gpu: Gpu,
    again: Callable[[Load], float],
) -> Timed:
    batch, load = rows_like(vlm, rows, limit)
    with measure() as clock:
        step(batch)  # to warm up
        _finish(vlm)
        start = time.perf_counter()
        for _ in range(steps):
            step(batch)
        _finish(vlm)
        seconds = time.perf_counter() - start
        peak = clock.cost().peak_gib
    one = work(load)
    share = (one.flops - again(load)) * steps / seconds / gpu.peak(one.precision)
    planned = None if one.memory is None else one.memory.total / 2**30
    return Timed(rows, load.tokens * steps, seconds, steps * seconds_of(one, gpu, UTILISATION), peak, share, planned)


def _finish(vlm: VLM) -> None:
    if vlm.model.device.type == "cuda":
        torch.cuda.synchronize(vlm.model.device)


@contextmanager
def _tuning(vlm: VLM, recipe: Recipe) -> Iterator[Callable[[Batch], None]]:
    """Yields a step of the recipe: forward, backward, and AdamW on what is trained."""
    half = recipe.precision == "bf16-mixed"
    with trainable(vlm, recipe, keep=True) as wrapped, _checkpointing(wrapped, recipe):
        _ready(wrapped, recipe)
        optimizer = torch.optim.AdamW([weight for weight in wrapped.parameters() if weight.requires_grad], lr=0.0)

        def step(batch: Batch) -> None:
            """One optimiser step on a micro-batch; the learning rate is 0, so nothing changes."""
            with torch.enable_grad(), torch.autocast(vlm.model.device.type, torch.bfloat16, enabled=half):
                answer_loss(wrapped.get_base_model(), batch).backward()
            optimizer.step()
            optimizer.zero_grad()

        yield step


def _decode(vlm: VLM, batch: Batch, tokens: int) -> None:
    with torch.no_grad():
        vlm.model.generate(
            **inputs_of(batch), max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0
        )
