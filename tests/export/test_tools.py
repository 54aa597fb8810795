"""Exported rows that offer and call tools, in the form that each trainer takes."""

import json
from pathlib import Path

import numpy as np
import pytest

from selectmm.export.subset import export_subset
from selectmm.methods.subset import Subset
from selectmm.pool.sharegpt import open_sharegpt


def test_llama_factory_takes_every_row_of_tools_but_those_that_are_named(tmp_path: Path) -> None:
    pool = open_sharegpt(str(rows_of_tools(tmp_path)), str(tmp_path), cache=str(tmp_path / "cache"), **TOOL_OPTIONS)
    export_subset(pool, Subset(np.arange(4)), "llama_factory", tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "subset.json").read_text())
    assert {row["id"]: _taken(row["messages"]) for row in rows} == {
        "plain": True, "parallel": True, "results": True, "both": False
    }  # fmt: skip
    said = [message["content"] for message in rows[2]["messages"]]
    assert json.loads(said[1]) == [CALL, CALL] and said[2] == "sun\n</tool_response>\n<tool_response>\nrain"
    page = (tmp_path / "out" / "README.md").read_text()
    assert "**1 row has a call behind words of the same answer** (row 3 (id 'both')…): LLaMA-Factory has no" in page
    again = open_sharegpt(str(tmp_path / "out/subset.json"), str(tmp_path), cache=str(tmp_path / "a"), **TOOL_OPTIONS)
    assert [turn.role for turn in again[1].turns] == [turn.role for turn in pool[1].turns]


def test_ms_swift_gets_one_call_a_turn_and_llava_s_page_counts_rows_with_tools(tmp_path: Path) -> None:
    pool = open_sharegpt(str(rows_of_tools(tmp_path)), str(tmp_path), cache=str(tmp_path / "cache"), **TOOL_OPTIONS)
    export_subset(pool, Subset(np.arange(4)), "ms_swift", tmp_path / "swift")
    rows = [json.loads(line) for line in (tmp_path / "swift" / "subset.jsonl").read_text().splitlines()]
    roles = [message["role"] for message in rows[2]["messages"]]
    assert roles == ["user", "tool_call", "tool_call", "tool_response", "tool_response", "assistant"]
    assert "rows have" not in (tmp_path / "swift" / "README.md").read_text()
    export_subset(pool, Subset(np.arange(4)), "llava", tmp_path / "llava")
    page = (tmp_path / "llava" / "README.md").read_text()
    assert "**3 rows have a system prompt or tools** (row 1 (id 'parallel'), row 2" in page


CALL = {"name": "look", "arguments": {"at": "Rome"}}
TOOL_OPTIONS = {"bad_rows": "stop", "system": "turn", "source": "source"}


def rows_of_tools(folder: Path) -> Path:
    """A plain row; several calls in one turn; several calls and results; words and a call in one answer."""
    asked, answered = {"role": "user", "content": "Weather?"}, {"role": "assistant", "content": "Sun."}
    calls = {"role": "function_call", "content": json.dumps([CALL, CALL])}
    sun, rain = ({"role": "observation", "content": word} for word in ("sun", "rain"))
    both = {"role": "assistant", "content": "Let me look.", "tool_calls": [{"type": "function", "function": CALL}]}
    said = {
        "plain": [asked, answered],
        "parallel": [asked, calls, sun, answered],
        "results": [asked, calls, sun, rain, answered],
        "both": [asked, both, sun, answered],
    }
    (folder / "rows.json").write_text(json.dumps([{"id": id, "messages": turns} for id, turns in said.items()]))
    return folder / "rows.json"


def _taken(messages: list[dict[str, str]]) -> bool:
    """Whether LLaMA-Factory's SharegptDatasetConverter keeps a row (without a system prompt)."""
    turns = {"user": 0, "observation": 0, "assistant": 1, "function_call": 1}
    return len(messages) % 2 == 0 and all(turns[one["role"]] == place % 2 for place, one in enumerate(messages))


@pytest.mark.parametrize(("chosen", "offered"), [([0, 1], True), ([1], False)])
def test_the_column_of_tools_is_in_every_row_or_in_none(chosen: list[int], offered: bool, tmp_path: Path) -> None:
    """LLaMA-Factory reads ``example[tools]`` of every row if the column is named, and stops where there is none."""
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    tools = '[{"name": "look", "description": "d", "parameters": {"type": "object", "properties": {}}}]'
    (tmp_path / "rows.json").write_text(json.dumps([{"messages": said, "tools": tools}, {"messages": said}]))
    options = {"bad_rows": "stop", "system": "turn", "source": "source"}
    pool = open_sharegpt(str(tmp_path / "rows.json"), str(tmp_path), cache=str(tmp_path / "cache"), **options)
    export_subset(pool, Subset(np.array(chosen)), "llama_factory", tmp_path / "out")
    columns = json.loads((tmp_path / "out" / "dataset_info.json").read_text())["subset"]["columns"]
    rows = json.loads((tmp_path / "out" / "subset.json").read_text())
    assert [("tools" in row) for row in rows] == [offered] * len(chosen) and ("tools" in columns) == offered
    again = open_sharegpt(str(tmp_path / "out/subset.json"), str(tmp_path), cache=str(tmp_path / "again"), **options)
    assert [again[row].digest for row in range(len(chosen))] == [pool[row].digest for row in chosen]
