"""States of clips, frame by frame: other readings of a clip than those of `ImageStates` and `AttendedStates`.

These two pool over the tokens of all frames at once. No paper fixes what PRISM or ScalSelect make of a clip: all of
this is our reading. A frame is what the model gives tokens of its own: one of LLaVA's (`model.frames`), but two frames
that follow one another in the Qwen families, whose vision tower joins them.

They stand in a file of their own because a feature's values are named by its source: those of the other two stay valid.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from selectmm.errors import UserError
from selectmm.features.attended import AttendedStates, attention_from, most_attended
from selectmm.features.feature import Seen
from selectmm.features.states import Pooling, as_kept
from selectmm.models.forward import Reads
from selectmm.pool.clip import Clip

Frames = Literal["together", "each", "middle"]
"""Of a clip the tokens of all frames at once; the mean over its frames, each pooled by itself; or its middle frame."""

Single = Literal["each", "middle"]


@dataclass(frozen=True)
class FrameStates:
    """`ImageStates` with clips pooled by frames; [unique images, width]. An image's value is the one it has there.

    With ``pool`` ``mean``, ``each`` is the mean over all tokens again, because all frames of a clip have as many.
    """

    layer: int
    frames: Single
    pool: Pooling = "mean"
    view: Literal["image"] = "image"
    vector: Literal[True] = True

    def reads(self) -> Reads:
        """States of the layer; and which image is a clip."""
        return Reads(layers=frozenset({self.layer}), pictures=True)

    def compute(self, seen: Seen) -> torch.Tensor:
        """One pooled state per image or clip, [n, width]; zeros for a row without, where rows are read."""
        states = seen.hidden(self.layer)
        values = torch.zeros(len(states), states.shape[-1], device=states.device)
        for row, shown in enumerate(tokens_of_frames(seen)):
            pooled = [states[row, self._pooled(tokens)].float().mean(0) for tokens in chosen(shown, self.frames)]
            if pooled:
                values[row] = torch.stack(pooled).mean(0)
        return as_kept(values, states)

    def _pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens if self.pool == "mean" else tokens[-1:]


@dataclass(frozen=True)
class AttendedFrames:
    """`AttendedStates` of rows with clips by their frames; [rows, width]. Rows without a clip have the value there.

    ``each``: the instruction's attention chooses among the tokens of each frame by itself, and of each image beside the
    clip; the row's value is the mean over frames and images. So every frame counts, whichever is attended to most.
    ``middle``: it chooses among the tokens of the clips' middle frames and of the row's images together.

    Attributes:
        layer, mass, user_mask, conditioning: see `AttendedStates`.
    """

    frames: Single
    layer: int = 1
    mass: float = 0.9
    user_mask: Literal["template", "everything_but_answers"] = "template"
    conditioning: Literal["attended", "all_image_tokens"] = "attended"
    view: Literal["conversation"] = "conversation"
    vector: Literal[True] = True

    def reads(self) -> Reads:
        """What `AttendedStates` reads; and which image is a clip."""
        return self._of.reads() | Reads(pictures=True)

    @property
    def _of(self) -> AttendedStates:
        return AttendedStates(self.layer, self.mass, self.user_mask, self.conditioning)

    def compute(self, seen: Seen) -> torch.Tensor:
        """Mean state of each row's attended tokens, [n, width]; zeros for a row without image or clip."""
        states = seen.hidden(self.layer)
        values = torch.zeros(len(states), states.shape[-1], device=states.device)
        asking = self._of._asking(seen)
        for row, shown in enumerate(tokens_of_frames(seen)):
            groups = chosen(shown, self.frames)
            if groups and (self.frames == "middle" or not _has_clip(seen, row)):
                groups = [torch.cat(groups)]
            asked = self._attention(seen, row, asking) if groups else None
            pooled = [states[row, self._attended(tokens, asked)].float().mean(0) for tokens in groups]
            if pooled:
                values[row] = torch.stack(pooled).mean(0)
        return as_kept(values, states)

    def _attention(self, seen: Seen, row: int, asking: torch.Tensor) -> torch.Tensor | None:
        if self.conditioning == "all_image_tokens":
            return None
        return attention_from(seen.heads(self.layer), row, asking[row].nonzero().flatten())

    def _attended(self, tokens: torch.Tensor, asked: torch.Tensor | None) -> torch.Tensor:
        return tokens if asked is None else tokens[most_attended(asked[tokens], self.mass)]


def chosen(shown: list[list[torch.Tensor]], frames: Single) -> list[torch.Tensor]:
    """Of a row, as `tokens_of_frames` yields it, the tokens of each image and of each frame that counts."""
    return [tokens for one in shown for tokens in (one if frames == "each" else [one[len(one) // 2]])]


def tokens_of_frames(seen: Seen) -> Iterator[list[list[torch.Tensor]]]:
    """For each row, for each image or clip that it shows, for each frame (an image is one): places of its tokens [k].

    In a row without clips all images are one, the tokens of all of them together.
    """
    sizes = _FrameSizes(seen)
    for row, talk in enumerate(seen.conversations):
        tokens = seen.image_tokens[row].nonzero().flatten()
        counts = [sizes.following(isinstance(one, Clip)) for one in talk.images]
        if not _has_clip(seen, row):
            yield [[tokens]] if len(tokens) else []
            continue
        pieces = iter(tokens.split([size for count, size in counts for _ in range(count)]))
        yield [[next(pieces) for _ in range(count)] for count, _ in counts]


def _has_clip(seen: Seen, row: int) -> bool:
    return any(isinstance(one, Clip) for one in seen.conversations[row].images)


class _FrameSizes:
    """How many frames, and how many tokens in each, the images and clips of a batch have, in the order of the text.

    Raises:
        UserError: the family has tokens of clips that belong to no frame (LLaVA-OneVision's newline).
    """

    def __init__(self, seen: Seen) -> None:
        if "pixel_values_videos" in seen.batch and "video_grid_thw" not in seen.batch:
            raise UserError(
                f"method.frames pools clips frame by frame, which is written for LLaVA and the Qwen families, not for "
                f"{seen.vlm.family.name}; set method.frames=together."
            )
        batch, images = seen.batch, seen.vlm.processor.image_processor
        joined = getattr(images, "merge_size", 1) ** 2  # the Qwen families' grids count patches
        self._grids = {
            clip: iter([(steps, high * wide // joined) for steps, high, wide in batch[name].tolist()])
            for clip, name in ((False, "image_grid_thw"), (True, "video_grid_thw"))
            if name in batch
        }
        self._frames = seen.vlm.family.frames or 1
        # Elsewhere clips are frames for LLaVA's image processor, to which all images are of one size.
        shown = len(batch["pixel_values"]) if "pixel_values" in batch else 1
        self._tokens = int(seen.image_tokens.sum()) // shown

    def following(self, clip: bool) -> tuple[int, int]:
        """Of the next image, or of the next clip."""
        if clip in self._grids:
            return next(self._grids[clip])
        return (self._frames if clip else 1), self._tokens
