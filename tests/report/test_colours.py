"""Colours: the same for a name wherever it stands, and apart for eyes that see fewer of them."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.markers import MarkerStyle

from selectmm.report.colours import KNOWN, MARKERS, PALETTE, REFERENCES, style_of
from selectmm.report.pages.mark import SHAPES, mark

METHODS = Path(__file__).parents[2] / "configs" / "method"
# What people see who lack one kind of cone, as matrices over linear RGB (Machado, Oliveira and Fernandes 2009).
SEEN = {
    "all three": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # sRGB, D65
WHITE = TO_XYZ.sum(axis=1)


def _lab(colour: str, seen: str) -> np.ndarray:
    """CIE L*a*b* of what is seen."""
    srgb = np.array(to_rgb(colour))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.array(SEEN[seen]) @ linear, 0, 1) / WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("seen", SEEN)
def test_colours_stay_apart_under_the_common_colour_blindnesses(seen: str) -> None:
    """By five times the distance of 2.3 that is just noticeable, for every pair."""
    pairs = {pair: np.linalg.norm(_lab(pair[0], seen) - _lab(pair[1], seen)) for pair in combinations(PALETTE, 2)}
    assert min(pairs.values()) > 5 * 2.3, pairs


def test_every_method_of_this_repository_has_a_look_of_its_own() -> None:
    names = {path.relative_to(METHODS).with_suffix("").as_posix() for path in METHODS.rglob("*.yaml")}
    schedules = {path.stem for path in (METHODS.parent / "schedule").glob("*.yaml")}
    others = {*KNOWN, *REFERENCES} - names  # runs that select during training
    assert names < {*KNOWN, *REFERENCES} and {name.split("+")[0] for name in others} <= schedules
    assert len({style_of(name) for name in {*KNOWN, *REFERENCES}}) == len(KNOWN) + len(REFERENCES)


def test_the_methods_that_papers_compare_most_have_six_colours() -> None:
    assert {style_of(name).colour for name in KNOWN[:6]} == set(PALETTE)


def test_selection_during_training_has_a_colour_for_each_of_its_runs() -> None:
    """What stands on the page of studies/dynamic."""
    runs = ("random", "length", "rds_plus", "rho_loss", "reselect+rds_plus", "reselect+length", "infobatch+random")
    assert len({style_of(name).colour for name in runs}) == len(runs)


def test_a_name_nobody_knows_keeps_its_look_whatever_else_there_is() -> None:
    """Places by hand: the first four bytes of the names' SHA-256, as ``sha256sum`` prints them, modulo 66."""
    for name, digest in (("mine", "3fd30542"), ("ours/deep", "d59a0cf7")):
        place = int(digest, 16) % 66
        assert (style_of(name).colour, style_of(name).marker) == (PALETTE[place % 6], MARKERS[(1 + place) % 11])


def test_looks_that_were_published_do_not_change() -> None:
    """Pictures made on different days are laid side by side."""
    assert [style_of(name).colour for name in ("full", "random", "prism", "scalselect", "tive", "length")] == [
        "#000000",
        "#767676",
        "#D55E00",
        "#0072B2",
        "#009E73",
        "#009E73",
    ]
    assert (style_of("tive").marker, style_of("length").marker) == ("^", "p")


def test_pages_have_every_marker_and_matplotlib_knows_them() -> None:
    used = {*MARKERS, *(marker for _, marker in REFERENCES.values())}
    assert used == set(SHAPES)
    assert all(MarkerStyle(marker).is_filled() for marker in used)
    assert 'fill="var(--ink)"' in mark("full") and "#D55E00" in mark("prism")
