"""A task's hash tells another task file, an edited one and an edited template apart."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from selectmm.errors import UserError
from selectmm.evaluation import local
from selectmm.evaluation import task_hash as module
from selectmm.evaluation.task_hash import task_hash
from selectmm.quickstart.schemas import TASKS
from tests.evaluation.material import benchmarks

ROOT = Path(__file__).parents[2]
POPE = benchmarks()["pope"]


def test_every_mini_task_has_a_hash_of_its_own() -> None:
    found = {task_hash(benchmark, TASKS) for benchmark in benchmarks().values()}
    assert len(found) == 11


def test_built_in_tasks_of_either_harness_have_one() -> None:
    real = [replace(POPE, task="pope_adv"), replace(benchmarks()["mmlu"], task="hellaswag")]
    assert len({task_hash(benchmark, None) for benchmark in real}) == 2


@pytest.mark.parametrize("file", sorted((ROOT / "configs" / "benchmark").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_benchmark_of_the_suites_has_one(file: Path) -> None:
    (entry,) = yaml.safe_load(file.read_text()).values()
    for task in filter(None, (entry["task"], entry.get("exact"))):
        assert len(task_hash(replace(POPE, task=task, harness=entry["harness"]), None)) == 16


def test_it_follows_the_files_not_their_place(tmp_path: Path) -> None:
    shutil.copytree(TASKS, tmp_path / "tasks")
    assert task_hash(POPE, tmp_path / "tasks") == task_hash(POPE, TASKS)
    file = tmp_path / "tasks" / "mini_pope.yaml"
    file.write_text(file.read_text() + "lmms_eval_specific_kwargs: {default: {post_prompt: ' Say yes.'}}\n")
    assert task_hash(POPE, tmp_path / "tasks") != task_hash(POPE, TASKS)


def test_it_covers_the_harness_code_that_a_task_includes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = task_hash(POPE, TASKS)
    shutil.copytree(local.tasks_of("lmms_eval") / "pope", tmp_path / "pope")
    for place in (local, module):
        monkeypatch.setattr(place, "tasks_of", lambda _: tmp_path)
    assert task_hash(POPE, TASKS) == before
    (tmp_path / "pope" / "utils.py").write_text("# another scoring\n")
    assert task_hash(POPE, TASKS) != before


def test_it_covers_code_of_ours_that_a_task_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chinese = replace(POPE, task="mmbench_cn_dev_static")
    before = task_hash(chinese, None)
    (tmp_path / "mmbench.py").write_text("# another extractor\n")
    monkeypatch.setattr(module, "OURS", tmp_path)
    assert task_hash(chinese, None) != before


def test_a_task_that_nobody_declares() -> None:
    with pytest.raises(UserError, match=r"No YAML declares the task 'pope_nine' of mini-POPE\."):
        task_hash(replace(POPE, task="pope_nine"), TASKS)
