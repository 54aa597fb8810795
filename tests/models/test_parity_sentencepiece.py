"""Ids of LLaVA conversations against what the SentencePiece library makes of LLaVA's pieces.

LLaVA's ``tokenizer_image_token`` (llava/mm_utils.py) tokenises the pieces around ``<image>`` one by one with the slow
LlamaTokenizer, drops each piece's beginning of text but the first, and joins them with the image between. That
tokenizer asks SentencePiece, which puts a "▁" in front of each piece and, if ``legacy``, also behind each ``</s>``;
LLaVA-1.5's is not legacy.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import AddedToken, Tokenizer

from selectmm.models import llava
from selectmm.models.assemble import assemble
from selectmm.models.encode import IGNORED, Conversation, encode
from selectmm.models.load import save_processor
from selectmm.models.sentencepiece_proto import lend_description
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn
from tests.models.test_assemble import projector
from tests.tiny import text_sizes, tiny_clip

from transformers import (  # isort: skip
    AutoTokenizer,
    CLIPImageProcessor,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaProcessor,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

SYSTEM = llava.VICUNA.start.removeprefix("<s>")
CORPUS = [SYSTEM, "USER: What is this? ASSISTANT: A dog. USER: Sure? ASSISTANT: Yes. A cat sat there all day."]
TURNS = (Turn("user", "What is it?"), Turn("assistant", "A dog.\n"), Turn("user", "Sure?"), Turn("assistant", " é."))
IMAGE = Image.new("RGB", (28, 28))
MARKS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
PREPEND = {
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    },
    "pre_tokenizer": None,
}
LEGACY = {"legacy": True, "vicuna15": False, "prepend": True}  # whether the slow tokenizer beside it would be


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``tokenizer.model`` made as Llama's was: BPE that falls back to bytes and keeps every space."""
    folder = tmp_path_factory.mktemp("sentencepiece")
    SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=340,
        model_type="bpe",
        byte_fallback=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    return folder / "tokenizer.model"


def opened(kind: str, trained: Path, folder: Path) -> PreTrainedTokenizerBase:
    """As transformers opens a Llama's folder; ``prepend``: with the normaliser of its older tokenizer.json files."""
    lend_description()
    folder.mkdir(exist_ok=True)
    LlamaConfig().save_pretrained(folder)
    (folder / "tokenizer.model").write_bytes(trained.read_bytes())
    config = {"tokenizer_class": "LlamaTokenizer", "legacy": LEGACY[kind], **MARKS}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if kind == "prepend":
        content = json.loads(tokenizer.backend_tokenizer.to_str()) | PREPEND
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(content)), **MARKS)
    tokenizer.add_tokens(AddedToken("<image>", special=True, normalized=False), special_tokens=True)
    return tokenizer


def by_llava(text: str, trained: Path, legacy: bool) -> list[str]:
    """A conversation's tokens; ``<image>`` four times, as Hugging Face's processor writes an image of four patches."""
    encode = SentencePieceProcessor(model_file=str(trained)).encode

    def pieces(piece: str, begins: bool) -> list[str]:
        if begins or legacy:
            return encode(piece, out_type=str)
        return encode(f"\n{piece}", out_type=str)[2:]  # without "▁" and the line break, which joins with nothing

    tokens = ["<s>"]
    for number, chunk in enumerate(text.split("<image>")):
        tokens += ["<image>"] * 4 if number else []
        for place, piece in enumerate(chunk.split("</s>")):
            tokens += ["</s>"] if place else []
            tokens += pieces(piece, place == 0) if piece else []
    return tokens


def vlm_with(tokenizer: PreTrainedTokenizerBase) -> VLM:
    images = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = LlavaProcessor(
        images, tokenizer, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    config = SimpleNamespace(image_token_id=tokenizer.convert_tokens_to_ids("<image>"))
    family = llava.family(llava.spaced(llava.VICUNA, tokenizer))
    return VLM(SimpleNamespace(config=config), processor, family, "golden")


@pytest.mark.parametrize("kind", LEGACY)
@pytest.mark.parametrize("image_turn", [None, 0, 2])
def test_ids_are_those_of_llavas_pieces(kind: str, image_turn: int | None, trained: Path, tmp_path: Path) -> None:
    vlm = vlm_with(opened(kind, trained, tmp_path))
    images = () if image_turn is None else (IMAGE,)
    batch = encode(vlm, [Conversation(TURNS, images, image_turn or 0)], side="right", limit=None)
    first, later = ("<image>\n" if image_turn == turn else "" for turn in (0, 2))
    text = f"{SYSTEM}USER: {first}What is it? ASSISTANT: A dog.\n</s>USER: {later}Sure? ASSISTANT:  é.</s>"
    show = vlm.processor.tokenizer.convert_ids_to_tokens
    assert show(batch["input_ids"][0].tolist()) == by_llava(text, trained, LEGACY[kind])
    kept = "".join(show(batch["labels"][0][batch["labels"][0] != IGNORED].tolist()))
    assert kept == "▁A▁dog.<0x0A></s>▁▁<0xC3><0xA9>.</s>"


def test_one_string_without_the_spaces_would_not_be_llavas(trained: Path, tmp_path: Path) -> None:
    tokenizer = opened("vicuna15", trained, tmp_path)
    assert tokenizer.tokenize("<s>A dog: <image>\nA")[-3:] == ["<image>", "<0x0A>", "A"]
    assert by_llava("A dog: <image>\nA", trained, legacy=False)[-4:] == ["<image>", "▁", "<0x0A>", "A"]
    assert tokenizer.tokenize("<s>A dog")[:2] == ["<s>", "A"]
    assert by_llava("A dog", trained, legacy=False)[:2] == ["<s>", "▁A"]
    assert llava.spaced(llava.VICUNA, opened("legacy", trained, tmp_path)) == llava.VICUNA


@pytest.mark.parametrize("kind", ["legacy", "vicuna15"])
def test_a_processor_that_is_saved_opens_with_the_same_tokens(kind: str, trained: Path, tmp_path: Path) -> None:
    vlm = vlm_with(opened(kind, trained, tmp_path))
    (tmp_path / "again").mkdir()
    save_processor(vlm.processor, tmp_path / "again")
    LlamaConfig().save_pretrained(tmp_path / "again")
    text = "<s>A dog: <image>\nA</s>USER"
    again = AutoTokenizer.from_pretrained(tmp_path / "again")
    assert again.tokenize(text) == vlm.processor.tokenizer.tokenize(text)


def test_assembled_of_vicunas_kind_of_tokenizer_a_model_asks_as_llava_does(trained: Path, tmp_path: Path) -> None:
    tokenizer = opened("vicuna15", trained, tmp_path / "language")
    sizes = text_sizes(tokenizer) | {"vocab_size": 340, "bos_token_id": 1}
    LlamaForCausalLM(LlamaConfig(**sizes)).save_pretrained(tmp_path / "language")  # tokenizer.model lies there
    torch.save(projector(48, 32), tmp_path / "mm_projector.bin")
    (tmp_path / "made").mkdir()
    tower = tiny_clip(tmp_path / "tower", window=16)
    assemble(str(tmp_path / "language"), str(tower), tmp_path / "mm_projector.bin", tmp_path / "made")
    vlm = llava.load(str(tmp_path / "made"), device="cpu")
    assert vlm.image_token_id == 340
    ids = encode(vlm, [Conversation(TURNS[:1], (IMAGE,))], side="left", limit=None)["input_ids"][0].tolist()
    text = f"{SYSTEM}USER: <image>\nWhat is it? ASSISTANT:"
    assert vlm.processor.tokenizer.convert_ids_to_tokens(ids) == by_llava(text, trained, legacy=False)
