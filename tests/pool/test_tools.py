"""System prompts, tools, calls and results as each format writes them become the same turns."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from selectmm.errors import UserError
from selectmm.export.subset import export_subset
from selectmm.methods.subset import Subset
from selectmm.pool.llava_json import read_llava
from selectmm.pool.pool import Pool
from selectmm.pool.row import Row, row_of
from selectmm.pool.sample import Role, Turn
from selectmm.pool.sharegpt import ChatReader, open_sharegpt

READ = ChatReader("turn")
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"name": "weather", "arguments": {"city": "Zürich", "days": 2}}
WRITTEN = '{"name": "weather", "arguments": {"city": "Zürich", "days": 2}}'
OPENAI = {
    "tools": [TOOL],
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Warm?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "1", "type": "function", "function": {**CALL, "arguments": json.dumps(CALL["arguments"])}},
                {"id": "2", "type": "function", "function": CALL},
            ],
        },
        {"role": "tool", "tool_call_id": "1", "name": "weather", "content": "20"},
        {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "21"}]},
        {"role": "assistant", "content": "Yes."},
    ],
}
LLAMA_FACTORY = {
    "system": "Be brief.",
    "tools": json.dumps([TOOL]),
    "conversations": [
        {"from": "human", "value": "Warm?"},
        {"from": "function_call", "value": json.dumps([CALL, CALL])},
        {"from": "observation", "value": "20"},
        {"from": "observation", "value": "21"},
        {"from": "gpt", "value": "Yes."},
    ],
}
SWIFT = {
    "tools": [json.dumps(TOOL)],
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Warm?"},
        {"role": "tool_call", "content": json.dumps(CALL)},
        {"role": "tool_call", "content": json.dumps(CALL)},
        {"role": "tool_response", "content": "20"},
        {"role": "tool", "content": "21"},
        {"role": "assistant", "content": "Yes."},
    ],
}
TURNS = (
    Turn("system", "Be brief."),
    Turn("tools", '{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}'),
    Turn("user", "Warm?"),
    Turn("tool_call", WRITTEN),
    Turn("tool_call", WRITTEN),
    Turn("tool_result", "20"),
    Turn("tool_result", "21"),
    Turn("assistant", "Yes."),
)


@pytest.mark.parametrize("row", [OPENAI, LLAMA_FACTORY, SWIFT], ids=["openai", "llama_factory", "ms_swift"])
def test_every_format_gives_the_same_turns(row: dict[str, object]) -> None:
    assert READ(row).turns == TURNS and READ(row).system
    if "conversations" in row:
        assert read_llava(row, system="turn").turns == TURNS


def test_ids_of_calls_and_names_of_results_are_fields_that_are_not_read() -> None:
    """Their places say which belong together; who exports the rows is told that the ids are lost."""
    assert list(dict.fromkeys(READ(OPENAI).unread)) == ["id of a call", "tool_call_id of a turn", "name of a turn"]
    assert not READ(SWIFT).unread and not READ(LLAMA_FACTORY).unread


def test_calls_may_stand_alone() -> None:
    """OpenAI's content is optional beside them; an answer with neither is none."""
    said = [{name: value for name, value in turn.items() if value is not None} for turn in OPENAI["messages"]]
    assert "content" not in said[2] and READ({**OPENAI, "messages": said}).turns == TURNS
    del said[2]["tool_calls"]
    with pytest.raises(UserError, match=r"has in turn 1 a 'content' that is no text: None"):
        READ({**OPENAI, "messages": said})
    with pytest.raises(UserError, match=r"has in turn 0 a 'content' that is no text: None"):
        READ({"messages": [{"role": "user", "tool_calls": [CALL]}, said[-1]]})


def test_loss_and_weight_of_a_turn_are_those_of_its_calls_too() -> None:
    said = [dict(turn) for turn in OPENAI["messages"]]
    said[2] |= {"loss": False, "content": "Let me see."}
    row = READ({**OPENAI, "messages": said})
    assert [turn.trained for turn in row.turns] == [True, True, True, False, False, False, True, True, True]
    said[-1]["weight"] = 0
    with pytest.raises(UserError, match="has no answer to train on"):
        READ({**OPENAI, "messages": said})


def turns(letters: str) -> list[Turn]:
    roles: dict[str, Role] = dict(
        zip("stuacr", ("system", "tools", "user", "assistant", "tool_call", "tool_result"), strict=True)
    )
    return [Turn(roles[letter], "x") for letter in letters]


def row(letters: str) -> Row:
    return row_of(turns(letters), [], None, None)


@pytest.mark.parametrize("letters", ["ua", "sua", "stua", "tuc", "uacra", "uccrraua", "ucua", "stuacrraucra"])
def test_orders_that_are_read(letters: str) -> None:
    assert [turn.role for turn in row(letters).turns] == [turn.role for turn in turns(letters)]


@pytest.mark.parametrize("letters", ["ura", "uara", "uca", "tsua", "usua", "uaa", "ucr", "s", "st", "uta"])
def test_orders_that_are_not(letters: str) -> None:
    with pytest.raises(UserError, match="does not alternate human and gpt"):
        row(letters)


def test_a_tools_result_may_show_an_image_and_an_answer_may_not() -> None:
    said = [dict(turn) for turn in SWIFT["messages"]]
    said[4]["content"] = "Here: <image>"
    made = READ({**SWIFT, "messages": said, "images": ["a.png"]})
    assert made.images[0].turn == 5 and made.turns[5] == Turn("tool_result", "Here:")
    plain = READ({**SWIFT, "images": ["a.png"]})
    assert plain.images[0].turn == 2 and plain.unplaced, "the first question, not the system prompt"
    said[0]["content"] = "<image>"
    with pytest.raises(UserError, match=r"has <image> in a turn of the role system \(turn 0\)"):
        READ({**SWIFT, "messages": [said[0], *SWIFT["messages"][1:]], "images": ["a.png"]})


def opened(file: Path, folder: Path) -> Pool:
    return open_sharegpt(str(file), str(folder), "stop", str(folder / "cache"), "turn", "source")


@pytest.mark.parametrize("name", ["llava", "llama_factory", "ms_swift"])
def test_exported_rows_are_read_as_the_same(name: str, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(
        json.dumps([OPENAI, SWIFT, {"messages": OPENAI["messages"][1:2] + OPENAI["messages"][-1:]}])
    )
    pool = opened(tmp_path / "rows.json", tmp_path)
    assert pool[0].turns == TURNS and pool[0].digest == pool[1].digest != pool[2].digest
    export_subset(pool, Subset(np.arange(3)), name, tmp_path / "out")
    again = opened(next((tmp_path / "out").glob("subset.json*")), tmp_path)
    expected = [pool[number].turns for number in range(3)]
    if name == "llama_factory":  # whose format has one place for all results of several calls
        expected = [one_result(turns) for turns in expected]
    assert [again[number].turns for number in range(3)] == expected


def one_result(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """With results behind one another as one text, as LLaMA-Factory's converter would join them."""
    joined: list[Turn] = []
    for turn in turns:
        if turn.role == "tool_result" and joined and joined[-1].role == turn.role:
            turn = Turn(turn.role, f"{joined.pop().text}\n</tool_response>\n<tool_response>\n{turn.text}")
        joined.append(turn)
    return tuple(joined)
