"""What a model is computed with: what the libraries are told, and what is said where they are not there."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn
from transformers.quantizers.quantizers_utils import should_convert_module

from selectmm.errors import UserError
from selectmm.instantiate import build
from selectmm.models import compute as module
from selectmm.models import internvl3, llava, qwen2_5_vl, qwen2_vl, qwen3_vl
from selectmm.models.compute import NOT_QUANTISED, PLAIN, Compute
from selectmm.models.load import identity_of
from selectmm.models.vlm import VLM, Family
from tests.families import FAMILIES

ROOT = Path(__file__).parent.parent.parent
CPU, GPU = torch.device("cpu"), torch.device("cuda")
FLASH, NF4, LIGER = (
    Compute("flash_attention_2", "as_is", False),
    Compute("auto", "nf4", False),
    Compute("auto", "as_is", True),
)


@pytest.mark.parametrize(
    ("family", "identity"),
    [
        (llava.family(llava.VICUNA), "bd14c30351ee0bf0"),
        (llava.family(llava.CHATML), "30b14a10fefad01c"),
        (llava.family(llava.PHI2, lora=llava.LINEAR_OF["phi"]), "c10b13b8ba47f919"),
        (llava.family(llava.LLAMA3), "873627bd5527e988"),
        (llava.family(llava.QWEN), "156c44478e78c5e7"),
        (qwen2_vl.FAMILY, "a6927e53a1391c48"),
        (qwen2_5_vl.FAMILY, "40051a1ff9475a0b"),
        (qwen3_vl.FAMILY, "6cfc74994eef4446"),
        (internvl3.FAMILY, "9341182176f66495"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_a_models_identity_is_what_it_was_when_the_committed_records_were_made(family: Family, identity: str) -> None:
    """References and records name a model by it: another value here orphans them all."""
    assert identity_of("weights", SimpleNamespace(dtype=torch.float32), family) == identity


@pytest.mark.parametrize(
    ("compute", "option", "package"),
    [
        (FLASH, "attention=flash_attention_2", "flash-attn"),
        (NF4, "weights=nf4", "bitsandbytes"),
        (LIGER, "liger=true", "liger-kernel"),
    ],
)
def test_what_is_missing_is_named(compute: Compute, option: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"compute.{option} needs the package {package} and a GPU, which this machine"):
        compute.check(CPU)
    with pytest.raises(UserError, match=f"needs the package {package}, which"):
        compute.check(GPU)
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    with pytest.raises(UserError, match="needs a GPU, which"):
        compute.check(CPU)
    compute.check(GPU)
    PLAIN.check(CPU)


@pytest.mark.parametrize("choice", ["flash", "liger", "qlora"])
def test_a_run_that_this_machine_cannot_compute_is_refused_before_anything_is_opened(
    choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("run", [f"compute={choice}", "model=llava15_7b"])
        embedded = compose("run", [f"compute={choice}"])
    with pytest.raises(UserError, match=r"compute\.\S+ needs the package"):
        build(config, "prism").open_model()
    with pytest.raises(UserError, match="supports compute=plain only"):
        build(embedded, "prism")


def test_flash_attention_in_float32_is_refused() -> None:
    with pytest.raises(UserError, match=r"computes in 16 bits; set model\.dtype=bfloat16"):
        FLASH.options(GPU, torch.float32)
    assert FLASH.options(GPU, torch.bfloat16) == {"attn_implementation": "flash_attention_2"}


def test_four_bit_weights_are_qloras() -> None:
    """NF4 with double quantisation, computed in bfloat16: section 3 of the paper."""
    options = NF4.options(GPU, torch.bfloat16)
    config = options["quantization_config"]
    assert options["device_map"] == {"": GPU}
    assert (config.load_in_4bit, config.bnb_4bit_quant_type, config.bnb_4bit_use_double_quant) == (True, "nf4", True)
    assert config.bnb_4bit_compute_dtype == torch.bfloat16


@pytest.mark.parametrize("name", FAMILIES)
def test_four_bits_are_for_the_language_models_layers_alone(name: str, loaded: Callable[[str], VLM]) -> None:
    """By transformers' own reading of the names that are left out."""
    vlm = loaded(name)
    linear = {path for path, part in vlm.model.named_modules() if isinstance(part, nn.Linear)}
    quantised = {path for path in linear if should_convert_module(path, NOT_QUANTISED)}
    assert quantised == {path for path in linear if path.startswith(f"{vlm.family.layers}.")} != set()


def test_a_model_that_is_computed_otherwise_has_another_name() -> None:
    assert PLAIN.name == ""
    assert [made.name for made in (FLASH, NF4, LIGER)] == ["attention=flash_attention_2", "weights=nf4", "liger=True"]


def test_liger_leaves_the_loss_alone_and_knows_what_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    patching = ModuleType("liger_kernel.transformers.monkey_patch")
    patching.MODEL_TYPE_TO_APPLY_LIGER_FN = {"llava": None}
    monkeypatch.setitem(sys.modules, patching.__name__, patching)
    monkeypatch.setattr("transformers.integrations.liger.apply_liger_kernel", lambda *given: found.append(given))
    known, unknown = (SimpleNamespace(config=SimpleNamespace(model_type=kind)) for kind in ("llava", "mystery"))
    PLAIN.patch(unknown)
    LIGER.patch(known)
    assert found == [(known, {"cross_entropy": False, "fused_linear_cross_entropy": False})]
    with pytest.raises(UserError, match=r"Liger has no kernels for mystery; set compute\.liger=false"):
        LIGER.patch(unknown)
