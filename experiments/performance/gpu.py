"""What only a GPU can show, in at most eight minutes: seconds and memory of 7B shapes against the plan, kernels, vLLM.

python experiments/performance/gpu.py [--python /envs/vllm/bin/python] [--minutes 8]
python experiments/performance/gpu.py --tiny --out outputs/performance      # the same code on tiny models, on a CPU

The model is LLaVA-1.5 7B with random weights, made on the GPU: nothing is fetched, and a step takes as long with any
weights. Parts run one after the other; after each the page and the record are written again, so that a run that is cut
off leaves what it has measured. Without a GPU the page says that nothing has been measured.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from experiments.performance import gpu_kernels, gpu_serving
from experiments.performance.gpu_page import NAME, Part, Row, make
from experiments.performance.gpu_step import BODY, TOWER, measure, random_llava, recipe_of
from selectmm.cache.provenance import provenance
from selectmm.cache.stage import write_atomically
from selectmm.errors import UserError
from selectmm.features.answers import AnswerLoss
from selectmm.features.attended import AttendedStates
from selectmm.features.feature import Feature
from selectmm.features.states import ImageStates
from selectmm.flops.gpus import Gpu, gpu_of
from selectmm.models.lengths import image_tokens
from selectmm.models.vlm import VLM
from selectmm.planning.bench import SIZE, Timed, time_decoding, time_feature, time_gradients, time_tuning
from selectmm.planning.known.loads import TEMPLATE
from selectmm.tuning.recipe import Recipe

from transformers import CLIPVisionConfig, LlamaConfig  # isort: skip  (only once selectmm has let torchvision import)

ROOT = Path(__file__).resolve().parents[2]
SEED = 0
ROWS = 16  # of a pass: with LLaVA-665K's mean of 876 tokens, nearly the 16,384 tokens of a batch
FEW = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
TINY_BODY = LlamaConfig(vocab_size=320, max_position_embeddings=2048, **FEW)  # heads of 64: vLLM takes no smaller ones
TINY_TOWER = CLIPVisionConfig(
    hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
)


@dataclass(frozen=True)
class Setup:
    """What is measured, and how often.

    Attributes:
        rows: of a pass. asked: sequences that are decoded together. spoken: tokens that each says.
        gpu: what the plan says of the device. python: the interpreter of an environment with vLLM; None for this one.
    """

    vlm: VLM
    recipe: Recipe
    gpu: Gpu
    rows: int
    asked: int
    spoken: int
    steps: int
    python: str | None = None


def setup(tiny: bool, python: str | None = None) -> Setup:
    """The model on its device. ``tiny``: on the CPU, a model of two layers and a recipe of four short rows."""
    torch.manual_seed(SEED)
    recipe = recipe_of("llava15_lora")
    if not tiny:
        return Setup(random_llava(BODY, TOWER, torch.device("cuda")), recipe, gpu_of("here"), ROWS, 16, 32, 5, python)
    vlm = random_llava(TINY_BODY, TINY_TOWER, torch.device("cpu"))
    small = replace(recipe, batch_size=4, micro_batch=2, rank=2, alpha=4, max_length=320)
    return Setup(vlm, small, gpu_of("cpu"), 2, 2, 4, 1, python)


def a_step(given: Setup) -> Iterator[Row]:
    """A step of LLaVA's own LoRA recipe with 2,048 tokens a row, as in a run, and a micro-batch of shorter rows."""
    figures = measure(given.vlm, given.recipe, steps=2, gpu=given.gpu)
    share, memory = figures["share of peak"], figures["memory, GiB"]
    yield Row(
        f"a step of {given.recipe.batch_size} rows of {figures['tokens of a row']:,} tokens",
        float(figures["seconds of a step (median)"]),
        float(figures["planned seconds of a step"]),
        None if share == "unknown" else float(share),
        None if memory == "unknown" else float(memory),
        float(figures["planned memory, GiB"]),
        "as in a run: rows are opened and encoded meanwhile",
    )
    timed = time_tuning(given.vlm, given.recipe, given.gpu, given.steps)
    yield timed_row("a micro-batch of rows of LLaVA-665K's mean length", timed, "the model alone")


def passes(given: Setup) -> Iterator[Row]:
    """What PRISM, ScalSelect, perplexity, and GraNd or TIVE compute of a batch of rows."""
    short = image_tokens(given.vlm, [SIZE])[0] + TEMPLATE  # an image and the template's words
    features: tuple[tuple[str, Feature, int], ...] = (
        ("PRISM: states of layer 1 of an image", ImageStates(1), short),
        ("ScalSelect: states and attention of layer 1", AttendedStates(1), given.recipe.max_length),
        ("perplexity: all layers and the answers' logits", AnswerLoss(), given.recipe.max_length),
    )
    for what, feature, limit in features:
        yield timed_row(what, time_feature(given.vlm, feature, given.gpu, given.steps, given.rows, limit))
    what = "GraNd, TIVE: every row's gradients of attention's LoRA"
    yield timed_row(what, time_gradients(given.vlm, given.recipe, given.gpu, given.steps, given.rows))


def decoding(given: Setup) -> Iterator[Row]:
    """A batch by our own decoding, and how many answers change when each is asked alone."""
    timed = time_decoding(given.vlm, given.gpu, given.spoken, given.asked, given.recipe.max_length)
    speed = f"{timed.rows * given.spoken / timed.seconds:,.0f} tokens/s, reading the prompts included"
    yield timed_row(f"{timed.rows} sequences of {given.spoken} new tokens", timed, speed)
    yield gpu_serving.changed_by_batch(given.vlm, given.asked, given.spoken)


def kernels(given: Setup) -> Iterator[Row]:
    """Loss and time by PyTorch's attention and by FlashAttention 2, of padded rows and of packed ones."""
    yield from gpu_kernels.compared(given.vlm, given.recipe, given.steps)


def precision(given: Setup) -> Iterator[Row]:
    """Which rows PRISM and perplexity keep by features in bfloat16, and which by features in float32."""
    yield from gpu_kernels.subsets(given.vlm, given.rows, 4 * given.rows, given.recipe.max_length)


def serving(given: Setup) -> Iterator[Row]:
    """vLLM's speed on the merged checkpoint."""
    yield from gpu_serving.by_vllm(given.vlm, given.gpu, given.python, given.asked, given.spoken)


def timed_row(what: str, timed: Timed, note: str = "") -> Row:
    """One of bench's measurements: seconds of all its steps."""
    pace = f"{timed.rows} rows at a time; {timed.tokens / timed.seconds:,.0f} tokens/s" + (f"; {note}" if note else "")
    return Row(what, timed.seconds, timed.estimated, timed.share, timed.peak_gib, timed.planned_gib, pace)


# Minutes that a part may need on an H100: it is not begun with less left.
PARTS: dict[str, tuple[Callable[[Setup], Iterator[Row]], float]] = {
    "LoRA step": (a_step, 1.7),
    "passes over the pool": (passes, 0.7),
    "decoding": (decoding, 0.7),
    "attention kernels": (kernels, 0.4),
    "bfloat16 against float32": (precision, 0.8),
    "vLLM": (serving, 2.5),
}


def main(arguments: list[str]) -> Path:
    """Measure part by part, writing record and page after each; returns the page's path."""
    given = _parser().parse_args(arguments)
    began, given.origin = time.monotonic(), provenance()  # before the first page is written, which changes the checkout
    there = given.tiny or torch.cuda.is_available()
    parts = [Part(name, (function.__doc__ or "").strip(), [], "") for name, (function, _) in PARTS.items()]
    _keep(parts, given, began)
    if not there:
        return _ended(parts, given, began, "there was no GPU")
    try:
        made = setup(given.tiny, given.python)
    except (UserError, RuntimeError) as problem:
        return _ended(parts, given, began, _sentence(problem))
    for place, (function, needed) in enumerate(PARTS.values()):
        left = given.minutes - (time.monotonic() - began) / 60
        if left < needed:
            parts[place] = replace(parts[place], why=f"{max(left, 0):.1f} minutes were left, and it may need {needed}")
        else:
            parts[place] = _measured(parts[place], function, made)
        _keep(parts, given, began)
    return _ended(parts, given, began, "")


def _measured(part: Part, function: Callable[[Setup], Iterator[Row]], made: Setup) -> Part:
    """The part with its rows, as many as there are when something goes wrong, and why it did."""
    rows: list[Row] = []
    why = ""
    try:
        with _freed():
            for row in function(made):
                print(f"{part.name}: {row}")
                rows.append(row)
    except (UserError, RuntimeError, OSError) as problem:  # of memory, of a kernel, of vLLM
        why = _sentence(problem)
    return replace(part, rows=rows, why=why)


@contextmanager
def _freed() -> Iterator[None]:
    """Give back memory that PyTorch keeps, so that the next part's peak is its own."""
    try:
        yield
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _sentence(problem: BaseException) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0][:300]


def _ended(parts: list[Part], given: argparse.Namespace, began: float, why: str) -> Path:
    """Write for the last time; ``why`` nothing was measured where a part has neither rows nor a reason."""
    parts[:] = [part if part.rows or part.why else replace(part, why=why) for part in parts]
    page = _keep(parts, given, began)
    print(page.read_text())
    return page


def _keep(parts: list[Part], given: argparse.Namespace, began: float) -> Path:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() and not given.tiny else None
    record = {
        "tiny": given.tiny,
        "device": device,
        "seed": SEED,
        "minutes": math.ceil((time.monotonic() - began) / 6) / 10,
        "parts": [asdict(part) for part in parts],
        "provenance": asdict(given.origin),
    }
    for folder in (given.records, given.out):
        folder.mkdir(parents=True, exist_ok=True)
    path = given.records / f"{NAME}.json"
    write_atomically(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return make(given.out, path)


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--tiny", action="store_true", help="tiny models on the CPU; no measurement of a GPU")
    made.add_argument("--python", help="interpreter of an environment that has vLLM (default: this one)")
    made.add_argument("--minutes", type=float, default=8.0, help="no part is begun that may not end by then")
    made.add_argument("--out", type=Path, default=ROOT / "results" / "tables", help="folder of the page")
    made.add_argument("--records", type=Path, default=ROOT / "results" / "metrics", help="folder of the record")
    return made


if __name__ == "__main__":
    main(sys.argv[1:])
