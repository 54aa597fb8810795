"""The page: whole, without network and script, whatever a stranger wrote into the pool."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from selectmm.methods.subset import Subset
from selectmm.pool.sample import Turn
from selectmm.report.inspect.choice import Choice
from selectmm.report.inspect.gallery import LETTERS, SIDE, _talk, groups_of
from selectmm.report.inspect.page import page
from tests.browser import acted, with_browser
from tests.report.inspect.material import choice_of, plain_pool, pool_of

VOID = {"meta", "img", "rect", "line", "input"}
KNOWN = set(
    "html head meta title style body main header h1 h2 h3 p dl dt dd section article div span b small table tr th td "
    "figure figcaption svg rect line text img fieldset legend label input path".split()
)


class Read(HTMLParser):
    """What a browser would find; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def harmless(text: str) -> Read:
    """Only tags that the page is made of, no handler, nothing from elsewhere."""
    found = Read(text)
    for tag, attributes in found.tags:
        assert tag in KNOWN, tag
        assert not any(name.startswith("on") or name in {"href", "srcset", "action"} for name in attributes)
        assert (attributes.get("src") or "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
        assert "url(" not in (attributes.get("style") or "")
    return found


EVIL = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><iframe src=//evil>", "<!-- &lt; ]]>"]


@pytest.mark.parametrize("evil", EVIL)
def test_whatever_a_pool_says_is_text(evil: str, tmp_path: Path) -> None:
    pool = pool_of(tmp_path, [(evil, evil, evil, evil), ("a", "fine", "yes", "a.png")])
    subset = Subset(np.array([0]), np.array([1.0, 0.5]), {evil: 1})
    choice = Choice(evil, pool, subset, (("options", evil),))
    found = harmless(page(choice, [replace(choice)]))
    assert sum(evil in words for words in found.words) >= 8  # read back unharmed: name, facts, source, row, others
    assert "Content-Security-Policy" in page(choice)


@settings(max_examples=50)
@given(st.text(max_size=30))
def test_any_text_of_a_row_is_read_back_as_it_is(text: str) -> None:
    shown = Read(_talk([Turn("user", text)])).words
    assert "".join(shown) == text


def test_the_page_has_its_five_parts_and_counts_what_was_kept(tmp_path: Path) -> None:
    pool = plain_pool(tmp_path, 10)
    choice = choice_of(pool, [0, 2, 4, 6, 6], range(10))
    found = harmless(page(choice))
    assert [words for words in found.words if words in {"Sources", "Scores", "Overlap", "Rows"}] == [
        "Sources",
        "Scores",
        "Overlap",
        "Rows",
    ]
    assert "kept 4 of 10 rows, some several times: 5 with repeats" in found.words
    text = "|".join(found.words)
    assert "a|5|4|5|80.0 % ▲" in text
    assert "b|5|0|0|0.0 % ▼" in text
    assert "Of all rows together 40.0 % were kept" in text
    assert "kept 2 times" in text


def test_a_subset_without_repeats_has_no_column_for_them(tmp_path: Path) -> None:
    found = harmless(page(choice_of(plain_pool(tmp_path, 10), [0, 2, 4])))
    assert "kept 3 of 10 rows" in found.words and "with repeats" not in "|".join(found.words)


def test_overlap_is_shown_with_what_chance_gives(tmp_path: Path) -> None:
    pool = plain_pool(tmp_path, 10)
    first, second = choice_of(pool, [0, 1, 2, 3]), choice_of(pool, [3, 4, 5, 6])
    text = "|".join(harmless(page(first, [replace(second, name="other")])).words)
    assert "1. toy|1.00|0.14|0.25|2. other|0.14|0.25|1.00" in text  # 1/7; chance: 1.6 / 6.4


def test_groups_are_highest_both_sides_of_the_cut_and_lowest(tmp_path: Path) -> None:
    pool = plain_pool(tmp_path, 10)
    scores = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    titles = {group.title: group.rows for group in groups_of(choice_of(pool, [0, 1, 2, 3], scores), 2)}
    assert titles == {
        "Highest scores": (0, 1),
        "At the cut: just kept": (3, 2),
        "At the cut: just dropped": (4, 5),
        "Lowest scores": (9, 8),
    }
    quota = {group.title: group.rows for group in groups_of(choice_of(pool, [0, 1, 5, 9], scores), 2)}
    assert quota == {
        "Highest scores": (0, 1),
        "Kept with the lowest scores": (9, 5),
        "Dropped with the highest scores": (2, 3),
        "Lowest scores": (9, 8),
    }
    low = {group.title: group.rows for group in groups_of(choice_of(pool, [2, 6, 8, 9], scores), 2)}
    assert low["Kept with the highest scores"] == (2, 6)
    assert low["Dropped with the lowest scores"] == (7, 5)
    unscored = {group.title: group.rows for group in groups_of(choice_of(pool, [1, 2, 3, 4, 5]), 3)}
    assert unscored == {"Kept, evenly over the pool": (1, 3, 5), "Dropped, evenly over the pool": (0, 7, 9)}
    everything = groups_of(choice_of(pool, range(10)), 2)
    assert [group.title for group in everything] == ["Kept, evenly over the pool"]


def test_pictures_are_small_jpegs_and_a_missing_one_is_said(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, [("s", "q", "a", "a.png"), ("s", "q", "a", "gone.png"), ("s", "q", "a", None)])
    found = harmless(page(choice_of(pool, [0, 1], [3, 2, 1])))
    pictures = [attributes["src"] for tag, attributes in found.tags if tag == "img"]
    image = Image.open(BytesIO(base64.b64decode(pictures[0].partition(",")[2])))
    assert (image.format, image.size) == ("JPEG", (SIDE, round(SIDE / 3)))
    red, _, blue = image.getpixel((10, 10))
    assert red > 150 > blue
    text = "|".join(found.words)
    assert "the image cannot be opened" in text and "text only" in text


def test_long_texts_and_long_talks_are_shortened_and_say_so() -> None:
    found = _talk([Turn("user", "x" * (LETTERS + 1)), *[Turn("assistant", "y")] * 5])
    assert f"… ({LETTERS + 1:,} letters)" in found
    assert "and 2 more turns" in found


@with_browser
def test_the_page_has_a_dark_mode_and_does_not_move_sideways_on_a_phone(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    pool = plain_pool(tmp_path, 40)
    many = [replace(choice_of(pool, range(start, start + 10)), name=f"another-method-{start}") for start in range(8)]
    file.write_text(page(choice_of(pool, range(5), np.arange(40)), many))
    back = "getComputedStyle(document.body).backgroundColor"
    found = acted(
        file,
        [
            ("", "[innerWidth, document.documentElement.scrollWidth - document.documentElement.clientWidth]"),
            ("find('#theme-light').click()", back),
            ("find('#theme-dark').click()", back),
        ],
        "",
        "--window-size=390,800",
    )
    assert found[0] == [390, 0]
    light, dark = (sum(map(int, re.findall(r"\d+", str(colour)))) for colour in found[1:])
    assert light > 3 * 200 and dark < 3 * 60
