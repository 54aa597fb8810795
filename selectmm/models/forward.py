"""Forward passes that compute no more than what is asked for."""

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedConfig

from selectmm.models.encode import IGNORED, Batch
from selectmm.models.queries_keys import WATCHED, watched
from selectmm.models.vlm import VLM

LAST = -1  # as a layer: the states that the head reads, after the final norm
NOT_FOR_THE_MODEL = {"labels", "instruction"}
_GRIDS = ("image_grid_thw", "video_grid_thw")  # inputs of the families whose rotary positions have three axes
_PROJECTIONS = ("o_proj", "dense")  # the last layer of self-attention: Llama's and Qwen's name, and Phi's

Place = int | Fraction
"""A decoder layer, from 1, or the share of all layers after which it stands."""

EVERY_LAYER: frozenset[Place] = frozenset(Fraction(step, 256) for step in range(1, 257))
"""All layers of a model that has at most 256."""

_DOWN = ("down_proj", "fc2")  # the last layer of the feed-forward block: Llama's and Qwen's name, and Phi's


@dataclass(frozen=True)
class Reads:
    """What is wanted of a forward pass.

    Attributes:
        layers: places of decoder layers whose output is wanted; 0 is what enters the first layer, `LAST` what the head
            reads.
        attention: places of decoder layers whose queries and keys are wanted.
        answers: whether the logits of the answer tokens are wanted.
        outputs: places of decoder layers for which is wanted what self-attention adds to the residual stream.
        neurons: places of decoder layers whose feed-forward activations are wanted.
        projections: places of decoder layers whose queries and keys are wanted as they are projected, before positions
            and norms.
        tensors: whether rows are wanted as tensors at all, pixels included; without, and without a pass, there are
            their `lengths` alone.
        pictures: whether turns and opened images are wanted as they are.
    """

    layers: frozenset[Place] = frozenset()
    attention: frozenset[Place] = frozenset()
    answers: bool = False
    outputs: frozenset[Place] = frozenset()
    neurons: frozenset[Place] = frozenset()
    projections: frozenset[Place] = frozenset()
    tensors: bool = True
    pictures: bool = False

    def __or__(self, other: "Reads") -> "Reads":
        return Reads(**{one.name: getattr(self, one.name) | getattr(other, one.name) for one in fields(self)})

    @property
    def nothing(self) -> bool:
        """Whether no forward pass is needed."""
        return not (self.answers or self._places)

    @property
    def _places(self) -> frozenset[Place]:
        return self.layers | self.attention | self.outputs | self.neurons | self.projections

    @property
    def named(self) -> frozenset[int]:
        """Layers that a model has to have; shares of its depth it has."""
        return frozenset(place for place in self._places if isinstance(place, int))

    def on(self, depth: int) -> "Reads":
        """The same of a model with ``depth`` decoder layers: numbers in place of shares."""
        kinds = ("layers", "attention", "outputs", "neurons", "projections")
        layers: dict[str, Any] = {k: frozenset(layer_at(p, depth) for p in getattr(self, k)) for k in kinds}
        return replace(self, **layers)

    @property
    def deepest(self) -> int | None:
        """The layer after which the pass may stop, None if it has to go to the end; after `on`."""
        if self.answers or LAST in self.layers:
            return None
        return int(max([*self._places, 1]))


def layer_at(place: Place, depth: int) -> int:
    """The decoder layer, from 1, that a place means in a model with ``depth`` of them."""
    return place if isinstance(place, int) else max(1, round(place * depth))


@dataclass(frozen=True)
class Answers:
    """The m answer tokens of a batch: ``logits`` [m, vocabulary], ``targets`` [m], and their ``rows`` [m]."""

    logits: torch.Tensor
    targets: torch.Tensor
    rows: torch.Tensor


@dataclass(frozen=True)
class Heads:
    """Queries [n, heads, tokens, channels] and keys [n, key heads, tokens, channels] of a layer, and their scale."""

    queries: torch.Tensor
    keys: torch.Tensor
    scale: float


@dataclass
class Passed:
    """What a forward pass left: what `Reads` asked for, by layer."""

    hidden: dict[int, torch.Tensor] = field(default_factory=dict)
    heads: dict[int, Heads] = field(default_factory=dict)
    outputs: dict[int, torch.Tensor] = field(default_factory=dict)
    neurons: dict[int, torch.Tensor] = field(default_factory=dict)
    projections: dict[int, dict[str, torch.Tensor]] = field(default_factory=dict)
    answers: Answers | None = None


class _Deep(Exception):
    """Raised by a hook to leave a forward pass once the deepest layer that was wanted has run."""


def run(vlm: VLM, batch: Batch, reads: Reads) -> Passed:
    """One forward pass that computes what is wanted and stops at the deepest layer that anybody reads.

    Hidden states are [n, tokens, width]. Nothing runs if nothing is wanted. The batch is padded on the right.
    """
    passed = Passed()
    if reads.nothing:
        return passed
    reads = reads.on(len(vlm.layers))
    with ExitStack() as stack:
        for layer in _numbers(reads.layers - {0, LAST}):
            stack.callback(vlm.layer(layer).register_forward_hook(partial(_keep, passed, layer)).remove)
        for layer in _numbers(reads.outputs):
            projection = _named(vlm.layer(layer).self_attn, _PROJECTIONS)
            stack.callback(projection.register_forward_hook(partial(_keep_output, passed, layer)).remove)
        for layer in _numbers(reads.neurons):
            down = _named(vlm.layer(layer).mlp, _DOWN)
            stack.callback(down.register_forward_pre_hook(partial(_keep_neurons, passed, layer)).remove)
        for layer in _numbers(reads.projections):
            for name in ("q_proj", "k_proj"):
                hook = partial(_keep_projection, passed, layer, name)
                stack.callback(getattr(vlm.layer(layer).self_attn, name).register_forward_hook(hook).remove)
        if 0 in reads.layers:
            first = vlm.layer(1)
            stack.callback(first.register_forward_pre_hook(partial(_keep_input, passed), with_kwargs=True).remove)
        if reads.deepest is not None:  # registered after the hooks that keep, so that it runs after them
            stack.callback(vlm.layer(reads.deepest).register_forward_hook(_leave).remove)
        if reads.attention:
            attentions = {vlm.layer(layer).self_attn: layer for layer in _numbers(reads.attention)}
            stack.enter_context(watched(attentions, partial(_keep_heads, passed)))
        stack.enter_context(suppress(_Deep))
        _finish(vlm, batch, reads, passed)
    return passed


def _numbers(places: frozenset[Place]) -> frozenset[int]:
    """Of `Reads.on`, whose places are layers' numbers."""
    return frozenset(int(place) for place in places)


def _finish(vlm: VLM, batch: Batch, reads: Reads, passed: Passed) -> None:
    """Run the model; what comes after this line's first only comes if the pass goes to the end."""
    last = vlm.model.model(**right_padded(vlm.model.model, batch), use_cache=False).last_hidden_state
    if LAST in reads.layers:
        passed.hidden[LAST] = last
    if reads.answers:
        passed.answers = Answers(*_head(vlm.model, last, batch))


def _keep(passed: Passed, layer: int, _module: nn.Module, _inputs: object, output: Any) -> None:
    passed.hidden[layer] = output[0] if isinstance(output, tuple) else output


def _named(block: nn.Module, names: tuple[str, ...]) -> nn.Module:
    """The part of a block that has one of these names."""
    return next(getattr(block, name) for name in names if hasattr(block, name))


def _keep_output(passed: Passed, layer: int, _module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
    passed.outputs[layer] = output


def _keep_projection(
    passed: Passed, layer: int, name: str, _module: nn.Module, _inputs: object, output: torch.Tensor
) -> None:
    passed.projections.setdefault(layer, {})[name] = output


def _keep_neurons(passed: Passed, layer: int, _module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
    passed.neurons[layer] = inputs[0]


def _keep_input(passed: Passed, _module: nn.Module, inputs: tuple, named: Mapping[str, torch.Tensor]) -> None:
    passed.hidden[0] = inputs[0] if inputs else named["hidden_states"]


def _keep_heads(passed: Passed, layer: int, queries: torch.Tensor, keys: torch.Tensor, scale: float) -> None:
    passed.heads[layer] = Heads(queries, keys, scale)


def _leave(_module: nn.Module, _inputs: object, _output: object) -> None:
    raise _Deep


def answer_logits(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits [m, vocabulary] for the batch's m answer tokens, their ids [m] and their rows [m].

    ``model`` is a Hugging Face conditional-generation model (or peft's wrapping of one): a ``model`` without a head,
    and an ``lm_head``.
    """
    return _head(model, model.model(**right_padded(model.model, batch), use_cache=False).last_hidden_state, batch)


def _head(model: Any, hidden: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The head is most of a small model's work, so only the positions that predict an answer reach it."""
    targets = batch["labels"][:, 1:]
    predicting = targets != IGNORED
    rows = torch.arange(len(targets), device=targets.device).unsqueeze(1).expand_as(targets)
    return model.lm_head(hidden[:, :-1][predicting]), targets[predicting], rows[predicting]


def answer_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy over the batch's answer tokens (scalar; 0 with a gradient if there are none)."""
    logits, targets, _ = answer_logits(model, batch)
    return cross_entropy(logits.float(), targets, reduction="sum") / max(len(targets), 1)


def weighted_loss(model: nn.Module, batch: Batch, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`answer_loss` with every token's cross-entropy multiplied by its row's weight, and each row's own mean loss.

    Args:
        weights: [rows], without those of blank rows at the end, which have no answer.

    Returns:
        A scalar, the sum divided by the number of answer tokens, whatever the weights; and [rows], detached and without
        weights, NaN for a row without an answer token.
    """
    logits, targets, rows = answer_logits(model, batch)
    losses = cross_entropy(logits.float(), targets, reduction="none")
    own = losses.detach()
    sums = torch.zeros(len(weights), device=own.device).index_add_(0, rows, own)
    return (losses * weights[rows]).sum() / max(len(targets), 1), sums / torch.bincount(rows, minlength=len(weights))


def inputs_of(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch without what only we read of it."""
    return {name: tensor for name, tensor in batch.items() if name not in NOT_FOR_THE_MODEL}


def right_padded(inner: Any, batch: Batch) -> dict[str, torch.Tensor]:
    """What a model without its head is given: of a batch that is padded on the right, no mask.

    No token sees one behind it, so none sees padding, and a mask of padding changes nothing but the kernel: with it
    PyTorch's attention reads a dense mask of tokens × tokens, without it it knows that it is causal. Where rotary
    positions have three axes (M-RoPE) they are computed here, because they follow from the mask.
    """
    inputs = inputs_of(batch)
    mask = inputs.get("attention_mask")
    if mask is None or not _causal_kernel(inner.language_model.config, mask.device) or (mask.diff() > 0).any():
        return inputs  # packed; or flash attention; or padded on the left
    del inputs["attention_mask"]
    if hasattr(inner, "get_rope_index") and not inputs.keys().isdisjoint(_GRIDS):
        named = ("input_ids", "mm_token_type_ids", *_GRIDS, "second_per_grid_ts")
        axes, _ = inner.get_rope_index(**{name: inputs[name] for name in named if name in inputs}, attention_mask=mask)
        along = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
        inputs["position_ids"] = torch.cat([along.unsqueeze(0), axes.to(mask.device)])
    return inputs


def _causal_kernel(body: PreTrainedConfig, device: torch.device) -> bool:
    """Whether PyTorch's attention computes, and the same without a mask as with one.

    Flash attention reads the mask as lengths, and computes no padding. On a CPU, where results are the same to the last
    digit, the kernel without a mask adds up the gradients of keys that several heads share in another order.
    """
    grouped = getattr(body, "num_key_value_heads", body.num_attention_heads) != body.num_attention_heads
    return body._attn_implementation in ("sdpa", WATCHED) and not (grouped and device.type == "cpu")


def to_device(batch: Batch, model: nn.Module) -> Batch:
    """The batch on the model's device, floating tensors in the model's dtype."""
    weight = next(model.parameters())
    kinds = {name: weight.dtype if tensor.is_floating_point() else None for name, tensor in batch.items()}
    return {name: tensor.to(weight.device, kinds[name], non_blocking=True) for name, tensor in batch.items()}
