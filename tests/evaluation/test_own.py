"""Held-out rows become a task of lmms-eval, beside a suite's own; its scores are worked out by hand."""

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import fsspec
import pyarrow.parquet as pq
import pytest
import yaml
from omegaconf import OmegaConf
from PIL import Image

from selectmm.command_line.reading import ROOT, read_config
from selectmm.contamination.check import check
from selectmm.errors import UserError
from selectmm.evaluation import apart, multimodal, own
from selectmm.evaluation.apart import check_apart
from selectmm.evaluation.generate import Question, Reply
from selectmm.evaluation.own import benchmarks, tasks_with_own
from selectmm.evaluation.own_scores import process_results, token_f1
from selectmm.evaluation.results import identity_of
from selectmm.evaluation.suite import Benchmark, Suite
from selectmm.evaluation.task_hash import task_hash
from selectmm.evaluation.tasks import rendered
from selectmm.evaluation.video import shows_clips
from selectmm.instantiate import build
from selectmm.pool.clip import Clip
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool
from selectmm.quickstart import embedded
from tests.clips import write_clip
from tests.pool.kept_images import contents, picture, tar_of

Rows = Sequence[tuple[str | None, str, str]]
HELD = [("red", "What colour {{is}} it?", "The red one."), (None, "Two?", "2"), ("blue", "Which?", "a blue cat")]


def pool_of(folder: Path, rows: Rows) -> Pool:
    """A colour (of the row's picture), a question, an answer each; the last row goes on with a second question."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for colour, question, answer in rows:
        said = [("human", f"<image>\n{question}" if colour else question), ("gpt", answer)]
        if question == "Which?":
            said += [("human", "And?"), ("gpt", "more")]
        entries.append({"conversations": [{"from": who, "value": text} for who, text in said]})
        if colour:
            Image.new("RGB", (12, 9), colour).save(folder / f"{colour}.png")
            entries[-1]["image"] = f"{colour}.png"
    (folder / "rows.json").write_text(json.dumps(entries))
    return open_llava_json(str(folder / "rows.json"), str(folder), "stop", folder / "cache")


def suite_of(tasks: Path) -> Suite:
    own = [Benchmark(**{key: value for key, value in one.items() if key != "_target_"}) for one in benchmarks()]
    return Suite("toy", own, tasks, None, 2, 16)


def test_the_first_question_of_every_row_is_asked_with_its_image_and_scored(tmp_path: Path) -> None:
    """Exact: "red one" without article, and "2"; words: 2 of 2 and 4 in "blue dog"; letters: DocVQA's distances."""
    asked: list[tuple[str, int]] = []

    def answer(questions: Sequence[Question], tokens: int, _stops: Sequence[str]) -> list[Reply]:
        asked.extend((question.prompt, len(question.images())) for question in questions)
        said = {"What": "red one", "Two?": "2", "Whic": "blue dog"}
        return [Reply(said[question.prompt[:4]], False) for question in questions]

    suite = suite_of(tasks_with_own(None, pool_of(tmp_path / "held", HELD), str(tmp_path / "cache")))
    with rendered(suite.tasks, suite.benchmarks) as tasks:
        options = {"limit": None, "max_new_tokens": 16, "images": "shown", "seed": 0}
        found = multimodal.run(suite.benchmarks[:3], tasks, answer, **options)
    assert asked == [("What colour {{is}} it?", 1), ("Two?", 0), ("Which?", 1)]
    assert found["own-EM"].value == pytest.approx(100 * 2 / 3)
    assert found["own-F1"].value == pytest.approx(100 * (1 + 1 + 2 * 1 / 4) / 3)
    anls = [1 - 5 / 12, 1.0, 1 - 5 / 10]  # "the red one." and "red one"; "a blue cat" and "blue dog": 2 + 3 letters
    assert found["own-ANLS"].value == pytest.approx(100 * sum(anls) / 3)
    assert len(task_hash(suite.benchmarks[0], suite.tasks)) == 16


def test_tasks_that_somebody_changed_in_the_cache_are_refused(tmp_path: Path) -> None:
    """A task's file names functions, and others may write to a shared cache."""
    rows, theirs = pool_of(tmp_path / "held", HELD), tmp_path / "tasks"
    theirs.mkdir()
    (theirs / "toy.yaml").write_text("task: toy")
    made = tasks_with_own(theirs, rows, str(tmp_path / "cache"))
    for name in ("own.yaml", "toy.yaml", "more.yaml", "own-data/more.py"):
        before = (made / name).read_bytes() if (made / name).exists() else None
        (made / name).write_text("doc_to_text: !function /tmp/evil.run")
        with pytest.raises(UserError, match=rf"{name} in the cache is not what selectmm wrote .* Delete .*own-suite"):
            tasks_with_own(theirs, rows, str(tmp_path / "cache"))
        (made / name).unlink() if before is None else (made / name).write_bytes(before)
    assert tasks_with_own(theirs, rows, str(tmp_path / "cache")) == made


def test_the_built_in_benchmarks_tasks_are_those_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "held_out", lambda _times: [])
    monkeypatch.setattr(embedded, "write_benchmarks", lambda _items, _folder: None)
    made = embedded.suite_folder(str(tmp_path))
    assert embedded.suite_folder(str(tmp_path)) == made
    (made / "mini_pope.yaml").write_text("doc_to_text: !function /tmp/evil.run")
    with pytest.raises(UserError, match=r"mini_pope\.yaml in the cache is not what selectmm wrote there"):
        embedded.suite_folder(str(tmp_path))


def test_the_loss_of_the_right_answer_is_asked_for_by_the_harnesss_own_form(tmp_path: Path) -> None:
    """exp(−loss) of each item: 1/2, 1/4 and 1."""
    asked: list[tuple[str, str, int]] = []

    def rate(questions: Sequence[Question], answers: Sequence[str]) -> list[float]:
        asked.extend((q.prompt, a, len(q.images())) for q, a in zip(questions, answers, strict=True))
        return [math.log(2), math.log(4), 0.0]

    suite = suite_of(tasks_with_own(None, pool_of(tmp_path / "held", HELD), str(tmp_path / "cache")))
    rated = [one for one in suite.benchmarks if one.name == "own-likelihood"]
    options = {"limit": None, "max_new_tokens": 16, "images": "shown", "seed": 0}
    with rendered(suite.tasks, rated) as tasks:
        found = multimodal.run(rated, tasks, no_answer, **options, rate=rate)["own-likelihood"]
        with pytest.raises(UserError, match=r"asks for the loss of given answers.*evaluate without engine=vllm"):
            multimodal.run(rated, tasks, no_answer, **options)
    assert asked == [(question, answer, colour is not None) for colour, question, answer in HELD]
    assert found.value == pytest.approx(100 * (1 / 2 + 1 / 4 + 1) / 3)
    assert [float(answer.answer) for answer in found.answers] == [math.log(2), math.log(4), 0.0]
    assert found.majority is None


def no_answer(_questions: Sequence[Question], _tokens: int, _stops: Sequence[str]) -> list[Reply]:
    raise AssertionError("no answer is generated")


def test_a_held_out_question_without_an_answer_is_refused(tmp_path: Path) -> None:
    said = [{"from": "human", "value": "Zoom in"}, {"from": "function_call", "value": '{"name": "zoom"}'}]
    (tmp_path / "rows.json").write_text(json.dumps([{"id": "7", "conversations": said}]))
    rows = open_llava_json(str(tmp_path / "rows.json"), str(tmp_path), "stop", tmp_path / "cache")
    with pytest.raises(UserError, match=r"first question of row 0 \(id '7'\) is answered by a call of a tool"):
        tasks_with_own(None, rows, str(tmp_path / "cache"))


def test_a_held_out_clip_is_asked_as_a_clip_and_the_suite_says_so(tmp_path: Path) -> None:
    write_clip(tmp_path / "1.mp4", frames=3)
    Image.new("RGB", (12, 9), "red").save(tmp_path / "1.png")
    said = [{"from": "human", "value": "<video> or <image>?"}, {"from": "gpt", "value": "yes"}]
    row = {"conversations": said, "video": "1.mp4", "image": "1.png"}
    (tmp_path / "rows.json").write_text(json.dumps([row, {"conversations": [{**said[0], "value": "Two?"}, said[1]]}]))
    rows = open_llava_json(str(tmp_path / "rows.json"), str(tmp_path), "stop", tmp_path / "cache")
    shown: list[list[type]] = []

    def answer(questions: Sequence[Question], _tokens: int, _stops: Sequence[str]) -> list[Reply]:
        shown.extend([type(one) for one in question.images()] for question in questions)
        return [Reply("yes", False) for _ in questions]

    suite = suite_of(tasks_with_own(None, rows, str(tmp_path / "cache")))
    with rendered(suite.tasks, suite.benchmarks) as tasks:
        options = {"limit": None, "max_new_tokens": 16, "images": "shown", "seed": 0}
        assert multimodal.run(suite.benchmarks[:3], tasks, answer, **options)["own-EM"].value == 100
    assert shown == [[Clip, Image.Image], []]
    assert all(shows_clips(one, suite) for one in suite.benchmarks)
    without = suite_of(tasks_with_own(None, pool_of(tmp_path / "held", HELD), str(tmp_path / "cache")))
    assert not any(shows_clips(one, without) for one in without.benchmarks)


@pytest.mark.parametrize("where", ["tar", "address"])
def test_held_out_clips_may_lie_where_a_pools_clips_may(where: str, tmp_path: Path) -> None:
    write_clip(tmp_path / "v" / "1.mp4", frames=3)
    content = (tmp_path / "v" / "1.mp4").read_bytes()
    said = [{"from": "human", "value": "<video>Which?"}, {"from": "gpt", "value": "yes"}]
    (tmp_path / "rows.json").write_text(json.dumps([{"conversations": said, "video": "v/1.mp4"}]))
    if where == "tar":
        root = str(tar_of(tmp_path / "clips.tar", [("v/1.mp4", content)]))
    else:
        root = "memory://held-out-clips"
        fsspec.filesystem("memory").pipe("/held-out-clips/v/1.mp4", content)
    rows = open_llava_json(str(tmp_path / "rows.json"), root, "stop", tmp_path / "cache")
    tasks = tasks_with_own(None, rows, str(tmp_path / "cache"))
    [[clip]] = pq.read_table(tasks / "own-data" / "test.parquet")["clips"].to_pylist()
    assert Path(clip).read_bytes() == content and Path(clip).parent.parent == tmp_path / "cache" / "own-clips"
    counts: list[list[int]] = []

    def answer(questions: Sequence[Question], _tokens: int, _stops: Sequence[str]) -> list[Reply]:
        counts.extend([one.frames for one in question.images() if isinstance(one, Clip)] for question in questions)
        return [Reply("yes", False) for _ in questions]

    suite = suite_of(tasks)
    with rendered(suite.tasks, suite.benchmarks) as folder:
        options = {"limit": None, "max_new_tokens": 16, "images": "shown", "seed": 0}
        assert multimodal.run(suite.benchmarks[:3], folder, answer, **options)["own-EM"].value == 100
    assert counts == [[3]]


def test_a_pools_clip_of_a_held_out_clips_name_is_another_one_if_its_content_is(tmp_path: Path) -> None:
    said = [{"from": "human", "value": "<video>Which?"}, {"from": "gpt", "value": "yes"}]
    (tmp_path / "rows.json").write_text(json.dumps([{"conversations": said, "video": "1.mp4"}]))
    pools = []
    for name, frames in (("held", 3), ("same", 3), ("other", 6)):
        content = write_clip(tmp_path / name / "1.mp4", frames=frames).read_bytes()
        root = tar_of(tmp_path / f"{name}.tar", [("1.mp4", content)])
        pools.append(open_llava_json(str(tmp_path / "rows.json"), str(root), "stop", tmp_path / "cache"))
    held, same, other = pools
    tasks = tasks_with_own(None, held, str(tmp_path / "cache"))
    check_apart(other, tasks)
    with pytest.raises(UserError, match=r"1 rows of the pool have the first question, images and answer of a held-out"):
        check_apart(same, tasks)


def test_another_clip_at_the_same_path_is_evaluated_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    said = [{"from": "human", "value": "<video>\nWhich colour?"}, {"from": "gpt", "value": "red"}]
    (tmp_path / "held.json").write_text(json.dumps([{"conversations": said, "video": "1.mp4"}]))
    pool_of(tmp_path, [("red", "Else?", "x")])
    options = ["pool=llava_json", f"pool.file={tmp_path}/rows.json", f"pool.images={tmp_path}", "suite=prism"]
    options += [f"heldout={tmp_path}/held.json", f"cache={tmp_path}/cache", "judge=none", "model.device=cpu"]
    (tmp_path / "theirs" / "data").mkdir(parents=True)
    (tmp_path / "theirs" / "toy.yaml").write_text("task: toy\n")
    (tmp_path / "theirs" / "data" / "x.parquet").write_bytes(b"1")
    named, config = [], read_config(options)
    for frames in (3, 6, 3):
        write_clip(tmp_path / "1.mp4", frames=frames)
        named.append(identity_of(build(config, "prism").suite)["tasks"])
    assert named[0] == named[2] != named[1]
    rows = open_llava_json(str(tmp_path / "held.json"), str(tmp_path), "stop", tmp_path / "cache")
    made = tasks_with_own(str(tmp_path / "theirs"), rows, str(tmp_path / "cache"))
    assert (made / "data" / "x.parquet").read_bytes() == b"1" and not any(path.is_symlink() for path in made.rglob("*"))
    assert tasks_with_own(str(tmp_path / "theirs"), rows, str(tmp_path / "cache")) == made


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is copied would stand under the name of what was there before."""
    rows, theirs = pool_of(tmp_path / "held", HELD), tmp_path / "tasks"
    theirs.mkdir()
    (theirs / "toy.csv").write_text("1")

    def changed(_source: BinaryIO, to: BinaryIO) -> None:
        (theirs / "toy.csv").write_text("2")
        to.write(b"2")

    monkeypatch.setattr(own.shutil, "copyfileobj", changed)
    with pytest.raises(UserError, match=r"toy\.csv changed while it was read; start the same command again\.$"):
        tasks_with_own(theirs, rows, str(tmp_path / "cache"))
    monkeypatch.undo()
    assert (tasks_with_own(theirs, rows, str(tmp_path / "cache")) / "toy.csv").read_text() == "2"


@pytest.mark.parametrize(
    ("target", "said", "expected"),
    [
        ("the red cat", "a cat, red!", 1.0),
        ("red cat", "cat", 2 / 3),
        ("", "x", 0.0),
        ("the", "a", 0.0),
        ("x", "y", 0.0),
        ("A", "", 0.0),
        ("A.", "...", 0.0),
        ("A.", "a", 1.0),
        ("A", "The", 0.0),
        ("?!", "", 0.0),
        ("?!", " ?!", 1.0),
    ],
)
def test_token_f1_as_squads_script_has_it_where_it_leaves_something_of_the_answer(
    target: str, said: str, expected: float
) -> None:
    assert token_f1(target, said) == pytest.approx(expected)
    scores = process_results({"answer": target}, [said])
    assert 0 <= scores["exact_match"] <= scores["f1"] or not target


def test_a_row_that_is_also_in_the_pool_is_refused_and_one_that_is_nearly_is_told(tmp_path: Path) -> None:
    long = "Which of the colours on this page is the one that the painter used first and then painted over again?"
    held = pool_of(tmp_path / "held", [*HELD, ("red", long, "red")])
    tasks = tasks_with_own(None, held, str(tmp_path / "cache"))
    check_apart(pool_of(tmp_path / "other", [("green", "Else?", "x")]), tasks)
    check_apart(held, None)
    with pytest.raises(UserError, match=r"^1 rows of the pool have the first question, images and answer of a"):
        check_apart(pool_of(tmp_path / "same", [("green", "Else?", "x"), HELD[1]]), tasks)
    near = pool_of(tmp_path / "near", [("red", long.replace("again", "twice"), "another answer")])
    check_apart(near, tasks)
    total = check(near, suite_of(tasks), tmp_path / "cache")[0].total
    assert (total.items, total.same, total.near) == (4, 0, 1)


QUESTION = [{"from": "human", "value": "<image>\nWhich?"}, {"from": "gpt", "value": "red"}]
MORE = [{"from": "human", "value": "And?"}, {"from": "gpt", "value": "x"}]
SYSTEM = {"from": "system", "value": "Be short."}


@pytest.mark.parametrize(
    "row",
    [
        {"image": "red.png", "conversations": QUESTION, "source": "other"},
        {"image": "./red.png", "conversations": QUESTION},
        {"image": "red.png", "conversations": [SYSTEM, *QUESTION]},
        {"image": "red.png", "conversations": [*QUESTION, *MORE]},
    ],
)
def test_a_held_out_question_is_found_under_another_source_path_or_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: dict[str, object]
) -> None:
    """Whatever stands around it, the model would learn its answer; the image is compared, not its path alone."""
    held = pool_of(tmp_path / "held", [("red", "Which?", "red")])
    tasks = tasks_with_own(None, held, str(tmp_path / "cache"))
    folder = tmp_path / "pool"
    folder.mkdir()
    Image.new("RGB", (12, 9), "red").save(folder / "red.png")
    other = [{"conversations": MORE}, {"image": "red.png", "conversations": [QUESTION[0], MORE[1]]}]
    (folder / "rows.json").write_text(json.dumps([*other, row]))
    monkeypatch.setattr(apart, "ROWS", 2)
    pool = open_llava_json(str(folder / "rows.json"), str(folder), "stop", tmp_path / "cache", system="turn")
    with pytest.raises(UserError, match=r"^1 rows .* \(first: row 2, (\./)?red\.png\), so training would teach"):
        check_apart(pool, tasks)
    Image.new("RGB", (12, 9), "blue").save(folder / "red.png")
    same = open_llava_json(str(folder / "rows.json"), str(folder), "stop", tmp_path / "new", system="turn")
    check_apart(same, tasks)


def test_images_are_asked_about_where_the_row_has_them(tmp_path: Path) -> None:
    Image.new("RGB", (12, 9), "red").save(tmp_path / "red.png")
    said = "Is <image> larger than <image>?"
    row = {"image": ["red.png"] * 2, "conversations": [{"from": "human", "value": said}, QUESTION[1]]}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    rows = open_llava_json(str(tmp_path / "rows.json"), str(tmp_path), "stop", tmp_path / "cache")
    asked: list[Question] = []

    def answer(questions: Sequence[Question], _tokens: int, _stops: Sequence[str]) -> list[Reply]:
        asked.extend(questions)
        return [Reply("red", False)]

    suite = suite_of(tasks_with_own(None, rows, str(tmp_path / "cache")))
    with rendered(suite.tasks, suite.benchmarks) as tasks:
        options = {"limit": None, "max_new_tokens": 16, "images": "shown", "seed": 0}
        multimodal.run(suite.benchmarks[:1], tasks, answer, **options)
    (question,) = asked
    trained = [(one.at, one.inline) for one in rows[0].images]
    assert question.prompt == rows[0].turns[0].text
    assert [(one.at, one.inline) for one in question.placed(question.images())] == trained
    assert [one.at for one in question.placed(question.images()[:1])] == [0]  # another item's images


def test_one_key_adds_the_benchmarks_to_any_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    held, pool = tmp_path / "held" / "rows.json", tmp_path / "pool" / "rows.json"
    pool_of(held.parent, HELD)
    pool_of(pool.parent, [("red", "Else?", "x")])
    options = ["pool=llava_json", f"pool.file={pool}", f"pool.images={held.parent}", f"cache={tmp_path / 'cache'}"]
    config = read_config([*options, "suite=prism", "judge=none", f"heldout={held}", "model.device=cpu"])
    suite = build(config, "prism").suite
    names = [benchmark.name for benchmark in suite.benchmarks]
    assert names[-4:] == ["own-EM", "own-F1", "own-ANLS", "own-likelihood"]
    assert names[0] == "SQA"
    assert yaml.safe_load((suite.tasks / "own.yaml").read_text().replace("!function", ""))["task"] == "own"
    for other, said in (
        (OmegaConf.merge(config, {"heldout": str(pool)}), "is the pool itself; hold out rows in a file of their own"),
        (read_config(["heldout=rows.json", "suite=prism"]), "this pool has none; use heldout= with pool=llava_json"),
        (
            OmegaConf.merge(config, {"heldout": "nowhere.json"}),
            r"^heldout=nowhere\.json: there is no such file; name one of held-out rows in the pool's format\.$",
        ),
    ):
        with pytest.raises(UserError, match=said):
            build(other, "prism")


def test_held_out_rows_may_lie_in_tars_with_their_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    said = [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "It."}]
    row, files = json.dumps({"conversations": said}).encode(), contents()
    for name, image in (("train", "coco/000.png"), ("held", "coco/001.png")):
        tar_of(tmp_path / f"{name}.tar", [("a.json", row), ("a.png", files[image])])
    options = ["pool=webdataset", f"pool.tars={tmp_path}/train.tar", f"cache={tmp_path}/cache", "model.device=cpu"]
    config = read_config([*options, "suite=prism", "judge=none", f"heldout={tmp_path}/held.tar"])
    suite = build(config, "random").suite
    assert [benchmark.name for benchmark in suite.benchmarks][-1] == "own-likelihood"
    held = pq.read_table(suite.tasks / "own-data" / "test.parquet").to_pylist()
    assert [(entry["question"], entry["answer"]) for entry in held] == [("What?", "It.")]
    shown = Image.open(io.BytesIO(held[0]["images"][0]["bytes"]))
    assert shown.tobytes() == picture(1).tobytes(), "the held-out tar's, though the pool's has one of the same name"


def test_a_choice_among_the_suites_benchmarks_leaves_out_none_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    pool_of(tmp_path / "held", HELD)
    pool_of(tmp_path / "pool", [("red", "Else?", "x")])
    files = [f"pool.file={tmp_path}/pool/rows.json", f"heldout={tmp_path}/held/rows.json", f"cache={tmp_path}/cache"]
    choices = ["pool=llava_json", f"pool.images={tmp_path}/held", "suite=prism", "suite.only=[SQA]", "judge=none"]
    config = read_config([*files, *choices, "model.device=cpu"])
    suite = build(config, "prism").suite
    assert [one.name for one in suite.benchmarks] == ["SQA", "own-EM", "own-F1", "own-ANLS", "own-likelihood"]
    suite = build(OmegaConf.merge(config, {"suite": {"only": ["SQA", "own-F1"]}}), "prism").suite
    assert [one.name for one in suite.benchmarks] == ["SQA", "own-F1"]


def test_a_suites_own_tasks_stay_beside_it(tmp_path: Path) -> None:
    (tmp_path / "tasks" / "data").mkdir(parents=True)
    (tmp_path / "tasks" / "toy.yaml").write_text("task: toy\n")
    (tmp_path / "tasks" / "data" / "x.parquet").write_bytes(b"1")
    held = pool_of(tmp_path / "held", HELD)
    made = tasks_with_own(str(tmp_path / "tasks"), held, str(tmp_path / "cache"))
    names = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    assert {"toy.yaml", "own.yaml", "data/x.parquet", "own-data/test.parquet", "own.json"} <= names
    with pytest.raises(UserError, match="The suite has a task 'own' already"):
        tasks_with_own(str(made), held, str(tmp_path / "cache"))
