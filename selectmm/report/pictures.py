"""How every picture is begun and kept: no window system, and the same bytes for the same numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

SIZE = (8.0, 5.0)  # inches, of a page's picture
STYLE: dict[Any, Any] = {"svg.hashsalt": "selectmm", "font.family": "DejaVu Sans", "font.size": 11}


def blank(width: float = SIZE[0], height: float = SIZE[1]) -> Figure:
    """An empty figure, in inches; not through pyplot, which keeps global state and looks for a window system."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def keep(draw: Callable[[], Figure], folder: Path, name: str, dpi: int = 160) -> tuple[Path, Path]:
    """Draw in the project's style and write ``<name>.svg`` and ``<name>.png``.

    Returns:
        The paths of the SVG and the PNG.
    """
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    with rc_context(STYLE):
        figure = draw()
        figure.savefig(svg, metadata={"Date": None})
        figure.savefig(png, dpi=dpi, metadata={"Software": None})
    return svg, png
