"""A small suite for tests: items of all eleven mini-benchmarks, written once, and stubs that answer them."""

import atexit
import functools
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import yaml
from PIL import Image

from selectmm.evaluation.decode import Reply
from selectmm.evaluation.generate import Answerer, Question
from selectmm.evaluation.suite import Benchmark, Suite
from selectmm.evaluation.tasks import rendered
from selectmm.quickstart.item import Item
from selectmm.quickstart.schemas import write

CONFIGS = Path(__file__).parents[2] / "configs" / "suite"
COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (40, 70, 220), "yellow": (230, 210, 50)}
TEXTS = ("hellaswag", "mmlu", "mmlu_pro")


def image(number: int, colour: str) -> Image.Image:
    """A plain picture; every ``number`` has its own size, so no two are the same."""
    return Image.new("RGB", (40 + number, 60 - number), COLOURS[colour])


def _choice(number: int, shown: bool = True) -> Item:
    colour = list(COLOURS)[number * 3 % 4]
    picture = image(number, colour) if shown else None
    return Item("colour", f"What colour is picture {number}?", colour, tuple(COLOURS), picture)


def _open(number: int) -> Item:
    item = _choice(number)
    return Item(item.kind, item.question, item.answer, (), item.image)


def _yes_no(number: int, kind: str = "colour") -> Item:
    answer = ("yes", "no", "no")[number % 3]
    return Item(kind, f"Is picture {number} red?", answer, (), image(number, "red" if answer == "yes" else "blue"))


def _pair(number: int, kind: str) -> list[Item]:
    picture = image(number, "red")
    return [Item(kind, "Is it red?", "yes", (), picture), Item(kind, "Is it blue?", "no", (), picture)]


def items() -> dict[str, list[Item]]:
    """Eight of each, two MME categories of three pairs."""
    shown = [_choice(number) for number in range(8)]
    found = [_choice(number, shown=False) for number in range(8)]
    kinds = ("color", "color", "color", "numerical_calculation", "numerical_calculation", "numerical_calculation")
    return {
        "sqa": shown[:5] + found[5:],
        "sqa_img": shown,
        "vizwiz": [_open(number) for number in range(8)],
        "pope": [_yes_no(number) for number in range(8)],
        "mmvet": [_open(number) for number in range(8)],
        "mmbench": shown,
        "mme": [item for number, kind in enumerate(kinds) for item in _pair(number, kind)],
        "mmmu": shown,
        "hellaswag": found,
        "mmlu": found,
        "mmlu_pro": found,
    }


@functools.cache
def tasks() -> Path:
    """The suite's task folder, written once per test process."""
    folder = Path(tempfile.mkdtemp(prefix="selectmm-tests-"))
    write(items(), folder)
    return folder


@functools.cache
def rendered_tasks() -> Path:
    """The same with its placeholders replaced, for as long as the process lives: lmms-eval indexes a folder once."""
    opened = ExitStack()
    atexit.register(opened.close)
    return opened.enter_context(rendered(tasks()))


@functools.cache
def benchmarks() -> dict[str, Benchmark]:
    """The benchmarks of configs/suite/mini.yaml by the key of their items."""
    entries = yaml.safe_load((CONFIGS / "mini.yaml").read_text())["benchmarks"]
    made = [Benchmark(**{key: value for key, value in entry.items() if key != "_target_"}) for entry in entries]
    return {benchmark.task.removeprefix("mini_"): benchmark for benchmark in made}


def suite(*keys: str, folder: Path | None = None, batch_size: int = 4) -> Suite:
    """A suite of the named mini-benchmarks on the small items (or on those in ``folder``)."""
    chosen = [benchmarks()[key] for key in keys]
    return Suite("tested", chosen, folder or tasks(), None, batch_size, 6)


def answering(answers: Sequence[str]) -> Answerer:
    """A stub in the model's place that gives these answers, whatever is asked."""

    def answer(questions: Sequence[Question], _tokens: int, _stops: Sequence[str]) -> list[Reply]:
        assert len(questions) == len(answers)
        return [Reply(text) for text in answers]

    return answer


def said(key: str, right: Callable[[int], bool]) -> list[str]:
    """For each item of a multimodal benchmark what a model says that is right where ``right(position)`` holds."""
    return [_right(key, item) if right(n) else _wrong(key, item) for n, item in enumerate(items()[key])]


def _right(key: str, item: Item) -> str:
    return "ABCD"[item.options.index(item.answer)] if item.options else item.answer


def _wrong(key: str, item: Item) -> str:
    if item.options:
        return "ABCD"[(item.options.index(item.answer) + 1) % 4]
    return {"yes": "no", "no": "yes"}.get(item.answer, "nothing")
