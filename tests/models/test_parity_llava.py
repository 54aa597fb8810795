"""Ids and masks of LLaVA conversations against what LLaVA's own code makes of them, written out by hand.

Sources, in github.com/haotian-liu/LLaVA: ``llava/conversation.py`` (conv_vicuna_v1, get_prompt with
SeparatorStyle.TWO), ``llava/train/train.py`` (preprocess_multimodal: an image in front of its sentence, then a line
break; preprocess_v1: the loss on each answer from the space in front of it to its </s>; the collator: ids and labels
cut to model_max_length). Of other bodies: github.com/TinyLLaVA/TinyLLaVA_Factory (phi_template.py), XTuner's
llama3_chat, LLaVA-NeXT's conv_qwen.

An image has four tokens here.
"""

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest
from jinja2 import Template as Jinja
from PIL import Image

from selectmm.models import llava
from selectmm.models.encode import IGNORED, Conversation, encode
from selectmm.models.vlm import VLM
from selectmm.pool.llava_json import read_llava
from selectmm.pool.sample import Turn
from tests.models.golden import byte_tokenizer, ids_and_labels, vlm_of

from transformers import CLIPImageProcessor, LlavaProcessor  # isort: skip

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
IMAGE = Image.new("RGB", (28, 28), (200, 30, 30))
ONE = (Turn("user", "What is this?"), Turn("assistant", "A dog."))
TWO = (*ONE, Turn("user", "Sure?"), Turn("assistant", "Yes."))
FOUR = "<image><image><image><image>"

SINGLE = f"<s>{SYSTEM} USER: {FOUR}\nWhat is this? ASSISTANT:⟦ A dog.</s>⟧"


def vlm_with(template: str) -> VLM:
    images = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = LlavaProcessor(
        images,
        byte_tokenizer("</s>"),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return vlm_of(processor, llava.family(llava.TEMPLATES[template]), "<image>")


def encoded(talk: Conversation, template: str = "vicuna", limit: int | None = None) -> tuple[list[int], list[int]]:
    batch = encode(vlm_with(template), [talk], side="right", limit=limit)
    return batch["input_ids"][0].tolist(), batch["labels"][0].tolist()


def test_the_vocabulary_of_these_tests_can_be_read() -> None:
    assert ids_and_labels("<s>A\n⟦ é</s>⟧") == (
        [1, 1065, 1010, 1032, 1195, 1169, 2],
        [IGNORED, IGNORED, IGNORED, 1032, 1195, 1169, 2],
    )
    assert byte_tokenizer("</s>")("<s>A\n é</s>")["input_ids"] == [1, 1065, 1010, 1032, 1195, 1169, 2]


def test_a_single_turn() -> None:
    assert encoded(Conversation(ONE, (IMAGE,))) == ids_and_labels(SINGLE)


def test_several_turns_with_the_image_in_the_first() -> None:
    assert encoded(Conversation(TWO, (IMAGE,))) == ids_and_labels(SINGLE + "USER: Sure? ASSISTANT:⟦ Yes.</s>⟧")


def test_text_only() -> None:
    golden = f"<s>{SYSTEM} USER: What is this? ASSISTANT:⟦ A dog.</s>⟧USER: Sure? ASSISTANT:⟦ Yes.</s>⟧"
    assert encoded(Conversation(TWO)) == ids_and_labels(golden)


@pytest.mark.parametrize("question", ["<image>\nWhat is this?", "What is this?\n<image>", "What is <image>this?"])
def test_an_image_is_moved_to_the_front_of_its_question(question: str) -> None:
    talk = [{"from": "human", "value": question}, {"from": "gpt", "value": "A dog."}]
    row = read_llava({"image": "a.png", "conversations": talk})
    assert encoded(Conversation(row.turns, (IMAGE,), row.images[0].turn)) == ids_and_labels(SINGLE)


def test_blanks_stay_where_no_image_is_mentioned_and_a_later_image_stays_in_its_question() -> None:
    said = [("human", " What is this? "), ("gpt", " A dog.\n"), ("human", " And \n<image> this?"), ("gpt", "A cat ")]
    talk = [{"from": who, "value": text} for who, text in said]
    row = read_llava({"image": "a.png", "conversations": talk})
    first = f"<s>{SYSTEM} USER:  What is this?  ASSISTANT:⟦  A dog.\n</s>⟧"
    golden = f"{first}USER: {FOUR}\nAnd \n this? ASSISTANT:⟦ A cat </s>⟧"
    assert encoded(Conversation(row.turns, (IMAGE,), row.images[0].turn)) == ids_and_labels(golden)


def test_a_cut_conversation_loses_the_end_of_its_answer_and_keeps_the_rest_of_the_mask() -> None:
    ids, labels = ids_and_labels(SINGLE)
    for lost in (1, 4, 9):  # </s>; "og.</s>"; part of "ASSISTANT:" too
        assert encoded(Conversation(ONE, (IMAGE,)), limit=len(ids) - lost) == (ids[:-lost], labels[:-lost])
    assert set(labels[:-9]) == {IGNORED}


def test_an_empty_answer_is_its_space_and_end_token() -> None:
    """Not LLaVA's: its get_prompt writes no end behind an empty answer, and preprocess_v1 then drops the whole row from
    the loss. A pool refuses or drops such rows, so none is ever trained on here either.
    """
    talk = Conversation((Turn("user", "What is this?"), Turn("assistant", "")))
    assert encoded(talk) == ids_and_labels(f"<s>{SYSTEM} USER: What is this? ASSISTANT:⟦ </s>⟧")


def test_phi2_is_vicuna_in_its_own_vocabulary() -> None:
    golden = f"{SYSTEM} USER: {FOUR}\nWhat is this? ASSISTANT:⟦ A dog.<|endoftext|>⟧"
    golden += "USER: Sure? ASSISTANT:⟦ Yes.<|endoftext|>⟧"
    assert encoded(Conversation(TWO, (IMAGE,)), "phi2") == ids_and_labels(golden)


def test_llama3_takes_the_loss_from_behind_the_header_to_the_end_of_the_turn() -> None:
    user, answer = ("<|start_header_id|>" + role + "<|end_header_id|>\n\n" for role in ("user", "assistant"))
    golden = f"<|begin_of_text|>{user}{FOUR}\nWhat is this?<|eot_id|>{answer}⟦A dog.<|eot_id|>⟧"
    golden += f"{user}Sure?<|eot_id|>{answer}⟦Yes.<|eot_id|>⟧"
    assert encoded(Conversation(TWO, (IMAGE,)), "llama3") == ids_and_labels(golden)


def test_a_qwen_body_has_llava_nexts_text() -> None:
    golden = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    golden += f"<|im_start|>user\n{FOUR}\nWhat is this?<|im_end|>\n<|im_start|>assistant\n⟦A dog.<|im_end|>\n⟧"
    golden += "<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n⟦Yes.<|im_end|>\n⟧"
    assert encoded(Conversation(TWO, (IMAGE,)), "qwen") == ids_and_labels(golden)


def test_a_question_is_asked_as_the_harness_asks_llava() -> None:
    """lmms-eval's own template for llava-hf checkpoints; the beginning of text is its tokenizer's."""
    jinja = Jinja(_constant("lmms_eval.models.simple.llava_hf", "VICUNA_CHAT_TEMPLATE"))
    messages = [{"role": "user", "content": f"{FOUR}\nWhat is this?"}]
    golden = "<s>" + jinja.render(messages=messages, add_generation_prompt=True, eos_token="</s>")
    assert encoded(Conversation(ONE[:1], (IMAGE,))) == ids_and_labels(golden)


def _constant(module: str, name: str) -> str:
    """A string constant of an installed module, read without running it (lmms-eval's need packages that are absent)."""
    root = Path(find_spec(module.split(".")[0]).origin).parent
    source = root.joinpath(*module.split(".")[1:]).with_suffix(".py").read_text()
    assigned = (node for node in ast.parse(source).body if isinstance(node, ast.Assign))
    return next(ast.literal_eval(node.value) for node in assigned if node.targets[0].id == name)
