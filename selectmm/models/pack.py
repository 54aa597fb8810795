"""Several conversations in one sequence that do not see each other, in place of rows that are padded.

No mask is built here: transformers takes a batch without ``attention_mask`` whose ``position_ids`` start again as
packed, and gives every attention function the mask it needs, block-diagonal for sdpa and eager, sequence boundaries for
flash attention (``transformers.masking_utils.find_packed_sequence_indices``). Under sdpa the mask has the square of the
sequence's length, and attention is computed for all of it; flash attention computes the blocks alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel
from transformers.utils import is_flash_attn_2_available

from selectmm.errors import UserError
from selectmm.models.encode import IGNORED, Batch, Conversation, encode
from selectmm.models.inputs import inputs_of, to_device
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn


def pack(vlm: VLM, batch: Batch) -> Batch:
    """The batch's real tokens as one sequence, [1, tokens]; the answers and what each of them sees stay the same.

    Images stay in the rows' order, which is the order in which the model fills image tokens.

    Args:
        batch: of `selectmm.models.encode.encode`, padded on either side, cut or not.
    """
    real = batch["attention_mask"].bool()
    # pixel tensors and grids have other shapes and belong to the whole batch already
    flat = {k: v[real].unsqueeze(0) if v.shape == real.shape else v for k, v in batch.items() if k != "attention_mask"}
    places = (real.cumsum(1) - 1)[real]
    flat["labels"] = flat["labels"].masked_fill(places == 0, IGNORED)  # nothing of its own row predicts a first token
    flat["position_ids"] = _position_ids(vlm, batch, real, places)
    return flat


def _position_ids(vlm: VLM, batch: Batch, real: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Of the flat sequence: [1, tokens], or [4, 1, tokens] where rotary positions have three axes (M-RoPE).

    Those models read the boundaries from the first of the four, and rotate by the other three. Their own function
    computes them, row by row, from the batch as it was.
    """
    inner = vlm.model.model
    if not hasattr(inner, "get_rope_index"):
        return places.unsqueeze(0)
    grids = ("image_grid_thw", "video_grid_thw", "second_per_grid_ts")
    named = ("input_ids", "mm_token_type_ids", *grids, "attention_mask")
    rotary, _ = inner.get_rope_index(**{name: batch[name] for name in named if name in batch})
    return torch.cat([places.unsqueeze(0), rotary[:, real]]).unsqueeze(1)


@contextmanager
def varlen(model: PreTrainedModel, precision: str) -> Iterator[None]:
    """Let packs attend by flash attention inside the block, where its kernel is installed and takes them.

    It computes the blocks alone; PyTorch's attention, which stays everywhere else, all of the pack. It takes 16 bits on
    a GPU, and a model whose kernel is left to choose (``compute.attention=auto``).
    """
    body = model.config.get_text_config()
    if not fits_varlen(model.device, precision, body._attn_implementation):
        yield
        return
    before = body._attn_implementation
    model.set_attn_implementation({"text_config": "flash_attention_2"})
    try:
        yield
    finally:
        model.set_attn_implementation({"text_config": before})


def fits_varlen(device: torch.device, precision: str, attention: str) -> bool:
    """Whether flash attention takes such packs; see `varlen`."""
    return device.type == "cuda" and precision != "32-true" and attention == "sdpa" and is_flash_attn_2_available()


@torch.no_grad()
def check_packable(vlm: VLM) -> None:
    """Run two short packs that differ in their first conversation alone: nothing may change in the second.

    The comparison is exact in every dtype, because a masked token has weight 0, whatever it says.

    Raises:
        UserError: the language model lets packed conversations see each other.
    """
    states = []
    for words in (("yes", "no"), ("no", "yes")):
        talks = [Conversation((Turn("user", one), Turn("assistant", other))) for one, other in (words, ("yes", "yes"))]
        batch = encode(vlm, talks, side="right", limit=None)
        packed = to_device(pack(vlm, batch), vlm.model)
        second = int(batch["attention_mask"][1].sum())
        states.append(vlm.model.model(**inputs_of(packed), use_cache=False).last_hidden_state[:, -second:])
    if not torch.equal(*states):
        body = getattr(vlm.model.config, "text_config", vlm.model.config).model_type
        raise UserError(
            f"recipe.packing is not supported for this {vlm.family.name} model: in its language model ({body}) packed "
            f"conversations see each other; set recipe.packing=false."
        )
