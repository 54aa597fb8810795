"""A row's digest is the hash of what `json` writes, whatever the row says."""

import json
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selectmm.pool.sample import Shown, Turn, digest_of

ROLES = st.sampled_from(["system", "tools", "user", "assistant", "tool_call", "tool_result"])
TURNS = st.lists(st.builds(Turn, ROLES, st.text(max_size=20), st.booleans()), max_size=4)
PLACES = st.integers(0, 3)
SHOWN = st.builds(Shown, st.text(max_size=8), PLACES, PLACES, st.booleans(), st.booleans())


def written(source: str, turns: list[Turn], images: list[Shown]) -> list[object]:
    """What is hashed, as lists: one image by its path, and its turn if that is not the first."""
    said: list[object] = [[one.role, one.text, *([] if one.trained else [False])] for one in turns]
    if not images:
        return [source, said, None]
    if len(images) == 1 and not images[0].video:
        return [source, said, images[0].path, *([images[0].turn] if images[0].turn else [])]
    return [source, said, [[*one[:4], *([True] if one.video else [])] for one in images]]


@settings(max_examples=200)
@given(st.text(max_size=8), TURNS, st.lists(SHOWN, max_size=3))
def test_it_is_the_hash_of_the_rows_json(source: str, turns: list[Turn], images: list[Shown]) -> None:
    text = json.dumps(written(source, turns, images), ensure_ascii=False)
    assert digest_of(source, turns, images) == sha256(text.encode()).hexdigest()[:32]


def test_half_a_character_has_no_digest() -> None:
    with pytest.raises(UnicodeEncodeError):
        digest_of("coco", [Turn("user", "\ud800")], [])
