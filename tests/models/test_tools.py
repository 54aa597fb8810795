"""System prompts, tools, calls and results in the families' templates, against the published ones.

Source: ``chat_template.json`` of Qwen3-VL, and the template in Qwen2.5-VL's ``tokenizer_config.json``, which differ in
what stands without a system prompt of the row's own; `HERMES` has their rules for tools, as far as pools have them.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from selectmm.counted import counted
from selectmm.errors import UserError
from selectmm.models.check_rows import fitting, look
from selectmm.models.encode import Conversation, encode
from selectmm.models.render import render
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Shown, Turn
from selectmm.pool.sharegpt import open_sharegpt
from tests.models.golden import ids_and_labels
from tests.models.test_parity_qwen import internvl, qwen2, qwen2_5, qwen3
from tests.pool.test_tools import CALL, OPENAI, TOOL, TURNS, WRITTEN

HERMES = """{%- if tools %}{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content }}{%- else %}{{- default }}{%- endif %}
{%- if messages[0].role == 'system' or default %}{{- '\\n\\n' }}{%- endif %}
{{- "# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\nYou are provided with \
function signatures within <tools></tools> XML tags:\\n<tools>" }}
{%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
{{- "\\n</tools>\\n\\nFor each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:\\n<tool_call>\\n{\\"name\\": <function-name>, \\"arguments\\": <args-json-object>}\\n\
</tool_call><|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- elif default %}{{- '<|im_start|>system\\n' + default + '<|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}
{%- if message.role == "user" %}{{- '<|im_start|>user\\n' + message.content + '<|im_end|>\\n' }}
{%- elif message.role == "assistant" %}{{- '<|im_start|>assistant\\n' + message.content }}
{%- for tool_call in message.tool_calls or [] %}
{%- if (loop.first and message.content) or (not loop.first) %}{{- '\\n' }}{%- endif %}
{{- '<tool_call>\\n{"name": "' + tool_call.name + '", "arguments": ' }}{{- tool_call.arguments | tojson }}
{{- '}\\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\\n' }}
{%- elif message.role == "tool" %}
{%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
{{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
{%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
{%- endif %}{%- endfor %}"""
ASKED = [{"role": "user", "content": "Warm?"}]
SYSTEM = [{"role": "system", "content": "Be brief."}]
CALLS = {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL, CALL]}
RESULTS = [{"role": "tool", "content": "20"}, {"role": "tool", "content": "21"}]
END = {"role": "assistant", "content": "Yes."}
SAID = Turn("assistant", "Let me see.")


@pytest.mark.parametrize(("make", "default"), [(qwen2_5, "You are a helpful assistant."), (qwen3, "")])
@pytest.mark.parametrize("system", [True, False])
@pytest.mark.parametrize("content", [True, False])
def test_the_text_is_that_of_the_published_template(make: object, default: str, system: bool, content: bool) -> None:
    vlm = make()
    calls = CALLS if content else {**CALLS, "content": ""}
    messages = [*(SYSTEM if system else []), *ASKED, calls, *RESULTS, END, *ASKED, {**CALLS, "tool_calls": [CALL]}]
    expected = vlm.processor.tokenizer.apply_chat_template(
        messages, tools=[TOOL], chat_template=HERMES, default=default, tokenize=False
    )
    turns = [*TURNS[:3], SAID, *TURNS[3:], TURNS[2], SAID, TURNS[3]]
    turns = [turn for turn in turns if (system or turn.role != "system")]
    if not content:
        turns.remove(SAID)
    assert render(vlm.family.template, turns, 0)[0] == expected


def test_a_system_prompt_takes_the_place_of_the_templates_in_every_chatml_family() -> None:
    turns = (Turn("system", "Be brief."), Turn("user", "Two?"), Turn("assistant", "2"))
    golden = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nTwo?<|im_end|>\n"
    golden += "<|im_start|>assistant\n⟦2<|im_end|>\n⟧"
    for make in (qwen2, qwen2_5, qwen3, internvl):
        batch = encode(make(), [Conversation(turns)], side="right", limit=None)
        assert (batch["input_ids"][0].tolist(), batch["labels"][0].tolist()) == ids_and_labels(golden)


def test_the_loss_is_on_answers_and_calls_alone_and_an_image_stands_in_a_result() -> None:
    vlm = qwen3()
    turns = (*TURNS[2:4], Turn("tool_call", WRITTEN, trained=False), Turn("tool_result", "20: "), TURNS[7])
    shown = (Shown("", 3, 4, True),)
    image = Image.new("RGB", (64, 64), "red")
    call = f"<tool_call>\n{WRITTEN}\n</tool_call>"
    pads = "<|vision_start|><|image_pad|><|image_pad|><|image_pad|><|image_pad|><|vision_end|>"
    golden = f"<|im_start|>user\nWarm?<|im_end|>\n<|im_start|>assistant\n⟦{call}⟧\n{call}<|im_end|>\n"
    golden += f"<|im_start|>user\n<tool_response>\n20: {pads}\n</tool_response><|im_end|>\n"
    golden += "<|im_start|>assistant\n⟦Yes.<|im_end|>\n⟧"
    batch = encode(vlm, [Conversation(turns, (image,), shown=shown)], side="right", limit=None)
    assert (batch["input_ids"][0].tolist(), batch["labels"][0].tolist()) == ids_and_labels(golden)
    words = [chr(token - 1000) for token in batch["input_ids"][0][batch["instruction"][0]].tolist()]
    assert "".join(words) == "Warm?"


@pytest.fixture(scope="module", params=["llava_vicuna", "internvl3", "qwen2_5_vl"])
def tiny(request: pytest.FixtureRequest, loaded: Callable[[str], VLM]) -> tuple[str, VLM]:
    return request.param, loaded(request.param)


def test_what_a_template_has_no_place_for_is_one_sentence(tiny: tuple[str, VLM], tmp_path: Path) -> None:
    name, vlm = tiny
    plain = {"messages": [*ASKED, END]}
    rows = [plain, {"messages": [*SYSTEM, *ASKED, END]}, OPENAI]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    pool = open_sharegpt(str(tmp_path / "rows.json"), str(tmp_path), "stop", str(tmp_path / "cache"), "turn", "source")
    wanted = {"llava_vicuna": [1, 2], "internvl3": [2], "qwen2_5_vl": []}[name]
    assert look(pool, vlm, 512).turns == wanted
    if wanted:
        expected = rf"with a turn .* \(first: row {wanted[0]}\).* Qwen2\.5-VL and Qwen3-VL, system prompts"
        said = f"{counted(len(wanted), 'row')} {expected}"
        with pytest.raises(UserError, match=said):
            fitting(pool, vlm, 512, "stop", tmp_path / "cache")
        assert len(fitting(pool, vlm, 512, "drop", tmp_path / "cache")) == 3 - len(wanted)
