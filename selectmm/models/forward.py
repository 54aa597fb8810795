"""Forward passes that compute no more than what is asked for."""

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN

from selectmm.models.encode import Batch
from selectmm.models.inputs import right_padded
from selectmm.models.losses import answering
from selectmm.models.queries_keys import watched
from selectmm.models.vlm import VLM

LAST = -1  # as a layer: the states that the head reads, after the final norm
_PROJECTIONS = ("o_proj", "dense")  # the last layer of self-attention: Llama's and Qwen's name, and Phi's

Place = int | Fraction
"""A decoder layer, from 1, or the share of all layers after which it stands."""

EVERY_LAYER: frozenset[Place] = frozenset(Fraction(step, 256) for step in range(1, 257))
"""All layers of a model that has at most 256."""

_DOWN = ("down_proj", "fc2")  # the last layer of the feed-forward block: Llama's and Qwen's name, and Phi's
_GATE = ("gate_proj", "fc1")  # the layer whose output its activation function reads: Llama's and Qwen's name, and Phi's


@dataclass(frozen=True)
class Reads:
    """What is wanted of a forward pass.

    Attributes:
        layers: places of decoder layers whose output is wanted; 0 is what enters the first layer, `LAST` what the head
            reads.
        attention: places of decoder layers whose queries and keys are wanted.
        answers: whether the logits of the answer tokens are wanted.
        outputs: places of decoder layers for which is wanted what self-attention adds to the residual stream.
        neurons: places of decoder layers for which is wanted what enters the last feed-forward projection.
        gates: places of decoder layers for which is wanted what the feed-forward activation function gives;
            in gated blocks ``neurons`` are its product with a second projection.
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
    gates: frozenset[Place] = frozenset()
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
        return self.layers | self.attention | self.outputs | self.neurons | self.gates | self.projections

    @property
    def named(self) -> frozenset[int]:
        """Layers that a model has to have; shares of its depth it has."""
        return frozenset(place for place in self._places if isinstance(place, int))

    def on(self, depth: int) -> "Reads":
        """The same of a model with ``depth`` decoder layers: numbers in place of shares."""
        kinds = ("layers", "attention", "outputs", "neurons", "gates", "projections")
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
    gates: dict[int, torch.Tensor] = field(default_factory=dict)
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
        for layer in _numbers(reads.gates):
            gate = _named(vlm.layer(layer).mlp, _GATE)
            activation = ACT2FN[vlm.model.config.get_text_config().hidden_act]
            stack.callback(gate.register_forward_hook(partial(_keep_gate, passed, layer, activation)).remove)
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
        states, targets, rows = answering(last, batch)
        passed.answers = Answers(vlm.model.lm_head(states), targets, rows)


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
    # A copy, because Liger's kernel writes positions into the tensor that it is given.
    passed.projections.setdefault(layer, {})[name] = output.clone()


def _keep_neurons(passed: Passed, layer: int, _module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
    passed.neurons[layer] = inputs[0]


def _keep_gate(
    passed: Passed, layer: int, activation: nn.Module, _module: nn.Module, _inputs: object, output: torch.Tensor
) -> None:
    # Computed here, because Liger's fused block does not call the model's own.
    passed.gates[layer] = activation(output)


def _keep_input(passed: Passed, _module: nn.Module, inputs: tuple, named: Mapping[str, torch.Tensor]) -> None:
    passed.hidden[0] = inputs[0] if inputs else named["hidden_states"]


def _keep_heads(passed: Passed, layer: int, queries: torch.Tensor, keys: torch.Tensor, scale: float) -> None:
    passed.heads[layer] = Heads(queries, keys, scale)


def _leave(_module: nn.Module, _inputs: object, _output: object) -> None:
    raise _Deep
