"""A tokenizer that stands for a model's own where its files are not there: it counts words, and finds images."""

from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedConfig, PreTrainedTokenizerFast

MARKS = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
# About what tokenizers of 32 to 152 thousand words make of English, with the space in front of a word.
PIECE = r"\s?\p{L}{1,6}|\p{N}|\s?[^\s\p{L}\p{N}]|\s"
ASSUMED = "tokens of words (at most six letters each, a digit or a sign; right to perhaps 30 %)"
SPECIAL = [
    "<pad>",
    "</s>",
    "<image>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<video>",
    "<|im_start|>",
    "<|im_end|>",
]


def tokenizer_of(config: PreTrainedConfig, image: str, video: str = "<video>") -> PreTrainedTokenizerFast:
    """One that knows the special tokens alone, which processors look up, and cuts all else into `PIECE`s of number 0.

    Args:
        image, video: the tokens that have the numbers by which the model's configuration knows these.
    """
    special = [*SPECIAL, *MARKS.values()]
    words = {word: number for number, word in enumerate(special)} | {image: config.image_token_id}
    if getattr(config, "video_token_id", None) is not None:
        words[video] = config.video_token_id
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), "isolated")
    tokenizer.add_special_tokens(special)
    named = MARKS | {"video_token": "<video>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", extra_special_tokens=named
    )
