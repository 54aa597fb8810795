"""What the line knows of a vision-language model: the loaded parts and where things are."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from selectmm.errors import UserError
from selectmm.pool.sample import Role

CHATML = "<|im_start|>{}\n"  # how a role is announced where a system message may be given
TOOL_ROLES: frozenset[Role] = frozenset({"tools", "tool_call", "tool_result"})


@dataclass(frozen=True)
class Tools:
    """How a template writes tools: in the system message, between ``before`` and ``after``, each behind a line break; a
    call of one in an answer, between ``call`` and ``call_end``; what it returns in a user's message, between ``result``
    and ``result_end``.
    """

    before: str
    after: str
    call: str
    call_end: str
    result: str
    result_end: str


@dataclass(frozen=True)
class Template:
    """A conversation format. A rendered row is ``start`` then, per turn, prefix + text + suffix of its role.

    An image's placeholder stands where the row shows it, mostly in front of a user's text (see `selectmm.pool.row`);
    the line break that may end it is left out where the text goes on directly behind the image. An answer and the
    ``assistant_suffix`` (its end token) are what the loss is taken on.

    ``tools`` and ``video`` (a clip's placeholder) are None where a template knows none. They are no part of a model's
    identity (`load.identity_of`): rows that use them could not be read before there were any.
    """

    start: str
    image: str
    user_prefix: str
    user_suffix: str
    assistant_prefix: str
    assistant_suffix: str
    tools: Tools | None = None
    video: str | None = None

    @property
    def system(self) -> tuple[str, str] | None:
        """Prefix and suffix of a row's own system prompt, which stands in place of ``start``; None without its place.

        ChatML's ``<|im_start|>`` announces any role; LLaVA-1.5's format has one system prompt for all rows.
        """
        if self.user_prefix != CHATML.format("user"):
            return None
        return CHATML.format("system"), self.user_suffix

    def takes(self, roles: Collection[Role]) -> bool:
        """Whether it has a place for turns of these roles."""
        return not ((set(roles) & TOOL_ROLES and self.tools is None) or ("system" in roles and self.system is None))


# The linear layers of a language model whose layers have Llama's names.
LINEAR = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


@dataclass(frozen=True)
class Family:
    """Where the parts of a family's models are. Paths are dotted module paths inside the Hugging Face model.

    ``lora`` is a regular expression over module names (peft's ``target_modules``): the linear layers of the language
    model. Those of the vision tower and of the projector are found where these are. ``square`` pads an image to a
    square of the image processor's mean colour before preprocessing, as LLaVA-1.5 was trained.

    ``frames`` is for a family whose processor knows no clips: a clip is shown as so many images, its evenly spaced
    frames (`selectmm.models.video`). None: clips are the processor's own, or not taken.

    ``tiles_alone``: the processor cuts an image into tiles only if its row shows no other image.
    """

    name: str
    template: Template
    layers: str
    vision: str
    projector: str
    lora: str
    square: bool
    frames: int | None = None
    tiles_alone: bool = False


@dataclass(frozen=True)
class VLM:
    """A loaded model.

    Attributes:
        identity: of its weights, their dtype and its family (`load.identity_of`), and of the adapter that it carries.
        adapter: the folder of that adapter, if there is one.
    """

    model: Any  # a PreTrainedModel; torch declares the parts of a module as "tensor or module", which fits no use
    processor: Any  # a ProcessorMixin of the family, with tokens and methods that the base class does not declare
    family: Family
    identity: str
    adapter: Path | None = None

    @property
    def image_token_id(self) -> int:
        """The token that an image's places in the text hold."""
        return self.model.config.image_token_id

    def is_visual(self, ids: torch.Tensor) -> torch.Tensor:
        """Which of these token ids hold the places of an image or a frame, of the same shape."""
        seen = ids == self.image_token_id
        video = getattr(self.model.config, "video_token_id", None) if self.family.template.video else None
        return seen if video is None else seen | (ids == video)

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder layers of the language model, first to last."""
        return self.model.get_submodule(self.family.layers)

    def layer(self, index: int) -> Any:
        """Decoder layer ``index``, counted from 1.

        Raises:
            UserError: the model has fewer layers.
        """
        if not 1 <= index <= len(self.layers):
            raise UserError(
                f"Layer {index} was asked for, but this {self.family.name} model has decoder layers 1 to "
                f"{len(self.layers)}; set the option 'layer' inside that range."
            )
        return self.layers[index - 1]
