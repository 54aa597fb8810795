"""Open a checkpoint from a folder or the hub, and name the exact weights that were opened."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from os.path import isdir
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from transformers import AutoConfig, AutoProcessor, PreTrainedModel, ProcessorMixin, dynamic_module_utils

from selectmm.cache.stage import fingerprint, write_atomically
from selectmm.errors import UserError
from selectmm.models.compute import PLAIN, Compute
from selectmm.models.memory import enough_memory, ran_out
from selectmm.models.vlm import Family
from selectmm.network import check_model

# A checkpoint may name code of its own. transformers would ask at the terminal whether to run it; it is never run.
OWN_CODE = {"trust_remote_code": False}
# Parts that a checkpoint names (a vision tower of another type, an audio tokenizer) do not inherit that. With no time
# to wait for an answer nobody is asked, and their code is refused too.
dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0

READ = "SELECTMM_READ_WEIGHTS"  # environment variable: what names folders of weights, by what their files looked like
DTYPES = ("float32", "bfloat16", "float16")
MOST = 64  # folders that are remembered


def open_pretrained(
    cls: type[PreTrainedModel], path: str, dtype: str, device: str, compute: Compute = PLAIN
) -> tuple[PreTrainedModel, ProcessorMixin, str]:
    """The model (in eval mode, frozen), its processor, and what names the exact weights.

    Args:
        cls: the Hugging Face class of the family.
        path: a local folder, ``owner/name`` or ``owner/name@revision``.
        dtype: a torch dtype's name, or ``auto``: bfloat16 on a GPU, float32 on a CPU.
        device: a torch device, or ``auto``: the first GPU if there is one. ``meta`` is shapes without numbers: only
            the configuration and the processor have to be there.
        compute: attention kernel, 4-bit weights, fused kernels.

    Raises:
        UserError: there is no such checkpoint, this machine cannot compute so, or its GPU is too small.
    """
    where = pick_device(device)
    kind = pick_dtype(dtype, where)
    if where.type == "meta":
        model, processor = read_shapes(cls, path, kind)
    else:
        compute.check(where)
        with enough_memory(f"{path} was loaded", "choose a smaller model, or a GPU with more memory"):
            model, processor = read_checkpoint(cls, path, kind, compute.options(where, kind))
        compute.patch(model)
    if compute.weights == "as_is":  # others were put where they are while they were loaded
        with enough_memory(f"{path} was put on {where}", "choose a smaller model, or a GPU with more memory"):
            model.to(where)  # type: ignore[arg-type]  # transformers' wrapper hides the method's own signature
    model.eval().requires_grad_(False)
    return model, processor, ", ".join(filter(None, [weights_of(path), compute.name]))


def read_checkpoint(
    cls: Any, path: str, dtype: torch.dtype, others: Mapping[str, Any] | None = None
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A model with all its weights, and its processor; see `open_pretrained`. ``others`` go to ``from_pretrained``."""
    name, options = place(path)
    if not isdir(name):
        check_model(name, options)
    with reading(
        f"No {cls.__name__} checkpoint at '{path}': give a folder that holds one, or, with a network, a hub id"
    ):
        processor = AutoProcessor.from_pretrained(name, **options, **OWN_CODE)
        model, found = cls.from_pretrained(name, dtype=dtype, output_loading_info=True, **options, **(others or {}))
    if found["missing_keys"]:  # transformers would fill them with random numbers
        raise UserError(
            f"The checkpoint at '{path}' is not a {cls.__name__}: it lacks {min(found['missing_keys'])}; choose one "
            f"that is, or the model family that it is of."
        )
    return model, processor


def read_shapes(cls: Any, path: str, dtype: torch.dtype) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A model on the meta device, all shapes and no numbers, from its configuration and processor alone.

    Both come from a folder or the hub's cache; nothing is fetched.

    Raises:
        UserError: they are not there, or the configuration is of another class.
    """
    name, options = place(path)
    local = {**options, **OWN_CODE, "local_files_only": True}
    with reading(
        f"No configuration and processor of '{path}' were found, neither as a folder nor in the hub's cache: set "
        f"model.path to a folder, or fetch them once, online: hf download {name} --exclude '*.safetensors' '*.bin'"
    ):
        processor, config = AutoProcessor.from_pretrained(name, **local), AutoConfig.from_pretrained(name, **local)
    if not isinstance(config, cls.config_class):
        raise UserError(
            f"The configuration at '{path}' is of a {config.model_type}, not of a {cls.__name__}; choose one that is, "
            f"or the model family that it is of."
        )
    cannot = f"The configuration at '{path}' describes a {cls.__name__} that transformers cannot build; choose another"
    with reading(cannot), torch.device("meta"):  # a part of it may need code of its own
        return cls._from_config(config, dtype=dtype), processor


@contextmanager
def reading(otherwise: str) -> Iterator[None]:
    """Say in one sentence that a checkpoint cannot be read; its reason follows ``otherwise``, in brackets.

    Which error a truncated or empty file raises, or one of something else (such as a Git LFS pointer), depends on the
    file. So every error counts as the checkpoint's, except those of the machine: memory, and a GPU that failed.

    Args:
        otherwise: what is not there, and the way out.

    Raises:
        UserError: the block raised something.
    """
    try:
        yield
    except (UserError, MemoryError, torch.AcceleratorError):
        raise
    except Exception as problem:
        if ran_out(problem):
            raise
        said, kind = next(iter(str(problem).splitlines()), ""), type(problem).__name__
        plain = isinstance(problem, OSError | ValueError | ImportError) and said  # a KeyError only names a key
        raise UserError(f"{otherwise} ({said if plain else f'{kind}: {said}'})") from problem


def save_processor(processor: ProcessorMixin, folder: Path) -> None:
    """Save the processor as `AutoProcessor` will open it again, with the tokenizer that it has now.

    transformers 5 forgets to write a Llama tokenizer's ``legacy``; without it, text after a special token would lose
    the "▁" at its front.
    """
    processor.save_pretrained(folder)
    legacy, file = getattr(processor.tokenizer, "legacy", None), folder / "tokenizer_config.json"
    if legacy is not None:
        write_atomically(file, json.dumps(json.loads(file.read_text()) | {"legacy": legacy}, indent=2) + "\n")


def place(path: str) -> tuple[str, dict[str, Any]]:
    """Split ``owner/name@revision``, or a folder, into what `from_pretrained` takes; a folder fetches nothing.

    Raises:
        UserError: the folder holds an adapter, in whose place transformers would open the model that it names.
    """
    if isdir(path):  # whose name may hold an @
        if os.path.exists(os.path.join(path, "adapter_config.json")):
            raise UserError(
                f"The folder '{path}' holds an adapter (adapter_config.json), not a whole model; give the folder of a "
                f"merged one, which 'selectmm export model' writes."
            )
        return path, {"local_files_only": True}
    name, _, revision = path.partition("@")
    return name, {"revision": revision} if revision else {}


def pick_device(device: str) -> torch.device:
    """The named device; ``auto`` is the first GPU, else the CPU.

    Raises:
        UserError: PyTorch knows no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as problem:
        raise UserError(f"model.device={device} is no device; set it to one of auto, cpu, cuda, cuda:0.") from problem


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The named dtype; ``auto`` is bfloat16 on a GPU, else float32.

    Raises:
        UserError: it is none that models are computed in.
    """
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise UserError(f"model.dtype={dtype} is not supported; set it to one of auto, {', '.join(DTYPES)}.")
    return getattr(torch, dtype)


def identity_of(weights: str, model: PreTrainedModel, family: Family) -> str:
    """What identifies a model's results: weights (as `open_pretrained` names them), dtype, and how it is asked."""
    asked = asdict(family)
    for name in ("tools", "video"):  # see `Template`
        del asked["template"][name]
    if family.frames is None:  # as `video`; where it is set, the same clip is another input
        del asked["frames"]
    if not family.tiles_alone:  # there were models before there was one that does
        del asked["tiles_alone"]
    return fingerprint({"weights": weights, "dtype": str(model.dtype), "family": asked})


def weights_of(path: str) -> str:
    """What names a checkpoint's weights: a folder's content, wherever it lies; the id and commit of one on the hub.

    A folder is read once for this process and those that it starts, unless its files change.
    """
    name, options = place(path)
    folder = Path(name)
    if not isdir(folder):
        # The hub's cache keeps a commit's files in a folder of its name; what was just opened lies there.
        return f"{name}@{Path(str(try_to_load_from_cache(name, 'config.json', **options))).parent.name}"
    files = sorted(f for f in folder.iterdir() if f.suffix in {".safetensors", ".bin", ".json", ".jinja"})
    looks = [[file.name, file.stat().st_size, file.stat().st_mtime_ns, file.stat().st_ino] for file in files]
    look = fingerprint({"folder": str(folder.resolve()), "files": looks})
    known = json.loads(os.environ.get(READ, "{}"))
    if look not in known:
        known = dict([*known.items(), (look, _content(files))][-MOST:])
        os.environ[READ] = json.dumps(known)
    return known[look]


def _content(files: Sequence[Path]) -> str:
    """16 hex characters over names and bytes."""
    content = hashlib.sha256()
    for file in files:
        content.update(file.name.encode())
        with file.open("rb") as stream:
            content.update(hashlib.file_digest(stream, "sha256").digest())
    return content.hexdigest()[:16]
