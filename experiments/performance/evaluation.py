"""How fast are a suite's questions answered, against lmms-eval's own LLaVA wrapper, a question at a time?

python experiments/performance/evaluation.py [--items 24] [--batch-size 16] [--model FOLDER]

The mini-benchmarks' own task code makes prompts, settings and pictures before anything is timed; both sides then answer
the same questions with the same weights, image opening aside. Sides take turns, and the faster round of each counts.
"""

import json
import sys
import tempfile
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
from omegaconf import OmegaConf

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.performance.floor import Floor, Part, products
from experiments.performance.sides import ROOT, Comparison, Side, keep, measure
from selectmm.evaluation import multimodal
from selectmm.evaluation.answering import Responses
from selectmm.evaluation.batching import Batching
from selectmm.evaluation.generate import Question, generate, in_batches
from selectmm.evaluation.tasks import rendered
from selectmm.flops.anatomy import anatomy_of
from selectmm.flops.formulas import Load, forward
from selectmm.instantiate import open_suite
from selectmm.models import llava
from selectmm.models.encode import Conversation, encode, pad_to_square, render
from selectmm.models.vlm import VLM
from selectmm.planning.load import load_of
from selectmm.pool.sample import Turn
from selectmm.quickstart.embedded import open_model


@dataclass(frozen=True)
class Sheet:
    """The questions of one task, their pictures opened, and how they are to be answered."""

    questions: tuple[Question, ...]
    tokens: int
    stops: tuple[str, ...]


class _Collected(Exception):
    """Leaves the harness once its questions are known."""


def sheets(vlm: VLM, items: int, cache: str) -> list[Sheet]:
    """Each multimodal mini-benchmark's first ``items`` questions, of them those with pictures (made square)."""
    config = OmegaConf.create({"cache": cache, "suite": OmegaConf.load(ROOT / "configs" / "suite" / "mini.yaml")})
    suite = open_suite(OmegaConf.to_container(config.suite, resolve=True))
    found = []

    def collect(questions: Sequence[Question], tokens: int, stops: Sequence[str]) -> list:
        mean = vlm.processor.image_processor.image_mean
        shown = [tuple(pad_to_square(image, mean) for image in question.images()) for question in questions]
        asked = tuple(
            Question(question.prompt, lambda images=images: images)
            for question, images in zip(questions, shown, strict=True)
            if images  # of a question without one, lmms-eval 0.7.3's wrapper answers the one before, or nothing
        )
        found.append(Sheet(asked, tokens, tuple(stops)))
        raise _Collected

    with rendered(suite.tasks) as tasks:
        for benchmark in suite.benchmarks:
            if benchmark.harness != "lmms-eval":
                continue
            try:
                multimodal.run([benchmark], tasks, collect, limit=items, max_new_tokens=16, images="shown", seed=0)
            except _Collected:
                pass
    return found


def opened(cache: str, model: str | None) -> VLM:
    """The embedded model, or another LLaVA from its folder (asked as vicuna_v1), in float32 on the CPU."""
    if model is None:
        return open_model("float32", "cpu", cache)
    return llava.load(model, dtype="float32", device="cpu")


def ours(items: int, cache: str, model: str | None, batch_size: int) -> Callable[[], np.ndarray]:
    """Everything that an evaluation does between questions and answers, keeping them on disk too."""
    vlm = opened(cache, model)
    asked = sheets(vlm, items, cache)

    def run() -> np.ndarray:
        texts = []
        with tempfile.TemporaryDirectory() as folder:
            for number, sheet in enumerate(asked):
                kept = Responses(Path(folder), str(number), "asked")
                answer = in_batches(partial(generate, vlm), batch_size, kept, Batching(invariant=True))
                texts += [reply.text for reply in answer(sheet.questions, sheet.tokens, sheet.stops)]
        return np.array(texts)

    generate(vlm, asked[0].questions[:2], 2, [])  # PyTorch wakes up
    return run


def theirs(items: int, cache: str, model: str | None) -> Callable[[], np.ndarray]:
    """lmms-eval's wrapper, which answers one question at a time (it refuses more)."""
    sys.modules.setdefault("decord", ModuleType("decord")).__dict__.update(
        VideoReader=None, cpu=None
    )  # for video alone
    from lmms_eval.api.instance import Instance
    from lmms_eval.models.simple.llava_hf import LlavaHf

    vlm = opened(cache, model)
    asked = sheets(vlm, items, cache)
    before, after = render(vlm.family.template, (Turn("user", "QUESTION"),), 0)[0].split("QUESTION")
    # As expressions, because Jinja drops a newline at a template's end.
    template = f"{{{{ {json.dumps(before)} + messages[0]['content'] + {json.dumps(after)} }}}}"
    folder = vlm.model.config._name_or_path
    wrapper = LlavaHf(pretrained=folder, device="cpu", dtype="float32", device_map="cpu", chat_template=template)

    def run() -> np.ndarray:
        texts = []
        for number, sheet in enumerate(asked):
            name = str(number)
            wrapper.task_dict = {name: {"test": range(len(sheet.questions))}}
            pictures = [list(question.images()) for question in sheet.questions]
            requests = [
                Instance(
                    request_type="generate_until",
                    arguments=(q.prompt, {"max_new_tokens": sheet.tokens}, pictures.__getitem__, row, name, "test"),
                    idx=0,
                    metadata={"task": name, "doc_id": row, "repeats": 1},
                )
                for row, q in enumerate(sheet.questions)
            ]
            texts += wrapper.generate_until(requests)
        return np.array(texts)

    return run


def main(arguments: list[str]) -> Path:
    """Measure and keep; returns the record's path."""
    parser = ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--items", type=int, default=24, help="questions of each of the eight benchmarks")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--model", help="folder of another LLaVA than the embedded one")
    parser.add_argument("--cache", default="outputs/cache")
    parser.add_argument("--out", type=Path, default=Path("outputs/performance"))
    given = parser.parse_args(arguments)
    same = given.items, given.cache, given.model
    turns = [(measure(theirs, *same), measure(ours, *same, given.batch_size)) for _ in range(given.rounds)]
    wrapper, batched = ([side for side, _ in sides] for sides in zip(*turns, strict=True))
    (_, expected), (_, found) = turns[0]
    what = f"answers to {len(found)} questions, {given.batch_size} at a time"
    other = float((expected != found).mean())
    compared = Comparison(what, "lmms-eval's llava_hf", _fastest(batched), _fastest(wrapper), 3, differs=other)
    settings = {"items": given.items, "batch_size": given.batch_size, "rounds": given.rounds}
    stated = floors(same, given.batch_size, compared).record()
    return keep("evaluation", settings, [compared], given.out, floors=[stated])


def floors(asked: tuple[int, str, str | None], batch_size: int, compared: Comparison) -> Floor:
    """FLOPs of reading every prompt with its pictures, each by itself without padding, and of one token's logits.

    By the formulas of `selectmm.flops.formulas`. Tokens after an answer's first are not counted: how many there are
    follows from what the model says.
    """
    vlm = opened(*asked[1:])
    load = Load()
    for sheet in sheets(vlm, *asked[:2]):
        for question in sheet.questions:
            talk = Conversation((Turn("user", question.prompt),), question.images())
            load += load_of(vlm, encode(vlm, [talk], side="right", limit=None), 2**31)
    body = anatomy_of(vlm)
    flops = forward(body, load, head=False) + 2 * body.head * load.rows
    rate = products(max(1, round(batch_size * load.tokens / load.rows)), body.width, body.layers[0].inner)
    part = Part("prompts read, and the logits of a token each", flops, "FLOP", rate)
    return Floor(compared.what, compared.ours.seconds, (part,))


def _fastest(sides: Sequence[Side]) -> Side:
    return min(sides, key=lambda side: side.seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
