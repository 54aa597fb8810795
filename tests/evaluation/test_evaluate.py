"""The verb: files, continuing after a kill, both families, and every error in one sentence."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selectmm.errors import UserError
from selectmm.evaluation import evaluate as module
from selectmm.evaluation import multimodal, text
from selectmm.evaluation.decode import Reply
from selectmm.evaluation.evaluate import evaluate, warnings_of
from selectmm.evaluation.generate import Answerer, Backend, Question
from selectmm.evaluation.results import read_answers
from selectmm.evaluation.suite import Suite
from selectmm.models import llava, qwen2_vl
from selectmm.models.vlm import VLM
from selectmm.quickstart.schemas import write
from tests.evaluation.material import benchmarks, items, suite
from tests.tiny import tiny_llava, tiny_qwen2_vl


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return llava.load(str(tiny_llava(tmp_path_factory.mktemp("llava"))), device="cpu")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return qwen2_vl.load(str(tiny_qwen2_vl(tmp_path_factory.mktemp("qwen"))), device="cpu")


@pytest.mark.parametrize("family", ["vlm", "qwen"])
def test_both_families_through_both_harnesses(family: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    scores = evaluate(request.getfixturevalue(family), suite("sqa", "mme", "mmlu", "mmlu_pro"), tmp_path, 0)
    assert [score.benchmark for score in scores] == ["mini-SQA", "mini-MME", "mini-MMLU", "mini-MMLU-Pro"]
    assert [score.items for score in scores] == [8, 12, 8, 8]
    for score in scores:
        entry = json.loads((tmp_path / f"{score.benchmark}.json").read_text())
        answers = read_answers(tmp_path / score.answers)
        assert len(answers) == score.items == entry["items"]
        assert entry["harness"].split() in (["lmms-eval", "0.7.3"], ["lm-eval", "0.4.13"])
        assert len(entry["prompts"]) == 16
        assert entry["generation"]["batch_size"] == 4 and entry["generation"]["dtype"] == "torch.float32"
        assert all(answer.prompt and answer.target for answer in answers)


def test_scores_and_answers_do_not_depend_on_the_batch_size(vlm: VLM, tmp_path: Path) -> None:
    files = []
    for size in (1, 16):
        folder = tmp_path / str(size)
        folder.mkdir()
        evaluate(vlm, suite("sqa_img", "mmlu_pro", batch_size=size), folder, 0)
        files.append([(folder / f"mini-{name}.answers.jsonl.gz").read_bytes() for name in ("SQA-IMG", "MMLU-Pro")])
    assert files[0] == files[1]


def test_a_killed_evaluation_continues(vlm: VLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran, real = [], module._run

    def killed_before(third: bool) -> Callable[..., object]:
        def run(vlm: VLM, suite: Suite, group: list, *rest: object) -> object:
            if third and len(ran) == 2:
                raise KeyboardInterrupt
            ran.append(group[0].name)
            return real(vlm, suite, group, *rest)

        return run

    wanted = suite("sqa", "pope", "mmvet")
    monkeypatch.setattr(module, "_run", killed_before(third=True))
    with pytest.raises(KeyboardInterrupt):
        evaluate(vlm, wanted, tmp_path, 0)
    kept = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    monkeypatch.setattr(module, "_run", killed_before(third=False))
    scores = evaluate(vlm, wanted, tmp_path, 0)
    assert ran == ["mini-SQA", "mini-POPE", "mini-MM-Vet"]
    assert len(scores) == 3
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in kept} == kept


def stub(answer: Answerer) -> Backend:
    """Something that answers in the model's place, questions about images alone."""
    return Backend("stub", answer, complete=None, score=None, size=8, batch_invariant=True)


def test_where_nobody_promises_it_a_sample_is_asked_alone_and_the_record_says_how_many_answers_change(
    vlm: VLM, tmp_path: Path
) -> None:
    def answer(asked: Sequence[Question], _tokens: int, _stops: Sequence[str]) -> list[Reply]:
        """Alone, the first item of the benchmark is answered otherwise."""
        return [Reply("no" if len(asked) == 1 and "picture 0 " in q.prompt else "yes") for q in asked]

    backend = replace(stub(answer), batch_invariant=False)
    evaluate(vlm, suite("pope"), tmp_path, 0, backend=backend)
    entry = json.loads((tmp_path / "mini-POPE.json").read_text())
    assert entry["batching"] == {"invariant": False, "sampled": 8, "changed": 1}
    assert {answer.answer for answer in read_answers(tmp_path / entry["answers"])} == {"yes"}
    assert not list(tmp_path.glob("*.responses.jsonl"))


def test_cut_and_empty_answers_are_counted_and_told(vlm: VLM, tmp_path: Path) -> None:
    said = [Reply("no"), Reply("yes and yes and", cut=True), Reply(""), Reply(" \n", cut=True), *[Reply("no")] * 4]
    wanted = suite("pope", batch_size=8)
    evaluate(vlm, wanted, tmp_path, 0, backend=stub(lambda asked, _tokens, _stops: said[: len(asked)]))
    entry = json.loads((tmp_path / "mini-POPE.json").read_text())
    assert (entry["cut"], entry["empty"]) == (2, 2)
    answers = read_answers(tmp_path / entry["answers"])
    assert sum(answer.cut for answer in answers) == 2
    assert {answer.answer for answer in answers if answer.cut} == {"yes and yes and", " \n"}
    assert warnings_of(tmp_path, wanted) == [
        "Some answers of mini-POPE were cut at the token cap.",
        "Some answers of mini-POPE were empty.",
    ]


def test_an_answer_may_hold_what_python_takes_for_the_end_of_a_line(vlm: VLM, tmp_path: Path) -> None:
    strange = "yes\x85\u2028\u2029 no"
    backend = stub(lambda asked, _tokens, _stops: [Reply(strange)] * len(asked))
    (score,) = evaluate(vlm, suite("mmvet"), tmp_path, 0, backend=backend)
    assert [answer.answer for answer in read_answers(tmp_path / score.answers)] == [strange] * 8


def test_references_leave_text_benchmarks_out(vlm: VLM, tmp_path: Path) -> None:
    """Those that ``only`` names, too, as suite=mini_study does."""
    wanted = replace(suite("pope", "mmlu"), only=["mini-POPE", "mini-MMLU"])
    shown, blind = tmp_path / "shown", tmp_path / "blind"
    shown.mkdir()
    blind.mkdir()
    evaluate(vlm, suite("pope"), shown, 0)
    scores = evaluate(vlm, wanted, blind, 0, images="blind")
    assert [score.benchmark for score in scores] == ["mini-POPE"]
    assert json.loads((blind / "mini-POPE.json").read_text())["images"] == "blind"


def test_a_failed_benchmark_does_not_lose_the_finished_ones(vlm: VLM, tmp_path: Path) -> None:
    good = suite("pope")
    bad = replace(benchmarks()["mmmu"], metric="accuracy")
    with pytest.raises(UserError, match=r"mini-MMMU.* no metric 'accuracy'; it has: mmmu_acc,none\."):
        evaluate(vlm, replace(good, benchmarks=[*good.benchmarks, bad]), tmp_path, 0)
    assert (tmp_path / "mini-POPE.json").exists()
    assert not (tmp_path / "mini-MMMU.json").exists()


def test_a_missing_metric_of_lm_eval_names_those_that_exist(vlm: VLM, tmp_path: Path) -> None:
    bad = replace(benchmarks()["hellaswag"], metric="f1")
    with pytest.raises(UserError, match="no metric 'f1'; it has: acc,none, acc_norm,none"):
        evaluate(vlm, replace(suite("pope"), benchmarks=[bad]), tmp_path, 0)


def test_no_data_folder(vlm: VLM, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no task YAMLs in .*nowhere; set suite.tasks"):
        evaluate(vlm, suite("pope", folder=tmp_path / "nowhere"), tmp_path, 0)


@pytest.mark.parametrize("key", ["pope", "mmlu"])
def test_data_that_are_gone(vlm: VLM, tmp_path: Path, key: str) -> None:
    write(items(), tmp_path / "tasks")
    (tmp_path / "tasks" / key).rename(tmp_path / "moved")
    with pytest.raises(UserError, match=f"Task 'mini_{key}': there is no data folder .*{key}"):
        evaluate(vlm, suite(key, folder=tmp_path / "tasks"), tmp_path, 0)


@pytest.mark.parametrize("key", ["pope", "mmlu"])
def test_a_task_without_items(vlm: VLM, tmp_path: Path, key: str) -> None:
    write({**items(), key: []}, tmp_path / "tasks")
    with pytest.raises(UserError, match=f"Task 'mini_{key}' has no items"):
        evaluate(vlm, suite(key, folder=tmp_path / "tasks"), tmp_path, 0)


@pytest.mark.parametrize("position", [0, 3])
def test_an_image_that_does_not_open(vlm: VLM, tmp_path: Path, position: int) -> None:
    write(items(), tmp_path / "tasks")
    _break_image(tmp_path / "tasks" / "pope", position)
    with pytest.raises(UserError, match=f"Task 'mini_pope': the image of item {position} cannot be opened"):
        evaluate(vlm, suite("pope", folder=tmp_path / "tasks"), tmp_path, 0)


def _break_image(folder: Path, position: int) -> None:
    file = next(folder.glob("*.parquet"))
    table = pq.read_table(file)
    images = table["image"].to_pylist()
    images[position] = {"bytes": b"not a picture", "path": None}
    column = table.schema.get_field_index("image")
    broken = table.set_column(column, table.schema.field(column), pa.array(images, table.schema.field(column).type))
    pq.write_table(broken, file)


def test_data_that_were_made_again_are_read_again(vlm: VLM, tmp_path: Path) -> None:
    made = items()
    for count in (8, 4):
        write({**made, "pope": made["pope"][:count], "mmlu": made["mmlu"][:count]}, tmp_path / "tasks")
        folder = tmp_path / str(count)
        folder.mkdir()
        scores = evaluate(vlm, suite("pope", "mmlu", folder=tmp_path / "tasks"), folder, 0)
        assert [score.items for score in scores] == [count, count]


def test_a_group_of_text_tasks_is_one_benchmark_over_all_their_items(vlm: VLM, tmp_path: Path) -> None:
    write(items(), tmp_path / "tasks")
    (tmp_path / "tasks" / "both.yaml").write_text(
        "group: both\ntask: [mini_mmlu, mini_hellaswag]\naggregate_metric_list: [{metric: acc, weight_by_size: true}]\n"
    )
    both = replace(benchmarks()["mmlu"], name="both", task="both")
    wanted = replace(suite("mmlu", "hellaswag", folder=tmp_path / "tasks"), benchmarks=[both])
    score = evaluate(vlm, wanted, tmp_path, 0)[0]
    answers = read_answers(tmp_path / score.answers)
    assert score.items == 16
    assert score.value == pytest.approx(100 * sum(answer.score for answer in answers) / 16)
    assert score.stderr is not None


def test_tasks_that_nobody_knows(vlm: VLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An empty index stands in for that of the built-in tasks, which takes ten seconds to make.
    nothing = SimpleNamespace(task_index={}, all_subtasks=[], all_tasks=[])
    for harness in (multimodal, text):
        index = harness._manager
        monkeypatch.setattr(harness, "_manager", lambda tasks, index=index: index(tasks) if tasks else nothing)
    for key in ("pope", "mmlu"):
        unknown = replace(benchmarks()[key], task=f"mini_{key}s")
        with pytest.raises(UserError, match=rf"eval has no .*task 'mini_{key}s'; near it: mini_{key}"):
            evaluate(vlm, replace(suite("pope"), benchmarks=[unknown]), tmp_path, 0)


def test_names_must_differ_and_do_as_file_names() -> None:
    wanted = suite("pope")
    with pytest.raises(UserError, match="two benchmarks named 'mini-POPE'"):
        replace(wanted, benchmarks=[*wanted.benchmarks, *wanted.benchmarks])
    with pytest.raises(UserError, match="must do as a file name"):
        replace(wanted, benchmarks=[replace(wanted.benchmarks[0], name="a/b")])


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 0.5}, {"batch_size": 0}, {"max_new_tokens": None}])
def test_numbers_that_ask_nothing(wrong: dict[str, object]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(UserError, match=rf"suite\.{name}={value}: give a whole number above 0"):
        replace(suite("pope"), **wrong)


def test_a_suite_is_plain_data() -> None:
    assert asdict(suite("pope"))["benchmarks"][0]["name"] == "mini-POPE"


def test_prompts_are_hashed_without_what_a_template_says_of_tools(vlm: VLM) -> None:
    """Or a run could not be compared with runs, and reference scores, from before templates knew tools and clips."""
    template = {
        name: getattr(vlm.family.template, name)
        for name in ("start", "image", "user_prefix", "user_suffix", "assistant_prefix", "assistant_suffix")
    }
    expected = sha256(json.dumps([template, []], ensure_ascii=False).encode()).hexdigest()[:16]
    assert module._prompt_hash(vlm, benchmarks()["sqa"], []) == expected
