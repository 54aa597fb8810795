"""The chat template of an exported folder writes the prompt of training."""

from dataclasses import replace
from pathlib import Path

import pytest
from jinja2.exceptions import TemplateError

from selectmm.export.template import chat_template, jinja_of
from selectmm.models import llava, llava_onevision, qwen2_vl
from selectmm.models.encode import render
from selectmm.models.internvl3 import FAMILY as INTERNVL3
from selectmm.models.vlm import Template
from selectmm.pool.sample import Shown, Turn
from tests.families import FAMILIES
from tests.tiny import tokenizer_of

TEMPLATES = {
    **llava.TEMPLATES,
    "qwen2_vl": qwen2_vl.CHATML,
    "internvl3": INTERNVL3.template,
    "llava_onevision": llava_onevision.CHATML,
}
TURNS = (Turn("user", 'A "question"?\n{{ 1 }}'), Turn("assistant", "Ja — ünd."), Turn("user", "  Next\\n?"))


def written(template: Template, messages: list[dict[str, object]]) -> str:
    """By transformers' own renderer."""
    tokenizer = tokenizer_of(["<pad>", "<s>", "</s>"], "</s>", "<pad>")
    jinja = jinja_of(template, template.start)
    return tokenizer.apply_chat_template(messages, chat_template=jinja, tokenize=False, add_generation_prompt=True)


@pytest.mark.parametrize("name", TEMPLATES)
def test_parts_and_plain_texts_are_written_as_in_training(name: str) -> None:
    template = TEMPLATES[name]
    parts = [{"role": turn.role, "content": [{"type": "text", "text": turn.text}]} for turn in TURNS]
    parts[0]["content"].insert(0, {"type": "image"})
    assert written(template, parts) == render(template, TURNS, 1)[0]
    plain = [{"role": turn.role, "content": turn.text} for turn in TURNS]
    assert written(template, plain) == render(template, TURNS, 0)[0]
    assert written(template, plain[:2]).startswith(render(template, TURNS[:2], 0)[0])
    if template.video:
        parts[0]["content"][0] = {"type": "video"}
        assert written(template, parts) == render(template, TURNS, (Shown("", video=True),))[0]


def test_chatml_takes_another_system_prompt_and_the_others_only_that_of_training() -> None:
    def asked(system: object) -> list[dict[str, object]]:
        return [{"role": "system", "content": system}, {"role": "user", "content": "Why?"}]

    expected = render(qwen2_vl.CHATML, [Turn("user", "Why?")], 0)[0]
    assert written(qwen2_vl.CHATML, asked("You are a helpful assistant.")) == expected
    pirate = [{"type": "text", "text": "You are a pirate."}]
    assert written(qwen2_vl.CHATML, asked(pirate)) == expected.replace("helpful assistant", "pirate")
    vicuna = llava.TEMPLATES["vicuna"]
    same = written(vicuna, asked(vicuna.start.removeprefix("<s>").strip()))
    assert same == render(vicuna, [Turn("user", "Why?")], 0)[0]
    with pytest.raises(TemplateError, match="one system prompt"):
        written(vicuna, asked("You are a pirate."))


def test_a_base_that_asks_as_in_training_keeps_its_template_and_any_other_gets_one(tmp_path: Path) -> None:
    vlm = FAMILIES["qwen2_vl"].load(tmp_path / "qwen")
    template = vlm.family.template
    assert chat_template(vlm) == jinja_of(template, template.start)
    vlm.processor.chat_template = "{# the same #}" + jinja_of(template, template.start)
    assert chat_template(vlm) is None
    vlm.processor.chat_template = "{{ 'a text alone, ' + messages[0]['content'] }}"
    assert chat_template(vlm) == jinja_of(template, template.start)
    vlm.processor.chat_template = jinja_of(replace(template, start=""), "")
    assert chat_template(vlm) == jinja_of(template, template.start)
    parts_alone = jinja_of(template, template.start).replace("{{ content }}", "")  # as LLaVA-OneVision's own
    vlm.processor.chat_template = parts_alone
    assert chat_template(vlm) == jinja_of(template, template.start)
