"""Farthest-point sampling of many long vectors, exactly, a block at a time.

One after the other, the vector is chosen that is farthest from its nearest chosen one. The plain form compares all n
vectors with every chosen one as soon as it is chosen: k passes over the vectors, which is more than reading from a disk
allows. Here a vector's distance is brought up to date only when it may be the largest: distances can only fall, so an
old one is a bound. A block of the vectors with the largest bounds is compared, in one matrix product, with the chosen
ones that it has not met, and gives the next choices for as long as its best is above all bounds outside.
"""

import numpy as np
import torch

from selectmm.methods.clustering import Vectors

ROWS = 1024  # vectors that are brought up to date at a time
DIGITS = 9  # squared distances that agree in so many, as shares of the largest square, are the same


def farthest(vectors: Vectors, count: int, given: int = 0) -> np.ndarray:
    """Places of ``count`` vectors in the order of the choice; [count] of int64.

    The first ``given`` vectors are chosen from the start; if there are none, the longest is the first. Of vectors that
    are as far, the earlier one is chosen. At worst every vector meets every chosen one, as in the plain form, but in
    matrix products. In memory are a block of vectors, a block of the chosen ones that they have to meet, and three
    numbers for every vector.
    """
    if count <= given:
        return np.arange(count)
    return _Chosen(vectors, given).take(count)


class _Chosen:
    """What is known while vectors are chosen.

    Attributes:
        bound: each vector's squared distance from the nearest of the first ``met`` chosen ones, −1 for a chosen vector.
    """

    def __init__(self, vectors: Vectors, given: int) -> None:
        self.vectors = vectors
        self.squares = np.concatenate([block.square().sum(1).cpu().numpy() for _, block in vectors.blocks()])
        self.unit = 10.0**-DIGITS * max(float(self.squares.max()), 1e-300)
        self.bound = np.full(len(vectors), np.inf)
        self.met = np.zeros(len(vectors), np.int64)
        self.chosen: list[int] = list(range(given))
        self.bound[:given] = -1

    def take(self, count: int) -> np.ndarray:
        if not self.chosen:
            self._choose(int(np.round(self.squares / self.unit).argmax()))  # the first of the longest
        while len(self.chosen) < min(count, len(self.vectors)):
            self._from_block(count)
        return np.array(self.chosen[:count], np.int64)

    def _choose(self, place: int) -> None:
        self.chosen.append(place)
        self.bound[place] = -1

    def _from_block(self, count: int) -> None:
        """Bring the vectors with the largest bounds up to date, and choose while one of them is farthest of all."""
        places, (next_bound, next_place) = self._largest()
        block = self.vectors.take(places)
        away = self._updated(places, block)
        while len(self.chosen) < count:
            best = int(away.argmax())  # places ascend, so the first of several is the earlier one
            if away[best] < 0 or (-away[best], places[best]) > (-next_bound, next_place):
                break
            self._choose(int(places[best]))
            away[best] = -1
            fresh = self._distances(block, self.squares[places], block[best : best + 1], self.squares[places[[best]]])
            away = np.where(away < 0, -1, np.minimum(away, fresh))
        self.bound[places], self.met[places] = away, len(self.chosen)

    def _largest(self) -> tuple[np.ndarray, tuple[float, float]]:
        """`ROWS` vectors with the largest bounds, the earlier of equal ones, ascending; and the next one's bound and
        place."""
        n = len(self.bound)
        if n <= ROWS:
            return np.arange(n), (-np.inf, np.inf)
        least = np.partition(self.bound, n - ROWS - 1)[n - ROWS - 1]  # the first that is too many
        above, equal = np.flatnonzero(self.bound > least), np.flatnonzero(self.bound == least)
        room = ROWS - len(above)
        return np.sort(np.concatenate([above, equal[:room]])), (float(least), float(equal[room]))

    def _updated(self, places: np.ndarray, block: torch.Tensor) -> np.ndarray:
        """Squared distances of a block to the nearest of all chosen vectors, [rows]; chosen ones keep −1."""
        away, met = self.bound[places], self.met[places]
        chosen = np.array(self.chosen)
        for start in range(int(met.min()), len(chosen), ROWS):
            some = chosen[start : start + ROWS]
            behind = np.flatnonzero((met < start + len(some)) & (away >= 0))
            if len(behind):
                rows = torch.from_numpy(behind).to(block.device)
                fresh = self._distances(
                    block[rows], self.squares[places[behind]], self.vectors.take(some), self.squares[some]
                )
                away[behind] = np.minimum(away[behind], fresh)
        return away

    def _distances(
        self, rows: torch.Tensor, squares: np.ndarray, others: torch.Tensor, theirs: np.ndarray
    ) -> np.ndarray:
        """Of each row to the nearest of the others: squared, in whole units, [rows]."""
        across = torch.from_numpy(theirs).to(rows.device) - 2 * (rows @ others.T)
        nearest = across.min(1).values.cpu().numpy() + squares
        return np.maximum(np.round(nearest / self.unit), 0)
