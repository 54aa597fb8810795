"""MM-Vet and LLaVA-W with a judge on a local server: scores by hand, failures by item, and only those asked again."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from selectmm.errors import UserError
from selectmm.evaluation import evaluate as module
from selectmm.evaluation import judging, llava_w, mmvet
from selectmm.evaluation.decode import Reply
from selectmm.evaluation.evaluate import evaluate
from selectmm.evaluation.generate import Prompts
from selectmm.evaluation.judge import ExactJudge, Judge, NoJudge, NotJudged, Server
from selectmm.evaluation.judging import JudgeRequest
from selectmm.evaluation.results import identity_of, read_answers, read_manifest
from selectmm.evaluation.suite import Benchmark, Suite
from selectmm.models import llava
from selectmm.models.vlm import VLM
from selectmm.stages.record import not_evaluated
from tests.evaluation import hub
from tests.evaluation.judge_server import Say, judge_server
from tests.tiny import tiny_llava

MMVET = Benchmark("MM-Vet", "lmms-eval", "mmvet_asked", "gpt_eval_score", 1, None, "url", "mmvet_matched")
LLAVA_W = Benchmark("LLaVA-W", "lmms-eval", "llava_w_asked", "gpt_eval_llava_all", 1, None, "url")


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return llava.load(str(tiny_llava(tmp_path_factory.mktemp("llava"))), device="cpu")


@pytest.fixture(autouse=True)
def echoing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model answers every question with the question, so that the judge can tell items apart."""

    def answers(_vlm: VLM, prompts: Prompts, *_settings: object) -> list[Reply]:
        return [Reply(f"said of {talk.turns[0].text}") for talk in prompts.conversations]

    monkeypatch.setattr(module, "answered", answers)


@pytest.fixture
def mmvet_utils() -> ModuleType:
    """lmms-eval's own file, imported the way that keeps it from connecting to its judge."""
    mmvet.template()
    return import_module("lmms_eval.tasks.mmvet.utils")


def server(url: str) -> Server:
    return Server(url, "judge-1", None, 30, 2, 0)


def suite(judge: Judge, *made: Benchmark) -> Suite:
    return Suite("tested", made, None, None, 4, 8, hub.hub(), judge)


def by_item(replies: dict[int, object], other: object) -> Say:
    """What the judge says of MM-Vet's item n, whose question is "What colour is picture n?"."""

    def say(question: str) -> object:
        number = int(question.rsplit("said of What colour is picture ", 1)[1].split("?")[0])
        return replies.get(number, other)

    return say


def test_mmvet_is_the_mean_of_the_judge_s_scores(vlm: VLM, tmp_path: Path, mmvet_utils: ModuleType) -> None:
    with judge_server(by_item({0: "1.0", 1: "0.5 | because", 2: "0.3\n"}, "0.0")) as (url, asked):
        wanted = suite(server(url), MMVET)
        score = evaluate(vlm, wanted, tmp_path, 0)[0]
    assert score.value == pytest.approx(100 * (1 + 0.5 + 0.3) / 8)
    assert [answer.score for answer in read_answers(tmp_path / score.answers)] == [1, 0.5, 0.3, 0, 0, 0, 0, 0]
    assert score.majority is None and score.stderr is not None
    found = [
        "What colour is picture 0? | red | said of What colour is picture 0? |",
        "What colour is picture 1? | yellow | said of What colour is picture 1? |",
    ]
    assert [request["messages"] for request in asked[:2]] == [
        [{"role": "user", "content": f"{mmvet_utils.MM_VET_PROMPT}\n{line}"}] for line in found
    ]
    assert {request["temperature"] for request in asked} == {0}
    manifest = read_manifest(tmp_path, wanted)["MM-Vet"]
    assert manifest["judge"] == "url"
    identity = manifest["generation"]["judge"]
    assert (identity["model"], identity["temperature"], len(identity["prompt"])) == ("judge-1", 0, 16)


def test_mmvet_asks_as_the_harness_would(monkeypatch: pytest.MonkeyPatch, mmvet_utils: ModuleType) -> None:
    doc = {"question_id": "v1_0", "question": "x?", "answer": "-1<AND>-5<OR>2", "capability": "math"}
    prompts = []

    def reply(prompt: str, **_: object) -> tuple[str, str]:
        prompts.append(prompt)
        return "0.5", "judge"

    monkeypatch.setattr(mmvet_utils, "get_chat_response", reply)
    theirs = mmvet_utils.mmvet_process_results(doc, ["x = -1"])["gpt_eval_score"]
    ours = mmvet.process_results(doc, ["x = -1"])["gpt_eval_score"]
    asked = ours.pop("asked")
    assert prompts == [asked.messages[0]["content"]]
    assert {**ours, **asked.read("0.5"), "eval_model": "judge"} == theirs
    scored = [{"score": score, "capabilities": "math"} for score in (0.5, 1.0, 0.0)]
    assert mmvet.aggregate(scored) == pytest.approx(mmvet_utils.mmvet_aggregate_results(scored))


def test_llava_w_is_the_ratio_of_the_points(vlm: VLM, tmp_path: Path) -> None:
    points = {"picture 0": "8 4\nBecause.", "picture 1": "9, 6", "picture 2": "8 8.5"}
    with judge_server(lambda question: next(p for key, p in points.items() if key in question)) as (url, asked):
        score = evaluate(vlm, suite(server(url), LLAVA_W), tmp_path, 0)[0]
    assert score.value == pytest.approx(100 * (4 + 6 + 8.5) / (8 + 9 + 8))
    assert score.stderr is not None and score.stderr > 0
    own = [a.score for a in read_answers(tmp_path / score.answers)]
    assert own == [None] * 3, "8.5 / 8 is no share, and the value no mean of such ratios"
    system, user = asked[0]["messages"]
    assert system == {"role": "system", "content": llava_w.SYSTEM}
    assert user["content"].startswith(
        "[Context]\nA red field.\n\n[Question]\nDescribe picture 0.\n\n[Assistant 1]\nIt is a plain red field.\n\n"
        "[End of Assistant 1]\n\n[Assistant 2]\nsaid of Describe picture 0.\n\n[End of Assistant 2]\n\n[System]\nWe "
    )


def test_llava_w_asks_as_the_harness_would() -> None:
    file = Path(llava_w.find_spec("lmms_eval").origin).parent / "tasks" / "llava-in-the-wild" / "utils.py"
    spec = spec_from_file_location("llava_in_the_wild_utils", file)
    theirs = module_from_spec(spec)
    spec.loader.exec_module(theirs)
    prompts = []

    def pipeline(content: str, **_: object) -> SimpleNamespace:
        prompts.append(content)
        return SimpleNamespace(raw_output="8 6", metadata=theirs._parse_comparative_scores("8 6").metadata)

    theirs._get_pipeline = lambda: pipeline
    scored = []
    for doc in hub.LLAVA_W:
        payload = theirs.llava_process_results(doc, ["a field"])["gpt_eval_llava_all"]
        asked = llava_w.process_results(doc, ["a field"])["gpt_eval_llava_all"]["asked"]
        assert asked.messages[1]["content"] == prompts[-1] == payload["content"]
        assert asked.read("8 6")["scores"] == payload["scores"]
        scored.append({"scores": [8.0, 2.0 + len(scored)]})
    assert round(llava_w.aggregate(scored), 1) == theirs.llava_all_aggregation(scored)


@pytest.mark.parametrize("reply", ["I cannot judge this.", "7", "1.5", "-0.1", "nan", "score: 0.5", "**0.5**"])
def test_replies_that_are_no_mmvet_score(reply: str) -> None:
    with pytest.raises(NotJudged, match="the judge's reply does not begin with a score between 0 and 1: "):
        mmvet.read(reply)


@pytest.mark.parametrize("reply", ["I cannot judge this.", "8", "8 9 7", "8/10 9/10", "Sure!\n8 9", "8 -1"])
def test_replies_that_are_no_two_points(reply: str) -> None:
    with pytest.raises(NotJudged, match="the first line of the judge's reply is not two scores: "):
        llava_w.read(reply)


@pytest.mark.parametrize("reply", ["0 5", "8 11", "80 90"])
def test_points_that_are_off_the_scale(reply: str) -> None:
    with pytest.raises(NotJudged, match="the judge's scores are not between 1 and 10: "):
        llava_w.read(reply)


def test_a_failed_judgement_is_an_error_with_its_item_and_only_it_is_asked_again(vlm: VLM, tmp_path: Path) -> None:
    refusal = by_item({2: "I cannot help with that.", 5: ""}, "0.5")
    with judge_server(refusal) as (url, asked):
        with pytest.raises(UserError) as problem:
            evaluate(vlm, suite(server(url), MMVET), tmp_path, 0)
        assert str(problem.value) == (
            "Benchmark 'MM-Vet': 2 of 8 items have no judgement (item 2: the judge's reply does not begin with a score "
            "between 0 and 1: 'I cannot help with that.'; item 5: the judge replied with nothing). What was judged is "
            "kept; start the same command again, and only the rest is asked."
        )
        assert len(asked) == 8
    assert not (tmp_path / "MM-Vet.json").exists()
    with judge_server(by_item({}, "1.0")) as (url, asked):
        score = evaluate(vlm, suite(server(url), MMVET), tmp_path, 0)[0]
    assert [request["messages"][0]["content"][-12:] for request in asked] == ["picture 2? |", "picture 5? |"]
    assert score.value == pytest.approx(100 * (6 * 0.5 + 2) / 8)


def test_a_server_that_fails_stops_the_run_at_its_item(vlm: VLM, tmp_path: Path) -> None:
    with judge_server(by_item({3: (500, b"oops")}, "0.5")) as (url, asked):
        with pytest.raises(
            UserError, match=r"Benchmark 'MM-Vet', item 3: The judge at .* HTTP 500 .*'oops'\. What was"
        ):
            evaluate(vlm, suite(server(url), MMVET), tmp_path, 0)
        assert len(asked) == 3 + 2
    file = tmp_path / "MM-Vet.judgements.jsonl"
    assert [json.loads(line)["item"] for line in file.read_text().splitlines()] == ["0", "1", "2"]
    with file.open("a") as lines:
        lines.write('{"item": "3", "as')  # cut by a kill
    with file.open("ab") as raw:
        raw.write("ß".encode()[:1])  # inside a character
    with judge_server(by_item({}, "0.5")) as (url, asked):
        evaluate(vlm, suite(server(url), MMVET), tmp_path, 0)
    assert len(asked) == 5
    assert len(judging.read_judgements(file)) == 8


def test_replies_are_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("content")
    file = tmp_path / "MM-Vet.judgements.jsonl"
    file.symlink_to(tmp_path / "mine")
    payloads = [{"asked": JudgeRequest([{"role": "user", "content": "0"}], 8, mmvet.read, "")}]
    with judge_server(lambda _: "0.5") as (url, asked):
        with pytest.raises(UserError, match=f"^{file} is a link, but no stage makes links; delete it, and start"):
            judging.judge_all(server(url), "MM-Vet", file, ["0"], payloads)
    assert not asked and (tmp_path / "mine").read_text() == "content"


def test_all_failed_items_are_named_and_replies_may_hold_any_character(tmp_path: Path) -> None:
    payloads = [{"asked": JudgeRequest([{"role": "user", "content": str(n)}], 8, mmvet.read, "")} for n in range(6)]
    file = tmp_path / "file.jsonl"
    with judge_server(lambda question: "0.5 \u2028 ß" if question == "0" else "no") as (url, asked):
        for requests in (6, 11):
            with pytest.raises(
                UserError, match=r"5 of 6 items .*item 1: .*item 2: .*item 3: .*'no'; also items 4, 5\)"
            ):
                judging.judge_all(server(url), "MM-Vet", file, list("012345"), payloads)
            assert len(asked) == requests
    assert list(judging.read_judgements(file).values()) == ["0.5 \u2028 ß"]


def test_another_judge_s_replies_are_not_taken(vlm: VLM, tmp_path: Path) -> None:
    with judge_server(by_item({7: "no"}, "0.5")) as (url, asked):
        with pytest.raises(UserError, match="item 7"):
            evaluate(vlm, suite(server(url), MMVET), tmp_path, 0)
        with pytest.raises(UserError, match="item 7"):
            evaluate(vlm, suite(Server(url, "judge-2", None, 30, 2, 0), MMVET), tmp_path, 0)
        assert [request["model"] for request in asked] == ["judge-1"] * 8 + ["judge-2"] * 8


@pytest.mark.parametrize(
    ("judge", "kept", "left_out"),
    [
        (
            NoJudge(),
            [],
            {"MM-Vet": "it needs a judge, and judge is none", "LLaVA-W": "it needs a judge, and judge is none"},
        ),
        (
            ExactJudge(),
            [("mmvet_matched", "exact")],
            {"LLaVA-W": "it needs a judge model (judge=url); our offline matcher cannot score it"},
        ),
        (Server("http://x/v1", "m", None, 1, 1, 0), [("mmvet_asked", "url"), ("llava_w_asked", "url")], {}),
    ],
)
def test_the_judge_decides_what_runs(judge: Judge, kept: list[tuple[str, str]], left_out: dict[str, str]) -> None:
    made = suite(judge, MMVET, LLAVA_W)
    assert [(benchmark.task, benchmark.judge) for benchmark in made.benchmarks] == kept
    assert made.left_out == left_out


def test_a_record_says_what_its_suite_left_out() -> None:
    assert not_evaluated(suite(NoJudge(), MMVET, LLAVA_W)) == [
        "Left out of suite tested, so not in Rel.: MM-Vet, LLaVA-W (it needs a judge, and judge is none)."
    ]
    assert not_evaluated(suite(ExactJudge(), MMVET)) == []


def test_an_evaluation_is_known_by_its_judge_s_name_where_one_is_asked() -> None:
    def known(judge: Judge, *made: Benchmark) -> dict[str, object]:
        return identity_of(replace(suite(judge, *made), data=None))

    here, there = Server("http://here/v1", "m", None, 1, 1, 0), Server("http://there/v1", "m", None, 9, 2, 1)
    assert known(here, MMVET) == known(there, MMVET) != known(replace(here, model="n"), MMVET)
    rules = replace(MMVET, judge="none")
    assert known(here, rules) == known(NoJudge(), rules) == known(ExactJudge(), rules)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda entry: {**entry, "harness": "lmms-eval 0.4.0"},
            "its harness is lmms-eval 0.4.0, here it is lmms-eval 0.7.3",
        ),
        (lambda entry: {**entry, "limit": 3}, "its limit is 3, here it is None"),
        (
            lambda entry: {**entry, "benchmark": {**entry["benchmark"], "task": "mmvet"}},
            "its task is mmvet, here it is mm",
        ),
        (
            lambda entry: {**entry, "generation": {"judge": {"model": "judge-9"}}},
            "its judge is judge-9, here it is judge-1",
        ),
    ],
)
def test_a_results_file_of_another_evaluator(
    vlm: VLM, tmp_path: Path, change: Callable[[dict[str, object]], object], said: str
) -> None:
    with judge_server(by_item({}, "0.5")) as (url, _):
        wanted = suite(server(url), MMVET)
        evaluate(vlm, wanted, tmp_path, 0)
        file = tmp_path / "MM-Vet.json"
        file.write_text(json.dumps(change(json.loads(file.read_text()))))
        with pytest.raises(UserError, match=rf"The results file {file} is another evaluator's: {said}"):
            evaluate(vlm, wanted, tmp_path, 0)
    file.write_text("{")
    with pytest.raises(UserError, match=rf"The results file {file} cannot be read .*; delete it, and start again\."):
        evaluate(vlm, wanted, tmp_path, 0)
