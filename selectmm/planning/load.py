"""How much work rows are: the tokens, answers and images of a sample, by the processor that the run uses."""

from dataclasses import dataclass, field

import numpy as np

from selectmm.features.feature import View
from selectmm.features.reading import conversations_of
from selectmm.flops.formulas import Load
from selectmm.flops.tower import projected, tower_flops
from selectmm.models.encode import IGNORED, Batch, encode
from selectmm.models.vlm import VLM
from selectmm.planning.known.loads import load_of_known
from selectmm.planning.known.pools import Rows
from selectmm.pool.pool import Pool


def load_of(vlm: VLM, batch: Batch, limit: int) -> Load:
    """The load of one encoded row, cut to ``limit`` tokens."""
    tokens = min(batch["input_ids"].shape[1], limit)
    seen = int(vlm.is_visual(batch["input_ids"]).sum())
    return Load(
        rows=1,
        tokens=tokens,
        squares=tokens**2,
        image_tokens=seen,
        projected=projected(vlm, batch, seen),
        answers=int((batch["labels"][:, 1:tokens] != IGNORED).sum()),
        tower=tower_flops(vlm, batch),
        longest=tokens,
    )


@dataclass
class Loads:
    """Measures rows once: jobs of a sweep ask for the same ones again and again.

    Attributes:
        sample: the most rows that are encoded; of more, so many are drawn and speak for the rest.
        known: pools of which there is no file but published counts, by their fingerprint.
    """

    sample: int
    known: dict[str, Rows] = field(default_factory=dict)
    _seen: dict[tuple[str, str, str, int, bytes], Load] = field(default_factory=dict)

    def of(self, vlm: VLM, pool: Pool, view: View, rows: np.ndarray, limit: int) -> Load:
        """The load of ``rows``, [n] positions in the pool, or in its images where ``view`` is ``image``."""
        if pool.fingerprint in self.known:
            return load_of_known(vlm, self.known[pool.fingerprint], view, rows, limit)
        drawn = rows
        if len(rows) > self.sample:
            drawn = np.random.default_rng(0).choice(rows, self.sample, replace=False)
        key = (vlm.identity, pool.fingerprint, view, limit, drawn.tobytes())
        if key not in self._seen:
            talks = conversations_of(pool, view, drawn.tolist())
            each = [load_of(vlm, encode(vlm, [talk], side="right", limit=None), limit) for talk in talks]
            self._seen[key] = sum(each, Load())
        return self._seen[key].as_many_as(len(rows))
