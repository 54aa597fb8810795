"""How much a clip changes from frame to frame."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image

from selectmm.features.feature import Seen
from selectmm.models.forward import Reads
from selectmm.pool.clip import Clip

SIDE = 224  # pixels that a frame is made, either side, before it is compared


@dataclass(frozen=True)
class FrameDifference:
    """Mean absolute difference of grey between frames that follow one another; [unique images], four bytes each.

    From 0 (nothing changes; also an image, and a clip of one frame) to 1 (black to white). GDO's ``frame_diversity``
    (arXiv 2603.12478; gdo/extract_six_metrics.py of github.com/rujiewu/GDO at 4a82ccf, MIT): evenly spaced frames, the
    first and the last among them, in grey, 224 × 224. They resize with OpenCV's areas, and this with Pillow's boxes.
    The target model does not run.

    Attributes:
        frames: of a clip that are compared, at most; 8 in GDO.
    """

    frames: int = 8
    view: Literal["image"] = "image"
    vector: Literal[False] = False

    def reads(self) -> Reads:
        """Clips as they are; nothing of the target model."""
        return Reads(tensors=False, pictures=True)

    def compute(self, seen: Seen) -> torch.Tensor:
        """The difference of each image or clip, [n]; of a row's first, where rows are read."""
        shown = [talk.images[0] if talk.images else None for talk in seen.conversations]
        return torch.tensor([self._of(one) if isinstance(one, Clip) else 0.0 for one in shown])

    def _of(self, clip: Clip) -> float:
        count = min(self.frames, clip.frames)
        if count < 2:
            return 0.0
        places = [round(place * (clip.frames - 1) / (count - 1)) for place in range(count)]
        greys = np.stack([_grey(frame) for frame in clip.read(places)])
        return float(np.abs(np.diff(greys, axis=0)).mean() / 255)


def _grey(frame: np.ndarray) -> np.ndarray:
    """Of a frame [height, width, 3] of uint8, [`SIDE`, `SIDE`] of float32 from 0 to 255."""
    grey = Image.fromarray(frame).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(grey, np.float32)
