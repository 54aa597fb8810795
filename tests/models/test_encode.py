"""Labels by hand: the answers and their end tokens, and nothing else."""

from collections.abc import Callable

import pytest
import torch
from PIL import Image

from selectmm.models import llava
from selectmm.models.encode import IGNORED, Conversation, cut, encode, render
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn
from tests.families import FAMILIES

IMAGE = Image.new("RGB", (56, 56), (200, 30, 30))
TURNS = (
    Turn("user", "What colour is the shape?"),
    Turn("assistant", "The shape is a square."),
    Turn("user", "Which?"),
    Turn("assistant", "é 5"),  # a letter of two bytes, hence of several tokens
)
CONVERSATIONS = [
    Conversation(TURNS, (IMAGE,)),  # multi-turn with an image, the longest
    Conversation(TURNS[:2]),  # text-only
    Conversation(TURNS[2:], (IMAGE,)),
]

# (start, user prefix, user suffix, assistant prefix, space that the first answer token brings along, assistant suffix,
# image placeholder), spelled out instead of taken from the templates under test.
VICUNA_START = (
    "<s>A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the user's questions. "
)
QWEN_START = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
USER, END, ASSISTANT = "<|im_start|>user\n", "<|im_end|>", "<|im_start|>assistant\n"
QWEN_IMAGE = "<|vision_start|>" + "<|image_pad|>" * 4 + "<|vision_end|>"  # 4 × 4 patches, merged to 4
HEAD, EOT = "<|start_header_id|>{}<|end_header_id|>\n\n", "<|eot_id|>"
LLAVA_IMAGE = "<image>" * 4 + "\n"
TILE = "<img>" + "<IMG_CONTEXT>" * 4 + "</img>\n"  # a square image is one tile
# The whole, and two by two tiles of 2 × 2 tokens, a newline behind each line.
GRID = "<image>" * (4 + 4 * (4 + 1)) + "\n"
PHI_START = VICUNA_START.removeprefix("<s>")
PIECES = {
    "llava_chatml": ("", USER, END + "\n", ASSISTANT, "", END, LLAVA_IMAGE),
    "llava_vicuna": (VICUNA_START, "USER: ", " ", "ASSISTANT:", " ", "</s>", LLAVA_IMAGE),
    "llava_phi2": (PHI_START, "USER: ", " ", "ASSISTANT:", " ", "<|endoftext|>", LLAVA_IMAGE),
    "llava_llama3": ("<|begin_of_text|>", HEAD.format("user"), EOT, HEAD.format("assistant"), "", EOT, LLAVA_IMAGE),
    "llava_qwen25": (QWEN_START, USER, END + "\n", ASSISTANT, "", END + "\n", LLAVA_IMAGE),
    "qwen2_vl": (QWEN_START, USER, END + "\n", ASSISTANT, "", END + "\n", QWEN_IMAGE),
    "qwen2_5_vl": (QWEN_START, USER, END + "\n", ASSISTANT, "", END + "\n", QWEN_IMAGE),
    "qwen3_vl": ("", USER, END + "\n", ASSISTANT, "", END + "\n", QWEN_IMAGE),
    "internvl3": ("", USER, END + "\n", ASSISTANT, "", END + "\n", TILE),
    "llava_onevision": ("", USER, END + "\n", ASSISTANT, "", END + "\n", GRID),
}
ENDS = {"vicuna": ["Ġ3", "</s>"], "phi2": ["Ġ3", "<|endoftext|>"], "llama3": ["3", EOT], "chatml": ["3", END]}


@pytest.fixture(scope="module", params=FAMILIES)
def template(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def vlm(template: str, loaded: Callable[[str], VLM]) -> VLM:
    return loaded(template)


def by_hand(vlm: VLM, template: str, talk: Conversation) -> tuple[list[int], list[int]]:
    """Token ids and labels, piece by piece: the borders of the pieces are borders of tokens."""
    start, user, user_end, assistant, space, end, image = PIECES[template]
    ids: list[int] = []
    labels: list[int] = []

    def add(text: str, answer: bool) -> None:
        tokens = vlm.processor.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
        ids.extend(tokens)
        labels.extend(tokens if answer else [IGNORED] * len(tokens))

    prompt = start
    placeholder = image if talk.images else ""
    for turn in talk.turns:
        if turn.role == "user":
            prompt += user + placeholder + turn.text + user_end
            placeholder = ""
        else:
            add(prompt + assistant, answer=False)
            add(space + turn.text + end, answer=True)
            prompt = ""
    return ids, labels


@pytest.mark.parametrize("side", ["left", "right"])
def test_labels_are_the_answers_and_their_end_tokens(vlm: VLM, template: str, side: str) -> None:
    batch = encode(vlm, CONVERSATIONS, side=side, limit=None)
    width = batch["input_ids"].shape[1]
    for row, talk in enumerate(CONVERSATIONS):
        ids, labels = by_hand(vlm, template, talk)
        padding = width - len(ids)
        before, after = (padding, 0) if side == "left" else (0, padding)
        pad = vlm.processor.tokenizer.pad_token_id
        assert batch["input_ids"][row].tolist() == [pad] * before + ids + [pad] * after
        assert batch["labels"][row].tolist() == [IGNORED] * before + labels + [IGNORED] * after
        assert batch["attention_mask"][row].sum() == len(ids)
    assert width == len(by_hand(vlm, template, CONVERSATIONS[0])[0])


def test_one_answer_written_out(vlm: VLM, template: str) -> None:
    """``3`` stays one token in the tiny vocabularies, so the labels can be written down."""
    batch = encode(vlm, [Conversation((Turn("user", "A"), Turn("assistant", "3")))], side="right", limit=None)
    labels = batch["labels"][0]
    kept = vlm.processor.tokenizer.convert_ids_to_tokens(labels[labels != IGNORED].tolist())
    assert kept == ENDS.get(template.removeprefix("llava_"), ["3", END, "Ċ"])


def test_an_answer_that_is_context_has_no_labels_and_everything_else_stays(vlm: VLM, template: str) -> None:
    context = Conversation((TURNS[0], TURNS[1]._replace(trained=False), *TURNS[2:]), (IMAGE,))
    whole, masked = (encode(vlm, [talk], side="right", limit=None) for talk in (CONVERSATIONS[0], context))
    ids, labels = by_hand(vlm, template, CONVERSATIONS[0])
    _, first = by_hand(vlm, template, Conversation(TURNS[:2], (IMAGE,)))
    answered = [place for place, label in enumerate(labels) if label != IGNORED]
    for place in answered[: len(first) - first.count(IGNORED)]:
        labels[place] = IGNORED
    assert masked["input_ids"][0].tolist() == ids and masked["labels"][0].tolist() == labels
    assert torch.equal(whole["instruction"], masked["instruction"])


def test_a_prompt_ends_where_the_answer_begins(vlm: VLM, template: str) -> None:
    """Generation continues from exactly the tokens that stood in front of the answer in training."""
    whole = encode(vlm, [Conversation(TURNS[:2])], side="right", limit=None)
    prompt = encode(vlm, [Conversation(TURNS[:1])], side="left", limit=None)
    first_answer_token = int((whole["labels"][0] != IGNORED).nonzero()[0])
    assert prompt["input_ids"][0].tolist() == whole["input_ids"][0, :first_answer_token].tolist()
    assert (prompt["labels"] == IGNORED).all()


def test_cutting_keeps_images_whole_and_pixels_untouched(vlm: VLM) -> None:
    whole = encode(vlm, CONVERSATIONS, side="right", limit=None)
    last_image = int((whole["input_ids"] == vlm.image_token_id).nonzero()[:, 1].max())
    short = encode(vlm, CONVERSATIONS, side="right", limit=last_image + 1)
    assert short["input_ids"].shape == short["labels"].shape == (3, last_image + 1)
    assert torch.equal(short["pixel_values"], whole["pixel_values"])
    with pytest.raises(ValueError, match="does not fit"):
        cut(whole, last_image, vlm)
    with pytest.raises(ValueError, match="exceeds the window"):
        encode(vlm, CONVERSATIONS, side="left", limit=last_image + 1)


def test_the_placeholder_stands_before_the_first_question_only() -> None:
    text, answers, words = render(llava.CHATML, TURNS, images=1)
    assert text.count("<image>") == 1
    assert text.index("<image>") < text.index("What colour")
    assert [text[start : end or None] for start, end in answers] == [
        "The shape is a square.<|im_end|>",
        "é 5<|im_end|>",
    ]
    assert [text[start:end] for start, end in words] == [turn.text for turn in TURNS if turn.role == "user"]
