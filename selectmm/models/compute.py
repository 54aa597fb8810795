"""What a model computes with: attention kernel, 4-bit weights, fused kernels. Other than the default, all need a GPU.

Written from the libraries' documentation (transformers' ``BitsAndBytesConfig`` and ``attn_implementation``,
liger-kernel's patching through ``transformers.integrations.liger``) and not run: no machine that we had has a GPU with
those packages. What is tested is what they are told, and that a machine without them is told so.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel

from selectmm.errors import UserError

# Of a 4-bit model, what stays in 16 bits: the head as in QLoRA (arXiv 2305.14314), the projector because it is trained,
# and the small tower. Regular expressions over module names, as transformers reads ``llm_int8_skip_modules``.
NOT_QUANTISED = [r".*\.(vision_tower|visual|multi_modal_projector)", "lm_head"]


@dataclass(frozen=True)
class Compute:
    """How the same model is computed; all are approximations of one another but for rounding, except ``nf4``.

    Attributes:
        attention: ``auto`` (what transformers chooses: PyTorch's fused kernel), ``sdpa``, ``eager``, or
            ``flash_attention_2`` (package flash-attn).
        weights: ``as_is``, or ``nf4``: the language model's linear layers in 4 bits, quantised twice, as QLoRA has them
            (package bitsandbytes). LoRA beside them is trained in the recipe's precision.
        liger: whether normalisation, rotary positions and gated MLPs are Liger's fused Triton kernels (package
            liger-kernel).
    """

    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"]
    weights: Literal["as_is", "nf4"]
    liger: bool

    @property
    def name(self) -> str:
        """What distinguishes a model that is computed so, as part of its identity; empty if nothing does."""
        chosen = {"attention": self.attention, "weights": self.weights, "liger": self.liger}
        return ", ".join(f"{key}={value}" for key, value in chosen.items() if value != getattr(PLAIN, key))

    def check(self, device: torch.device) -> None:
        """Whether this machine can.

        Raises:
            UserError: it cannot; naming what is missing.
        """
        wanted = {
            "attention=flash_attention_2": (self.attention == "flash_attention_2", "flash_attn", "flash-attn"),
            "weights=nf4": (self.weights == "nf4", "bitsandbytes", "bitsandbytes"),
            "liger=true": (self.liger, "liger_kernel", "liger-kernel"),
        }
        for option, (chosen, module, package) in wanted.items():
            lacking = [] if find_spec(module) else [f"the package {package}"]
            lacking += [] if device.type == "cuda" else ["a GPU"]
            if chosen and lacking:
                raise UserError(
                    f"compute.{option} needs {' and '.join(lacking)}, which this machine does not offer; install what "
                    f"is missing, or use compute=plain."
                )

    def options(self, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
        """What ``from_pretrained`` is told beside the dtype.

        Raises:
            UserError: flash attention in float32, which it cannot.
        """
        if self.attention == "flash_attention_2" and dtype == torch.float32:
            raise UserError("Flash attention computes in 16 bits; set model.dtype=bfloat16, or compute.attention=auto.")
        options: dict[str, Any] = {} if self.attention == "auto" else {"attn_implementation": self.attention}
        if self.weights == "nf4":
            options["device_map"] = {"": device}  # quantised as it is loaded, on the device
            options["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=dtype,
                llm_int8_skip_modules=NOT_QUANTISED,
            )
        return options

    def patch(self, model: PreTrainedModel) -> None:
        """Put Liger's kernels into a loaded model, for good.

        The cross-entropy kernels are left out: the loss is taken here, on the answers alone.

        Raises:
            UserError: Liger knows no model of this type.
        """
        if not self.liger:
            return
        from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN  # here: rarely installed
        from transformers.integrations.liger import apply_liger_kernel

        if model.config.model_type not in MODEL_TYPE_TO_APPLY_LIGER_FN:
            raise UserError(f"Liger has no kernels for {model.config.model_type}; set compute.liger=false.")
        apply_liger_kernel(model, {"cross_entropy": False, "fused_linear_cross_entropy": False})


PLAIN = Compute(attention="auto", weights="as_is", liger=False)
