"""A VLM's language path as a model of lm-eval's (0.4.13)."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from itertools import groupby, islice
from typing import Any

import datasets
import numpy as np

import selectmm.models  # noqa: F401  (lets torchvision import)
from selectmm.cache.cost import computing
from selectmm.errors import UserError
from selectmm.evaluation.answering import Responses
from selectmm.evaluation.batching import Batching, sample
from selectmm.evaluation.decode import TOLERANCE, Reply, Until, decode, ends_of, one_thread
from selectmm.evaluation.generate import Backend, Scorer
from selectmm.evaluation.halves import in_halves, in_smaller_batches
from selectmm.models.encode import Batch
from selectmm.models.together import GENERATED, TOKENS, parts, rows_together
from selectmm.models.vlm import VLM

from lm_eval.api.instance import Instance  # isort: skip
from lm_eval.api.model import LM  # isort: skip
from lm_eval.models.huggingface import HFLM  # isort: skip
from lm_eval.models.utils import normalize_gen_kwargs  # isort: skip

CHUNK = 8  # batches of likelihoods that are kept at once: HFLM sorts what it is given, and shares contexts in it


def language_model(
    vlm: VLM, batch_size: int, responses: Responses, batching: Batching, backend: Backend | None = None
) -> "LanguageModel":
    """The VLM without images as a model of lm-eval's; what it answers is kept at ``responses``.

    Args:
        batching: is called with how many of a sample change when they are asked alone, unless none can.
        backend: answers in the VLM's place, which then only makes the tokens.
    """
    with quiet():
        theirs = (_InBatches if backend is None else partial(_Elsewhere, backend.score))(
            pretrained=vlm.model,
            tokenizer=vlm.processor.tokenizer,
            backend="causal",
            batch_size=batch_size,
            device=str(vlm.model.device),
            max_length=vlm.model.config.get_text_config().max_position_embeddings,
        )
    return LanguageModel(vlm, theirs, responses, batching, backend)


class _InBatches(HFLM):
    """lm-eval's model, in smaller batches where the usual ones would have more than `TOKENS` tokens, padding included,
    whose logits it holds all at once, or where memory does not suffice for them."""

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[object, list[int], list[int]]], *args: Any, **named: Any
    ) -> list[tuple[float, bool]]:
        usual = self.batch_size_per_gpu
        longest = max((len(context) + len(continuation) for _, context, continuation in requests), default=0)
        longest = min(longest, self.max_length)

        def asked(size: int) -> list[tuple[float, bool]]:
            self.batch_size_per_gpu = size
            return HFLM._loglikelihood_tokens(self, requests, *args, **{**named, "disable_tqdm": True})

        try:
            return in_smaller_batches(asked, rows_together(usual, longest, TOKENS))
        finally:
            self.batch_size_per_gpu = usual


class _Elsewhere(HFLM):
    """lm-eval's model whose tokens are its own and whose likelihoods come from a backend."""

    def __init__(self, score: Scorer, **named: Any) -> None:
        super().__init__(**named)
        self._score, self._window = score, self.max_length

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """In pieces that are two tokens shorter, as lm-eval's own vLLM: before a piece stands a token, after it one."""
        self._max_length = self._window - 2
        try:
            return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
        finally:
            self._max_length = self._window

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[object, list[int], list[int]]], *_: object, **_named: object
    ) -> list[tuple[float, bool]]:
        """The window holds the whole text and one token more, which vLLM has to generate."""
        pairs = []
        for _, context, continuation in requests:
            lost = max(0, len(context) + len(continuation) - (self._window - 1))
            pairs.append((context[lost:], continuation))
        return self._score(pairs)


class LanguageModel(LM):
    """Likelihoods are lm-eval's own; generated text is `decode`'s (the base class is demanded by lm-eval)."""

    def __init__(
        self, vlm: VLM, theirs: HFLM, responses: Responses, batching: Batching, backend: Backend | None
    ) -> None:
        super().__init__()
        self._vlm, self._theirs, self._responses = vlm, theirs, responses
        self._batching, self._backend = batching, backend
        self.cut: set[str] = set()  # items whose text was still going on at the cap
        self.shortened: set[str] = set()  # items whose prompt lost its beginning, because the window is too small

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation, and whether it is what greedy decoding says.

        Questions whose best options lie closer together than a batch's noise are asked again, each option alone, so
        that what is preferred does not depend on the batch.
        """
        # A question's options have one context and stay together, which HFLM makes use of.
        order = sorted(range(len(requests)), key=lambda i: (-len(requests[i].args[0]), requests[i].args[0], i))

        def ask(items: Sequence[int]) -> list[tuple[float, bool]]:
            with computing() if self._backend is None else nullcontext():  # which counts itself
                some = [requests[i] for i in items]
                return self._theirs.loglikelihood(some, disable_tqdm=True)

        room = self._theirs.max_length + (1 if self._backend is None else -1)
        for request in requests:
            self._note(request, "".join(request.args), room)
        chunk = CHUNK * self._theirs.batch_size if self._backend is None else self._backend.size
        found = self._responses.answer([request.args for request in requests], order, chunk, ask)

        def alone(items: Sequence[int]) -> list[tuple[float, bool]]:
            """Keep the answers of single requests as well, so that after a kill none is asked a third time."""
            again = [["alone", *requests[i].args] for i in items]
            with one_thread():
                return self._responses.answer(
                    again, range(len(items)), 1, lambda places: ask([items[place] for place in places])
                )

        several = self._backend is not None or self._theirs.batch_size > 1
        if several and self._backend is None and self._batching.invariant:
            ties = _ties(requests, [value for value, _ in found], TOLERANCE)
            for item, other in zip(ties, alone(ties), strict=True):
                found[item] = other
        elif several and not self._batching.invariant:
            self._compare(requests, [value for value, _ in found], alone)
        return [(float(value), bool(said)) for value, said in found]

    def _compare(
        self,
        requests: Sequence[Instance],
        values: Sequence[float],
        alone: Callable[[Sequence[int]], Sequence[tuple[float, bool]]],
    ) -> None:
        """Of a sample of questions, whether another option is preferred where each is asked alone."""
        questions = list(_questions(requests).values())
        some = [questions[place] for place in sample(len(questions))]
        again = iter(alone([item for items in some for item in items]))
        for items in some:
            others = [value for value, _ in islice(again, len(items))]
            self._batching.note([int(np.argmax([values[i] for i in items])) != int(np.argmax(others))])

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Greedy continuations of each context, as HFLM's but independent of the batch.

        Where contexts and answers may have more than `GENERATED` tokens, padding included, the batch is decoded in
        parts; where memory does not suffice, its halves go on one after the other.

        Raises:
            UserError: a task wants samples, or more tokens than the model's window has.
        """
        settings = [json.dumps(request.args[1], sort_keys=True) for request in requests]
        order = sorted(range(len(requests)), key=lambda i: (settings[i], -len(requests[i].args[0]), i))

        def ask(items: Sequence[int]) -> list[dict[str, object]]:
            replies = []
            for _, alike in groupby(items, key=lambda i: settings[i]):
                replies += in_halves(lambda some: self._continue([requests[i] for i in some]), list(alike))
            return [asdict(reply) for reply in replies]

        size = self._theirs.batch_size if self._backend is None else self._backend.size
        found = self._responses.answer([request.args for request in requests], order, size, ask)
        if not self._batching.invariant and size > 1:
            some = sample(len(requests))
            alone = [["alone", *requests[i].args] for i in some]
            again = self._responses.answer(alone, range(len(some)), 1, lambda places: ask([some[p] for p in places]))
            self._batching.note(found[i] != other for i, other in zip(some, again, strict=True))
        for request in requests:
            tokens = normalize_gen_kwargs(request.args[1], self._theirs.max_gen_toks)["max_gen_toks"]
            self._note(request, request.args[0], self._theirs.max_length - tokens)
        replies = [Reply(**kept) for kept in found]
        self.cut |= {item_of(r.task_name, r.doc_id) for r, reply in zip(requests, replies, strict=True) if reply.cut}
        return [reply.text for reply in replies]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Log-likelihood of whole texts, lm-eval's own, which reads one that is longer than the window in pieces."""

        def ask(items: Sequence[int]) -> list[float]:
            with computing() if self._backend is None else nullcontext():
                return self._theirs.loglikelihood_rolling([requests[i] for i in items], disable_tqdm=True)

        # One text at a time: it may have many pieces, and is then answered alike whatever is asked beside it.
        return self._responses.answer([request.args for request in requests], range(len(requests)), 1, ask)

    def _note(self, request: Instance, text: str, room: int) -> None:
        """Remember the item if its text has more tokens than ``room``; lm-eval drops the first and only logs it."""
        if len(text.encode()) > room and len(self._theirs.tok_encode(text)) > room:  # a token is at least one byte
            self.shortened.add(item_of(request.task_name, request.doc_id))

    def _continue(self, requests: Sequence[Instance]) -> list[Reply]:
        settings = normalize_gen_kwargs(requests[0].args[1], self._theirs.max_gen_toks)
        tokens, window = settings["max_gen_toks"], self._theirs.max_length
        if settings["do_sample"]:
            raise UserError(f"Task '{requests[0].task_name}' wants samples; set do_sample: false in its YAML.")
        if tokens >= window:
            raise UserError(
                f"Task '{requests[0].task_name}' generates up to {tokens} tokens, but the model's window has {window}; "
                f"set max_gen_toks in a task YAML of your own that includes it."
            )

        def encoded(contexts: Sequence[str]) -> Batch:
            ids, mask = self._theirs.tok_batch_encode(list(contexts), left_truncate_len=window - tokens)
            return {"input_ids": ids, "attention_mask": mask}

        contexts = [request.args[0] for request in requests]
        until = Until(tokens, settings["until"], ends_of(self._vlm))
        if self._backend is not None:
            return self._backend.complete([encoded([one])["input_ids"][0].tolist() for one in contexts], until)
        together = parts(encoded(contexts)["attention_mask"].sum(1) + tokens, GENERATED)
        return [reply for some in together for reply in self._decoded(encoded, contexts[some], until)]

    def _decoded(self, encoded: Callable[[Sequence[str]], Batch], contexts: Sequence[str], until: Until) -> list[Reply]:
        return decode(self._vlm, lambda rows: encoded([contexts[row] for row in rows]), len(contexts), until)


def _ties(requests: Sequence[Instance], values: Sequence[float], share: float) -> list[int]:
    """The options of questions whose two best are closer than ``share`` of a likelihood: as it is, or per character.

    lm-eval divides by the characters of the option, which the continuation has a space more than (or not: a task may
    put nothing between, or begin its options with a space), so both lengths are looked at.
    """
    found = []
    for items in _questions(requests).values():
        said = [len(requests[i].args[1]) for i in items]
        for lengths in ([1] * len(items), said, [max(1, length - 1) for length in said]):
            scaled = sorted((values[i] / n for i, n in zip(items, lengths, strict=True)), reverse=True)
            if len(items) > 1 and scaled[0] - scaled[1] <= share * abs(scaled[1]):
                found += items
                break
    return found


def _questions(requests: Sequence[Instance]) -> dict[object, list[int]]:
    """The positions of each question's options among the requests."""
    questions: dict[object, list[int]] = {}
    for item, request in enumerate(requests):
        questions.setdefault((request.task_name, request.doc_id), []).append(item)
    return questions


def item_of(task: str | None, doc: int | None) -> str:
    """An item's name: its task, and its place there."""
    return f"{task}/{doc}"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the logs of every step and the bars of loading; lm-eval's own bars over requests stay."""
    log = logging.getLogger("lm_eval")
    level, bars = log.level, not datasets.are_progress_bars_disabled()
    log.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        log.setLevel(level)
        if bars:
            datasets.enable_progress_bars()
