"""The same question in another wording of the instructions, runs of words, and phrases that do not count."""

import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selectmm.contamination import texts as module
from selectmm.contamination.texts import (
    COMMON,
    LONGEST,
    SHORTEST,
    Row,
    near_questions,
    own_pieces,
    pieces,
    same_questions,
)

SHORT = "\nAnswer the question using a single word or phrase."


def row(text: str, answer: str = "yes") -> Row:
    return Row(text, f"{text}\n{answer}")


def test_pieces_are_lines_and_sentences_without_tags_and_signs() -> None:
    assert pieces("<image 1> What's THIS?  Is it 3.5 cm?\nA. yes\n\n") == ["what s this", "is it 3 5 cm", "a", "yes"]


def test_what_nearly_all_items_share_is_not_their_question() -> None:
    prompts = [f"Is it {n}? Please answer yes or no." for n in range(9)] + ["Is it dark? Say why."]
    own = own_pieces(prompts)
    assert own[:2] == [("is it 0",), ("is it 1",)]
    assert own[-1] == ("is it dark", "say why")
    assert own_pieces(["What is this?"] * 20)[0] == ("what is this",), "where all are alike nothing else is left"
    assert own_pieces(["What is this? Look."] * 3)[0] == ("what is this", "look"), "three items show no habit"


def test_the_same_question_with_other_instructions() -> None:
    rows = [row(f"What is this?{SHORT}"), row("Look. What is this?\nA. dog\nB. cat"), row("What is this thing?")]
    assert same_questions([("what is this",), ("what is this", "cat"), ("who is this",)], rows) == {0: [0, 1], 1: [1]}


def test_a_question_is_not_found_in_an_answer() -> None:
    assert same_questions([("what is this",)], [Row("Ask me something.", "Ask me something.\nWhat is this?")]) == {}


def test_a_run_of_thirteen_words_is_nearly_the_same() -> None:
    words = [f"w{n}" for n in range(20)]
    text = (" ".join(words),)
    inside, short = " ".join(["so", *words[3:16], "ends"]), " ".join(words[3:15])
    assert near_questions([text], [row("nothing"), row("well", inside), row(short)]) == {0: [1]}


def test_a_text_of_eight_words_has_to_occur_whole_and_a_shorter_one_has_no_runs() -> None:
    eight, seven = "one two three four five six seven eight", "one two three four five six seven"
    assert near_questions([(eight,), (seven,)], [row(f"Zero {eight}, nine?"), row(seven)]) == {0: [0]}


def test_a_character_of_chinese_or_japanese_is_a_word() -> None:
    question = "图片中穿红色衣服的人正在做什么事情"
    (text,) = own_pieces([f"看图。{question}？"])
    assert text == ("看 图", " ".join(question))
    assert same_questions([text], [row(f"看图。{question}？请选出答案。")]) == {0: [0]}
    assert near_questions([text], [row(f"你好，{question}谢谢"), row("请说明图片中的内容")]) == {0: [0]}
    assert pieces("7個のリンゴ in 2024年") == ["7 個 の リ ン ゴ in 2024 年"]


def test_a_run_in_more_than_ten_rows_is_a_phrase() -> None:
    text = " ".join(f"w{n}" for n in range(LONGEST))
    assert near_questions([(text,)], [row(text)] * COMMON) == {0: list(range(COMMON))}
    assert near_questions([(text,)], [row(text)] * (COMMON + 1)) == {}


def test_memory_does_not_grow_with_the_rows_that_share_a_phrase(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty words that everybody says have 28 runs, and rows in which each occurs."""
    text = " ".join(f"w{n}" for n in range(40))

    def peak(rows: int) -> int:
        tracemalloc.start()
        assert near_questions([(text,)], (row(text) for _ in range(rows))) == {}
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    monkeypatch.setattr(module, "CHUNK", 20_000)
    chunk = 20_000 // 40
    assert peak(4 * chunk) < 1.1 * peak(2 * chunk)


@given(st.data())
def test_what_is_found_is_what_was_found_when_every_row_of_a_run_was_kept(data: st.DataObject) -> None:
    """Few words, so that many rows and texts share their runs."""
    words = st.lists(st.sampled_from("ab"), min_size=6, max_size=11).map(" ".join)
    texts = [(text,) for text in data.draw(st.lists(words, min_size=1, max_size=30))]
    rows = [Row("", said) for said in data.draw(st.lists(words, min_size=1, max_size=30))]
    assert near_questions(texts, rows) == _all_kept([text for (text,) in texts], [row.said for row in rows])


def _all_kept(texts: list[str], rows: list[str]) -> dict[int, list[int]]:
    """As the module says it, with a set of all rows and one of all texts for every run."""

    def runs(text: str, length: int) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[n : n + length]) for n in range(len(words) - length + 1)}

    found: dict[int, set[int]] = {}
    lengths = [min(LONGEST, len(text.split())) for text in texts]
    for index, (text, length) in enumerate(zip(texts, lengths, strict=True)):
        for run in runs(text, length) if length >= SHORTEST else ():
            where = {n for n, said in enumerate(rows) if run in runs(said, length)}
            of = [n for n, other in enumerate(texts) if lengths[n] == length and run in runs(other, length)]
            if where and max(len(where), len(of)) <= COMMON:
                found.setdefault(index, set()).update(where)
    return {index: sorted(where) for index, where in found.items()}


def test_a_run_in_more_than_ten_texts_is_a_template() -> None:
    beginning = " ".join(f"w{n}" for n in range(LONGEST))
    texts = [(f"{beginning} number {n}",) for n in range(COMMON + 1)]
    assert near_questions(texts, [row(f"{beginning} number 3")]) == {3: [0]}, "its own run ends in its number"
    assert near_questions(texts, [row(beginning)]) == {}
    assert near_questions(texts[1:], [row(beginning)]) == {n: [0] for n in range(COMMON)}


WORDS = st.lists(st.sampled_from("abc"), min_size=0, max_size=20).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=4), st.lists(WORDS, min_size=1, max_size=6))
def test_runs_are_those_that_a_search_finds(texts: list[str], rows: list[str]) -> None:
    def runs(text: str, length: int) -> set[tuple[str, ...]]:
        words = re.findall(r"\w+", text)
        return {tuple(words[n : n + length]) for n in range(len(words) - length + 1)}

    expected: dict[int, list[int]] = {}
    for index, text in enumerate(texts):
        length = min(LONGEST, len(text.split()))
        if length >= SHORTEST and (
            found := [n for n, said in enumerate(rows) if runs(text, length) & runs(said, length)]
        ):
            expected[index] = found
    assert near_questions([(text,) for text in texts], [Row(said, said) for said in rows]) == expected
