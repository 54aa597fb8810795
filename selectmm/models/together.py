"""Which rows go through the model together: so many tokens, padding included, not so many rows."""

from collections.abc import Sequence

import torch

from selectmm.models.encode import Conversation
from selectmm.models.lengths import Outline, token_counts
from selectmm.models.vlm import VLM
from selectmm.pool.clip import Clip

# Tokens of a forward pass over whole rows. With them a 7B model's gradients are estimated to take 8 GB beside its
# weights, and the logits of all tokens, which lm-eval reads likelihoods from, 10 GB of a vocabulary of 152,000.
TOKENS = 16_384
# Tokens of a batch that is generated, prompts and the longest answers allowed: 16 rows of LLaVA's window of 4,096. At
# 7B in 16 bits their keys and values take 32 GiB.
GENERATED = 65_536
OVERHEAD = 128  # tokens that take as long as a pass does beside its tokens: reading 7B weights, or Python's share


def parts(lengths: torch.Tensor, tokens: int, start: int = 0) -> list[slice]:
    """Rows that are decoded together: all, or halves (of halves …) that have at most ``tokens``, padding included.

    A row that has more is decoded alone. There are as few parts as that allows, because each of them reads all weights
    for every token that it writes; rows of one pass are cut by `parts_alike`.

    Args:
        lengths: tokens of each row, [n]. start: the place of the first.
    """
    rows = len(lengths)
    if rows < 2 or rows * int(lengths.max()) <= tokens:
        return [slice(start, start + rows)]
    middle = rows // 2
    return [*parts(lengths[:middle], tokens, start), *parts(lengths[middle:], tokens, start + middle)]


def parts_alike(lengths: torch.Tensor, tokens: int) -> list[list[int]]:
    """Rows that are computed together where they pass the model once: rows of like length, so that little is padding.

    Of all ways to cut the rows, sorted by length, the one that costs least: a part costs its tokens, padding included,
    and `OVERHEAD` for the pass itself.

    Args:
        lengths: of each row, [n]. tokens: the most of a part, padding included, unless it is a single row.

    Returns:
        Positions of rows, each once, from short to long.
    """
    order = lengths.argsort(stable=True).tolist()
    least = [(0, 0)]  # of the first rows, none, one, two …: what they cost, and where their last part begins
    for stop, longest in enumerate(lengths[order].clamp(min=1).tolist(), 1):
        first = max(0, stop - max(1, tokens // longest))
        costs = [least[start][0] + (stop - start) * longest + OVERHEAD for start in range(first, stop)]
        cost = min(costs)
        least.append((cost, first + costs.index(cost)))
    cut, stop = [], len(order)
    while stop:
        start = least[stop][1]
        cut.append(order[start:stop])
        stop = start
    return cut[::-1]


def rows_together(rows: int, longest: float, tokens: int) -> int:
    """How many of ``rows`` rows of ``longest`` tokens `parts` leaves together."""
    while rows > 1 and rows * longest > tokens:
        rows //= 2
    return rows


def lengths_of(vlm: VLM, conversations: Sequence[Conversation]) -> torch.Tensor:
    """Tokens of each conversation, from the sizes of its images; [n] of int64.

    Raises:
        UserError: see `token_counts`.
    """
    sizes = [tuple(one if isinstance(one, Clip) else one.size for one in talk.images) for talk in conversations]
    outlines = [
        Outline(talk.turns, of, name=talk.name, shown=talk.places)
        for talk, of in zip(conversations, sizes, strict=True)
    ]
    return token_counts(vlm, outlines)
