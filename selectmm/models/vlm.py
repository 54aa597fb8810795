"""What the line knows of a vision-language model: the loaded parts and where things are."""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel, ProcessorMixin

from selectmm.errors import UserError


@dataclass(frozen=True)
class Template:
    """A conversation format. A rendered row is ``start`` then, per turn, prefix + text + suffix of its role.

    An image's placeholder stands where the row shows it, mostly in front of a user's text (see `selectmm.pool.row`);
    the line break that may end it is left out where the text goes on directly behind the image. An answer and the
    ``assistant_suffix`` (its end token) are what the loss is taken on.
    """

    start: str
    image: str
    user_prefix: str
    user_suffix: str
    assistant_prefix: str
    assistant_suffix: str


# The linear layers of a language model whose layers have Llama's names.
LINEAR = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


@dataclass(frozen=True)
class Family:
    """Where the parts of a family's models are. Paths are dotted module paths inside the Hugging Face model.

    ``lora`` is a regular expression over module names (peft's ``target_modules``): the linear layers of the language
    model. Those of the vision tower and of the projector are found where these are. ``square`` pads an image to a
    square of the image processor's mean colour before preprocessing, as LLaVA-1.5 was trained.
    """

    name: str
    template: Template
    layers: str
    vision: str
    projector: str
    lora: str
    square: bool


@dataclass(frozen=True)
class VLM:
    """A loaded model. ``identity`` is of its weights, their dtype and its family (`load.identity_of`)."""

    model: PreTrainedModel
    processor: ProcessorMixin
    family: Family
    identity: str

    @property
    def image_token_id(self) -> int:
        """The token that an image's places in the text hold."""
        return self.model.config.image_token_id

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder layers of the language model, first to last."""
        return self.model.get_submodule(self.family.layers)

    def layer(self, index: int) -> nn.Module:
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
