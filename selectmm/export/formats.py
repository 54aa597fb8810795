"""How other trainers want their rows: LLaVA's JSON, LLaMA-Factory's ShareGPT, ms-swift's messages; or places alone.

Clips stand in ``videos`` in LLaMA-Factory's and ms-swift's form, with a ``<video>`` in the text for each; LLaVA's form
has no place for them.

Sources: LLaVA's docs/Finetune_Custom_Data.md; LLaMA-Factory's data/README.md (formatting ``sharegpt``, one ``<image>``
in the text per entry of ``images``); ms-swift's docs/source_en/Customization/Custom-dataset.md (``messages`` and
``images``; both say the same of ``<video>`` and ``videos``). LLaVA's preprocess_multimodal puts "<image>" and a line
break in front of the question, and so does its file here. The two others show it without a break: what follows an image
is a matter of their chat templates.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from selectmm.pool.sample import Sample

IMAGE, VIDEO = "<image>", "<video>"
# Columns of OpenAI's messages that every row has if one row has something there, and what the others say in them.
EMPTY: Mapping[str, object] = {"videos": [], "tools": ""}


@dataclass(frozen=True)
class Format:
    """A data set on disk.

    Attributes:
        file: name of the file of rows.
        lines: one JSON value per line instead of one list.
        row: what stands in the file for a row beside its id, given the paths of its images; None: its place in the
            pool's file and its id alone, or, where `selectmm.export.original` writes it, the row itself.
        clips: whether a row may show some; their column is ``videos``.
        masks: whether the trainer leaves an answer with ``loss: false`` out of the loss.
        marks: texts that the trainer takes for placeholders wherever they stand.
        advice: what to do about a row that holds one of them.
        usage: how the data set is named to the trainer; ``{images}`` is the folder that paths are relative to.
        unfit: which turns the trainer does not take, [turns] of bool, given the role and the row of each, [turns].
        unfit_note: what such rows have, and what the trainer does with them.
        beside: content of other JSON files, by name.
    """

    file: str
    lines: bool
    row: Callable[[Sample, Sequence[str]], dict[str, Any]] | None
    usage: str
    clips: bool = True
    masks: bool = True
    marks: tuple[str, ...] = ()
    advice: str = ""
    unfit: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    unfit_note: tuple[str, str] = ("", "")
    beside: Mapping[str, Any] = field(default_factory=dict)

    def beside_of(self, columns: Iterable[str]) -> Mapping[str, object]:
        """Add to `beside` those of `EMPTY`'s columns that the rows have: LLaMA-Factory stops where one is not there."""
        if "dataset_info.json" not in self.beside:
            return self.beside
        entry = self.beside["dataset_info.json"]["subset"]
        entry = {**entry, "columns": {**entry["columns"], **{name: name for name in columns}}}
        return {**self.beside, "dataset_info.json": {"subset": entry}}


def llava(sample: Sample, images: Sequence[str]) -> dict[str, Any]:
    """LLaVA's own fields, and ``source``.

    A reader strips the blanks around a text that holds the mark. A question that has some got its image without a mark
    in the pool's file (the reader shows it all the same), and gets it so again: its text stays what it was. Of several
    images ``image`` is a list, as LLaVA-NeXT has it.
    """
    names = {**SHAREGPT, "user": "human", "assistant": "gpt"}
    opening = sample.turns[sample.image_turn].text
    mark = f"{IMAGE}\n" if opening == opening.strip() or len(images) > 1 else ""
    said = [{"from": names[role], "value": text, **loss} for role, text, loss in _turns(sample, mark)]
    shown = {"image": images[0] if len(images) == 1 else list(images)} if images else {}
    return {**shown, "conversations": said, **_tools(sample), "source": sample.source}


def messages(sample: Sample, images: Sequence[str], names: Mapping[str, str], joins: bool = False) -> dict[str, Any]:
    """OpenAI's roles; ``images`` is always there, empty for a text-only row, so that every row has the same columns.

    Both trainers pass over ``source`` and the row's id, which are there for whoever looks at the rows. ``joins``: calls
    one behind the other become one turn, and so do results.
    """
    turns = _turns(sample, IMAGE)
    turns = _joined(turns) if joins else turns
    said = [{"role": names.get(role, role), "content": text, **loss} for role, text, loss in turns]
    shown: dict[bool, list[str]] = {False: [], True: []}
    for one, path in zip(sample.images, images, strict=True):
        shown[one.video].append(path)
    videos = {"videos": shown[True]} if shown[True] else {}
    row = {"messages": said, **_tools(sample), "images": shown[False], **videos}
    return {**row, "source": sample.source}


# How LLaMA-Factory's ShareGPT form and ms-swift call the roles of tools.
SHAREGPT = {"system": "system", "tool_call": "function_call", "tool_result": "observation"}
SWIFT = {"tool_result": "tool_response"}


def _tools(sample: Sample) -> dict[str, str]:
    """The tools that a row offers, as the text of a list."""
    lines = [turn.text.replace("\n", ", ") for turn in sample.turns if turn.role == "tools"]
    return {"tools": f"[{lines[0]}]"} if lines else {}


_Turn = tuple[str, str, dict[str, bool]]  # role, text, and ``loss: false`` of context
BETWEEN_RESULTS = "\n</tool_response>\n<tool_response>\n"  # LLaMA-Factory's, also where a template has other signs


def _joined(turns: Sequence[_Turn]) -> list[_Turn]:
    """Calls one behind the other as a list of them, results as one text; context only if all of them are."""
    found: list[_Turn] = []
    for role, group in groupby(turns, lambda turn: turn[0]):
        texts, losses = zip(*((text, loss) for _, text, loss in group), strict=True)
        if len(texts) == 1:
            found.append((role, texts[0], losses[0]))
        else:
            text = f"[{', '.join(texts)}]" if role == "tool_call" else BETWEEN_RESULTS.join(texts)
            found.append((role, text, losses[0] if all(losses) else {}))
    return found


def _behind_an_answer(roles: np.ndarray, rows: np.ndarray) -> np.ndarray:
    found = np.zeros(len(roles), bool)
    found[1:] = (roles[1:] == "tool_call") & (roles[:-1] == "assistant") & (rows[1:] == rows[:-1])
    return found


def _beside_questions(roles: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return (roles != "user") & (roles != "assistant")


def _turns(sample: Sample, mark: str) -> list[_Turn]:
    """Roles and texts, each image's mark where it stands, and ``loss: false`` of context."""
    texts = [turn.text for turn in sample.turns]
    shown_with = Counter(image.turn for image in sample.images)
    for image in reversed(sample.images):
        text = texts[image.turn]
        # Several images of a turn are read where they stand, with the line break behind their mark.
        bare = VIDEO if image.video else IMAGE
        alone = mark.replace(IMAGE, bare)
        own = alone if shown_with[image.turn] == 1 else bare if image.inline else f"{bare}\n"
        texts[image.turn] = text[: image.at] + own + text[image.at :]
    said = zip(sample.turns, texts, strict=True)
    return [(t.role, text, {} if t.trained else {"loss": False}) for t, text in said if t.role != "tools"]


_DATASET_INFO = {
    "subset": {
        "file_name": "subset.json",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {
            **{"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
            **{"system_tag": "system", "function_tag": "function_call", "observation_tag": "observation"},
        },
    }
}

ORIGINAL = "original"  # the format of the pool's own file


def original(ending: str) -> Format:
    """The pool's own format, for the README.md."""
    return Format(
        file=f"rows{ending}",
        lines=False,
        row=None,
        usage="The rows are those of the pool's file, with all of their fields. Use them as you use that file.",
    )


FORMATS = {
    "llava": Format(
        file="subset.json",
        lines=False,
        row=llava,
        usage="LLaVA: `--data_path subset.json --image_folder {images}`. selectmm: `selectmm pool=llava_json "
        "pool.file=subset.json pool.images={images} method=full`.",
        clips=False,
        masks=False,
        unfit=_beside_questions,
        unfit_note=("a system prompt or tools", "selectmm reads them, but LLaVA's own training code stops there"),
    ),
    "llama_factory": Format(
        file="subset.json",
        lines=False,
        row=partial(messages, names=SHAREGPT, joins=True),
        usage="LLaMA-Factory: `dataset_dir: <this folder>`, `dataset: subset`, `media_dir: {images}`.",
        masks=False,
        marks=("<video>", "<audio>"),
        unfit=_behind_an_answer,
        unfit_note=("a call behind words of the same answer", "LLaMA-Factory has no place for both and skips them"),
        advice="Set the environment variables VIDEO_PLACEHOLDER and AUDIO_PLACEHOLDER to something else in training.",
        beside={"dataset_info.json": _DATASET_INFO},
    ),
    "ms_swift": Format(
        file="subset.jsonl",
        lines=True,
        row=partial(messages, names=SWIFT),
        usage="ms-swift: `ROOT_IMAGE_DIR={images} swift sft --dataset subset.jsonl …`; its documentation prefers "
        "absolute paths (export with --absolute).",
        marks=("<video>", "<audio>", "<ref-object>", "<bbox>"),
        advice="ms-swift replaces them; take these rows out if that matters.",
    ),
    "indices": Format(
        file="rows.json",
        lines=False,
        row=None,
        usage="Each entry names a row by its place in the pool's file (`row` counts a list's or a table's rows from 0, "
        "`line` counts lines from 1) and by its id. selectmm: `selectmm method=from_indices "
        "method.file=rows.json`, with a pool of the same file.",
    ),
}
