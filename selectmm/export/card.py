"""The model card of an exported model: what it was made of, and how it wants to be asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from os.path import isdir
from pathlib import Path
from typing import Any

import torch

from selectmm.counted import counted
from selectmm.models.vlm import VLM
from selectmm.printable import in_markdown
from selectmm.records.record import RunRecord


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes:
        model: the ``model`` group of the configuration that opened the base.
        record: of the run that tuned it; None if only the adapter is known.
    """

    model: Mapping[str, Any]
    record: RunRecord | None

    @property
    def base(self) -> str:
        """A hub id as it was given; of a folder its name alone, because the rest of the path is nobody's business."""
        path = str(self.model.get("path", "selectmm's embedded model"))
        return Path(path).resolve().name if isdir(path) else path

    @property
    def hub_id(self) -> str | None:
        """The base's ``owner/name`` if it is from the hub."""
        path = str(self.model.get("path", ""))
        return path.partition("@")[0] if "/" in path and not isdir(path) else None


def card(tuned: VLM, origin: Origin, dtype: torch.dtype, own_template: bool) -> str:
    """The page, in Markdown with the hub's header.

    Args:
        dtype: of the written weights.
        own_template: whether the chat template was written here, because the base's would ask otherwise than training.
    """
    header = ["---", "library_name: transformers", "pipeline_tag: image-text-to-text"]
    header += [f"base_model: {origin.hub_id}"] if origin.hub_id else []
    lines = [*header, "---", "", f"# {origin.base}, tuned", "", *_made(tuned, origin, dtype), "", *_loading(tuned)]
    return "\n".join([*lines, "", *_asking(tuned, own_template), *_scores(origin.record)]) + "\n"


def _made(tuned: VLM, origin: Origin, dtype: torch.dtype) -> list[str]:
    record = origin.record
    identity, _, content = tuned.identity.rpartition("+")
    lines = [f"- base: {origin.base} ({tuned.family.name}, identity {identity}); its licence holds here too"]
    if record is None:
        lines.append("- recipe, subset and record: unknown (exported from an adapter alone)")
    else:
        options = ", ".join(f"{name}={value}" for name, value in record.recipe.options.items() if name != "name")
        facts = [
            f"- recipe: {record.recipe.name} ({options}), {counted(record.recipe.steps, 'step')}, seed {record.seed}",
            f"- subset: {counted(record.subset.rows, 'row')} that {record.method.name} chose of a pool of "
            f"{record.pool.rows:,} (budget {record.budget:g}, subset {record.subset.fingerprint}, pool "
            f"{record.pool.fingerprint})",
            f"- record: {record.name}, commit {record.provenance.commit or 'unknown'}",
            f"- command: `{record.provenance.command}`",
        ]
        lines += [in_markdown(line) for line in facts]  # the record may come from a stranger
    stored = str(dtype).removeprefix("torch.")
    same = "as it was evaluated" if dtype == tuned.model.dtype else f"evaluated in {tuned.model.dtype}, cast afterwards"
    return [*lines, f"- adapter: content {content}, merged into the weights; stored in {stored} ({same})"]


def _loading(tuned: VLM) -> list[str]:
    """A model with a part of ours opens only where that part's code is."""
    own = sorted({type(m).__module__ for m in tuned.model.modules() if type(m).__module__.startswith("selectmm.")})
    lines = ["```python", *(f"import {module}" for module in own)]
    lines += ["from transformers import AutoModelForImageTextToText, AutoProcessor", ""]
    lines += ['model = AutoModelForImageTextToText.from_pretrained("this folder", dtype="auto")']
    lines += ['processor = AutoProcessor.from_pretrained("this folder")', "```"]
    if own:
        lines += ["", f"Part of the model is defined in {', '.join(own)}: it loads only where selectmm is imported."]
    return lines


def _asking(tuned: VLM, own_template: bool) -> list[str]:
    template = tuned.family.template
    note = "It was trained and evaluated with this prompt, which "
    note += "`chat_template.jinja` writes (the base's own does not)." if own_template else "the base's template writes."
    if tuned.family.square:
        note += " Images were padded to a square of the processor's mean colour first; the processor does not do that."
    text = f"{template.start}{template.user_prefix}{template.image}…{template.user_suffix}{template.assistant_prefix}"
    return [note, "", "```", text, "```"]


def _scores(record: RunRecord | None) -> list[str]:
    if record is None:
        return []
    rows = [f"| {in_markdown(score.benchmark)} | {score.value:.1f} | {score.items:,} |" for score in record.scores]
    return [
        "",
        f"Scores of suite {in_markdown(record.suite.name)}, from the record:",
        "",
        "| | score | n |",
        "|---|---:|---:|",
        *rows,
    ]
