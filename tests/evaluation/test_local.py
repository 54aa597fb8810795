"""Built-in tasks, the real task code, on local folders laid out as the hub; nothing reaches the network."""

import os
import shutil
import socket
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from selectmm.errors import UserError
from selectmm.evaluation import multimodal, results, text
from selectmm.evaluation.decode import Reply
from selectmm.evaluation.evaluate import evaluate
from selectmm.evaluation.generate import Question
from selectmm.evaluation.local import check_local
from selectmm.evaluation.outcome import Outcome
from selectmm.evaluation.results import identity_of
from selectmm.evaluation.suite import Benchmark, Suite
from selectmm.evaluation.tasks import check_data, rendered
from selectmm.models import llava
from selectmm.statistics.tally import tally
from tests.evaluation import hub
from tests.evaluation.material import answering, items, said
from tests.evaluation.scripted import Scripted
from tests.tiny import tiny_llava

from lmms_eval.tasks.hallusion_bench.evaluate_hb import hb_aggregation_result_intern  # isort: skip
from lmms_eval.tasks.naturalbench.utils import extract_answer, get_scores  # isort: skip


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may so much as try to reach the network (GQA's workers talk to one another over local sockets)."""
    connect = socket.socket.connect

    def refuse(this: socket.socket, address: object) -> None:
        assert this.family == socket.AF_UNIX, "a connection was attempted"
        connect(this, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)


def benchmark(task: str, metric: str, scale: float = 100) -> Benchmark:
    return Benchmark(task, "lmms-eval", task, metric, scale, None)


def run(made: Benchmark, answers: Sequence[str], data: Path | None = None) -> Outcome:
    return runs(made, [answers], data)[0]


def runs(made: Benchmark, given: Sequence[Sequence[str]], data: Path | None = None) -> list[Outcome]:
    """One outcome for each list of answers."""
    options = {"limit": None, "max_new_tokens": 8, "images": "shown", "seed": 0}
    with rendered(None, [made], data or hub.hub()) as folder:
        return [multimodal.run([made], folder, answering(answers), **options)[made.name] for answers in given]


@pytest.mark.parametrize(
    ("task", "metric", "key", "scale"),
    [
        ("scienceqa", "exact_match", "sqa", 100),
        ("scienceqa_img", "exact_match", "sqa_img", 100),
        ("vizwiz_vqa_val", "exact_match", "vizwiz", 100),
        ("pope", "pope_f1_score", "pope", 100),
        ("pope_pop", "pope_f1_score", "pope", 100),
        ("pope_random", "pope_f1_score", "pope", 100),
        ("pope_adv", "pope_f1_score", "pope", 100),
        ("mmvet_matched", "gpt_eval_score", "mmvet", 1),
        ("mmbench_en_dev_static", "gpt_eval_score", "mmbench", 1),
        ("mmbench_cn_dev_static", "gpt_eval_score", "mmbench", 1),
        ("mme", "mme_perception_score", "mme", 0.5),
        ("mme", "mme_cognition_score", "mme", 0.5),
        ("mmmu_val", "mmmu_acc", "mmmu", 100),
    ],
)
def test_the_mini_items_under_the_real_tasks_names(task: str, metric: str, key: str, scale: float) -> None:
    right, wrong = runs(benchmark(task, metric, scale), [said(key, lambda _: True), said(key, lambda _: False)])
    assert (right.value, wrong.value) == (pytest.approx(100), pytest.approx(0))


@pytest.mark.parametrize(
    ("task", "metric", "answers", "value"),
    [
        ("textvqa_val", "exact_match", ["STOP.", "sony"], 50),
        ("vqav2_val", "exact_match", ["red", "blue"], 50),
        ("gqa", "exact_match", ["Yes", "no", "yes."], 200 / 3),
        ("seedbench", "seed_image", ["A", "A", "A"], 50),
        ("seedbench", "seed_all", ["A", "A", "A"], 200 / 3),
        ("ai2d", "exact_match", ["A. root", "a"], 50),
        ("ocrbench_mean", "ocrbench_accuracy", ["the centre", "exit", "cab", "x+1"], 75),
        ("chartqa", "relaxed_overall", ["104", "Chile"], 50),
        ("chartqa", "relaxed_augmented_split", ["104", "Chile"], 0),
        ("docvqa_val", "anls", ["1998"], 75),
        ("infovqa_val", "anls", ["13 million"], 90),
        ("realworldqa", "exact_match", ["B. Right", "two"], 50),
        ("mme_total", "mme_total_score", ["yes", "no"] * 6, 40_000),
    ],
)
def test_tasks_of_the_other_suites(task: str, metric: str, answers: list[str], value: float) -> None:
    assert run(benchmark(task, metric), answers).value == pytest.approx(value)


def test_gqa_joins_questions_and_pictures_of_the_same_folder() -> None:
    seen = []

    def answer(questions: Sequence[Question], _tokens: int, _stops: Sequence[str]) -> list[Reply]:
        seen.extend(question.images()[0].size for question in questions)
        return [Reply("yes")] * len(questions)

    made = benchmark("gqa", "exact_match")
    with rendered(None, [made], hub.hub()) as folder:
        multimodal.run([made], folder, answer, limit=None, max_new_tokens=8, images="shown", seed=0)
    assert seen == [(40 + number, 60 - number) for number in range(3)]


def test_the_environment_stays_the_one_that_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """GQA's items are mapped in processes, and `datasets` then leaves a copy of the environment in its place."""
    monkeypatch.setenv("API_TYPE", "mine")
    before = os.environ
    run(benchmark("gqa", "exact_match"), ["yes", "no", "yes"])
    assert os.environ is before and os.environ["API_TYPE"] == "mine"


def test_textvqa_shows_the_ocr_tokens_between_question_and_instruction() -> None:
    expected = "\nAnswer the question using a single word or phrase."
    with_tokens = run(benchmark("textvqa_ocr", "exact_match"), ["stop", "acme"])
    assert [answer.prompt for answer in with_tokens.answers] == [
        f"What does it say?\nReference OCR token: STOP, ALL, WAY{expected}",
        f"Which brand?\nReference OCR token: {expected}",
    ]
    # Two of ten people said acme: for each of the eight others min(1, 2/3), for each of the two min(1, 1/3).
    assert [answer.score for answer in with_tokens.answers] == pytest.approx([1, (8 * 2 / 3 + 2 * 1 / 3) / 10])
    without = run(benchmark("textvqa_val", "exact_match"), ["stop", "acme"])
    assert [answer.prompt for answer in without.answers] == [f"What does it say?{expected}", f"Which brand?{expected}"]


def test_vqav2_names_what_most_people_said() -> None:
    assert [answer.target for answer in run(benchmark("vqav2_val", "exact_match"), ["red", "blue"]).answers] == [
        "red"
    ] * 2


def test_ocrbench_gives_the_same_value_twice_and_its_error() -> None:
    # lmms-eval's own sum would be 3/1000 the first time and 6/1000 the second.
    values = runs(benchmark("ocrbench_mean", "ocrbench_accuracy"), [["centre", "exit", "cab", "x+1"]] * 2)
    assert [value.value for value in values] == [75, 75]
    assert values[0].stderr == pytest.approx(100 * (0.75 * 0.25 / 3) ** 0.5)


# A coin's answers to two groups, of which the first has only its last answer wrong and the second is right.
NATURAL = ["Yes", "No", "No", "No", "A", "B", "(B)", "The answer is A."]


@pytest.mark.parametrize(
    ("metric", "key"), [("G_ACC", "G_Acc"), ("Q_ACC", "Q_Acc"), ("I_ACC", "I_Acc"), ("ACC", "Acc")]
)
def test_naturalbench_s_four_metrics_are_the_harness_s(metric: str, key: str) -> None:
    kinds = ["yes_no"] * 4 + ["multiple_choice"] * 4
    parsed = [extract_answer(said, kind) for said, kind in zip(NATURAL, kinds, strict=True)]
    by_harness = get_scores([[float(one) for one in parsed[:4]], [float(one) for one in parsed[4:]]])
    made = benchmark("naturalbench_groups", f"naturalbench_{metric}")
    assert run(made, NATURAL).value == pytest.approx(100 * by_harness[key])


def test_naturalbench_counts_groups_and_knows_the_right_answers() -> None:
    found = run(benchmark("naturalbench_groups", "naturalbench_G_ACC"), NATURAL)
    assert [answer.target for answer in found.answers] == ["Yes", "No", "No", "Yes", "A", "B", "B", "A"]
    assert [answer.score for answer in found.answers] == [0] * 4 + [1] * 4, "an item counts as its group does"
    assert (found.value, found.majority) == (50, 0)
    assert found.stderr == pytest.approx(50)  # of a mean over two groups, one of them right: sd/√2
    with rendered(None, [made := benchmark("naturalbench_groups", "naturalbench_G_ACC")], hub.hub()) as folder:
        cut = multimodal.run([made], folder, answering(NATURAL[:6]), limit=6, max_new_tokens=8, images="shown", seed=0)
    assert cut["naturalbench_groups"].value == 50, "of the group that the limit cuts, the two that were asked are right"


# Set 0: figure 1 (yes, no), figure 2 (no, yes); set 1: yes. One answer is wrong, that to figure 2's second question.
HALLUSION = ["Yes.", "No", "I do not think so", "no", "Yes, it is"]


@pytest.mark.parametrize(("metric", "value"), [("aAcc", 4 / 5), ("fAcc", 2 / 3), ("qAcc", 2 / 3)])
def test_hallusionbench_without_a_judge_is_the_harness_s_own_rule(metric: str, value: float) -> None:
    found = run(benchmark("hallusion_bench_static", metric), HALLUSION)
    docs = [{**row, "model_prediction": said} for row, said in zip(hub.HALLUSION, HALLUSION, strict=True)]
    assert found.value == pytest.approx(100 * hb_aggregation_result_intern(docs, metric))
    assert found.value == pytest.approx(100 * value)


def test_hallusionbench_s_number_is_the_mean_of_its_three() -> None:
    found = run(benchmark("hallusion_bench_static", "hallusion_overall"), HALLUSION)
    assert found.value == pytest.approx(100 * (4 / 5 + 2 / 3 + 2 / 3) / 3)
    assert [answer.score for answer in found.answers] == [1, 1, 1, 0, 1]
    assert found.stderr is not None and found.stderr == 0, "two sets, each alone in its category: nothing to draw"
    assert tally(found.answers, "hallusion_overall") is None


def test_cmmmu_scores_an_item_once_even_where_it_guesses() -> None:
    made = benchmark("cmmmu_val_once", "cmmmu_acc")
    right = run(made, ["B", "这个说法是对的", "答案是12", "错误"])
    assert right.value == 100 and [answer.target for answer in right.answers] == ["B", "对", "12", "错"]
    assert run(made, ["A", "错误", "13", "对"]).value == 0
    unread = run(made, ["绿", "也许", "12.0", "也许"])  # an option by its text; a number; two guesses
    assert unread.value == pytest.approx(25 * sum(answer.score for answer in unread.answers))
    assert [answer.score for answer in unread.answers][::2] == [1, 1]


def test_chinese_mmbench_reads_the_letter_out_of_chinese_answers() -> None:
    right = said("mmbench", lambda _: True)
    forms = ["答案是{}。", "选{}", "{}、因为", "（{}）", "正确选项：{}", "{}", "我认为应该选择{}", "{}。"]
    assert run(
        benchmark("mmbench_cn_dev_static", "gpt_eval_score", 1),
        [form.format(letter) for form, letter in zip(forms, right, strict=True)],
    ).value == pytest.approx(100)


def test_a_text_task_and_a_group_of_text_tasks() -> None:
    hellaswag = Benchmark("HellaSwag", "lm-eval", "hellaswag", "acc_norm", 100, None)
    with rendered(None, [hellaswag], hub.hub()) as folder:
        model = Scripted(items()["hellaswag"], lambda position: position % 4 > 0)
        found = text.run([hellaswag], folder, model, limit=None, seed=0)["HellaSwag"]
    assert (found.value, len(found.answers)) == (75, 8)
    group = Benchmark("MMLU-Pro", "lm-eval", "mmlu_pro", "exact_match", 100, None)
    with rendered(None, [group], hub.hub()) as folder:
        model = Scripted(items()["mmlu_pro"], lambda _: True, "The answer is ({})")
        found = text.run([group], folder, model, limit=None, seed=0)["MMLU-Pro"]
    assert (found.value, len(found.answers)) == (100, len(hub.CATEGORIES))
    assert all(answer.prompt.count("Let's think step by step") == 6 for answer in found.answers)


def suite_of(*made: Benchmark, data: Path) -> Suite:
    return Suite("tested", made, None, None, 4, 8, data)


def test_a_suite_reads_its_data_from_a_folder(tmp_path: Path) -> None:
    vlm = llava.load(str(tiny_llava(tmp_path / "llava")), device="cpu")
    (tmp_path / "out").mkdir()
    scores = evaluate(vlm, suite_of(benchmark("chartqa", "relaxed_overall"), data=hub.hub()), tmp_path / "out", 0)
    assert [(score.benchmark, score.items) for score in scores] == [("chartqa", 2)]


def test_a_suite_is_known_by_its_data_not_by_where_they_lie(tmp_path: Path) -> None:
    made = benchmark("chartqa", "relaxed_overall")
    part = next(part for part in hub.parts() if part.name.endswith("ChartQA"))
    for place, rows in (("here", part.rows), ("there", part.rows), ("other", part.rows[:1])):
        hub.write([replace(part, rows=rows)], tmp_path / place)
    here, there, other = (identity_of(suite_of(made, data=tmp_path / p)) for p in ("here", "there", "other"))
    assert here == there != other


def test_a_data_set_that_is_missing_is_named_before_anything_runs(tmp_path: Path) -> None:
    with (
        pytest.raises(
            UserError,
            match=r"Benchmark 'pope_pop': there is no data folder .*/lmms-lab-encoder/POPE for task 'pope_pop'; put "
            r"the hub's data set lmms-lab-encoder/POPE there, or set suite\.data=null to read it from the hub\.",
        ),
        rendered(None, [benchmark("pope_pop", "pope_f1_score")], tmp_path),
    ):
        pass


def test_a_data_set_without_rows(tmp_path: Path) -> None:
    part = next(part for part in hub.parts() if part.name.endswith("ChartQA"))
    hub.write([replace(part, rows=[])], tmp_path)
    with (
        pytest.raises(
            UserError, match=r"Benchmark 'chartqa': the data folder .*ChartQA holds no rows in parquet files\."
        ),
        rendered(None, [benchmark("chartqa", "relaxed_overall")], tmp_path),
    ):
        pass


def test_a_parquet_file_that_is_cut_or_a_pointer_is_named(tmp_path: Path) -> None:
    """Before training, and again where a suite's own tasks are about to read it."""
    hub.write([part for part in hub.parts() if part.name.endswith("ChartQA")], tmp_path)
    file = next(tmp_path.rglob("*.parquet"))
    made = benchmark("chartqa", "relaxed_overall")
    for content in (
        file.read_bytes()[:-20],
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n",
        b"",
    ):
        file.write_bytes(content)
        said = rf"^{file} is not a whole parquet file \(.*\); download it again\. \(A file of some hundred bytes may be"
        with pytest.raises(UserError, match=said):
            check_local([made], None, tmp_path)
        (tmp_path / "mine.yaml").write_text(f"task: mine\ndataset_path: {tmp_path}\n")
        with pytest.raises(UserError, match=said):
            check_data("mine", tmp_path)


@pytest.mark.parametrize(
    ("front", "said"),
    [
        ("configs:\n- config_name: default\n  data_dir: data", None),
        ("configs:\n- data_files:\n  - path: data/*\n", None),
        ("configs: default", None),
        ("configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: x", "it has: default/train"),
        ("- a list", r"^The description of the data set .*ChartQA cannot be read"),
        ("configs: [", r"^The description of the data set .*ChartQA cannot be read"),
    ],
)
def test_a_readme_may_list_its_splits_in_any_way(front: str, said: str | None, tmp_path: Path) -> None:
    hub.write([part for part in hub.parts() if part.name.endswith("ChartQA")], tmp_path)
    readme = next(tmp_path.rglob("*.parquet")).parent / "README.md"
    while not readme.exists():
        readme = readme.parent.parent / "README.md"
    readme.write_text(f"---\n{front}\n---\n")
    with nullcontext() if said is None else pytest.raises(UserError, match=said):
        check_local([benchmark("chartqa", "relaxed_overall")], None, tmp_path)


@pytest.mark.parametrize(
    ("task", "harness", "wanted", "there"),
    [
        ("pope_pop", "lmms-eval", "Full/popular", "Full/random"),
        ("hellaswag", "lm-eval", "default/validation", "default/train"),
        ("scienceqa", "lmms-eval", "ScienceQA-FULL/test", "ScienceQA-IMG/test"),
    ],
)
def test_a_data_set_that_lacks_a_split(task: str, harness: str, wanted: str, there: str, tmp_path: Path) -> None:
    hub.write([part for part in hub.parts() if f"{part.config}/{part.split}" in ("Full/random", there)], tmp_path)
    said = (
        rf"Benchmark '{task}': .* has no configuration and split {wanted}, which task '{task}' reads; it has: {there}\."
    )
    with (
        pytest.raises(UserError, match=said),
        rendered(None, [Benchmark(task, harness, task, "x", 100, None)], tmp_path),
    ):
        pass


@pytest.mark.parametrize("name", ["encode.py", "render.py", "video.py", "inputs.py", "losses.py"])
def test_the_identity_follows_the_code_that_makes_a_prompt(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = replace(suite_of(benchmark("mmvet_matched", "gpt_eval_score", 1), data=Path()), data=None)
    before, digest = identity_of(made), results._digest
    monkeypatch.setattr(
        results, "_digest", lambda file, *at: b"changed" if file.parts[-2:] == ("models", name) else digest(file, *at)
    )
    assert identity_of(made) != before


def test_the_identity_does_not_follow_comments_of_our_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are the same; those of a YAML file are not looked for."""
    for folder in ("evaluation", "models"):
        shutil.copytree(results.PACKAGE / folder, tmp_path / folder)
    monkeypatch.setattr(results, "PACKAGE", tmp_path)
    made, found = replace(suite_of(benchmark("mmvet_matched", "gpt_eval_score", 1), data=Path()), data=None), []
    for line in ("", "# Why.\n", "more = 1\n"):
        with (tmp_path / "evaluation" / "decode.py").open("a") as file:
            file.write(line)
        found.append(identity_of(made))
    assert found[0] == found[1] != found[2]
