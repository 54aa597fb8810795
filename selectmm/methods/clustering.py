"""Clusters and neighbours of many long vectors: k-means and exact nearest neighbours, a block at a time.

faiss and scikit-learn were looked at first. Both want every vector in memory in float32 (54 GB for COINCIDE's 20,480
numbers a row at 665 thousand rows), faiss from PyPI runs on the CPU alone, scikit-learn has no spherical k-means, and
sums in float32 make their clusters depend on threads, on the order of the rows, and on faiss' version. Here PyTorch
does the work: matrix products of a block of rows with all centres, on the GPU if there is one, in a block's memory.
They are in float64, and a row that is as near to two centres up to rounding belongs to the first of them, so
that neither threads nor the device decide. `tests/methods/test_clustering.py` holds the results against scikit-learn's.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from mmap import MADV_DONTNEED

import numpy as np
import torch

from selectmm.models.load import pick_device

BLOCK = 2**24  # numbers held at a time, in float64: 128 MiB
CLOSE = 1e-11  # relative difference of two distances below which they count as equal
HELD = 2**27  # numbers that stay in memory from one pass of k-means to the next: 1 GiB; more are read again
TILE = 1024  # vectors of either side whose distances are made at a time: 8 MiB, which a processor's cache holds
FAR = 1e300  # squared distance of a neighbour that is not known yet


@dataclass(frozen=True)
class Vectors:
    """Vectors in an order of the caller's, read a block at a time.

    Attributes:
        values: [units, width] of float, may be memory-mapped. rows: positions in it, [n]; they may repeat.
        unit: scale each vector to length 1 (a vector of zeros stays).
    """

    values: np.ndarray
    rows: np.ndarray
    unit: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        """Numbers per vector."""
        return self.values.shape[1]

    def take(self, places: np.ndarray | slice) -> torch.Tensor:
        """The vectors at some places of this order, [that many, width] of float64, on the device that computes."""
        block = torch.from_numpy(self.values[self.rows[places]]).to(pick_device("auto")).double()
        if isinstance(self.values, np.memmap) and self.values.mode == "r" and isinstance(places, slice):
            # Or all that was ever read would count as this process's memory.
            self.values._mmap.madvise(MADV_DONTNEED)
        return block / _lengths(block) if self.unit else block

    def blocks(self, beside: int = 0) -> Iterator[tuple[slice, torch.Tensor]]:
        """The vectors in order.

        Args:
            beside: numbers that the caller holds for every vector of a block.
        """
        size = max(1, BLOCK // max(self.width, beside))
        for start in range(0, len(self), size):
            some = slice(start, min(start + size, len(self)))
            yield some, self.take(some)


Blocks = Callable[[], Iterable[tuple[slice, torch.Tensor]]]
"""Goes through all vectors each time it is called."""


@dataclass(frozen=True)
class Clusters:
    """What k-means found; every cluster has a row.

    Attributes:
        labels: the cluster of each vector, [n] of int64 from 0. centres: [clusters, width] of float64.
    """

    labels: np.ndarray
    centres: np.ndarray


def kmeans(vectors: Vectors, k: int, rng: np.random.Generator, *, spherical: bool, iterations: int) -> Clusters:
    """Lloyd's k-means from k distinct vectors drawn at random.

    An empty cluster gets the vector that lies farthest from its own centre. It ends when no vector moves.

    Args:
        vectors: in an order that follows from their content (`selectmm.methods.content.by_content`), or clusters
            depend on how the pool is stored. With ``spherical`` they have to be of length 1.
        k: at most; no more than half of the vectors, nor than there are distinct ones, and at least one.
        spherical: centres are scaled to length 1, and a vector belongs to the one that it has the largest inner product
            with; else to the nearest.
        iterations: at most.
    """
    centres = vectors.take(_distinct(vectors, max(1, min(k, len(vectors) // 2)), rng))
    held = list(vectors.blocks(len(centres))) if len(vectors) * vectors.width <= HELD else None
    blocks: Blocks = (lambda: held) if held else (lambda: vectors.blocks(len(centres)))
    before = None
    for _ in range(max(1, iterations)):
        labels, near, sums = _assign(blocks, len(vectors), centres, spherical)
        for place, cluster in _fill_empty(labels, near, len(centres)):
            moved = vectors.take(np.array([place]))[0]
            sums[cluster] -= moved
            sums[labels[place]] += moved
        if before is not None and torch.equal(labels, before):
            break
        before = labels
        counts = torch.bincount(labels, minlength=len(centres)).clamp(min=1).unsqueeze(1)
        centres = sums / (_lengths(sums) if spherical else counts)
    there, renumbered = np.unique(labels.cpu().numpy(), return_inverse=True)
    return Clusters(renumbered.astype(np.int64), centres.cpu().numpy()[there])


def nearest(vectors: Vectors, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest other vectors of each, exactly, and their squared distances; two arrays [n, min(k, n − 1)].

    Nearest first; of vectors that are as near, the earlier ones. Every pair is compared once, so time grows with the
    square of n; beside the result, memory does not grow.
    """
    n, k = len(vectors), min(k, len(vectors) - 1)
    known, size = _Nearest(n, k, pick_device("auto")), max(1, BLOCK // max(vectors.width, 4096))
    blocks = [_tiles(start, min(start + size, n)) for start in range(0, n, size)] if k > 0 else []
    for place in range(len(blocks)):
        _compare_first(vectors, blocks[place:], known)
    order = known.away.argsort(dim=1, stable=True)
    return known.found.gather(1, order).cpu().numpy(), known.away.gather(1, order).cpu().numpy()


def _compare_first(vectors: Vectors, blocks: list[list[slice]], known: "_Nearest") -> None:
    """Compare the vectors of the first block with one another and with those of all others; holds no other block."""
    own = blocks[0]
    first = own[0].start
    block = vectors.take(slice(first, own[-1].stop))
    for columns in chain.from_iterable(blocks):
        other = vectors.take(columns)
        if first == 0:
            known.squares[columns] = other.square().sum(1)
        for rows in own:
            if rows.start <= columns.start:
                known.compare(rows, block[rows.start - first : rows.stop - first], columns, other)


def _tiles(start: int, stop: int) -> list[slice]:
    """The places of a block, in pieces of `TILE`."""
    return [slice(first, min(first + TILE, stop)) for first in range(start, stop, TILE)]


class _Nearest:
    """The nearest vectors among those that each of n vectors has been compared with, which have to come in order.

    Attributes:
        found, away: places, ascending, [n, k], and squared distances, `FAR` where fewer than k are known. squares:
            squared lengths of the vectors, [n], to be filled in before they are compared.
    """

    def __init__(self, n: int, k: int, device: torch.device) -> None:
        self.found = torch.zeros(n, k, dtype=torch.int64, device=device)
        self.away = torch.full((n, k), FAR, dtype=torch.float64, device=device)
        self.squares = torch.empty(n, dtype=torch.float64, device=device)

    def compare(self, rows: slice, one: torch.Tensor, columns: slice, other: torch.Tensor) -> None:
        """Compare all vectors of one tile with all of a later one, or of the same."""
        lengths = self.squares[rows][:, None] + self.squares[columns]
        made = torch.addmm(lengths, one, other.T, alpha=-2).clamp_(min=0)
        same = rows == columns
        if same:
            made.fill_diagonal_(torch.inf)  # no vector is a neighbour of its own
        if rows.start == 0:  # the first that these columns are compared with: most are nearer than nothing
            places = torch.arange(rows.stop, device=made.device).expand(len(other), -1)
            found, away = _lowest(places, made.T.contiguous(), self.found.shape[1], self.squares[columns][:, None])
            self.found[columns, : found.shape[1]], self.away[columns, : found.shape[1]] = found, away
            if same:
                return
        near = made <= self._limit(rows)[:, None]
        if rows.start > 0 and not same:
            near |= made <= self._limit(columns)
        first, second = near.nonzero(as_tuple=True)
        distances = made[first, second]
        first, second = first + rows.start, second + columns.start
        self._add(first, second, distances)
        if rows.start > 0 and not same:
            order = second.argsort(stable=True)
            self._add(second[order], first[order], distances[order])

    def _limit(self, some: slice | torch.Tensor) -> torch.Tensor:
        """Squared distance above which a vector is none of the nearest ones, nor as far as the last of them."""
        last = self.away[some].amax(1)
        return last + CLOSE * (self.squares[some] + last)

    def _add(self, rows: torch.Tensor, places: torch.Tensor, distances: torch.Tensor) -> None:
        """Take in pairs, [m] each: ``rows`` ascend, and the ``places`` of each, which are later than those it knows."""
        within = distances <= self._limit(rows)
        rows, places, distances = rows[within], places[within], distances[within]
        if not len(rows):
            return
        there, slot, counts = torch.unique_consecutive(rows, return_inverse=True, return_counts=True)
        k = self.found.shape[1]
        column = k + torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[slot]
        width = (len(there), int(counts.max()))
        indices = torch.cat([self.found[there], places.new_zeros(width)], 1)
        away = torch.cat([self.away[there], distances.new_full(width, torch.inf)], 1)
        indices[slot, column], away[slot, column] = places, distances
        self.found[there], self.away[there] = _lowest(indices, away, k, self.squares[there][:, None])


def _distinct(vectors: Vectors, k: int, rng: np.random.Generator) -> np.ndarray:
    """Places of up to k vectors of which no two are the same, in a random order; reads little more than k of them."""
    seen: dict[bytes, int] = {}
    order = rng.permutation(len(vectors))
    for start in range(0, len(order), k):
        some = order[start : start + k]
        for place, vector in zip(some.tolist(), vectors.take(some).float().cpu().numpy(), strict=True):
            seen.setdefault(hashlib.blake2b((vector + 0.0).tobytes(), digest_size=16).digest(), place)
        if len(seen) >= k:
            break
    return np.array(list(seen.values())[:k])


def _assign(
    blocks: Blocks, n: int, centres: torch.Tensor, spherical: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The first of the nearest centres of each vector, [n], how near it is, [n] (larger is nearer), and the sums of the
    vectors of each, [centres, width], in one pass: reading is what takes time where they are on disk."""
    labels = torch.zeros(n, dtype=torch.int64, device=centres.device)
    near = torch.zeros(n, dtype=torch.float64, device=centres.device)
    sums = torch.zeros_like(centres)
    for some, block in blocks():
        fit = block @ centres.T if spherical else -_squared(block, centres)
        scale = 1.0 if spherical else block.square().sum(1, keepdim=True) + centres.square().sum(1).max()
        top = fit.max(1, keepdim=True).values
        labels[some] = (fit >= top - CLOSE * scale).to(torch.uint8).argmax(1)  # the first of several
        near[some] = top.flatten()
        sums.index_add_(0, labels[some], block)
    return labels, near, sums


def _fill_empty(labels: torch.Tensor, near: torch.Tensor, k: int) -> list[tuple[int, int]]:
    """Move the vector that is farthest from its centre, and not alone there, into each empty cluster.

    ``labels`` change in place; the vectors that moved are returned, with the cluster that each was in.
    """
    moved: list[tuple[int, int]] = []
    counts = torch.bincount(labels, minlength=k)
    empty = (counts == 0).nonzero().flatten().tolist()
    if not empty:
        return moved
    order = iter(torch.argsort(near, stable=True).tolist())
    for cluster in empty:
        place = next((place for place in order if counts[labels[place]] > 1), None)
        if place is None:
            break
        moved.append((place, int(labels[place])))
        counts[labels[place]] -= 1
        labels[place] = cluster
        counts[cluster] += 1
    return moved


def _lowest(
    indices: torch.Tensor, distances: torch.Tensor, k: int, scale: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k smallest distances of each row, the earlier column's where two are equal up to rounding; columns ascend.

    Args:
        indices, distances: [n, m]; columns in the order that decides. scale: what rounding is in proportion to, [n, 1].
    """
    k = min(k, distances.shape[1])
    values, found = distances.topk(min(k + 1, distances.shape[1]), largest=False)
    limit = values[:, k - 1 : k]
    slack = CLOSE * (scale + limit)
    columns = found[:, :k].sort(dim=1).values
    tied = ((values[:, k:] - limit) <= slack).any(1)  # only there is more than topk's own choice to be looked at
    if tied.any():
        columns[tied] = _first_of_tied(distances[tied], limit[tied], slack[tied], k)
    return indices.gather(1, columns), distances.gather(1, columns)


def _first_of_tied(distances: torch.Tensor, limit: torch.Tensor, slack: torch.Tensor, k: int) -> torch.Tensor:
    """Columns of the k smallest, ascending, the earlier ones of those that are as far as the k-th; [n, k]."""
    certain, tied = distances < limit - slack, (distances - limit).abs() <= slack
    lacking = k - certain.sum(1, keepdim=True)
    chosen = certain | (tied & (tied.cumsum(1) <= lacking))
    return chosen.nonzero()[:, 1].view(-1, k)


def _squared(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Squared distances of all pairs, [n, m]."""
    lengths = one.square().sum(1, keepdim=True) + other.square().sum(1)
    return torch.addmm(lengths, one, other.T, alpha=-2).clamp_(min=0)


def _lengths(block: torch.Tensor) -> torch.Tensor:
    """To divide by: each row's length, 1 where that is 0; [n, 1]."""
    lengths = block.norm(dim=1, keepdim=True)
    return torch.where(lengths > 0, lengths, 1)
