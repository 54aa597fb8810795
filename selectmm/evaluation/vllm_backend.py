"""Answers of a merged checkpoint by vLLM, whose processes `selectmm.evaluation.engine` starts and asks.

Prompts are those of `generate` and of lm-eval: the family's template, a placeholder per image, pictures squared where
the family wants it; decoding is greedy. vLLM makes batches of its own and computes with kernels of its own: where two
tokens are nearly as likely its answers may differ from `generate`'s, and may depend on the batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selectmm.errors import UserError
from selectmm.evaluation.decode import Reply, Until, before
from selectmm.evaluation.engine import Engine, Processes, Request, running
from selectmm.evaluation.generate import Backend, Question, ends_of_turn
from selectmm.models.encode import prepare, render
from selectmm.models.vlm import VLM
from selectmm.pool.clip import Clip
from selectmm.pool.sample import Turn

BLOCKS = 4  # that every process answers before answers are kept


@contextmanager
def serving(engine: Engine, vlm: VLM, checkpoint: Path, devices: int, folder: Path) -> Iterator[Backend]:
    """Run vLLM on a whole checkpoint, for `evaluate`, for the length of the block.

    Args:
        vlm: the same model (where it lies does not matter): its processor and template make the prompts.
        checkpoint: a Hugging Face folder, adapters merged. Pictures get the size that its own processor says.
        devices: processes, one GPU each.
        folder: exists; logs, and images on their way, lie there.

    Raises:
        UserError: see `check_served` and `selectmm.evaluation.engine.running`.
    """
    check_served(vlm)
    dtype = str(vlm.model.dtype).removeprefix("torch.")
    with running(engine, checkpoint, dtype, devices, folder) as processes:
        yield _backend(engine, vlm, processes)


def check_served(vlm: VLM) -> None:
    """What can be known before anything is computed.

    Raises:
        UserError: the model is none that vLLM could load.
    """
    if getattr(vlm.model, "is_quantized", False):
        raise UserError(
            "engine=vllm answers with a merged checkpoint, and LoRA cannot be merged into 4-bit weights; set "
            "compute=plain."
        )
    own = sorted({type(m).__module__ for m in vlm.model.modules() if type(m).__module__.startswith("selectmm.")})
    if own:
        raise UserError(
            f"vLLM cannot serve this model: part of it ({own[0]}) is this project's own; evaluate it without "
            f"engine=vllm."
        )


def _backend(engine: Engine, vlm: VLM, processes: Processes) -> Backend:
    ends = ends_of_turn(vlm)

    def answer(questions: Sequence[Question], max_new_tokens: int, stops: Sequence[str]) -> list[Reply]:
        until = Until(max_new_tokens, stops, ends)
        found = processes.ask(_blocks(questions, engine.block), lambda block: [_asked(vlm, q, until) for q in block])
        return _replies(vlm, found, until)

    def complete(contexts: Sequence[Sequence[int]], until: Until) -> list[Reply]:
        blocks = _blocks(contexts, engine.block)
        found = processes.ask(blocks, lambda block: [Request(tokens, _rest(until)) for tokens in block])
        return _replies(vlm, found, until)

    def score(pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, bool]]:
        blocks = _blocks(pairs, engine.block)
        found = processes.ask(blocks, lambda block: [Request([*a, *b], {"from": len(a)}) for a, b in block])
        return [(one["likelihood"], one["greedy"]) for one in found]

    size = BLOCKS * engine.block * len(processes.running)
    return Backend(f"vllm {processes.version}", answer, complete, score, size, processes.batch_invariant)


def _blocks(items: Sequence[object], size: int) -> list[Sequence[object]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _asked(vlm: VLM, question: Question, until: Until) -> Request:
    shown = question.images()
    if any(isinstance(one, Clip) for one in shown):
        raise UserError("This benchmark shows clips, and vLLM is given images alone; evaluate it with engine=null.")
    if vlm.family.tiles_alone and len(shown) > 1:  # vLLM knows nothing of the images beside an image
        raise UserError(
            f"This benchmark shows several images at once, which vLLM would cut into tiles; this model "
            f"({vlm.family.name}) sees them whole, so evaluate it with engine=null."
        )
    images = [prepare(vlm, image) for image in shown]
    text, _, _ = render(vlm.family.template, (Turn("user", question.prompt),), question.placed(shown))
    tokens = vlm.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    return Request(tokens, _rest(until), images)


def _replies(vlm: VLM, found: Sequence[Mapping[str, Any]], until: Until) -> list[Reply]:
    texts = [vlm.processor.tokenizer.decode(one["tokens"], skip_special_tokens=True) for one in found]
    return [Reply(before(text, until.stops), one["cut"]) for text, one in zip(texts, found, strict=True)]


def _rest(until: Until) -> dict[str, object]:
    return {"max_tokens": until.max_new_tokens, "stops": list(until.stops), "ends": sorted(until.ends)}
