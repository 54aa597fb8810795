"""Greedy decoding whose answers do not depend, in float32 on a CPU, on what else is in the batch.

The same row gives slightly different logits in another batch: sums are taken in another order. Where the two likeliest
tokens are closer than that noise, the batch would decide. Such a **tie is decided alone**: the row is decoded again by
itself, on one thread, and that answer counts, whatever the batch was.

In 16 bits the noise is 3 % of a logit: nearly every answer meets such a tie, and a batch would be decoded one by one.
There, and on a GPU, no tie is looked for; how many answers the batch changes is measured on a sample
(`selectmm.evaluation.batching`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import GenerationConfig

from selectmm.cache.cost import computing
from selectmm.models.encode import Batch
from selectmm.models.inputs import inputs_of, to_device
from selectmm.models.vlm import VLM


@dataclass(frozen=True)
class Reply:
    """An answer. ``cut``: it had neither ended nor reached a stop string when the tokens allowed were used up."""

    text: str
    cut: bool = False


@dataclass(frozen=True)
class Until:
    """What ends an answer: so many tokens, one of these strings (they are no part of it), or one of these tokens."""

    max_new_tokens: int
    stops: Sequence[str]
    ends: frozenset[int]


# How close the two likeliest tokens may be, as a share of the largest logit, before a row is decoded alone.
# Between a batch of 16 and a row alone, logits in float32 differed by at most 5.5e-7 of the largest on the tiny models
# of all families and by 2.9e-6 on the embedded model; a gap may shrink by twice that.
TOLERANCE = 1e-4


def batch_invariant(vlm: VLM) -> bool:
    """Whether ties are decided alone, so that an answer does not depend on the batch: in float32 on a CPU."""
    return vlm.model.dtype == torch.float32 and vlm.model.device.type == "cpu"


@torch.inference_mode()
def decode(vlm: VLM, encoded: Callable[[Sequence[int]], Batch], rows: int, until: Until) -> list[Reply]:
    """The replies to one batch of ``rows`` prompts.

    Args:
        encoded: the tensors of some of the rows, padded on the left.
    """
    replies, tied = _decode(vlm, encoded(range(rows)), until, leave_ties=batch_invariant(vlm))
    for row in tied:
        with one_thread():
            (replies[row],), _ = _decode(vlm, encoded([row]), until, leave_ties=False)
    return replies


def _decode(vlm: VLM, encoded: Batch, until: Until, *, leave_ties: bool) -> tuple[list[Reply], list[int]]:
    """Replies of a batch, and the rows that were left where they met a tie (whose replies are worthless)."""
    batch = to_device(encoded, vlm.model)
    rows, start = batch["input_ids"].shape
    watch = _Watch(vlm, start, rows, until, leave_ties)
    with _contiguous_head(vlm), computing():
        output = vlm.model.generate(
            **inputs_of(batch),
            generation_config=greedy(vlm, until),
            logits_processor=[watch.look],
            stopping_criteria=[watch.over],
        )
    return watch.replies(output), watch.tied.nonzero().flatten().tolist()


class _Watch:
    """Looks on while a batch is decoded, in the two forms that transformers calls: a processor and a criterion."""

    def __init__(self, vlm: VLM, start: int, rows: int, until: Until, leave_ties: bool) -> None:
        device = vlm.model.device
        self._tokenizer, self._start = vlm.processor.tokenizer, start
        self._stops = [stop for stop in until.stops if stop]
        self._leave_ties = leave_ties
        self._ends = torch.tensor(sorted(until.ends), dtype=torch.long, device=device)
        # A token is at least one byte, so a stop that has just appeared lies within so many tokens.
        self._tail = max((len(stop.encode()) + 1 for stop in self._stops), default=0)
        self._live = torch.ones(rows, dtype=torch.bool, device=device)
        self.tied = ~self._live

    def look(self, _ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Note the rows, [n, vocabulary], whose two likeliest tokens are too close; the logits go on unchanged."""
        if not self._leave_ties:
            return logits
        low, high = logits.aminmax(dim=-1)
        near = high - TOLERANCE * torch.maximum(high, -low)
        self.tied |= self._live & ((logits >= near.unsqueeze(-1)).sum(-1) > 1)
        return logits

    def over(self, ids: torch.Tensor, _scores: torch.Tensor, **_named: object) -> torch.Tensor:
        """Which rows need no further token, [n] of bool."""
        self._live &= ~self.tied & ~torch.isin(ids[:, -1], self._ends)
        if self._stops:
            tails = ids[:, max(self._start, ids.shape[1] - self._tail) :]
            for row in self._live.nonzero().flatten().tolist():
                said = self._tokenizer.decode(tails[row], skip_special_tokens=True)
                self._live[row] = not any(stop in said for stop in self._stops)
        return ~self._live

    def replies(self, output: torch.Tensor) -> list[Reply]:
        """The replies of finished rows; those still live were cut."""
        texts = self._tokenizer.batch_decode(output[:, self._start :], skip_special_tokens=True)
        return [Reply(before(text, self._stops), cut) for text, cut in zip(texts, self._live.tolist(), strict=True)]


def ends_of(vlm: VLM) -> frozenset[int]:
    """The tokens that the checkpoint itself ends an answer with."""
    ends = vlm.model.generation_config.eos_token_id
    found = {*(ends if isinstance(ends, list) else [ends]), vlm.processor.tokenizer.eos_token_id}
    return frozenset(end for end in found if end is not None)


def greedy(vlm: VLM, until: Until) -> GenerationConfig:
    """Every setting that could sample or penalise is set here, so that a checkpoint's own defaults do not apply."""
    tokenizer = vlm.processor.tokenizer
    return GenerationConfig(
        max_new_tokens=until.max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        eos_token_id=sorted(until.ends),
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
    )


@contextmanager
def _contiguous_head(vlm: VLM) -> Iterator[None]:
    """Give the head its states in one piece: a slice (rows' last tokens) takes a CPU five times as long."""
    hook = vlm.model.get_output_embeddings().register_forward_pre_hook(lambda _head, inputs: (inputs[0].contiguous(),))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order, however many threads the process has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def before(text: str, stops: Sequence[str]) -> str:
    """The text until the first of the stop strings."""
    for stop in stops:
        text = text.split(stop)[0]
    return text
