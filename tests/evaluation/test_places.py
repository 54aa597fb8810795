"""A suite is evaluated wherever its data lie."""

import shutil
from pathlib import Path

from selectmm.evaluation.evaluate import evaluate
from selectmm.models import llava
from tests.evaluation.material import suite, tasks
from tests.tiny import tiny_llava


def test_a_folder_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    """The data sets library would look for another folder, and find none."""
    vlm = llava.load(str(tiny_llava(tmp_path / "llava")), device="cpu")
    folder = shutil.copytree(tasks(), tmp_path / "[x]" / "tasks")
    (tmp_path / "out").mkdir()
    scores = evaluate(vlm, suite("sqa", "mmlu", folder=folder), tmp_path / "out", 0)
    assert [score.items for score in scores] == [8, 8]
