"""Two matrices side by side, a metric and what training measured, with τ of every target and source beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from selectmm.report.pictures import blank, keep
from selectmm.report.ranking import tau_source, tau_target

# Okabe and Ito's blue and vermilion, and viridis: all stay apart under the common colour blindnesses.
OURS, PRINTED, INK = "#0072B2", "#D55E00", "#555555"
COLOURS = "viridis"
LINE, DASHES = 1.8, (0, (4, 3))
STRONG = 0.6  # below 1: more shades for the many small gains than for the few large ones of the diagonal


@dataclass(frozen=True)
class TransferPicture:
    """What is drawn: matrices ``[sources, targets]``, their names, and the paper's mean τ (None if it printed none).

    Gains are shown times ``scale``, in ``unit``; the metric, if ``by_column``, over the mean of its column, because
    targets differ more than sources. τ is always of the matrices as they are.
    """

    metric: np.ndarray
    gains: np.ndarray
    sources: Sequence[str]
    targets: Sequence[str]
    printed_target: float | None = None
    printed_source: float | None = None
    unit: str = "Δ, % of the base score"
    scale: float = 100.0
    by_column: bool = False


def save_transfer(transfer: TransferPicture, title: str, folder: Path, name: str) -> tuple[Path, Path]:
    """Write ``<name>.svg`` and ``<name>.png``; the same numbers give the same bytes.

    Returns:
        The paths of the SVG and the PNG.
    """
    return keep(partial(draw, transfer, title), folder, name, dpi=120)


def draw(transfer: TransferPicture, title: str) -> Figure:
    """Metric left, gains (in per cent) right; under the columns τ of each target, beside the rows τ of each source."""
    figure = blank(14, 8.4)
    grid = figure.add_gridspec(3, 3, width_ratios=(14, 14, 5), height_ratios=(15, 4, 0.45))
    metric, measured = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    figure.suptitle(title, x=0.01, ha="left", fontsize=15)
    shown = transfer.metric / transfer.metric.mean(0) if transfer.by_column else transfer.metric
    before = _heat(metric, transfer, shown, "metric M(s→t), before training")
    after = _heat(measured, transfer, transfer.scale * transfer.gains, "measured gain Δ(s→t), after training")
    metric.set_ylabel("source: trained on", fontsize=12)
    measured.tick_params(labelleft=False)
    _by_target(figure.add_subplot(grid[1, 1], sharex=measured), transfer)
    _by_source(figure.add_subplot(grid[0, 2], sharey=measured), transfer)
    _legend(figure.add_subplot(grid[1, 0]), printed=transfer.printed_target is not None)
    _bar(figure, figure.add_subplot(grid[2, 0]), before, "M over the mean of its column" if transfer.by_column else "M")
    _bar(figure, figure.add_subplot(grid[2, 1]), after, transfer.unit)
    return figure


def _heat(axes: Axes, transfer: TransferPicture, values: np.ndarray, title: str) -> AxesImage:
    norm = PowerNorm(STRONG, np.nanmin(values), np.nanmax(values))
    shown = axes.imshow(values, cmap=COLOURS, norm=norm, aspect="auto")
    axes.set_title(title, fontsize=14, pad=10, fontweight="bold")
    axes.set_xlabel("target: tested on", fontsize=12, labelpad=8)
    axes.xaxis.set_label_position("top")
    axes.set_xticks(range(len(transfer.targets)), transfer.targets, rotation=55, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(transfer.sources)), transfer.sources)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axes.spines[:].set_visible(False)
    return shown


def _bar(figure: Figure, axes: Axes, shown: AxesImage, label: str) -> None:
    bar = figure.colorbar(shown, cax=axes, orientation="horizontal", label=label)
    bar.outline.set_visible(False)


def _by_target(axes: Axes, transfer: TransferPicture) -> None:
    values = tau_target(transfer.metric, transfer.gains)
    axes.plot(range(len(values)), values, "o", color=OURS, markersize=8, clip_on=False)
    axes.axhline(np.nanmean(values), color=OURS, linewidth=LINE)
    if transfer.printed_target is not None:
        axes.axhline(transfer.printed_target, color=PRINTED, linewidth=LINE, linestyle=DASHES)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_ylim(_low(values), 1)
    axes.set_ylabel("τ over\nsources")
    axes.tick_params(top=False, labeltop=False, bottom=False, labelbottom=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _by_source(axes: Axes, transfer: TransferPicture) -> None:
    values = tau_source(transfer.metric, transfer.gains)
    axes.plot(values, range(len(values)), "s", color=OURS, markersize=7, clip_on=False)
    axes.axvline(np.nanmean(values), color=OURS, linewidth=LINE)
    if transfer.printed_source is not None:
        axes.axvline(transfer.printed_source, color=PRINTED, linewidth=LINE, linestyle=DASHES)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_xlim(_low(values), 1)
    axes.set_xlabel("τ over targets")
    axes.tick_params(left=False, labelleft=False)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _low(values: np.ndarray) -> float:
    """Where an axis of τ begins: most are above zero, all have to be seen."""
    return min(-0.4, float(np.nanmin(values)) - 0.05)


def _legend(axes: Axes, printed: bool) -> None:
    mark: dict[str, Any] = {"color": OURS, "linestyle": "", "markersize": 8}
    entries = [
        Line2D([], [], marker="o", label="Kendall's τ of one target (M's column against the gains')", **mark),
        Line2D([], [], marker="s", label="Kendall's τ of one source (M's row against the gains')", **mark),
        Line2D([], [], color=OURS, linewidth=LINE, label="their mean"),
        Line2D([], [], color=PRINTED, linewidth=LINE, linestyle=DASHES, label="their mean, as printed"),
    ]
    axes.legend(handles=entries if printed else entries[:-1], loc="center left", frameon=False, fontsize=11)
    axes.set_axis_off()
