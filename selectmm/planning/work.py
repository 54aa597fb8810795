"""What a stage computes, writes and holds: FLOPs, bytes on disk, memory. All but the sums of bytes are estimates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_

from selectmm.evaluation.suite import Suite
from selectmm.features.blind import BlindLoss
from selectmm.features.feature import Feature
from selectmm.features.gradients import GradientNorm, ProjectedGradient
from selectmm.features.neurons import TopNeurons
from selectmm.features.onepass import TOKENS
from selectmm.features.outputs import AttentionOutputs
from selectmm.features.sentences import WIDTH, QuestionEmbedding
from selectmm.features.spectrum import StateSpectrum
from selectmm.models.forward import Reads
from selectmm.models.vlm import VLM
from selectmm.planning.anatomy import Anatomy, anatomy_of
from selectmm.planning.flops import Load, decoder, forward, row_gradients, training
from selectmm.planning.memory import Memory, activations, forward_memory, generating_memory, training_memory
from selectmm.tuning.recipe import Recipe, Strategy
from selectmm.tuning.targets import lora_pattern


@dataclass(frozen=True)
class Work:
    """Of one stage; None where nobody knows.

    Attributes:
        tokens: through the language model. flops: of the model; what a method computes with features is not counted.
        disk: bytes that stay. memory: of one device.
        precision: of the arithmetic, in the recipe's words.
    """

    tokens: float | None = None
    flops: float | None = None
    disk: float | None = None
    memory: Memory | None = None
    precision: str = "32-true"


@dataclass(frozen=True)
class Device:
    """How the model lies on the device: ``vlm`` may be shapes alone, ``body`` is its sizes, ``size`` bytes a number."""

    vlm: VLM
    body: Anatomy
    size: int

    @property
    def precision(self) -> str:
        """Of passes without training."""
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
            if isinstance(feature, GradientNorm | ProjectedGradient):
                flops += row_gradients(self.body, load, rank, feature.scope == "all_linear")
                memory = replace(memory, activations=self._backward(load, rank, tokens))
            elif isinstance(feature, BlindLoss):
                flops += forward(self.body, _blind(load), rank=rank)
        disk = load.rows * sum(self._bytes(feature) for feature in features)
        return Work(load.tokens if flops else 0, flops, disk, memory, self.precision)

    def _backward(self, load: Load, rank: int, tokens: float) -> float:
        recomputed = self.size < 4  # on a GPU, where models are in half precision unless they are asked for otherwise
        return activations(self.body, rank, 0.0, recomputed, self.size, tokens, _answered(load))

    def _bytes(self, feature: Feature) -> int:
        if isinstance(feature, ProjectedGradient):
            return 4 * (1 + feature.dim)
        if isinstance(feature, AttentionOutputs):
            return 2 * len(feature.reads().on(len(self.body.layers)).outputs) * self.body.width * min(self.size, 4)
        if isinstance(feature, StateSpectrum):
            return 4 * 2
        if isinstance(feature, TopNeurons):
            return 4 * sum(feature.top)
        if isinstance(feature, QuestionEmbedding):
            return 4 * WIDTH
        return self.body.width * min(self.size, 4) if feature.vector else 4

    def evaluate(self, load: Load, items: int | None, suite: Suite) -> Work:
        """Read each item as if it were a row of ``load``, and say as many tokens as the suite allows."""
        length = load.longest + suite.max_new_tokens
        memory = generating_memory(self.body, self.size, suite.batch_size * length)
        if items is None:
            return Work(memory=memory, precision=self.precision)
        read = replace(load.as_many_as(items), answers=items)
        said = items * suite.max_new_tokens
        mean = load.tokens / load.rows
        spoken = Load(rows=items, tokens=said, squares=said * mean)
        flops = forward(self.body, read) + decoder(self.body, spoken) + 2 * self.body.head * said
        return Work(read.tokens + said, flops, None, memory, self.precision)


def _blind(load: Load) -> Load:
    """The same rows without their images; rows without image, which are not read again, are counted too."""
    left = 1 - load.image_tokens / max(load.tokens, 1)
    return replace(load, tokens=load.tokens * left, squares=load.squares * left**2, image_tokens=0, tower=0)


def _answered(load: Load) -> float:
    """The share of tokens that the loss is taken on."""
    return load.answers / max(load.tokens, 1)
