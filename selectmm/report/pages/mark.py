"""A method's mark on a page: its colour and shape of `selectmm.report.colours`, as a small picture."""

from selectmm.report.colours import INK, style_of

# Outlines in a square from -1 to 1, y downwards, by matplotlib's names of the markers; pages' scripts draw them too.
SHAPES = {
    "o": "M-1 0A1 1 0 1 1 1 0A1 1 0 1 1 -1 0Z",
    "s": "M-.85 -.85H.85V.85H-.85Z",
    "D": "M0 -1.15L1.15 0L0 1.15L-1.15 0Z",
    "d": "M0 -1.2L.7 0L0 1.2L-.7 0Z",
    "^": "M0 -1.05L1.05 .85H-1.05Z",
    "v": "M0 1.05L1.05 -.85H-1.05Z",
    "<": "M-1.05 0L.85 -1.05V1.05Z",
    ">": "M1.05 0L-.85 -1.05V1.05Z",
    "P": "M-.4 -1.05H.4V-.4H1.05V.4H.4V1.05H-.4V.4H-1.05V-.4H-.4Z",
    "X": "M0 -.5L.5 -1L1 -.5L.5 0L1 .5L.5 1L0 .5L-.5 1L-1 .5L-.5 0L-1 -.5L-.5 -1Z",
    "p": "M0 -1.1L1.05 -.34L.65 .89H-.65L-1.05 -.34Z",
    "*": "M0 -1.4L.35 -.48L1.33 -.43L.57 .18L.82 1.13L0 .6L-.82 1.13L-.57 .18L-1.33 -.43L-.35 -.48Z",
}


def look_of(method: str) -> dict[str, str]:
    """A method's colour, as CSS reads it, and the outline of its marker. On a dark page the same hue is lighter."""
    style = style_of(method)
    lighter = f"light-dark({style.colour}, color-mix(in oklab, {style.colour}, white 20%))"
    return {"colour": "var(--ink)" if style.colour == INK else lighter, "shape": SHAPES[style.marker]}


def mark_before(method: str | None) -> str:
    """The mark, or nothing where the method is not known."""
    return mark(method) if method is not None else ""


def mark(method: str) -> str:
    """The mark as SVG, beside a name that says the same; so it is hidden from screen readers."""
    look = look_of(method)
    outline = f'<path d="{look["shape"]}" fill="{look["colour"]}"/>'
    return f'<svg class="mark" viewBox="-1.5 -1.5 3 3" aria-hidden="true">{outline}</svg>'
