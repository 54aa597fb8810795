"""Checkpoints that are not there, or are of another family."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoTokenizer

from selectmm.errors import UserError
from selectmm.models import llava, load, qwen2_vl
from selectmm.models.load import identity_of, pick_device, pick_dtype, weights_of
from selectmm.models.tokenizer import open_tokenizer
from tests.tiny import tiny_llava


def test_a_checkpoint_of_another_family_is_refused_instead_of_filled_with_random_numbers(tmp_path: Path) -> None:
    folder = tiny_llava(tmp_path / "llava")
    with pytest.raises(UserError, match=r"is not a Qwen2VLForConditionalGeneration: it lacks .*; choose one that is,"):
        qwen2_vl.load(str(folder), device="cpu")


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(UserError, match=f"No LlavaForConditionalGeneration checkpoint at '{path}'"):
            llava.load(str(path), device="cpu")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 14\n"


def _pickled(file: Path) -> None:
    torch.save({"weight": {*"abc"}, "more": Path()}, file.with_name("pytorch_model.bin"))
    file.unlink()


def _cut_bin(file: Path) -> None:
    torch.save({"weight": torch.ones(99)}, file.with_name("pytorch_model.bin"))
    os.truncate(file.with_name("pytorch_model.bin"), 300)
    file.unlink()


def _wider(file: Path) -> None:
    config = file.with_name("config.json")
    content = json.loads(config.read_text())
    content["text_config"]["intermediate_size"] += 16
    config.write_text(json.dumps(content))


BROKEN: dict[str, Callable[[Path], object]] = {
    "cut": lambda file: os.truncate(file, file.stat().st_size // 2),
    "empty": lambda file: file.write_bytes(b""),
    "lfs": lambda file: file.write_bytes(LFS),
    "pickled": _pickled,
    "cut-bin": _cut_bin,
    "wider": _wider,
    "no-vocabulary": lambda file: file.with_name("tokenizer.json").write_text("{}"),
    "no-json": lambda file: file.with_name("config.json").write_bytes(LFS),
    "list": lambda file: file.with_name("config.json").write_text("[]"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_checkpoint_that_is_damaged_or_half_downloaded_is_one_sentence(
    broken: Callable[[Path], object], tmp_path: Path
) -> None:
    folder = tiny_llava(tmp_path / "llava")
    broken(folder / "model.safetensors")
    with pytest.raises(
        UserError, match=f"^No LlavaForConditionalGeneration checkpoint at '{folder}': give .* \\(.+\\)$"
    ):
        llava.load(str(folder), device="cpu")


def test_a_broken_tokenizer_or_configuration_is_one_sentence_where_it_is_read_alone(tmp_path: Path) -> None:
    folder = tiny_llava(tmp_path / "llava")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=f"^No tokenizer at '{folder}': give .* \\(KeyError: "):
        open_tokenizer(str(folder))
    with pytest.raises(UserError, match=f"^No configuration and processor of '{folder}' were found"):
        llava.load(str(folder), device="meta")


@pytest.mark.parametrize(
    "problem",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: 99 bytes"),
        torch.AcceleratorError("CUDA error: out of memory"),
        MemoryError(),
        UserError("The hub cannot be reached."),
    ],
    ids=lambda problem: type(problem).__name__,
)
def test_what_the_machine_lacks_is_not_called_a_broken_checkpoint(problem: Exception) -> None:
    with pytest.raises(type(problem)) as caught, load.reading("No checkpoint"):
        raise problem
    assert caught.value is problem


def test_code_of_a_checkpoint_is_never_run_and_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers would ask on the terminal, for a processor and a configuration that it has no class for."""
    folder = tiny_llava(tmp_path / "llava")
    (folder / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        auto = {kind: "theirs.Theirs" for kind in ("AutoConfig", "AutoProcessor", "AutoModel")}
        auto["AutoTokenizer"] = ["theirs.Theirs", None]
        content |= {"auto_map": auto, "model_type": "theirs", "processor_class": "Theirs", "tokenizer_class": "Theirs"}
        (folder / name).write_text(json.dumps(content))
    monkeypatch.setattr("builtins.input", lambda _: "y")
    for opened in (partial(llava.load, device="cpu"), partial(llava.load, device="meta"), open_tokenizer):
        with pytest.raises(UserError):
            opened(str(folder))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("where", ["audio tokenizer", "vision tower"])
def test_code_of_a_part_of_a_checkpoint_is_never_run_either(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a checkpoint names inside does not inherit that no code of its own is trusted."""
    folder = tiny_llava(tmp_path / "llava")
    part = folder / "part"
    part.mkdir()
    for home in (folder, part):
        (home / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    if where == "audio tokenizer":
        auto = {"AutoConfig": "theirs.Theirs", "AutoModel": "theirs.Theirs"}
        (part / "config.json").write_text(json.dumps({"model_type": "theirs", "auto_map": auto}))
        named = {"audio_tokenizer_class": "AutoModel", "audio_tokenizer_name_or_path": str(part)}
        file, more = folder / "processor_config.json", {"audio_tokenizer": named}
    else:
        file = folder / "config.json"
        auto = {"AutoModel": f"{folder}--theirs.Theirs"}
        more = {"vision_config": {"model_type": "pix2struct_vision_model", "auto_map": auto}}
    file.write_text(json.dumps(json.loads(file.read_text()) | more))
    monkeypatch.setattr("builtins.input", lambda _: "y")
    for opened in (partial(llava.load, device="cpu"), partial(llava.load, device="meta")):
        with pytest.raises(UserError):
            opened(str(folder))
    assert not (tmp_path / "ran").exists()


def test_an_adapters_folder_is_no_model(tmp_path: Path) -> None:
    """transformers would open the model that it names, from any folder or from the hub, with the user's token."""
    folder = tiny_llava(tmp_path / "llava")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "somebody/else"}))
    for device in ("cpu", "meta"):
        with pytest.raises(UserError, match=r"holds an adapter \(adapter_config\.json\), not a whole model; give"):
            llava.load(str(folder), device=device)
    with pytest.raises(UserError, match=r"holds an adapter \(adapter_config\.json\)"):
        open_tokenizer(str(folder))


def test_a_tokenizer_is_opened_from_wherever_the_model_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder's name may hold an @, and nobody outside is asked what a folder lacks."""
    folder = tiny_llava(tmp_path / "x@y")
    opened = []
    real = AutoTokenizer.from_pretrained
    monkeypatch.setattr(
        AutoTokenizer, "from_pretrained", lambda *given, **how: opened.append(how) or real(*given, **how)
    )
    assert len(open_tokenizer(str(folder))) == len(llava.load(str(folder), device="meta").processor.tokenizer)
    assert opened[0]["local_files_only"]


def test_shapes_need_the_configuration_and_the_processor_alone(tmp_path: Path) -> None:
    whole = llava.load(str(tiny_llava(tmp_path / "llava")), device="cpu")
    shapes = llava.load(str(tmp_path / "llava"), device="meta", dtype="float32")
    assert shapes.identity == whole.identity
    assert {n: w.shape for n, w in shapes.model.named_parameters()} == {
        n: w.shape for n, w in whole.model.named_parameters()
    }
    assert all(weight.is_meta for weight in shapes.model.parameters())
    (tmp_path / "llava" / "model.safetensors").unlink()
    assert llava.load(str(tmp_path / "llava"), device="meta").layers
    with pytest.raises(UserError, match=r"The configuration at '.*' is of a llava, not of a Qwen2VLFor"):
        qwen2_vl.load(str(tmp_path / "llava"), device="meta")


def test_shapes_of_the_hub_come_from_its_cache_and_nothing_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"neither as a folder nor in the hub's cache: .*hf download own/tiny --excl"):
        llava.load("own/tiny", device="meta")
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "cache" / "models--own--tiny"
    tiny_llava(cached / "snapshots" / commit)
    (cached / "snapshots" / commit / "model.safetensors").unlink()
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    shapes = llava.load("own/tiny", device="meta", dtype="float32")
    assert shapes.identity == identity_of(f"own/tiny@{commit}", shapes.model, shapes.family)


@pytest.mark.parametrize("device", ["gpu", "cuda:first", ""])
def test_a_device_that_is_none_is_answered_with_those_that_are(device: str) -> None:
    with pytest.raises(UserError, match=f"^model.device={device} is no device; set it to one of auto, cpu, cuda"):
        pick_device(device)


@pytest.mark.parametrize("dtype", ["fp16", "int8", "nn"])
def test_a_dtype_that_no_model_is_computed_in_is_answered_with_those_that_are(dtype: str) -> None:
    with pytest.raises(UserError, match=f"^model.dtype={dtype} is not supported; .* auto, float32, bfloat16, float16"):
        pick_dtype(dtype, torch.device("cpu"))
    assert pick_dtype("float16", torch.device("cpu")) == torch.float16


def test_a_template_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(UserError, match="No LLaVA template 'vicunia'; there are: vicuna, chatml, phi2, llama3, qwen"):
        llava.load("anywhere", template="vicunia", device="cpu")


def test_a_folder_is_read_once_until_a_file_of_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by processes that are started from here: what is known stands in their environment."""
    monkeypatch.delenv(load.READ, raising=False)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    read, real = [], load._content
    monkeypatch.setattr(load, "_content", lambda files: read.append(len(files)) or real(files))
    first = weights_of(str(tmp_path))
    assert weights_of(str(tmp_path)) == first and read == [1]
    (tmp_path / "config.json").write_text("{}")
    second = weights_of(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"others!")
    assert len({first, second, weights_of(str(tmp_path))}) == 3 and read == [1, 2, 2]
    monkeypatch.delenv(load.READ)
    (tmp_path / "config.json").unlink()
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert weights_of(str(tmp_path)) == first, "by the content alone"
