"""Several ranks give what one process gives, with an adapter too, and after a kill."""

from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from selectmm.evaluation import evaluate as module
from selectmm.evaluation.answering import Share
from selectmm.evaluation.evaluate import answer_share, evaluate, unfinished
from selectmm.evaluation.workers import Job, answer_over
from selectmm.instantiate import open_model, open_suite
from selectmm.launch import launch
from selectmm.models.vlm import VLM
from selectmm.tuning.adapter import injected, load_adapter, lora_config, save_adapter
from tests.evaluation.material import suite
from tests.families import FAMILIES
from tests.launch import forked_ranks
from tests.tuning.conftest import RECIPE


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


def run(job: Job, folder: Path) -> dict[str, bytes]:
    """Evaluate; returns all files that are left."""
    folder.mkdir(exist_ok=True)
    vlm, wanted = open_model(job.model), open_suite(job.suite)
    with nullcontext(vlm) if job.adapter is None else load_adapter(vlm, Path(job.adapter)) as adapted:
        evaluate(adapted, wanted, folder, job.seed)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_one_process_or_two_ranks_after_a_kill_leave_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = _job(tmp_path, "mme", "hellaswag", "mmlu_pro")
    alone = run(job, tmp_path / "one")
    assert len(alone) == 6
    assert run(replace(job, adapter=None), tmp_path / "base") != alone

    batches, real = [], module.answered

    def killed(*given: object) -> object:
        batches.append(given)
        if len(batches) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(module, "answered", killed)
    with pytest.raises(KeyboardInterrupt):
        run(job, tmp_path / "two")
    assert list((tmp_path / "two").glob("mini_mme.*.responses.jsonl"))
    monkeypatch.undo()
    with monkeypatch.context() as patch:
        patch.setattr(launch, "running", forked_ranks.running)
        answer_over(2, job, open_model(job.model), open_suite(job.suite), tmp_path / "two")
    monkeypatch.setattr(module, "answered", lambda *_: pytest.fail("ranks have answered everything"))
    assert run(job, tmp_path / "two") == alone


@pytest.mark.slow
def test_a_rank_that_starts_as_for_a_user_answers_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of its own, which imports what it needs by itself; see `tests.launch.forked_ranks`."""
    job, folder = _job(tmp_path, "mme"), tmp_path / "folder"
    folder.mkdir()
    answer_over(1, job, open_model(job.model), open_suite(job.suite), folder)
    monkeypatch.setattr(module, "answered", lambda *_: pytest.fail("the rank has answered everything"))
    run(job, folder)


def test_answers_do_not_depend_on_how_many_ranks_share_them(tmp_path: Path) -> None:
    ranks = 3
    job = _job(tmp_path, "pope", "mmlu")
    alone = run(job, tmp_path / "one")
    (tmp_path / "many").mkdir()
    with load_adapter(open_model(job.model), Path(job.adapter)) as adapted:
        for rank in reversed(range(ranks)):
            share = Share(rank, ranks)
            done = [*answer_share(adapted, open_suite(job.suite), tmp_path / "many", job.seed, job.images, share)]
            assert [[benchmark.name for benchmark in group] for group in done] == [["mini-POPE"], ["mini-MMLU"]]
    assert run(job, tmp_path / "many") == alone
    assert not unfinished(open_suite(job.suite), job.images, tmp_path / "many"), "so that no rank starts in vain"


def _job(folder: Path, *keys: str) -> Job:
    """Of a tiny model with an adapter."""
    model = FAMILIES["llava_chatml"].build(folder / "model")
    return Job(model, config(*keys), str(adapter(open_model(model), folder / "adapter")), seed=0)


def test_a_rank_keeps_no_second_copy_of_the_weights(tmp_path: Path) -> None:
    vlm = open_model(_job(tmp_path, "mme").model)
    folder, weight = adapter(vlm, tmp_path / "mine"), vlm.layers[0].self_attn.q_proj.weight
    before = weight.detach().clone()
    with load_adapter(vlm, folder):
        merged = weight.detach().clone()
    assert weight.equal(before) and not merged.equal(before)
    with load_adapter(vlm, folder, keep=False):
        assert weight.equal(merged)
    assert weight.equal(merged), "nobody has kept the old ones"
