"""Fields that change what a row means: honoured, or a reason not to read it; none is passed over in silence."""

from collections.abc import Container, Iterable, Mapping
from typing import Any

from selectmm.pool.bad import BadRow, empty, shown, unsaid
from selectmm.pool.sample import Turn

# Who writes these fields: ms-swift (docs/source_en/Customization/Custom-dataset.md), LLaMA-Factory (data/README.md),
# OpenAI's chat format, TRL's preference data.
_AUDIO = ("a sound", "has a sound in '{}', and sounds are not read yet")
_PAIRS = (
    "a preference",
    "prefers one answer to another in '{}', and rows are trained on as they are, not as preferences",
)
_VERDICT = (
    "a preference",
    "says in '{}' whether its answer is a good one, and rows are trained on as they are, not as preferences; keep the "
    "rows with good answers, without the field, or rename it if it means something else",
)
Refused = Mapping[str, tuple[str, str]]
"""Names of fields that change what a row means, the reason in a count, and what follows the row's name."""

NOT_YET: Refused = {
    **dict.fromkeys(["audio", "audios"], _AUDIO),
    **dict.fromkeys(["chosen", "rejected", "rejected_response", "rejected_messages", "rejected_images"], _PAIRS),
    **dict.fromkeys(["positive_messages", "negative_messages"], _PAIRS),
    **dict.fromkeys(["kto_tag", "label"], _VERDICT),
}
IN_A_TURN: Refused = {
    **{name: fault for name, fault in NOT_YET.items() if name != "label"},  # which no format has there
    **dict.fromkeys(
        ["image", "images"],
        ("an image inside a turn", "has its image in '{}' of a turn; write its path into the row's 'image', and "
         "<image> where it stands"),
    ),
}  # fmt: skip
IN_A_PART: Refused = dict.fromkeys(
    ["video_start", "video_end"],
    (
        "a part of a clip",
        "shows a part of a clip ('{}'), and clips are shown whole; cut the clip and name the new file",
    ),
)
TRAINED = ("loss", "weight", "loss_scale")  # of an answer: ms-swift's true and false, OpenAI's 0 and 1
BOXES = ("<bbox>", "<ref-object>")


def check_fields(said: Mapping[str, Any], known: Container[str], refused: Refused = NOT_YET) -> tuple[str, ...]:
    """The fields of a row, or of a turn, that say something and are not read; those in ``known`` are.

    Raises:
        BadRow: one of them is ``refused``; of several, the first.
    """
    unread = []
    for name, value in said.items():
        if name in known or unsaid(value):
            continue
        if name in refused and _says_it(name, value):
            reason, fault = refused[name]
            raise BadRow(reason, fault.format(name))
        unread.append(str(name)[:60])
    return tuple(unread)


def _says_it(name: str, value: object) -> bool:
    """Whether a field of `NOT_YET` means what it is refused for: ``audio: false`` is no sound."""
    if name == "label":  # of ms-swift's rows for KTO; those of its classifiers are numbers
        return isinstance(value, bool)
    return name == "kto_tag" or not empty(value)  # false and 0 say that the answer is a bad one


def check_boxes(row: Mapping[str, Any], turns: Iterable[Turn]) -> None:
    """Refuse rows whose placeholders ms-swift's ``objects`` would fill, as they would be trained on as text.

    Raises:
        BadRow: the row has both.
    """
    if not empty(row.get("objects")) and any(mark in turn.text for turn in turns for mark in BOXES):
        raise BadRow(
            "objects",
            "has 'objects' for the <bbox> or <ref-object> in its texts, and they are not read yet; write the boxes "
            "into the texts",
        )


def is_trained(turn: Mapping[str, Any]) -> bool:
    """Whether an answer is trained on, as its fields `TRAINED` say; without them it is.

    Raises:
        BadRow: they say something between yes and no, or contradict each other.
    """
    given = {name: turn[name] for name in TRAINED if turn.get(name) is not None and turn[name] == turn[name]}
    for name, value in given.items():
        if isinstance(value, str | list | dict) or value not in (0, 1):
            raise BadRow(
                "a weight that is neither 0 nor 1",
                f"has an answer with '{name}' {shown(value)}; an answer is trained on (true or 1) or is context "
                f"(false or 0), and weights between are not read yet",
            )
    if len({bool(value) for value in given.values()}) > 1:
        raise BadRow("fields that contradict each other", f"has an answer with {shown(given)}; keep one of them")
    return all(given.values())
