"""The whole line, pool to record, on tiny random models and a user's own data: every family alike."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from selectmm.errors import UserError
from selectmm.instantiate import build
from selectmm.records.answers import load_answers
from selectmm.records.files import load
from selectmm.records.record import RunRecord
from selectmm.report.report import write_report
from selectmm.run import run
from tests.evaluation.hub import hub
from tests.families import FAMILIES
from tests.forked import command, start
from tests.tiny import tiny_llava, tiny_qwen2_vl, write_pool

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line")
    tiny_llava(folder / "llava")
    tiny_qwen2_vl(folder / "qwen2_vl")
    for family in ("qwen2_5_vl", "qwen3_vl", "internvl3", "llava_onevision"):
        FAMILIES[family].make(folder / family)
    write_pool(folder / "pool", rows=24)
    return folder


def overrides(place: Path, model: str, output: str) -> list[str]:
    """A run on own data with a tiny model: everything but the model's choice is the same for every family."""
    file, images = next((place / "pool").glob("*.json")), next(p for p in (place / "pool").iterdir() if p.is_dir())
    return [
        f"model={model}",
        f"model.path={place / re.sub(r'_[0-9]+b$', '', model).replace('llava15', 'llava')}",
        "model.device=cpu",
        "model.dtype=float32",
        "pool=llava_json",
        f"pool.file={file}",
        f"pool.images={images}",
        "suite.limit=2",
        "suite.batch_size=2",
        "recipe.batch_size=4",
        "recipe.micro_batch=4",
        "recipe.rank=4",
        "recipe.max_length=2048",
        "contamination=false",  # one test looks: five models need not
        f"cache={place / output / 'cache'}",
        f"records={place / output / 'records'}",
        "tracker=none",  # W&B starts processes of its own, for seconds; one run of `test_line.py` has it
    ]


def one_run(*arguments: str) -> RunRecord:
    os.environ["SELECTMM_ROOT"] = str(ROOT)
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("run", list(arguments))
    method = next((a.split("=")[1] for a in arguments if a.startswith("method=")), "prism")
    return load(run(build(config, method)))


@pytest.mark.parametrize(
    "model", ["llava15_7b", "qwen2_vl_7b", "qwen2_5_vl_3b", "qwen3_vl_4b", "internvl3_2b", "llava_onevision_7b"]
)
def test_a_run_goes_from_pool_to_record_and_then_comes_from_the_cache(place: Path, model: str) -> None:
    arguments = overrides(place, model, model)
    if whole := model == "llava15_7b":
        arguments[-1] = f"tracker.folder={place / model}"
    else:  # a benchmark of each harness stands for all eleven, which ask every model in the same way
        arguments.append("suite.only=[mini-POPE,mini-HellaSwag]")
    first = one_run(*arguments, "budget=0.5")
    assert bool([*place.glob(f"{model}/wandb/offline-run-*")]) == whole
    assert first.subset.rows == 12
    assert len(first.scores) == (11 if whole else 2)
    assert first.recipe.steps == 3
    assert first.config["recipe"]["lr"] == 5e-4
    assert not first.costs.finetune.cached and first.costs.tuning > 0
    assert first.subset.coverage.per_source.keys() == first.pool.per_source.keys()
    again = one_run(*arguments, "budget=0.5")
    assert all(getattr(again.costs, stage).cached for stage in ("features", "select", "finetune", "evaluate"))
    assert again.costs.tuning == first.costs.tuning, "a cached stage keeps the cost it had"
    assert again.scores == first.scores
    assert again.name == first.name


def test_a_paper_s_suite_on_local_data_says_in_record_and_table_what_it_left_out(place: Path) -> None:
    arguments = [*overrides(place, "llava15_7b", "icons"), "method=full", "suite=icons", f"suite.data={hub()}"]
    record = one_run(*arguments, "suite.max_new_tokens=4", "judge=none")
    columns = ["VQAv2", "GQA", "VizWiz", "SQA-I", "TextVQA", "POPE", "MME-P", "MMB-en", "MMB-cn"]
    assert [score.benchmark for score in record.scores] == columns
    said = "Left out of suite icons, so not in Rel.: LLaVA-W (it needs a judge, and judge is none)."
    assert record.deviations[0] == said
    assert all(re.fullmatch(r"Some answers of \S+ were cut at the token cap\.", one) for one in record.deviations[1:])
    page = write_report([record], place / "icons", "icons", (), Console(file=io.StringIO())).markdown.read_text()
    assert said in page and "| LLaVA-W |" not in page


def test_benchmark_data_that_are_missing_are_told_before_the_training(place: Path) -> None:
    arguments = [*overrides(place, "llava15_7b", "nowhere"), "suite=icons", f"suite.data={place / 'nowhere'}"]
    with pytest.raises(UserError, match=r"Benchmark 'VQAv2': there is no data folder .*/VQAv2 for task 'vqav2_val'"):
        one_run(*arguments, "judge=none")
    assert not (place / "nowhere" / "cache").exists()


def test_equal_steps_train_a_subset_as_long_as_the_pool_and_full_is_trained_once(place: Path) -> None:
    arguments = overrides(place, "llava15_7b", "steps")
    full = one_run(*arguments, "method=full")
    steps = one_run(*arguments, "method=full", "recipe.length=steps", "recipe.name=steps")
    assert full.recipe.steps == steps.recipe.steps == 6
    assert steps.costs.finetune.cached, "both lengths mean the same six steps for the full pool"
    given = ["method=random", "budget=0.5", "recipe.length=steps", "recipe.name=steps", "suite.only=[mini-POPE]"]
    subset = one_run(*arguments, *given)
    assert subset.recipe.steps == 6 and subset.subset.rows == 12


def test_what_cannot_be_trained_is_said_before_anything_is_computed(place: Path) -> None:
    with pytest.raises(UserError, match=r"recipe\.precision=8-bit is not one of"):
        one_run(*overrides(place, "llava15_7b", "early"), "recipe.precision=8-bit")
    assert not list((place / "early" / "cache").glob("features*")) + list((place / "early" / "cache").glob("subset*"))


def test_a_model_that_is_trained_in_full_is_evaluated_and_recorded(place: Path) -> None:
    arguments = [*overrides(place, "llava15_7b", "full"), "recipe.tune=full", "recipe.rank=0", "recipe.lr=1.0e-3"]
    record = one_run(*arguments, "method=random", "budget=0.5", "suite.only=[mini-POPE]")
    assert record.recipe.options["tune"] == "full" and len(record.scores) == 1
    (adapter,) = (place / "full" / "cache" / "adapter").glob("*/trained.safetensors")
    assert not (adapter.parent / "adapter_model.safetensors").exists()


def test_a_record_says_what_of_the_suite_the_pool_holds_and_where_the_answers_lie(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "selectmm")
    arguments = overrides(place, "llava15_7b", "steps")
    assert one_run(*arguments, "method=full").contamination is None, "not looked for"
    record = one_run(*arguments, "method=full", "contamination=true")
    assert re.search(r"pool      24 rows of \d sources, \d+ images, [1-9] rows without an image$", caplog.text, re.M)
    assert len(record.contamination) == 11
    assert all(found["items"] in (2, 4) and found["same"] == 0 for found in record.contamination.values())
    kept = load_answers(record, place / "steps" / "records" / f"{record.name}.json")
    assert {name: len(answers) for name, answers in kept.items()} == {s.benchmark: s.items for s in record.scores}


@pytest.mark.slow
def test_a_sweep_from_the_command_line_ends_with_its_table(place: Path) -> None:
    words = ["sweep", "--json", "method=full,random", "experiment=toy", "suite.only=[mini-POPE,mini-HellaSwag]"]
    done = command([*words, *overrides(place, "llava15_7b", "sweep")], place)
    assert done.returncode == 0, done.stderr
    records = sorted((place / "sweep" / "records").glob("toy-*.json"))
    assert [json.loads(path.read_text())["method"]["name"] for path in records] == ["full", "random"]
    for part in ("select", "finetune", "evaluate", "Rel.", "OSC", *(str(path.name) for path in records)):
        assert part in done.stderr
    assert "it/s]" not in done.stderr and "━" not in done.stderr, "a log file gets no bars"
    document = json.loads(done.stdout)
    assert [run["record"] for run in document["runs"]] == [str(path) for path in records]
    assert [run["scores"].keys() for run in document["runs"]] == [{"mini-POPE", "mini-HellaSwag"}] * 2
    assert (document["failed"], document["page"]) == ([], "outputs/tables/toy.md")


@pytest.mark.slow
def test_a_failed_cell_is_told_and_takes_no_other_down(place: Path) -> None:
    # A method that cannot work here, before one that can; each job in a process of its own, as on a cluster.
    sweep = ["-m", "method=clip_score,random", "experiment=broken", "hydra/launcher=submitit_local"]
    sweep += ["suite.only=[mini-POPE]"]
    arguments = [*sweep, *overrides(place, "llava15_7b", "sweep")]
    done = command(arguments, place)
    assert done.returncode == 1
    assert "method=clip_score needs a CLIP: set method.checkpoint" in done.stderr
    assert "1 of the sweep's jobs failed; start the same command again to run only those." in done.stderr
    assert "failed" not in done.stdout
    records = sorted((place / "sweep" / "records").glob("broken-*.json"))
    assert [json.loads(path.read_text())["method"]["name"] for path in records] == ["random"]
    assert "Table    outputs/tables/broken.md" in done.stdout
    typed = json.loads(records[0].read_text())["provenance"]["command"]
    assert typed == f"python -m selectmm {shlex.join(arguments)}", "as typed, not as the launcher starts its jobs"


def test_ctrl_c_keeps_what_was_done_and_the_same_command_continues(place: Path) -> None:
    words = ["method=full", "recipe.epochs=10", "recipe.checkpoint_every=5", "suite.only=[mini-POPE]"]
    words += overrides(place, "llava15_7b", "stopped")
    started = start(words, place)
    while not (checkpoints := list(place.glob("stopped/cache/adapter/*.partial/checkpoint-*"))):
        started.process.join(0.05)
        assert started.process.exitcode is None, f"ended before it could be stopped: {started.err.read_text()}"
    os.kill(started.process.pid, signal.SIGINT)
    stopped = started.ended()
    text = stopped.stderr
    assert stopped.returncode == 130, text
    assert (
        "Stopped. Finished stages are kept, and an unfinished training up to its last checkpoint. Start the same"
        in text
    )
    assert "Traceback" not in text
    begun = checkpoints[0].parent
    steps_before = len((begun / "losses.jsonl").read_text().splitlines())
    again = command(["run", *words, "--quiet", "--json"], place)
    assert again.returncode == 0, again.stderr
    document = json.loads(again.stdout)
    assert load(Path(document["record"])).name == document["name"]
    assert (document["method"], document["rows"], list(document["scores"])) == ("full", 24, ["mini-POPE"])
    assert document["costs"]["finetune"]["cached"] is False
    assert not again.stderr, "nothing is wrong, so nothing is said"
    losses = [json.loads(line) for line in (begun.with_suffix("") / "losses.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in losses] == list(range(1, 61))
    assert 5 <= steps_before < 60


def test_a_wrong_word_ends_with_one_sentence_and_no_traceback(place: Path) -> None:
    tiny = [word for word in overrides(place, "llava15_7b", "wrong") if word.startswith("model")]
    done = command([*tiny, "pool=llava_json", "pool.file=none.json", "pool.images=."], place)
    assert done.returncode == 1
    assert "There is no pool file none.json; set pool.file to the file of the pool's rows." in done.stderr
    assert "Traceback" not in done.stderr and "Error executing job" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["method=full,prism"], "'method=full,prism' is a sweep; give -m as well, or one value."),
        (["reprot", "a.json"], "'reprot' is neither a command nor an option: did you mean the command 'report'?"),
        (["--seed=1"], "There is no option '--seed'"),
        (["-m", "seed=0,1", "--cfg", "job"], "--cfg shows one run, not a sweep; use 'selectmm run' with one value"),
    ],
)
def test_what_hydra_would_answer_with_a_traceback_is_one_sentence(words: list[str], said: str) -> None:
    done = subprocess.run([sys.executable, "-m", "selectmm", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith(f"\n{said}")
