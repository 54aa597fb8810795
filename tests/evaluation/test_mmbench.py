"""MMBench in Chinese: which letter an answer chooses, and what its rotations come to."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selectmm.evaluation.mmbench import letter, process_results
from tests.evaluation import hub
from tests.evaluation.material import said
from tests.evaluation.test_local import benchmark, run

OPTIONS = {"A": "红色", "B": "绿色", "C": "Blue", "D": "黄色"}


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [
        ("B", "B"),
        ("b", None),
        ("B.", "B"),
        ("Ｂ。", "B"),
        ("（B）绿色", "B"),
        ("【B】", "B"),
        ("B、绿色", "B"),
        ("B绿色", "B"),
        ("答案是B", "B"),
        ("答案：B", "B"),
        ("正确答案为（B）。", "B"),
        ("选B", "B"),
        ("我选择 B 选项", "B"),
        ("应该选Ｂ", "B"),
        ("A不对，C也不对，所以答案是B。", "B"),
        ("先看答案是A，但答案是B", "B"),
        ("图中是绿色，B", "B"),
        ("它是绿色的", "B"),
        ("它是 Ｂｌｕｅ 的", "C"),
        ("绿色或红色", None),
        ("A dog", None),
        ("B或C", "B"),
        ("可能是B或C", None),
        ("Apple", None),
        ("不知道", None),
        ("", None),
    ],
)
def test_the_letter_that_an_answer_chooses(answer: str, chosen: str | None) -> None:
    assert letter(answer, OPTIONS) == chosen


def test_an_answer_without_a_letter_is_left_to_the_harness() -> None:
    doc = {name: text for name, text in OPTIONS.items()} | dict.fromkeys(
        ("question", "hint", "source", "split", "category", "L2-category"), "x"
    )
    payload = process_results({**doc, "index": 0, "answer": "B"}, ["不知道"])["gpt_eval_score"]
    assert payload["prediction"] == "不知道"
    assert process_results({**doc, "index": 0, "answer": "B"}, ["选B"])["gpt_eval_score"]["prediction"] == "B"


def test_a_question_counts_only_if_all_its_rotations_are_right(tmp_path: Path) -> None:
    part = next(part for part in hub.parts() if part.config == "cn")
    hub.write([part], tmp_path)
    file = next(tmp_path.rglob("*.parquet"))
    table = pq.read_table(file)
    rotated = pa.array([0, 1, 2, 3, 1_000_000, 1_000_001, 1_000_002, 1_000_003], pa.int64())
    place = table.schema.get_field_index("index")
    pq.write_table(table.set_column(place, table.schema.field(place), rotated), file)
    answers = [f"答案是{letter}。" for letter in said("mmbench", lambda position: position not in (5, 6))]
    outcome = run(benchmark("mmbench_cn_dev_static", "gpt_eval_score", 1), answers, tmp_path)
    assert outcome.value == pytest.approx(50)  # questions 1 and 2 miss a rotation, 0 and 3 none
    assert [answer.score for answer in outcome.answers] == [1, 0, 0, 1] * 2
    assert "请直接使用所提供的选项字母作为答案回答。" in outcome.answers[0].prompt
