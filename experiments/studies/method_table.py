"""What each method needs, what it keeps on disk, and where it is from: a page, from configs/method and the records.

python experiments/studies/method_table.py [FOLDER]
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import yaml
from hydra.utils import instantiate

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import UNKNOWN, table
from selectmm.cache.stage import write_atomically
from selectmm.features.feature import Feature
from selectmm.methods.method import Method, Needs
from selectmm.planning.work import Device

ROOT = Path(__file__).resolve().parents[2]
NAME = "method-table"
HEAD = "<!-- Made by `python experiments/studies/method_table.py`; never edited by hand. -->"
REFERENCES = {"by_source", "oracle", "one_source"}  # they use knowledge of the benchmarks, or no method at all
GIVEN = {  # what a method cannot do without
    "clip_score": {"checkpoint": "CLIP"},
    "self_sup": {"keep": "hard"},
    "self_filter": {"difficulty": {"_target_": "selectmm.methods.el2n.El2n"}},  # any other method's score
}
FROM_FILE = {"from_indices": "0", "from_scores": "what is stated"}
KEEPS_ALL = {"full": "0"}  # there is nothing to measure
LLAVA_7B = Device(None, SimpleNamespace(width=4096, layers=range(32)), size=2)  # in half precision

# Where a method is from, and the licence of its authors' code as we found it. Our code is written from the formulas.
SOURCES = {
    "perplexity": ("2309.04564", UNKNOWN),
    "el2n": ("2107.07075", UNKNOWN),
    "ifd": ("2308.12032", UNKNOWN),
    "grand": ("2107.07075", UNKNOWN),
    "clip_score": ("2104.08718", UNKNOWN),
    "rds_plus": ("2503.01807", "none given"),
    "prism": ("2502.12119", UNKNOWN),
    "scalselect": ("2602.11636", UNKNOWN),
    "tive": ("2403.09559", UNKNOWN),
    "visnec": ("2603.01195", "none given"),
    "semdedup": ("2303.09540", "CC BY-NC 4.0"),
    "coincide": ("2406.10995", "none given"),
    "d2_pruning": ("2310.07931", "MIT"),
    "icons": ("2501.00654", "none given"),
    "datatailor": ("2412.06293", "none given"),
    "adapt_inf": ("2410.10636", "MIT"),
    "magic": ("2605.26004", "no code found"),
    "self_sup": ("2206.14486", "no code for VLMs found"),
    "dataprophet": ("2603.19688", UNKNOWN),
    "less": ("2402.04333", "MIT"),
    "presel": ("2503.07591", "MIT"),
    "xmas": ("2510.01454", "MIT"),
    "dics": ("2608.30209", "no code found"),
    "once_select": ("2605.26761", "none given"),
    "self_filter": ("2402.12501", "AGPL-3.0"),
    "vds3": ("2603.12478", "MIT"),
}


def make(folder: Path) -> Path:
    """Write the page under ``folder``; the same files give the same bytes. Returns its path."""
    costs = _costs()
    names = sorted(path.stem for path in (ROOT / "configs" / "method").glob("*.yaml") if path.stem not in REFERENCES)
    head = ["method", "examples of benchmarks", "warm-up", "features", "bytes a row", "passes", "paper", "licence"]
    page = folder / f"{NAME}.md"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row(name, costs) for name in names]
    write_atomically(page, f"{HEAD}\n# {NAME}\n\n{TEXT}\n\n{table(head, rows)}")
    return page


TEXT = """What a method needs besides the pool and the model. *Examples of benchmarks*: rows like those that the model
is tested on (`targets=`). *Warm-up*: the share of the pool that a short training takes first. *Bytes a row*: what its
features keep on disk, for LLaVA-1.5-7B in half precision; "per image": once for each image, however many rows have it.
*Passes*: its selection on the built-in model, in forward passes over the pool ([measured](method-costs.md)); *unknown*:
not measured yet. *Licence*: that of the authors' code, of which ours holds no line; *unknown*: not looked at."""


def row(name: str, costs: Mapping[str, str]) -> list[str]:
    """A method's line."""
    paper, licence = SOURCES.get(name, ("–", "–"))
    linked = f"[{paper}](https://arxiv.org/abs/{paper})" if paper[0].isdigit() else paper
    if name in FROM_FILE:
        return [f"`{name}`", "no", "–", "a file", "0", FROM_FILE[name], linked, licence]
    needs = method_of(name).needs()
    features = ", ".join(type(feature).__name__ for feature in needs.features) or "–"
    warmup = "–" if needs.warmup is None else f"{100 * needs.warmup.fraction:g} %"
    targets = "yes" if needs.targets else "no"
    passes = KEEPS_ALL.get(name) or costs.get(name, UNKNOWN)
    return [f"`{name}`", targets, warmup, features, bytes_of(needs), passes, linked, licence]


def method_of(name: str) -> Method:
    """The method as its file makes it."""
    options = yaml.safe_load((ROOT / "configs" / "method" / f"{name}.yaml").read_text(encoding="utf-8"))
    options.pop("defaults", None)
    return instantiate({**options, **GIVEN.get(name, {})}, _convert_="all")


def bytes_of(needs: Needs) -> str:
    """On disk for each row, and for each image where a feature looks at that alone."""
    rows = sum(_bytes(feature) for feature in needs.features if feature.view != "image")
    images = sum(_bytes(feature) for feature in needs.features if feature.view == "image")
    parts = [f"{rows:,}"] if rows or not images else []
    return " + ".join([*parts, *([f"{images:,} per image"] if images else [])])


def _bytes(feature: Feature) -> int:
    return LLAVA_7B._bytes(feature)


def _costs() -> dict[str, str]:
    """Forward passes by method, as the page of costs has them."""
    page = (ROOT / "results" / "tables" / "method-costs.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", page, re.MULTILINE))


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
