"""How many directions hold ScalSelect's energy at each layer: a page and a picture, from the measured spectra.

python experiments/scalselect/rank.py [FOLDER]
"""

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import UNKNOWN, flowed, table
from selectmm.cache.stage import write_atomically
from selectmm.methods.leverage import rank_of
from selectmm.report.colours import PALETTE
from selectmm.report.pictures import blank, keep
from selectmm.report.published import read_printed

ROOT = Path(__file__).resolve().parents[2]
NAME = "scalselect-rank"
HEAD = "<!-- Made by `python experiments/scalselect/rank.py`; never edited by hand. -->"
ENERGY = 0.9
SHARES = (0.5, 0.8, ENERGY, 0.95, 0.99)


def make(folder: Path) -> Path:
    """Write the page and its picture under ``folder``; the same measurement gives the same bytes. Returns the page."""
    measured = json.loads((ROOT / "results" / "metrics" / "scalselect-spectrum.json").read_text())
    folder.mkdir(parents=True, exist_ok=True)
    keep(partial(draw, measured), folder, NAME)
    page = folder / f"{NAME}.md"
    write_atomically(
        page, flowed("\n".join([HEAD, f"# {NAME}\n", _opening(measured), _ranks(measured), _how(measured)]))
    )
    return page


def rank(shares: list[float], energy: float = ENERGY) -> int:
    """Directions that hold ``energy`` of the whole."""
    return rank_of(torch.tensor(shares, dtype=torch.float64), energy)


def _opening(measured: dict) -> str:
    ranks = [rank(layer["centred"]) for layer in measured["layers"]]
    grows = (
        "grows with depth, as in the paper" if ranks == sorted(ranks) else "does not grow with depth as in the paper"
    )
    widths = {layer["width"] for layer in measured["layers"]}
    return f"""\
**Into how many directions does a layer pack the pool?** ScalSelect ranks rows by their leverage in the directions that
hold 90 % of the energy of its features; on the embedded model and pool their number {grows}:
{", ".join(f"{k} at layer {layer['layer']}" for k, layer in zip(ranks, measured["layers"], strict=True))}, of
{", ".join(map(str, widths))}. Scale: embedded, a four-layer model; only the tendency compares with a 32-layer one.

![Energy held by the first directions, layer by layer]({NAME}.svg)
"""


def _ranks(measured: dict) -> str:
    printed = {row.method: row.values.get("rank_k") for row in read_printed("ScalSelect", "T7")}
    rows = []
    for layer in measured["layers"]:
        published = printed.get(f"scalselect layer={layer['name']}")
        theirs = UNKNOWN if published is None else f"{published:g}"
        rows.append([
            f"{layer['name']} ({layer['layer']})", *(str(rank(layer["centred"], share)) for share in SHARES),
            str(rank(layer["uncentred"])), theirs,
        ])  # fmt: skip
    head = ["layer", *(f"k for {100 * share:.0f} %" for share in SHARES), "uncentred, 90 %", "published, 90 %, 7B"]
    return table(head, rows)


def _how(measured: dict) -> str:
    origin = measured["provenance"]
    return f"""\
- Measured: `python experiments/scalselect/spectrum.py`, commit {str(origin["commit"])[:10]}; the frozen base
  {measured["model"]}, {measured["rows"]:,} rows with an image of pool {measured["pool"]}; attended image tokens, as the
  method has them.
- k: the smallest number of directions whose squared singular values sum to the share. Centred columns, as the method
  and its authors' script have them.
- Published: ScalSelect's T7 from results/published/scores.csv (Vicuna-7B on LLaVA-V-625K, read in a note about the
  paper); which layers it calls middle and deep is unknown.
"""


def draw(measured: dict) -> Figure:
    """Energy held by the first directions, a curve for every layer."""
    figure = blank()
    axes = figure.add_subplot()
    axes.axhline(100 * ENERGY, color="#BDBDBD", linewidth=0.8, zorder=0)
    for layer, colour in zip(measured["layers"], PALETTE, strict=False):
        held, k = 100 * np.cumsum(layer["centred"]), rank(layer["centred"])
        label = f"{layer['name']} layer: {k} directions"
        axes.plot(np.arange(1, len(held) + 1), held, color=colour, linewidth=1.8, label=label)
        axes.plot(k, held[k - 1], "o", color=colour, markersize=8)
    axes.legend(loc="lower right", frameon=False)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(0, 103)
    axes.set_xlabel("directions, largest first")
    axes.set_ylabel("energy held (%)")
    axes.set_title("How many directions hold 90 % of ScalSelect's features?\nembedded scale", loc="left", fontsize=13)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
