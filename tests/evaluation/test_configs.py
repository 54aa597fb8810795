"""The suites as they are configured, against the harnesses as they are installed."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from selectmm.command_line.reading import check_overrides
from selectmm.errors import UserError
from selectmm.evaluation.judge import Server
from selectmm.evaluation.local import task_files
from selectmm.evaluation.suite import Benchmark, Suite
from selectmm.evaluation.tasks import OURS
from selectmm.instantiate import build
from selectmm.quickstart.items import held_out
from selectmm.quickstart.schemas import TASKS
from tests.evaluation.material import CONFIGS, benchmarks

SUITES = ("prism", "tive", "scalselect", "icons", "dataprophet", "magic", "magic_unseen", "dics")
PARTS = sorted((CONFIGS.parent / "benchmark").glob("*.yaml"))


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(CONFIGS.parents[1]))


def suite(name: str, *overrides: str) -> Suite:
    with initialize_config_dir(str(CONFIGS.parent), version_base="1.3"):
        return instantiate(compose("run", [f"suite={name}", *overrides]).suite, _convert_="all")


@cache
def part(path: Path) -> Benchmark:
    return instantiate(yaml.safe_load(path.read_text())[path.stem])


def key_files(benchmark: Benchmark) -> dict[str, object]:
    """What the task's files say, taken together as the harnesses do: an including file's entries win."""
    merged: dict[str, object] = {}
    for file in reversed(task_files(benchmark, None)):
        merged |= yaml.load(file.read_text(), Loader=_Plain)
    return merged


class _Plain(yaml.SafeLoader):
    """Reads ``!function x.y`` as the text x.y."""


_Plain.add_constructor("!function", lambda loader, node: node.value)

PRISM = [
    ("SQA", "scienceqa", "exact_match", 100, None, "none"),
    ("SQA-I", "scienceqa_img", "exact_match", 100, None, "none"),
    ("VizWiz", "vizwiz_vqa_val", "exact_match", 100, None, "none"),
    ("POPE-pop", "pope_pop", "pope_f1_score", 100, 50, "none"),
    ("POPE-rand", "pope_random", "pope_f1_score", 100, 50, "none"),
    ("POPE-adv", "pope_adv", "pope_f1_score", 100, 50, "none"),
    ("MM-Vet", "mmvet_matched", "gpt_eval_score", 1, None, "exact"),
    ("MMB-en", "mmbench_en_dev_static", "gpt_eval_score", 1, None, "none"),
    ("MME-P", "mme", "mme_perception_score", 1, 750, "none"),
    ("MME-C", "mme", "mme_cognition_score", 1, 300, "none"),
    ("MMMU", "mmmu_val", "mmmu_acc", 100, None, "none"),
    ("HellaSwag", "hellaswag", "acc_norm", 100, 25, "none"),
    ("MMLU", "mmlu", "acc", 100, 25, "none"),
    ("MMLU-Pro", "mmlu_pro", "exact_match", 100, None, "none"),
]


def test_the_prism_suite_means_what_it_always_meant() -> None:
    made = suite("prism")
    assert [(b.name, b.task, b.metric, b.scale, b.chance, b.judge) for b in made.benchmarks] == PRISM
    assert {b.name for b in made.benchmarks if b.harness == "lm-eval"} == {"HellaSwag", "MMLU", "MMLU-Pro"}
    assert (made.tasks, made.data, made.limit, made.batch_size, made.max_new_tokens) == (None, None, None, 16, 1024)
    assert made.left_out == {}


COLUMNS = {
    "tive": "MME-P MME-C SEED-I MMB-en MMB-cn SQA SQA-I POPE",
    "scalselect": "MMB-en MMB-cn MME-P MME-C AI2D POPE-adv POPE-pop SQA-I OCRBench",
    "icons": "VQAv2 GQA VizWiz SQA-I TextVQA POPE MME-P MMB-en MMB-cn",
    "dataprophet": "ChartQA DocVQA",
    "magic": "VQAv2 GQA VizWiz SQA-I TextVQA POPE MME-P MMB-en MMB-cn MM-Vet",
    "magic_unseen": "AI2D ChartQA DocVQA InfoVQA MM-Vet NaturalBench RealWorldQA CMMMU",
    "dics": "MME-norm MMB-en MMB-cn MMMU SQA-I VizWiz AI2D DocVQA InfoVQA POPE Hallusion MM-Vet",
}


@pytest.mark.parametrize(("name", "columns"), COLUMNS.items())
def test_the_other_papers_suites_have_their_columns(name: str, columns: str) -> None:
    assert [benchmark.name for benchmark in suite(name).benchmarks] == columns.split()


def test_what_a_suite_cannot_have_is_named_with_the_reason() -> None:
    assert suite("icons").left_out == {
        "LLaVA-W": "it needs a judge model (judge=url); our offline matcher cannot score it"
    }
    left_out = suite("dataprophet").left_out
    assert len(left_out) == 12 and set(left_out.values()) == {"lmms-eval 0.7.3 has no task for it"}
    assert set(left_out) | {"ChartQA", "DocVQA"} == {
        *"OCR-VQA ScreenQA ChartQA Chart2Text DocVQA Finance-QA A-OKVQA VC-GVQA open-spatial CLEVR(R) CLEVR(C)".split(),
        *"TallyQA GeomVerse MapQA".split(),
    }


def test_with_a_judge_model_everything_that_needs_one_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    asked = ("judge=url", "judge.url=http://localhost:1/v1", "judge.model=judge-1")
    check_overrides(CONFIGS.parent, asked)
    made = suite("icons", *asked)
    assert isinstance(made.judge, Server) and made.left_out == {}
    assert [(b.name, b.task) for b in made.benchmarks if b.judge == "url"] == [("LLaVA-W", "llava_w_asked")]
    assert [b.task for b in suite("prism", *asked).benchmarks if b.judge == "url"] == ["mmvet_asked"]
    assert "MM-Vet" in suite("prism", "judge=none").left_out


def test_a_judge_without_an_address_or_a_name_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with initialize_config_dir(str(CONFIGS.parent), version_base="1.3"):
        config = compose("run", ["suite=prism", "judge=url"])
    said = r"Not set: judge\.model, judge\.url; give judge\.model=… on the command line\."
    with pytest.raises(UserError, match=said):
        build(config, "prism")


def test_a_judge_whose_key_is_not_set_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with initialize_config_dir(str(CONFIGS.parent), version_base="1.3"):
        config = compose("run", ["suite=prism", "judge=url", "judge.url=http://localhost:1/v1", "judge.model=judge-1"])
    with pytest.raises(UserError, match="The judge's key is read from the environment variable OPENAI_API_KEY, which"):
        build(config, "prism")


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.stem)
def test_a_benchmark_names_a_task_and_a_metric_of_the_installed_harness(path: Path) -> None:
    made = part(path)
    for task in [made.task, *([made.exact] if made.exact else [])]:
        config = key_files(replace(made, task=task))
        metrics = config.get("metric_list") or config["aggregate_metric_list"]
        found = [metric for metric in metrics if metric["metric"] == made.metric]
        assert len(found) == 1, f"{task} has {[metric['metric'] for metric in metrics]}"
        assert found[0].get("higher_is_better", True) == (made.better == "higher")
        assert config.get("output_type", "generate_until") == "generate_until" or made.harness == "lm-eval"


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.stem)
def test_a_benchmark_says_every_value_and_where_its_chance_is_from(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    assert list(yaml.safe_load(text)) == [path.stem]
    for key in ("name", "harness", "task", "metric", "scale", "better", "judge"):
        assert f"\n  {key}: " in text
    assert re.search(r"\n  chance: [\w.]+  # .{8,}", text), "chance, or null, with its reason"


def test_every_benchmark_is_some_suite_s_and_a_judge_is_needed_by_two() -> None:
    used = {
        name
        for suite in SUITES
        for name in yaml.safe_load((CONFIGS / f"{suite}.yaml").read_text())["defaults"][0]["/benchmark@benchmarks"]
    }
    assert used == {path.stem for path in PARTS}
    assert {part(path).name for path in PARTS if part(path).judge == "url"} == {"MM-Vet", "LLaVA-W"}
    assert len({part(path).name for path in PARTS}) == len(PARTS)


@pytest.mark.parametrize("path", sorted(OURS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_task_of_ours_has_its_file_s_name_and_includes_one_that_exists(path: Path) -> None:
    files = task_files(Benchmark("x", "lmms-eval", path.stem, "x", 1, None), None)
    assert files[0] == path and len(files) > 1 and all(file.exists() for file in files)


WHOLE = ("mmvet_asked", "mmvet_matched", "hallusion_bench_static", "ocrbench_mean", "mmbench_cn_dev_static")


@pytest.mark.parametrize("task", WHOLE)
def test_no_blank_line_ends_an_answer_of_several_paragraphs_and_nothing_else_is_set_anew(task: str) -> None:
    ours, *included = task_files(Benchmark("x", "lmms-eval", task, "x", 1, None), None)
    settings = yaml.load(ours.read_text(), Loader=_Plain)["generation_kwargs"]
    theirs: dict[str, object] = {}
    for file in reversed(included):
        theirs |= yaml.load(file.read_text(), Loader=_Plain).get("generation_kwargs", {})
    assert settings == theirs | {"until": []}


def test_the_built_in_stand_in_of_mm_vet_is_asked_as_its_records_say() -> None:
    files = task_files(benchmarks()["mmvet"], TASKS)
    assert [file.name for file in files] == ["mini_mmvet.yaml", "mmvet_exact.yaml", "mmvet.yaml"]
    assert all("until:" not in file.read_text() for file in files)  # so that lmms-eval fills in a blank line


def test_lower_is_refused_because_rel_is_not_defined_for_it() -> None:
    with pytest.raises(
        UserError, match=r"Suite 'x': of 'WER' lower values are better, which Rel\. is not defined for;"
    ):
        Suite("x", [Benchmark("WER", "lmms-eval", "wer", "wer", 1, None, better="lower")], None, None, 1, 1)


def test_only_some_of_a_suite_s_benchmarks_in_its_order() -> None:
    three = [Benchmark(name, "lm-eval", name, "acc", 1, None) for name in "abc"]
    suite = Suite("x", three, None, None, 1, 1, only=["c", "a"], absent={"d": "no task"})
    assert [benchmark.name for benchmark in suite.benchmarks] == ["a", "c"]
    assert suite.left_out == {}, "what was not asked for is not missing"
    with pytest.raises(UserError, match=r"^suite\.only: suite=x has no 'd'; it has: a, b, c\.$"):
        Suite("x", three, None, None, 1, 1, only=["d"])
    for wrong in ("a", []):
        with pytest.raises(
            UserError, match=r"suite\.only=.*: give a list of benchmarks, such as \[a\], or null for all"
        ):
            Suite("x", three, None, None, 1, 1, only=wrong)


def test_the_mini_suite_has_the_eleven_columns() -> None:
    names = "SQA SQA-IMG VizWiz POPE MM-Vet MMBench MME MMMU HellaSwag MMLU MMLU-Pro"
    assert [benchmark.name for benchmark in benchmarks().values()] == [f"mini-{name}" for name in names.split()]


@pytest.mark.parametrize("times", [1, 4], ids=["mini", "mini_large"])
def test_chance_is_guessing_among_the_options_of_the_held_out_items(times: int) -> None:
    for key, made in held_out(times).items():
        benchmark = benchmarks()[key]
        assert 80 * times <= len(made) <= 100 * times
        if made[0].options:
            guessed = 100 * float(np.mean([1 / len(item.options) for item in made]))
            assert benchmark.chance == pytest.approx(guessed, abs=0.5), key
        elif key == "mme":
            assert benchmark.chance == 75 * len({item.kind for item in made})
        elif key == "pope":
            assert benchmark.chance == 50
            assert np.mean([item.answer == "yes" for item in made]) == 0.5
        else:
            assert benchmark.chance is None
