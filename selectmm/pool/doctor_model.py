"""What the doctor finds when a model is given: rows that this model cannot take, or reads in another way."""

from collections.abc import Sequence

from selectmm.pool.doctor import EXAMPLES, Finding, Weight, in_file
from selectmm.pool.pool import Pool
from selectmm.pool.unfit import TAKE_CLIPS, Unfit

_MARK = "Its processor would look for an image there: rewrite the text"
_SHAPE = "Its processor refuses it (Qwen: one side more than 200 times the other): crop or pad the image"
_LATE = (
    "Raise recipe.max_length, or show images smaller (Qwen: model.max_pixels; InternVL, LLaVA-OneVision: model.tiles)"
)
_TURNS = "Choose Qwen2.5-VL or Qwen3-VL, which take all; for system prompts alone, set pool.system=join or leave_out"
_CLIPS = f"Choose a model that takes clips ({TAKE_CLIPS})"
_SPECIAL = (
    "Each becomes that token and not its letters: </s> in an answer ends it. Nothing is changed; rewrite what is meant "
    "as letters."
)


def model_findings(pool: Pool, unfit: Unfit, words: Sequence[str], bad_rows: str) -> list[Finding]:
    """Findings of one model; those without a row are left out.

    Args:
        unfit: of the pool and the model. words: the tokenizer's special tokens, to say which one a row holds.
        bad_rows: what a run would do with the rows, ``stop`` or ``drop``.
    """
    stops = bad_rows == "stop" or len(unfit.bad) == len(pool)
    weight: Weight = "blocks" if stops else "look"
    way = ", or set pool.bad_rows=drop to leave these rows out." if stops else ", or they are left out."
    found = [
        ("image mark of the model in a text", unfit.placeholder, _MARK + way, weight),
        ("image of a shape that the model refuses", unfit.shape, _SHAPE + way, weight),
        ("image behind recipe.max_length", unfit.late_image, _LATE + way, weight),
        ("turn that the model's template has no place for", unfit.turns, _TURNS + way, weight),
        ("clip that this model does not take", unfit.clips, _CLIPS + way, weight),
        ("special tokens of the model in a text", unfit.special, _SPECIAL, "look"),
    ]
    return [
        Finding(name, len(rows), in_file(pool), [_example(pool, row, words) for row in rows[:EXAMPLES]], advice, how)
        for name, rows, advice, how in found
        if rows
    ]


def not_checked(pool: Pool, why: str) -> Finding:
    """The model was named, but what it cannot take cannot be known here."""
    return Finding("not looked at for this model", len(pool), in_file(pool), [], why, "look")


def _example(pool: Pool, row: int, words: Sequence[str]) -> str:
    sample = pool[row]
    held = [word for word in words if any(word in turn.text for turn in sample.turns)]
    return pool.named_with_images(row) + (f": {' '.join(held[:EXAMPLES])}" if held else "")
