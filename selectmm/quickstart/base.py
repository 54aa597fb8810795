"""The embedded base model: a genuine LLaVA put together from pip packages, with the committed alignment merged in.

Real: every frozen weight (SmolLM2 in `language`, EfficientNet-Lite0 in `tower`). Ours: what `align` trained once, the
projector, a low-rank change of the language model and the tower's normalisation, committed in ``alignment/``. The
result is a plain Hugging Face folder, the same bytes on every machine: sums are taken in float64 and rounded to
float16 at the end, so that the order in which a processor adds does not show.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from filelock import FileLock
from safetensors.torch import load as parse_safetensors
from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor, ViTImageProcessor

from selectmm.cache.write_errors import explain_failed_writes
from selectmm.errors import UserError
from selectmm.models import llava
from selectmm.models.vlm import VLM
from selectmm.quickstart import language
from selectmm.quickstart.tower import TowerConfig, imagenet_weights

ALIGNMENT = Path(__file__).parent / "alignment"
TEMPLATE = "chatml"


def load(
    device: str = "auto",
    dtype: str = "auto",
    folder: str = "cache/quickstart",
    frames: int | None = None,
    alignment: Path = ALIGNMENT,
) -> VLM:
    """The embedded model. Its folder is made below ``folder`` the first time (about 20 s), opened afterwards.

    Args:
        frames: of a clip that are shown, see `selectmm.models.llava.load`.
        alignment: folder that `selectmm.quickstart.align` wrote; the committed one has four decoder layers.

    Raises:
        UserError: a package is missing, the alignment is missing or damaged, or the folder cannot be written.
    """
    content, record = read_alignment(alignment)
    place = Path(folder) / f"base-{record['sha256'][:12]}"
    if not place.exists():
        with explain_failed_writes("The embedded model", place, place.parent):
            place.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(place.with_suffix(".lock")):
                if not place.exists():
                    _make(content, record, place)
    return llava.load(str(place), template=TEMPLATE, dtype=dtype, device=device, frames=frames)


def _make(content: Mapping[str, torch.Tensor], record: Mapping, place: Path) -> None:
    beside = place.with_suffix(".partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    save(content, record, beside)
    beside.rename(place)


def read_alignment(folder: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """The committed tensors and their record, checked against the record's checksum.

    Raises:
        UserError: a file is missing, or the tensors are not those that the record was written for.
    """
    weights, note = folder / "alignment.safetensors", folder / "alignment.json"
    if not (weights.is_file() and note.is_file()):
        raise UserError(f"{weights} or its record is missing; {_way_out(folder)}.")
    record, content = json.loads(note.read_text()), weights.read_bytes()
    if hashlib.sha256(content).hexdigest() != record["sha256"]:
        raise UserError(f"{weights} is not the file its record names; {_way_out(folder)}.")
    return parse_safetensors(content), record


def _way_out(folder: Path) -> str:
    if folder == ALIGNMENT:
        return "restore it from git, or make it with `make base`"
    return f"make it with `python -m selectmm.quickstart.align --layers … --to {folder}`, with the layers that you want"


def save(alignment: Mapping[str, torch.Tensor], record: Mapping, folder: Path) -> None:
    """Write model and processor as an ordinary Hugging Face folder, the alignment merged into the weights."""
    model, processor = assemble(record["layers"])
    merge(model, alignment, record["alpha"] / record["rank"])
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def assemble(layers: Sequence[int]) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """The model before alignment, float32: real tower, the chosen decoder layers of SmolLM2, a random projector."""
    tower, words = TowerConfig(), language.tokenizer()
    config = LlavaConfig(
        vision_config=tower,
        text_config=language.config(len(layers)),
        image_token_index=cast(int, words.convert_tokens_to_ids("<image>")),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.network.load_state_dict(imagenet_weights())
    model.model.language_model.load_state_dict(language.weights(layers))
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = words.eos_token_id
    return model.eval(), _processor(words, tower)


def merge(model: LlavaForConditionalGeneration, alignment: Mapping[str, torch.Tensor], scale: float) -> None:
    """Put the alignment into the model in place; the language model and the projector end in float16.

    ``alignment`` holds ``tower.mean``, ``tower.std`` [channels], ``projector.*`` as the projector names them, and for
    each adapted linear layer of the language model ``<name>.A`` [rank, in] and ``<name>.B`` [out, rank]: its weight
    becomes W + scale · B A.
    """
    tower, projector = model.model.vision_tower, model.model.multi_modal_projector
    tower.mean.copy_(alignment["tower.mean"])
    tower.std.copy_(alignment["tower.std"])
    for name, module in model.model.language_model.named_modules():
        if f"{name}.A" in alignment:
            change = alignment[f"{name}.B"].double() @ alignment[f"{name}.A"].double()
            module.weight.data = (module.weight.data.double() + scale * change).float()
    trained = {k.removeprefix("projector."): v for k, v in alignment.items() if k.startswith("projector.")}
    projector.load_state_dict(trained)
    model.model.language_model.half()
    projector.half()


def _processor(words: language.PreTrainedTokenizerBase, tower: TowerConfig) -> LlavaProcessor:
    """Resizes the (already square) image to the tower's side without cropping; ImageNet's normalisation."""
    pixels = ViTImageProcessor(
        size={"height": tower.image_size, "width": tower.image_size},
        resample=2,  # bilinear
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    return LlavaProcessor(
        image_processor=pixels,
        tokenizer=words,
        patch_size=tower.patch_size,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        image_token="<image>",
    )
