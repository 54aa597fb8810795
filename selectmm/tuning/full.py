"""Full fine-tuning: the language model's own weights (and the projector's) are trained, saved and put in place."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from selectmm.cache.no_links import refuse_links
from selectmm.errors import UserError
from selectmm.models.vlm import VLM
from selectmm.tuning.recipe import Recipe
from selectmm.tuning.tensors import read_tensors
from selectmm.tuning.unchanged import unchanged

TRAINED = "trained.safetensors"


class FullModel(nn.Module):
    """A model some of whose own weights are trained; training knows it and a ``PeftModel`` by the same face."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self._dtypes = {name: weight.dtype for name, weight in model.named_parameters()}

    def get_base_model(self) -> PreTrainedModel:
        """The Hugging Face model."""
        return self.model

    def save(self, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
        """Write the trained weights, named as in ``self``, under the model's own names and in the dtype it had before
        training (which is what it computes with afterwards; bfloat16 on a GPU)."""
        named = {name.removeprefix("model."): weight for name, weight in weights.items()}
        beside = folder / f".{TRAINED}"
        refuse_links([beside])
        save_file({name: weight.to(self._dtypes[name]).contiguous() for name, weight in named.items()}, beside)
        beside.replace(folder / TRAINED)


@contextmanager
def opened(vlm: VLM, recipe: Recipe, keep: bool) -> Iterator[FullModel]:
    """Make the language model trainable for the length of the block, and the projector if the recipe gives it a rate.

    Args:
        keep: put the weights back afterwards, as everything else is; they wait in main memory. A process that ends
            after training can do without.
    """
    with unchanged(vlm.model):
        parts = [*_language(vlm), *([_projector(vlm)] if recipe.projector_lr > 0 else [])]
        for part in parts:
            part.requires_grad_(True)
        with _kept([weight for part in parts for weight in part.parameters()] if keep else []):
            yield FullModel(vlm.model)


@contextmanager
def exchanged(vlm: VLM, folder: Path, keep: bool = True) -> Iterator[VLM]:
    """The model with the trained weights of a folder in the place of its own, for the length of the block.

    Args:
        keep: whether its own are needed afterwards; they wait in main memory then.

    Raises:
        UserError: the file is damaged, or the weights belong to another model.
    """
    file = folder / TRAINED
    trained, own = read_tensors(file), dict(vlm.model.named_parameters())
    language = _names(vlm, _language(vlm))
    whole = trained.keys() in (language, language | _names(vlm, [_projector(vlm)]))
    if not whole or any(own[name].shape != weight.shape for name, weight in trained.items()):
        raise UserError(f"The weights in {folder} were made for another model than this {vlm.family.name}.")
    with file.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    with _kept([own[name] for name in trained] if keep else []):
        with torch.no_grad():
            for name, weight in trained.items():
                own[name].copy_(weight)
        yield replace(vlm, identity=f"{vlm.identity}+{content}")


def _language(vlm: VLM) -> list[nn.Module]:
    """The language model and its head."""
    return [vlm.model.get_submodule(vlm.family.layers.rpartition(".")[0]), vlm.model.lm_head]


def _projector(vlm: VLM) -> nn.Module:
    return vlm.model.get_submodule(vlm.family.projector)


def _names(vlm: VLM, parts: Sequence[nn.Module]) -> set[str]:
    """Of the parts' weights in the whole model; one under two names (tied) has the first."""
    theirs = {weight for part in parts for weight in part.parameters()}
    return {name for name, weight in vlm.model.named_parameters() if weight in theirs}


@contextmanager
def _kept(weights: list[nn.Parameter]) -> Iterator[None]:
    """Put weights back after the block, bit for bit."""
    before = [weight.detach().to("cpu", copy=True) for weight in weights]
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, old in zip(weights, before, strict=True):
                weight.copy_(old)
