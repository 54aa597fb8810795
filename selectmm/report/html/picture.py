"""The plot of score against cost as part of a page: its points explain themselves, its colours follow the page's."""

import re
from collections.abc import Sequence
from io import BytesIO
from xml.etree import ElementTree

from matplotlib import rc_context

from selectmm.report.colours import PALETTE, REFERENCES
from selectmm.report.pictures import STYLE
from selectmm.report.points import Point, points
from selectmm.report.rows import Comparison
from selectmm.report.tradeoff import GUIDE, INK, MARK, draw

SVG = "http://www.w3.org/2000/svg"
# What is black, white or grey on paper, by the page's own names of colours.
FILLED = {f"{{{SVG}}}{name}" for name in ("path", "text", "use")}
COLOURS = {"#ffffff": "--card", "#000000": "--ink", INK.lower(): "--soft", GUIDE.lower(): "--line"}


def picture(comparison: Comparison, floor: float | None, prefix: str) -> str:
    """The plot as SVG for an HTML page; the same points as in the picture beside the Markdown page.

    Args:
        floor: as for `draw`.
        prefix: of every id, because a page may hold several pictures.
    """
    drawn = BytesIO()
    with rc_context({**STYLE, "svg.fonttype": "none"}):
        draw(comparison, floor).savefig(drawn, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(drawn.getvalue())
    style = root.find(f"{{{SVG}}}defs")  # for every element of the page; the page's own style has it for the picture's
    for needless in (root.find(f"{{{SVG}}}metadata"), style):
        if needless is not None:
            root.remove(needless)
    _explain(root, points(comparison))
    shared = {id(one) for defs in root.iter(f"{{{SVG}}}defs") for one in defs.iter()}
    for element in root.iter():
        _of_the_page(element, prefix, id(element) in shared)
    for name in ("width", "height"):  # the page's style says how large it is
        root.attrib.pop(name, None)
    for name, value in (
        ("class", "picture"),
        ("data-rove", ".point"),
        ("role", "group"),
        ("aria-label", "Rel. against cost"),
    ):
        root.set(name, value)
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    return ElementTree.tostring(root, encoding="unicode")


def tooltip(point: Point) -> str:
    """A point in words."""
    spread = f" ± {point.rel_sd:.1f}" if point.rel_sd is not None else ""
    spread = f" [± {point.rel_items:.1f}]" if point.rel_items else spread
    return f"{point.series}\nRel. {point.rel:.1f}{spread} % at {point.cost:.0f} % of the full run's cost"


def _explain(root: ElementTree.Element, found: Sequence[Point]) -> None:
    for group in root.iter(f"{{{SVG}}}g"):
        number = re.fullmatch(rf"{MARK}(\d+)", group.get("id", ""))
        if number:
            words = tooltip(found[int(number[1])])
            for name, value in (("class", "point"), ("tabindex", "0"), ("role", "img"), ("aria-label", words)):
                group.set(name, value)
            group.set("data-tip", words)


def _of_the_page(element: ElementTree.Element, prefix: str, shared: bool) -> None:
    """Ids of its own, and colours that follow the page's; what is ``shared`` has those of the place that uses it."""
    for name, value in list(element.attrib.items()):
        if name == "id":
            element.set(name, prefix + value)
        elif name.endswith("href") and value.startswith("#"):
            element.set(name, f"#{prefix}{value[1:]}")
        elif name == "clip-path":
            element.set(name, value.replace("url(#", f"url(#{prefix}"))
        elif name == "style":
            element.set(name, re.sub(r"#[0-9a-f]{6}\b", _colour, value))
    # matplotlib leaves out the fill of what is black
    if element.tag in FILLED and not shared and "fill:" not in element.get("style", ""):
        element.set("style", f"fill: var(--ink); {element.get('style', '')}")


def _colour(match: re.Match[str]) -> str:
    """Words are written in a darker shade of their method's colour, so that they need more light on a dark page."""
    if match[0] in COLOURS:
        return f"var({COLOURS[match[0]]})"
    plain = match[0] in {colour.lower() for colour in (*PALETTE, REFERENCES["random"][0])}
    return f"light-dark({match[0]}, color-mix(in oklab, {match[0]}, white {20 if plain else 50}%))"
