"""A LLaVA from its parts: a language model, a CLIP tower and the projector of LLaVA's first stage.

LLaVA's ``scripts/v1_5/finetune.sh`` and ``finetune_lora.sh`` start from Vicuna, CLIP ViT-L/14-336 and a projector that
was trained alone, while ``llava-hf/llava-1.5-7b-hf`` is where they end. What is written is what Hugging Face's
``convert_llava_weights_to_hf.py`` makes of LLaVA's own checkpoints, but for two things: every part keeps its own dtype,
and the rows that are added to the vocabulary are the mean of the others instead of drawn around it, so that the same
parts always give the same folder.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers.utils import logging

from selectmm.errors import UserError
from selectmm.models.load import OWN_CODE, place, reading, save_processor, weights_of
from selectmm.models.sentencepiece_proto import lend_description

from transformers import (  # isort: skip
    AddedToken,
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

IMAGE, PAD = "<image>", "<pad>"
MULTIPLE = 64  # the vocabulary's rows are filled up to one of it, as the conversion does
STRATEGY, LAYER = "default", -2  # all patches but the class token, from the last layer but one: LLaVA-1.5's
PROJECTOR = {  # LLaVA's names (mlp2x_gelu) to Hugging Face's
    f"model.mm_projector.{theirs}.{kind}": f"model.multi_modal_projector.{ours}.{kind}"
    for theirs, ours in ((0, "linear_1"), (2, "linear_2"))
    for kind in ("weight", "bias")
}

Weights = dict[str, torch.Tensor]


def assemble(language: str, tower: str, projector: Path, folder: Path) -> None:
    """Write model, processor and a README into ``folder``, which exists.

    Args:
        language: a causal language model's local folder, ``owner/name`` or ``owner/name@revision``.
        tower: a CLIP's, whole or its vision tower alone.
        projector: LLaVA's ``mm_projector.bin``, or the same tensors as ``.safetensors``.

    Raises:
        UserError: a part is not there, is something else, or does not fit the others.
    """
    connecting = read_projector(projector)
    talking, seeing = _open(AutoModelForCausalLM, language), _open(CLIPVisionModel, tower)
    _check_widths(connecting, talking, seeing, projector)
    processor = _processor(language, tower, seeing.config)
    model = join(talking, seeing, connecting, processor.tokenizer)
    model.save_pretrained(folder, max_shard_size="5GB")
    save_processor(processor, folder)
    _name_dtype(folder / "config.json", str(talking.dtype).removeprefix("torch."))
    (folder / "README.md").write_text(_readme(language, tower, projector), encoding="utf-8")


def read_projector(file: Path) -> Weights:
    """The projector's four tensors under Hugging Face's names.

    Raises:
        UserError: it is not there, cannot be read without running code from it, or holds other tensors.
    """
    try:
        weights = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except OSError as problem:
        raise UserError(f"No projector at '{file}': give LLaVA's mm_projector.bin ({problem.strerror}).") from problem
    except (UnpicklingError, SafetensorError, RuntimeError, EOFError) as problem:
        raise UserError(
            f"'{file}' holds more than tensors or is damaged, and nothing in it is run; give LLaVA's mm_projector.bin "
            f"as it was downloaded, or its tensors as .safetensors."
        ) from problem
    if not isinstance(weights, dict) or weights.keys() != PROJECTOR.keys():
        found = ", ".join(sorted(map(str, weights))[:5]) if isinstance(weights, dict) else type(weights).__name__
        raise UserError(
            f"'{file}' is not LLaVA-1.5's projector of two layers, whose tensors are {', '.join(PROJECTOR)}; it has "
            f"{found or 'none'}."
        )
    return {PROJECTOR[name]: weight for name, weight in weights.items()}


def join(
    language: PreTrainedModel, tower: PreTrainedModel, projector: Weights, tokenizer: PreTrainedTokenizerBase
) -> LlavaForConditionalGeneration:
    """The parts as one model, with their own numbers; ``tokenizer`` has the image token and the padding already.

    Raises:
        UserError: the language model has weights that a LLaVA has no place for.
    """
    needed = max(len(cast(torch.Tensor, language.get_input_embeddings().weight)), len(tokenizer))
    rows = needed + -needed % MULTIPLE
    text = language.config.to_dict() | {"vocab_size": rows, "pad_token_id": tokenizer.pad_token_id}
    patches = tower.config.image_size // tower.config.patch_size
    config = LlavaConfig(
        text_config=text,
        vision_config=tower.config.to_dict(),
        image_token_index=cast(int, tokenizer.convert_tokens_to_ids(IMAGE)),
        image_seq_length=patches**2,
        projector_hidden_act="gelu",
        vision_feature_select_strategy=cast(Any, STRATEGY),
        vision_feature_layer=LAYER,
    )
    weights = {f"model.language_model.{name}": weight for name, weight in language.base_model.state_dict().items()}
    weights["model.language_model.embed_tokens.weight"] = _longer(
        cast(torch.Tensor, language.get_input_embeddings().weight), rows
    )
    weights["lm_head.weight"] = _longer(language.get_output_embeddings().weight, rows)
    weights |= {f"model.vision_tower.{name}": weight for name, weight in tower.state_dict().items()} | projector
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    left, body = model.state_dict().keys() ^ weights.keys(), language.base_model_prefix + "."
    left |= {name for name in language.state_dict() if not name.startswith(body) and name != "lm_head.weight"}
    if left:
        raise UserError(
            f"A {type(language).__name__} cannot be the language model of a LLaVA here: {min(left)} is in one of them "
            f"only; give a Llama, such as Vicuna."
        )
    model.load_state_dict(weights, assign=True)
    model.tie_weights()
    return model


def _longer(rows: torch.Tensor, count: int) -> torch.Tensor:
    """``rows`` and, up to ``count``, their mean.

    As a row of the output layer its logit is the mean of the logits, so that (Jensen) an added token never has more
    probability than a token has on average.
    """
    mean = rows.detach().double().mean(0, keepdim=True).to(rows.dtype)
    return torch.cat([rows.detach(), mean.expand(count - len(rows), -1)])


def _open(kind: Any, path: str) -> Any:
    """A part with all its weights, in their own dtype."""
    name, options = place(path)
    with _silent(), reading(_cannot_open(kind, path, "a model")):
        model, found = kind.from_pretrained(name, dtype="auto", output_loading_info=True, **options, **OWN_CODE)
    if found["missing_keys"]:
        raise UserError(
            f"'{path}' is not a {type(model).__name__}: it lacks {min(found['missing_keys'])}; give one that is."
        )
    return model


def _cannot_open(kind: Any, path: str, what: str) -> str:
    return f"{kind.__name__} cannot open '{path}': give a folder that holds such {what}, or, with a network, a hub id"


@contextmanager
def _silent() -> Iterator[None]:
    """Without the list of what a whole CLIP has beside its vision tower."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _processor(language: str, tower: str, vision: CLIPVisionConfig) -> LlavaProcessor:
    """The language model's tokenizer with the image token and, if it has none to spare, a padding; CLIP's images."""
    lend_description()
    name, options = place(language)
    with reading(_cannot_open(AutoTokenizer, language, "a tokenizer beside the model")):
        tokenizer = AutoTokenizer.from_pretrained(name, **options, **OWN_CODE)
    tokenizer.add_tokens(AddedToken(IMAGE, special=True, normalized=False), special_tokens=True)
    if tokenizer.pad_token in {None, tokenizer.unk_token, tokenizer.bos_token, tokenizer.eos_token}:
        tokenizer.add_special_tokens({"pad_token": AddedToken(PAD, special=True, normalized=False)})
    name, options = place(tower)
    with reading(_cannot_open(CLIPImageProcessor, tower, "an image processor beside the model")):
        images = CLIPImageProcessor.from_pretrained(name, **options)
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=vision.patch_size,
        vision_feature_select_strategy=STRATEGY,
        num_additional_image_tokens=1,  # the class token
    )


def _check_widths(projector: Weights, language: PreTrainedModel, tower: PreTrainedModel, file: Path) -> None:
    wide = language.config.hidden_size
    shapes = [(wide, tower.config.hidden_size), (wide,), (wide, wide), (wide,)]
    for name, shape in zip(PROJECTOR.values(), shapes, strict=True):
        if projector[name].shape != shape:
            raise UserError(
                f"The projector '{file}' is of other models: its {name.rpartition('projector.')[2]} is "
                f"{tuple(projector[name].shape)}, where this language model and tower need {shape}; give those that it "
                f"was trained for."
            )


def _name_dtype(config: Path, word: str) -> None:
    """What a loader that is not told a dtype takes: the language model's, not that of the first tensor."""
    content = json.loads(config.read_text())
    for part in (content, content["text_config"], content["vision_config"]):
        part["dtype"] = word
    config.write_text(json.dumps(content, indent=2) + "\n")


def _readme(language: str, tower: str, projector: Path) -> str:
    digest = hashlib.sha256(projector.read_bytes()).hexdigest()
    named = {part: Path(part).resolve().name if Path(part).is_dir() else part for part in (language, tower)}
    return f"""# A LLaVA before its second stage

Made by `selectmm assemble` of

- the language model {named[language]} ({weights_of(language)}),
- the vision tower {named[tower]} ({weights_of(tower)}),
- the projector {projector.name} (sha256 {digest}).

Their weights are here unchanged, and their licences hold. New are the token `{IMAGE}`, a padding if there was none, and
the vocabulary's rows from the language model's last to a multiple of {MULTIPLE}, which are the mean of the others.
"""
