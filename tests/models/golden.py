"""Golden values are written in the tests as text, and become ids by a vocabulary that can be computed by hand.

A byte is a token: the letter A (byte 65) has the id 1065. Special tokens have the ids below. What the loss is taken on
stands in ⟦ ⟧.
"""

import re
from types import SimpleNamespace

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from selectmm.models.encode import IGNORED
from selectmm.models.vlm import VLM, Family

from transformers import PreTrainedTokenizerFast, ProcessorMixin  # isort: skip

IDS = {
    "<pad>": 0,
    "<s>": 1,
    "</s>": 2,
    "<image>": 3,
    "<|endoftext|>": 4,
    "<|im_start|>": 5,
    "<|im_end|>": 6,
    "<|vision_start|>": 7,
    "<|vision_end|>": 8,
    "<|image_pad|>": 9,
    "<|video_pad|>": 10,
    "<|begin_of_text|>": 11,
    "<|start_header_id|>": 12,
    "<|end_header_id|>": 13,
    "<|eot_id|>": 14,
    "<img>": 15,
    "</img>": 16,
    "<IMG_CONTEXT>": 17,
    "<video>": 18,
}
FIRST_BYTE = 1000


def ids_and_labels(marked: str) -> tuple[list[int], list[int]]:
    """Ids and labels of a text whose answers stand in ⟦ ⟧."""
    ids: list[int] = []
    labels: list[int] = []
    for number, piece in enumerate(re.split("[⟦⟧]", marked)):
        tokens = _ids(piece)
        ids += tokens
        labels += tokens if number % 2 else [IGNORED] * len(tokens)
    return ids, labels


def _ids(text: str) -> list[int]:
    parts = re.split("(" + "|".join(map(re.escape, IDS)) + ")", text)
    return [token for part in parts for token in ([IDS[part]] if part in IDS else _bytes(part))]


def _bytes(text: str) -> list[int]:
    return [FIRST_BYTE + byte for byte in text.encode()]


def byte_tokenizer(end: str, named: dict[str, str] | None = None) -> PreTrainedTokenizerFast:
    """The vocabulary above as a Hugging Face tokenizer; ``named`` are special tokens that a processor asks by name."""
    letters = {letter: FIRST_BYTE + byte for byte, letter in enumerate(_letters())}
    tokenizer = Tokenizer(models.BPE({**IDS, **letters}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in IDS])
    more = {"extra_special_tokens": named} if named else {}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token="<pad>", **more)


def _letters() -> list[str]:
    """How byte-level vocabularies (GPT-2's) write byte 0, 1, …: itself if it prints, else a letter from 256 on."""
    printing = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = [byte for byte in range(256) if byte not in printing]
    return [chr(byte if byte in printing else 256 + hidden.index(byte)) for byte in range(256)]


def vlm_of(processor: ProcessorMixin, family: Family, image_token: str) -> VLM:
    """What `encode` needs of a model, which is no model at all: the id of its image token."""
    config = SimpleNamespace(image_token_id=IDS[image_token])
    return VLM(SimpleNamespace(config=config), processor, family, "golden")
