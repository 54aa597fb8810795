"""What one model cannot take of a pool that is sound by itself: counts, and positions of rows."""

from dataclasses import dataclass, field

REASONS = {
    "placeholder": "with a model's image mark in their text",
    "shape": "with an image of a shape that the model refuses",
    "late_image": "with an image that recipe.max_length would cut",
    "turns": "with a turn (system prompt, tools) that the model's template has no place for",
    "clips": "with a clip that this model does not take",
}
TAKE_CLIPS = (
    "the Qwen families, LLaVA-OneVision, LLaVA with model.frames, and model=embedded_clips in place of the built-in "
    "model=embedded"
)


@dataclass(frozen=True)
class Unfit:
    """Positions of rows, ascending, by what keeps the model from taking them.

    Attributes:
        placeholder: the text holds a token by which the model's processor marks images or videos (``<|image_pad|>``):
            it would look for an image there.
        shape: the processor refuses an image of that height and width (Qwen: one side more than 200 times the other).
        late_image: a token of the image would stand behind ``recipe.max_length``.
        special: not an obstacle: the text holds one of the tokenizer's special tokens (``</s>``, ``<|im_end|>``), which
            becomes that token and not the letters.
        turns: a turn is of a role that the model's template has no place for: a system prompt of the row's own (LLaVA
            with ``vicuna``, ``phi2`` and ``llama3``), tools and their calls (all but Qwen2.5-VL and Qwen3-VL).
        clips: the row shows a clip, and the model takes none.
    """

    placeholder: list[int]
    shape: list[int]
    late_image: list[int]
    special: list[int]
    turns: list[int] = field(default_factory=list)
    clips: list[int] = field(default_factory=list)

    @property
    def bad(self) -> list[int]:
        """Positions of all rows that the model cannot take, ascending."""
        return sorted({*self.placeholder, *self.shape, *self.late_image, *self.turns, *self.clips})
