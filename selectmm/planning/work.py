"""What a stage computes, writes and holds: FLOPs, bytes on disk, memory. All but the sums of bytes are estimates."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_

from selectmm.evaluation.own import RATED
from selectmm.evaluation.suite import Suite
from selectmm.features.adam import AdamGradient
from selectmm.features.blind import BlindLoss
from selectmm.features.consistency import Consistency
from selectmm.features.feature import Feature
from selectmm.features.gradients import HEAD_TOKENS, GradientNorm, ProjectedGradient
from selectmm.features.neurons import TopNeurons
from selectmm.features.onepass import wider_of
from selectmm.features.outputs import AttentionOutputs
from selectmm.features.pairs import ClipPair, StatePair
from selectmm.features.pictures import ImageEmbedding
from selectmm.features.sentences import WIDTH, QuestionEmbedding
from selectmm.features.spectrum import StateSpectrum
from selectmm.features.unasked import UnaskedLoss
from selectmm.flops.anatomy import Anatomy, anatomy_of
from selectmm.flops.formulas import Load, decoder, forward, row_gradients, training
from selectmm.models.forward import Reads
from selectmm.models.together import GENERATED, TOKENS, rows_together
from selectmm.models.vlm import VLM
from selectmm.planning.known.benchmarks import TASKS, TaskSize
from selectmm.planning.known.loads import image_load
from selectmm.planning.memory import (
    Kept,
    Memory,
    activations,
    forward_memory,
    generating_memory,
    logits,
    scoring_memory,
    training_memory,
)
from selectmm.tuning.recipe import Recipe, Strategy
from selectmm.tuning.targets import lora_pattern

GRADIENTS = (GradientNorm, ProjectedGradient, AdamGradient)  # features whose pass goes backward too
ITEM = (640, 480)  # pixels of a benchmark's image; an assumption


@dataclass(frozen=True)
class Work:
    """The work of one stage; None where nobody knows.

    Attributes:
        tokens: through the language model. flops: of the model; what a method computes with features is not counted.
        streamed: bytes that generation reads of the device's memory, weights and cache, token after token.
        steps: layers that it starts for that. overhead: device-seconds that an engine takes beside all this.
        disk: bytes that stay. joining: bytes that are there besides at its end, because a feature's shards are deleted
            once they are joined, one feature after the other. memory: of one device.
        precision: of the arithmetic, in the recipe's words.
    """

    tokens: float | None = None
    flops: float | None = None
    disk: float | None = None
    joining: float = 0.0
    memory: Memory | None = None
    precision: str = "32-true"
    streamed: float = 0.0
    steps: float = 0.0
    overhead: float = 0.0

    def times(self, count: int) -> "Work":
        """The same so many times, one after the other; it needs no more memory and disk."""
        sums = {name: getattr(self, name) for name in ("tokens", "flops", "streamed", "steps", "overhead")}
        return replace(self, **{name: None if value is None else value * count for name, value in sums.items()})


@dataclass(frozen=True)
class Device:
    """How the model lies on the device: ``vlm`` may be shapes alone, ``body`` is its sizes, ``size`` bytes a number."""

    vlm: VLM
    body: Anatomy
    size: int

    @property
    def precision(self) -> str:
        """The precision of passes without training."""
        return "32-true" if self.size == 4 else "bf16-true"

    def train(self, load: Load, recipe: Recipe, strategy: Strategy) -> Work:
        """Fine-tune on rows that stand in ``load`` as often as they are trained on."""
        body = anatomy_of(self.vlm, lora_pattern(self.vlm, recipe)) if recipe.tune == "lora" else self.body
        # A fully tuned model is saved in the dtype it had, LoRA and projector in that of training.
        size = self.size if recipe.tune == "full" else 2 if recipe.precision == "bf16-true" else 4
        return Work(
            tokens=load.tokens,
            flops=training(body, load, recipe),
            disk=size * body.trained(recipe),
            memory=training_memory(body, recipe, strategy, self.size, load.longest, _answered(load)),
            precision=recipe.precision,
        )

    def features(self, load: Load, features: Sequence[Feature], rank: int, batch_size: int) -> Work:
        """One pass over what ``load`` describes. ``rank``: of the warm-up's LoRA, 0 without."""
        reads = reduce(or_, (feature.reads().on(len(self.body.layers)) for feature in features), Reads())
        flops = 0.0 if reads.nothing else forward(self.body, load, reads.deepest, head=reads.answers, rank=rank)
        tokens = min(batch_size * load.longest, max(TOKENS, load.longest))
        memory = forward_memory(self.body, self.size, 0 if reads.nothing else tokens)
        for feature in features:
            if wider_of(feature, features) is not None:
                continue  # norms stand beside projected gradients
            if isinstance(feature, GRADIENTS):
                flops += row_gradients(self.body, load, rank, feature.scope == "all_linear")
                flops += decoder(self.body, load, rank=rank) if self._recomputes else 0
                memory = replace(memory, activations=self._backward(load, rank, tokens))
            elif isinstance(feature, BlindLoss):
                flops += forward(self.body, _blind(load), rank=rank)
            elif isinstance(feature, UnaskedLoss):
                flops += forward(self.body, load, rank=rank)
            elif isinstance(feature, Consistency):
                flops += forward(self.body, _blind(load), rank=rank) + 2 * forward(self.body, load, rank=rank)
        sizes = [load.rows * self._bytes(feature) for feature in features]
        return Work(load.tokens if flops else 0, flops, sum(sizes), max(sizes, default=0.0), memory, self.precision)

    @property
    def _recomputes(self) -> bool:
        """Activations for gradients, as on a GPU, where models are in half precision unless asked for otherwise."""
        return self.size < 4

    def _backward(self, load: Load, rank: int, tokens: float) -> float:
        states = activations(self.body, Kept(rank, 0.0, self.size), self._recomputes, tokens)
        return states + logits(self.body, self.size, min(tokens * _answered(load), HEAD_TOKENS))

    def _bytes(self, feature: Feature) -> int:
        if isinstance(feature, ProjectedGradient | AdamGradient):
            return 4 * (1 + feature.dim)
        if isinstance(feature, AttentionOutputs):
            return 2 * len(feature.reads().on(len(self.body.layers)).outputs) * self.body.width * min(self.size, 4)
        if isinstance(feature, StateSpectrum | Consistency):
            return 4 * 2
        if isinstance(feature, StatePair):
            return 2 * self.body.width * min(self.size, 4)
        if isinstance(feature, ClipPair | ImageEmbedding):  # CLIP ViT-L/14's width, and DINOv2-base's
            return 4 * 768 * (2 if isinstance(feature, ClipPair) else 1)
        if isinstance(feature, TopNeurons):
            return 4 * sum(feature.top)
        if isinstance(feature, QuestionEmbedding):
            return 4 * WIDTH
        return self.body.width * min(self.size, 4) if feature.vector else 4

    def evaluate(self, load: Load, items: Mapping[str, int | None], suite: Suite) -> Work:
        """Read and answer the items of every task (`selectmm.planning.items`) by our own decoding.

        A task that is not known (`TASKS`) has items like the rows of ``load``, and says as much as the suite allows. Of
        held-out rows' likelihood (`RATED`) nothing is said: it is one pass over questions and answers.
        """
        memory = self._answering(load, items, suite)
        if None in items.values():
            return Work(memory=memory, precision=self.precision)
        each = [self._task(load, task, count, suite) for task, count in items.items()]
        sums = {name: sum(getattr(one, name) for one in each) for name in ("tokens", "flops", "streamed", "steps")}
        return Work(memory=memory, precision=self.precision, **sums)

    def _answering(self, load: Load, tasks: Collection[str], suite: Suite) -> Memory:
        """Of generation, with prompts as long as the longest row, or of likelihoods of options, whichever is more."""
        length = load.longest + suite.max_new_tokens
        found = [generating_memory(self.body, self.size, min(suite.batch_size * length, max(GENERATED, length)))]
        asked = [TASKS[task] for task in tasks if task in TASKS]
        if any(one.said == 0 for one in asked):
            longest = min(suite.batch_size * load.longest, max(TOKENS, load.longest))
            found.append(scoring_memory(self.body, self.size, longest))
        return max(found, key=lambda memory: memory.total)

    def _task(self, load: Load, task: str, items: int, suite: Suite) -> Work:
        asked = TASKS.get(task)
        read, said = self.asked(load, asked, items), asked.said if asked else suite.max_new_tokens
        if task == RATED:
            read, said = load.as_many_as(items), 0
        mean = read.tokens / max(read.rows, 1)
        spoken = Load(rows=items, tokens=items * said, squares=items * said * mean)
        flops = forward(self.body, read) + decoder(self.body, spoken) + 2 * self.body.head * spoken.tokens
        rows = rows_together(suite.batch_size, mean + suite.max_new_tokens, GENERATED)
        passes = math.ceil(items / rows) * said
        cache = 2 * self.size * sum(layer.keys for layer in self.body.layers) * mean * spoken.tokens
        streamed = passes * self.size * self.body.language_parameters + cache
        return Work(read.tokens + spoken.tokens, flops, streamed=streamed, steps=passes * len(self.body.layers))

    def asked(self, load: Load, asked: TaskSize | None, items: int) -> Load:
        """The prompts of so many items of a task, with every option; those of an unknown task are like ``load``."""
        if asked is None:
            return replace(load.as_many_as(items), answers=items)
        seen = image_load(self.vlm, ITEM) if asked.image else Load()
        tokens = asked.prompt + seen.image_tokens
        one = replace(seen, rows=1, tokens=tokens, squares=tokens**2, answers=1)
        return one.as_many_as(items * asked.options)


def _blind(load: Load) -> Load:
    """The same rows without their images; rows without image, which are not read again, are counted too."""
    left = 1 - load.image_tokens / max(load.tokens, 1)
    return replace(
        load, tokens=load.tokens * left, squares=load.squares * left**2, image_tokens=0, projected=0, tower=0
    )


def _answered(load: Load) -> float:
    """The share of tokens that the loss is taken on."""
    return load.answers / max(load.tokens, 1)
