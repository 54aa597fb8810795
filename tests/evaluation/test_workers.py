"""Two processes give what one gives, with an adapter too, after a kill, and when one of them fails."""

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from selectmm.errors import UserError
from selectmm.evaluation import evaluate as module
from selectmm.evaluation.evaluate import evaluate
from selectmm.evaluation.workers import Job, hired
from selectmm.instantiate import open_model, open_suite
from selectmm.models.vlm import VLM
from selectmm.quickstart.schemas import write
from selectmm.tuning.adapter import injected, load_adapter, lora_config, save_adapter
from tests.evaluation.material import items, suite
from tests.families import FAMILIES
from tests.tuning.conftest import RECIPE

CPU = torch.device("cpu")


def config(*keys: str, folder: Path | None = None) -> dict[str, object]:
    """A suite as `selectmm.instantiate` takes it, three items a batch."""
    made, place = suite(*keys, folder=folder, batch_size=3), "selectmm.evaluation.suite"
    benchmarks = [{"_target_": f"{place}.Benchmark", **asdict(benchmark)} for benchmark in made.benchmarks]
    settings = {"name": made.name, "limit": None, "batch_size": made.batch_size, "max_new_tokens": made.max_new_tokens}
    return {"_target_": f"{place}.Suite", **settings, "tasks": str(made.tasks), "benchmarks": benchmarks}


def adapter(vlm: VLM, folder: Path) -> Path:
    """An adapter of random weights, large enough to change answers."""
    folder.mkdir()
    torch.manual_seed(0)
    with injected(vlm, lora_config(vlm, RECIPE)) as wrapped:
        trained = {name: weight for name, weight in wrapped.named_parameters() if weight.requires_grad}
        save_adapter(wrapped, {name: torch.randn_like(weight) for name, weight in trained.items()}, folder)
    return folder


def run(job: Job, workers: int, folder: Path) -> dict[str, bytes]:
    """Evaluate; returns all files that are left."""
    folder.mkdir(exist_ok=True)
    vlm = open_model(job.model)
    with (
        nullcontext(vlm) if job.adapter is None else load_adapter(vlm, Path(job.adapter)) as adapted,
        hired(job, workers, folder, CPU) as team,
    ):
        evaluate(adapted, open_suite(job.suite), folder, job.seed, team=team)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_one_worker_or_two_and_a_kill_in_between_leave_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FAMILIES["llava_chatml"].build(tmp_path / "model")
    tuned = adapter(open_model(model), tmp_path / "adapter")
    job = Job(model, config("mme", "hellaswag", "mmlu_pro"), str(tuned), seed=0)
    alone = run(job, 1, tmp_path / "one")
    assert len(alone) == 6
    assert run(Job(model, job.suite, None, seed=0), 1, tmp_path / "base") != alone

    batches, real = [], module.generate

    def killed(*given: object) -> object:
        batches.append(given)
        if len(batches) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(module, "generate", killed)
    with pytest.raises(KeyboardInterrupt):
        run(job, 1, tmp_path / "two")
    assert list((tmp_path / "two").glob("mini_mme.*.responses.jsonl"))
    monkeypatch.undo()
    assert run(job, 2, tmp_path / "two") == alone


def test_a_helper_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(items(), tmp_path / "tasks")
    model = FAMILIES["llava_chatml"].build(tmp_path / "model")
    job = Job(model, config("pope", folder=tmp_path / "tasks"), str(tmp_path / "nothing"), seed=0)
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(UserError, match=r"There is no adapter in .*nothing"), hired(job, 2, folder, CPU) as team:
        evaluate(open_model(model), open_suite(job.suite), folder, 0, team=team)


def test_more_workers_than_gpus(tmp_path: Path) -> None:
    job = Job({}, {}, None, seed=0)
    with (
        pytest.raises(UserError, match=r"devices=99 needs as many GPUs, but there are \d+; set fewer"),
        hired(job, 99, tmp_path, torch.device("cuda")),
    ):
        pass
