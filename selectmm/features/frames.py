"""States of clips, frame by frame: other readings of a clip than those of `ImageStates` and `AttendedStates`.

These two pool over the tokens of all frames at once. No paper fixes what PRISM or ScalSelect make of a clip: all of
this is our reading. A frame is what the model gives tokens of its own: one of LLaVA's (`model.frames`), but two frames
that follow one another in the Qwen families, whose vision tower joins them. The newline token that ends a clip of
LLaVA-OneVision's belongs to no frame and is left out.

They stand in a file of their own because a feature's values are named by its source: those of the other two stay valid.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple

import torch

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

    With ``pool`` ``mean``, ``each`` is the mean over the tokens of all frames again, because all frames of a clip have
    as many.
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
        found = [sizes.following(row, isinstance(one, Clip)) for one in talk.images]
        if not _has_clip(seen, row):
            yield [[tokens]] if len(tokens) else []
            continue
        pieces = iter(tokens.split([size for one in found for size in (*[one.tokens] * one.frames, one.behind)]))
        yield [_frames_of(pieces, one.frames) for one in found]


def _frames_of(pieces: Iterator[torch.Tensor], frames: int) -> list[torch.Tensor]:
    """The next frames' tokens, without what stands behind them."""
    *own, _ = islice(pieces, frames + 1)
    return own


def _has_clip(seen: Seen, row: int) -> bool:
    return any(isinstance(one, Clip) for one in seen.conversations[row].images)


class _Size(NamedTuple):
    """The frames of an image (one) or a clip, the tokens of each, and the tokens behind them that belong to none."""

    frames: int
    tokens: int
    behind: int = 0


class _FrameSizes:
    """The sizes of the images and clips of a batch, in the order of the text."""

    def __init__(self, seen: Seen) -> None:
        self._seen, batch, images = seen, seen.batch, seen.vlm.processor.image_processor
        joined = getattr(images, "merge_size", 1) ** 2  # the Qwen families' grids count patches
        self._grids = {
            clip: iter([_Size(steps, high * wide // joined) for steps, high, wide in batch[name].tolist()])
            for clip, name in ((False, "image_grid_thw"), (True, "video_grid_thw"))
            if name in batch
        }
        # LLaVA-OneVision's: [clips, frames, colours, height, width].
        self._steps = batch["pixel_values_videos"].shape[1] if self._newlines else 0
        self._frames = seen.vlm.family.frames or 1
        # Elsewhere clips are frames for LLaVA's image processor, to which all images are of one size.
        shown = len(batch["pixel_values"]) if "pixel_values" in batch else 1
        self._tokens = int(seen.image_tokens.sum()) // shown

    @property
    def _newlines(self) -> bool:
        """Whether a token that belongs to no frame ends each clip, and images may be of any size: LLaVA-OneVision."""
        return "pixel_values_videos" in self._seen.batch and "video_grid_thw" not in self._seen.batch

    def following(self, row: int, clip: bool) -> _Size:
        """Of the next image, or of the next clip, which ``row`` shows."""
        if clip in self._grids:
            return next(self._grids[clip])
        if self._newlines:
            return self._beside_newlines(row, clip)
        return _Size(self._frames if clip else 1, self._tokens)

    def _beside_newlines(self, row: int, clip: bool) -> _Size:
        """All clips of a batch have one size; so have the images of a row, unless there is only one."""
        seen = self._seen
        of_clips = seen.batch["input_ids"][row] == seen.vlm.model.config.video_token_id
        tokens = int((of_clips if clip else seen.image_tokens[row] & ~of_clips).sum())
        each = tokens // sum([isinstance(one, Clip) == clip for one in seen.conversations[row].images])
        return _Size(self._steps, (each - 1) // self._steps, 1) if clip else _Size(1, each)
