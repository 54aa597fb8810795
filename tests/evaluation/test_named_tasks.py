"""Text tasks beyond the suites' are reached by lm-eval's own name; offline, with local data in the task's schema."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selectmm.evaluation import text
from selectmm.evaluation.outcome import Outcome
from selectmm.evaluation.suite import Benchmark
from selectmm.evaluation.tasks import rendered
from selectmm.quickstart.item import Item
from tests.evaluation.scripted import Scripted

COLOURS = ("red", "green", "blue", "yellow")
ITEMS = [Item("colour", f"What colour is picture {n}?", COLOURS[n * 3 % 4], COLOURS, None) for n in range(6)]
# The built-in YAML, the hub's configuration of the data, and the column that holds the question there.
TASKS = {
    "openbookqa": ("openbookqa/openbookqa.yaml", "main", "question_stem"),
    "arc_easy": ("arc/arc_easy.yaml", "ARC-Easy", "question"),
    "arc_challenge": ("arc/arc_challenge.yaml", "ARC-Challenge", "question"),
}


def write(task: str, folder: Path) -> None:
    """Six items in the schema of the hub's data, and a YAML that changes nothing but where the data are."""
    built_in, config, question = TASKS[task]
    choices = {"text": list(COLOURS), "label": list("ABCD")}
    rows = [
        {"id": str(n), question: item.question, "choices": choices, "answerKey": "ABCD"[COLOURS.index(item.answer)]}
        for n, item in enumerate(ITEMS)
    ]
    data = folder / task
    data.mkdir()
    splits = ""
    for split in ("train", "validation", "test"):
        pq.write_table(pa.Table.from_pylist(rows), data / f"{split}.parquet")
        splits += f"  - split: {split}\n    path: {split}.parquet\n"
    (data / "README.md").write_text(f"---\nconfigs:\n- config_name: {config}\n  data_files:\n{splits}---\n")
    include = f"include: ${{lm_eval}}/{built_in}\ntask: {task}\ndataset_path: ${{here}}/{task}\n"
    (folder / f"{task}.yaml").write_text(include)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_by_its_own_name_on_local_data(task: str, tmp_path: Path) -> None:
    write(task, tmp_path)
    benchmark = Benchmark(task, "lm-eval", task, "acc", 100, 25)

    def run(right: int) -> Outcome:
        with rendered(tmp_path) as folder:
            model = Scripted(ITEMS, lambda position: position < right)
            return text.run([benchmark], folder, model, limit=None, seed=0)[task]

    assert run(6).value == pytest.approx(100)
    found = run(2)
    assert found.value == pytest.approx(100 * 2 / 6)
    assert [answer.score for answer in found.answers] == [1, 1, 0, 0, 0, 0]
    assert all(item.question in answer.prompt for item, answer in zip(ITEMS, found.answers, strict=True))
