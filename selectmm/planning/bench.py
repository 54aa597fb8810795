"""Some steps of each kind of work with random weights, timed against what is estimated for them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from PIL import Image

from selectmm.errors import UserError
from selectmm.experiment import Experiment
from selectmm.features.feature import Seen
from selectmm.features.gradients import row_gradients
from selectmm.features.loaded import Loaded
from selectmm.models.encode import IGNORED, Batch
from selectmm.models.forward import Reads, answer_loss, inputs_of, run, to_device
from selectmm.models.lengths import image_tokens
from selectmm.models.vlm import VLM
from selectmm.planning.anatomy import anatomy_of
from selectmm.planning.flops import Load, decoder, forward, training
from selectmm.planning.flops import row_gradients as gradient_flops
from selectmm.planning.gpus import UTILISATION, Gpu
from selectmm.planning.stages import seconds_of
from selectmm.planning.tower import tower_flops
from selectmm.planning.work import Work
from selectmm.records.cost import measure
from selectmm.tuning.adapter import injected, lora_config, trainable
from selectmm.tuning.fit import _checkpointing, _ready
from selectmm.tuning.recipe import Recipe
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
        estimated: seconds that a plan says without a correction. peak_gib: memory, see `selectmm.records.cost.Cost`.
        share: of the device's peak.
    """

    rows: int
    tokens: float
    seconds: float
    estimated: float
    peak_gib: float
    share: float

    @property
    def factor(self) -> float:
        """Measured against estimated seconds."""
        return self.seconds / self.estimated


def with_random_weights(vlm: VLM, device: torch.device, dtype: torch.dtype) -> VLM:
    """A model of the same shapes, of which nothing is read but the configuration."""
    with torch.device(device):
        model = type(vlm.model)._from_config(vlm.model.config, dtype=dtype)
    return replace(vlm, model=model.to(device).eval().requires_grad_(False))


def rows_like(vlm: VLM, rows: int, limit: int) -> tuple[Batch, Load]:
    """So many rows of an image and random words, on the model's device, and what they come to.

    An image that has patches of any number (Qwen) is left out, and as many words stand in its place.
    """
    pictures = dict(vlm.processor.image_processor(images=[Image.new("RGB", SIZE)] * rows, return_tensors="pt"))
    fixed = "image_grid_thw" not in pictures
    shown = image_tokens(vlm, [SIZE])[0]
    shown -= 2 if vlm.family.name == "internvl3" else 0  # its two marks are words here
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
        batch["pixel_values"] = pictures["pixel_values"]
    one = Load(1, tokens, tokens**2, shown if fixed else 0, answers, tower_flops(vlm, batch) / rows, tokens)
    return to_device(batch, vlm.model), one.as_many_as(rows)


def bench(experiment: Experiment, vlm: VLM, gpu: Gpu, steps: int) -> dict[str, Timed]:
    """Time tuning, a pass for features, a pass for gradients, and decoding on the model's device, in this order."""
    body, recipe, limit = anatomy_of(vlm), experiment.recipe, experiment.recipe.max_length
    adapted = anatomy_of(vlm, lora_pattern(vlm, recipe)) if recipe.tune == "lora" else body
    plain = "32-true" if vlm.model.dtype == torch.float32 else "bf16-true"
    lora = replace(recipe, tune="lora", rank=recipe.rank or RANK, lora_layers="all", projector_lr=0.0, vision_lr=0.0)
    recomputed = vlm.model.device.type == "cuda"

    def gradients(load: Load) -> Work:
        again = decoder(body, load, rank=lora.rank) if recomputed else 0
        return Work(flops=gradient_flops(body, load, lora.rank, all_linear=False) + again, precision=plain)

    def said(load: Load) -> Work:
        cache = 2 * vlm.model.dtype.itemsize * sum(layer.keys for layer in body.layers) * load.tokens * steps
        flops = forward(body, replace(load, answers=load.rows))
        spoken = Load(rows=load.rows, tokens=load.rows * steps, squares=load.tokens * steps)
        flops += decoder(body, spoken) + 2 * body.head * spoken.tokens
        weights = steps * vlm.model.dtype.itemsize * body.language_parameters
        return Work(flops=flops, streamed=weights + cache, steps=steps * len(body.layers), precision=plain)

    def timed(rows: int, step: Callable[[Batch], None], work: Callable[[Load], Work], count: int) -> Timed:
        return _fitted(vlm, rows, limit, step, work, count, gpu)

    def tuning(load: Load) -> Work:
        return Work(flops=training(adapted, load, recipe), precision=recipe.precision)

    def passing(load: Load) -> Work:
        return Work(flops=forward(body, load), precision=plain)

    with _tuning(vlm, experiment.recipe) as tune:
        tuned = timed(recipe.micro_batch, tune, tuning, steps)
    rows = experiment.batch_size
    with torch.no_grad():
        features = timed(rows, lambda batch: _pass(vlm, batch), passing, steps)
    with injected(vlm, lora_config(vlm, lora)) as wrapped:
        wrapped.eval().requires_grad_(False)
        taken = timed(rows, lambda batch: _gradients(vlm, batch, limit), gradients, steps)
    decoding = timed(experiment.suite.batch_size, lambda batch: _decode(vlm, batch, steps), said, 1)
    return {"tuning": tuned, "features": features, "gradients": taken, "decoding": decoding}


def _fitted(
    vlm: VLM, rows: int, limit: int, step: Callable[[Batch], None], work: Callable[[Load], Work], steps: int, gpu: Gpu
) -> Timed:
    """Steps with ``rows`` rows or, where memory runs out, half of them, and so on.

    Raises:
        UserError: not even one row fits.
    """
    while True:
        try:
            return _timed(vlm, rows, limit, step, work, steps, gpu)
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
    vlm: VLM, rows: int, limit: int, step: Callable[[Batch], None], work: Callable[[Load], Work], steps: int, gpu: Gpu
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
    share = one.flops * steps / seconds / gpu.peak(one.precision)
    return Timed(rows, load.tokens * steps, seconds, steps * seconds_of(one, gpu, UTILISATION), peak, share)


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
            with torch.enable_grad(), torch.autocast(vlm.model.device.type, torch.bfloat16, enabled=half):
                answer_loss(wrapped.get_base_model(), batch).backward()
            optimizer.step()
            optimizer.zero_grad()

        yield step


def _pass(vlm: VLM, batch: Batch) -> None:
    """What perplexity takes: all layers, and the head where answers are predicted."""
    run(vlm, batch, Reads(answers=True))


def _gradients(vlm: VLM, batch: Batch, limit: int) -> None:
    """One pass for the gradients of each row's LoRA matrices of attention."""
    marked = {**batch, "instruction": torch.zeros_like(batch["input_ids"], dtype=torch.bool)}
    lengths = batch["attention_mask"].sum(1).cpu()
    loaded = Loaded(list(range(len(lengths))), lengths, marked, None)
    row_gradients(Seen(vlm, loaded, Reads(), limit), "self_attn", lambda _name, gradient: None)


def _decode(vlm: VLM, batch: Batch, tokens: int) -> None:
    with torch.no_grad():
        vlm.model.generate(
            **inputs_of(batch), max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0
        )
