"""Greedy answers of a VLM to many questions, batched."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from PIL import Image
from transformers import GenerationConfig

from selectmm.models.encode import Conversation, encode
from selectmm.models.forward import inputs_of, to_device
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn
from selectmm.records.progress import track


@dataclass(frozen=True)
class Question:
    """A prompt, and a way to open its images (opened only when its batch is due)."""

    prompt: str
    images: Callable[[], tuple[Image.Image, ...]]


# Answers questions in order: (questions, tokens allowed, strings that end an answer) → answers.
Answerer = Callable[[Sequence[Question], int, Sequence[str]], list[str]]


def generate(
    vlm: VLM, questions: Sequence[Question], max_new_tokens: int, stops: Sequence[str], *, batch_size: int, what: str
) -> list[str]:
    """The answers, in the order of ``questions``, each cut at the first of ``stops``; a bar named ``what`` shows.

    Questions of similar length share a batch. Decoding is greedy and padding on the left, so answers do not depend
    on the batch (up to ties within floating-point noise).
    """
    longest_first = sorted(range(len(questions)), key=lambda i: (-len(questions[i].prompt), i))
    stream = iter(track(longest_first, what, len(questions)))
    answers = [""] * len(questions)
    while batch := list(islice(stream, batch_size)):
        texts = _continue(vlm, [questions[i] for i in batch], max_new_tokens)
        for index, text in zip(batch, texts, strict=True):
            answers[index] = _cut(text, stops)
    return answers


@torch.inference_mode()
def _continue(vlm: VLM, questions: Sequence[Question], max_new_tokens: int) -> list[str]:
    conversations = [Conversation((Turn("user", q.prompt),), q.images()) for q in questions]
    # A prompt is never cut: half a question would be scored as if it had been asked.
    batch = to_device(encode(vlm, conversations, side="left", limit=None), vlm.model)
    output = vlm.model.generate(**inputs_of(batch), generation_config=_greedy(vlm, max_new_tokens))
    new = output[:, batch["input_ids"].shape[1] :]
    return vlm.processor.tokenizer.batch_decode(new, skip_special_tokens=True)


def _greedy(vlm: VLM, max_new_tokens: int) -> GenerationConfig:
    """Every setting that could sample or penalise is set here, so that a checkpoint's own defaults do not apply."""
    tokenizer = vlm.processor.tokenizer
    ends = vlm.model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends]) | {tokenizer.eos_token_id, _end_of_turn(vlm)}
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        eos_token_id=sorted(end for end in ends if end is not None),
        pad_token_id=pad,
    )


def _end_of_turn(vlm: VLM) -> int | None:
    """The token that the template ends an answer with (a checkpoint's generation config may not know it)."""
    ids = vlm.processor.tokenizer(vlm.family.template.assistant_suffix, add_special_tokens=False)["input_ids"]
    return ids[0] if ids and ids[0] in vlm.processor.tokenizer.all_special_ids else None


def _cut(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        text = text.split(stop)[0] if stop else text
    return text
