"""How much a step on a row's gradient would help the target benchmarks, to first order."""

import numpy as np
import torch

from selectmm.methods.clustering import Vectors
from selectmm.pool.pool import Pool


def parts_of(targets: Pool) -> dict[str, list[np.ndarray]]:
    """Positions of the examples of each benchmark, by its parts, both by name.

    A part is what stands behind a slash in an example's source: ``MME/count`` and ``MME/colour`` are parts of MME. A
    benchmark without any is one part.
    """
    found: dict[str, list[np.ndarray]] = {}
    for source in sorted(targets.counts()):
        found.setdefault(source.partition("/")[0], []).append(np.flatnonzero(targets.sources == source))
    return found


def mean_gradient(gradients: np.ndarray, rows: np.ndarray, unit: bool) -> np.ndarray:
    """Mean of some projected gradients, [dim] of float64; ``unit``: each scaled to length 1 first.

    Args:
        gradients: [examples, 1 + dim], norm and projection, as `selectmm.features.gradients.ProjectedGradient` has
            them.
    """
    total = sum(_directions(block, unit).sum(0) for _, block in Vectors(gradients, rows).blocks())
    return total.cpu().numpy() / len(rows)


def influences(gradients: np.ndarray, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Inner products of each row's gradient, at length 1, with every target vector; [rows, targets] of float64.

    A gradient of zero, of a row without an answer, has no influence. With targets that are means of unit vectors these
    are mean cosines: the mean is taken once, and not over all pairs.

    Args:
        gradients: as `mean_gradient`'s, may be memory-mapped. rows: positions in it. targets: [targets, dim].
    """
    found = np.empty((len(rows), len(targets)))
    for some, block in Vectors(gradients, rows).blocks():
        across = torch.from_numpy(targets).to(block.device)
        found[some] = (_directions(block, unit=True) @ across.T).cpu().numpy()
    return found


def _directions(block: torch.Tensor, unit: bool) -> torch.Tensor:
    """The projections of a block of gradients, without their norms."""
    projected = block[:, 1:]
    if not unit:
        return projected
    lengths = projected.norm(dim=1, keepdim=True)
    return projected / torch.where(lengths > 0, lengths, 1)
