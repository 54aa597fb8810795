"""DataProphet's published tables again, from its released matrices alone. Run it: a page, a picture, half a minute.

python experiments/dataprophet/published_tables.py [FOLDER]
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import UNKNOWN, compared, flowed, mean_cell, ranged, signed, table
from experiments.dataprophet.released import (
    ITEMS,
    PRINTED_DIGIT,
    Released,
    load,
    predictors,
    readings,
    rounding_needed,
    shares,
    tied_pairs,
)
from experiments.dataprophet.selection import BUDGET, averages, bases, mixture, moved, printed_averages
from selectmm.cache.stage import write_atomically
from selectmm.report.ceiling import Ceiling, Tau, ceiling
from selectmm.report.ranking import interval, tau_source, tau_target
from selectmm.report.transfer import TransferPicture, save_transfer

ROOT = Path(__file__).resolve().parents[2]
NAME = "dataprophet-published"
HEAD = "<!-- Made by `python experiments/dataprophet/published_tables.py`; never edited by hand. -->"
PRINTED_TARGET, PRINTED_SOURCE = 0.863, 0.857  # the paper's mean τ (and its project page's), not in scores.csv
SEED, DRAWS = 0, 200
SHARED = (0.0, 0.5, 0.9, 0.99)


def make(folder: Path) -> Path:
    """Write the page and its picture under ``folder``; the same data give the same bytes.

    Returns:
        The page's path.
    """
    released = load(ROOT / "results" / "published")
    ceilings = measure_ceilings(released)
    sections = [
        _opening(released, ceilings),
        _ranking(released),
        _source_readings(released),
        _ablations(released),
        _noise(released, ceilings),
        bases(released),
        mixture(released),
        averages(released),
        _does_not_follow(released, ceilings),
        _how(),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    matrices = released.metric, released.gains, released.names, released.names
    save_transfer(TransferPicture(*matrices, PRINTED_TARGET, PRINTED_SOURCE), _title(released), folder, NAME)
    page = folder / f"{NAME}.md"
    write_atomically(page, flowed("\n".join([HEAD, f"# {NAME}\n", *sections])))
    return page


def measure_ceilings(released: Released) -> dict[str, Ceiling]:
    """By what is ranked and how much models fail on the same items."""
    base, after = released.base / ITEMS, released.after / ITEMS
    found = {f"τ_target, shared {shared:g}": partial(ceiling, shared=shared) for shared in SHARED}
    found["τ_target without the diagonal, shared 0"] = partial(ceiling, tau=partial(tau_target, diagonal=False))
    found["τ_source, shared 0"] = partial(ceiling, tau=tau_source)
    return {name: run(base, after, ITEMS, DRAWS, _rng()) for name, run in found.items()}


def _opening(released: Released, ceilings: dict[str, Ceiling]) -> str:
    target, source = _means(released)
    best = ceilings["τ_target, shared 0"].best
    return f"""**Which of DataProphet's printed numbers follow from the two matrices that it released?** The
ranking of sources does (τ_target {target:.3f}, printed {PRINTED_TARGET}), also without the diagonal
({_off(released):.3f}); the ranking of targets does not (τ_source {source:.3f}, printed {PRINTED_SOURCE}). And τ_target
is above what knowing the truth would reach if each accuracy were an independent measurement on {ITEMS:,} items
({best.mean():.3f}, {ranged(best)}).

Rows of both matrices are sources s (trained on), columns are targets t (tested on). Δ(s→t) = (A_t^s − A_t) / A_t.
τ_target ranks the sources for each target, τ_source the targets for each source; both are means over Kendall's τ-b.
*unknown*: neither printed where we could read it, nor derivable from what was released.

![M and Δ side by side, with τ of every target and source]({NAME}.svg)
"""


def _title(released: Released) -> str:
    target, source = _means(released)
    return (
        f"DataProphet, by its released matrices: it tells which source helps a target (τ {target:.3f}, printed "
        f"{PRINTED_TARGET}),\nbut not which target a source helps (τ {source:.3f}, printed {PRINTED_SOURCE})"
    )


def _ranking(released: Released) -> str:
    metric, gains = released.metric, released.gains
    target, source = _means(released)
    spread = {k: interval(f(metric, gains), _rng()) for k, f in (("target", tau_target), ("source", tau_source))}
    rows = [
        compared("τ_target", PRINTED_TARGET, target),
        compared("τ_target without the diagonal", None, _off(released)),
        compared("τ_source", PRINTED_SOURCE, source),
        compared("τ_source without the diagonal", None, tau_source(metric, gains, diagonal=False).mean()),
        compared("τ, the mean of both", released.printed["tau"]["dataprophet"]["tau"], (target + source) / 2),
    ]
    again = [_mean_tau(tau_target, _unrounded(metric, rng), gains) for rng in _rng().spawn(DRAWS)]
    by_source = [_mean_tau(tau_source, _unrounded(metric, rng), gains) for rng in _rng().spawn(DRAWS)]
    each = np.stack([f(metric, gains, d) for f in (tau_target, tau_source) for d in (True, False)], axis=1)
    sets = [(name, *(f"{tau:.3f}" for tau in row)) for name, row in zip(released.names, each, strict=True)]
    return f"""## Kendall's τ

{table(("", "published", "ours", "difference"), rows)}
- 95 % bootstrap over the {spread["target"].count} targets: τ_target {spread["target"].low:.3f} to \
{spread["target"].high:.3f}; over the sources: τ_source {spread["source"].low:.3f} to {spread["source"].high:.3f}.
- Ties, of {_pairs(metric)} pairs: {tied_pairs(metric)} in M's columns and {tied_pairs(gains)} in Δ's; \
{tied_pairs(metric.T)} in M's rows and {tied_pairs(gains.T)} in Δ's. M has two printed digits. τ-b corrects for ties;
  the paper does not name its variant.
- With M's cells drawn anew inside their rounding (± {PRINTED_DIGIT}, {DRAWS} draws): τ_target
  {np.mean(again):.3f}, {ranged(again)}; τ_source {np.mean(by_source):.3f}, {ranged(by_source)}. Breaking ties at random
  costs τ_target a little; it cannot repair τ_source.
- Whatever belongs to the target alone cancels in τ_target: the factor 1/PPL(t), and dividing by A_t. With A_t^s in
  place of Δ it is {_mean_tau(tau_target, metric, released.after):.3f}. So τ_target does not test PPL(t), and τ_source
  does not test PPL(s) and diversity.

{table(("set", "as target: τ", "without the diagonal", "as source: τ", "without the diagonal"), sets)}"""


def _source_readings(released: Released) -> str:
    rows = []
    for name, (metric, measured) in readings(released).items():
        rows.append(compared(name, PRINTED_SOURCE, _mean_tau(tau_source, metric, measured)))
    return f"""### Could τ_source mean something else?

{table(("ranked in each row", "published", "ours", "difference"), rows)}"""


def _ablations(released: Released) -> str:
    printed = released.printed["tau"]
    terms = [(name, f"{found['tau']:.3f}", UNKNOWN, UNKNOWN) for name, found in printed.items() if "without" in name]
    rows = []
    for name, metric in predictors(released).items():
        tau = (f(metric, released.gains, d) for f, d in ((tau_target, True), (tau_target, False), (tau_source, True)))
        rows.append((name, UNKNOWN, *map(mean_cell, tau)))
    return f"""## Ablations

Leaving out one term of M needs the terms, and only their product was released: these stay *unknown*. The printed values
are means of τ_target and τ_source.

{table(("term-level", "published", "ours", "difference"), terms)}
What the released matrices do allow is to ask what simpler predictors reach:

{table(("predictor", "published", "τ_target", "τ_target without the diagonal", "τ_source"), rows)}
- M has the form of its formula, S(s, t)·a(s)/b(t) with a symmetric S: that needs its cells to be off by \
{rounding_needed(released.metric):.4f} at the most, and rounding allows {PRINTED_DIGIT}.
"""


def _noise(released: Released, ceilings: dict[str, Ceiling]) -> str:
    target, source = _means(released)
    reached = {"τ_target": target, "τ_target without the diagonal": _off(released), "τ_source": source}
    rows = []
    for name, found in ceilings.items():
        kind = name.split(", ")[0]
        cells = (f"{tau.mean():.3f}, {ranged(tau)}" for tau in (found.best, found.again))
        rows.append((name, f"{reached[kind]:.3f}", *cells))
    head = ("", "M against Δ", "truth against one measurement", "one measurement against another")
    return f"""## Noise ceiling

Take the released accuracies as the truth and measure base and trained models anew on {ITEMS:,} fresh items. *Truth
against one measurement* is the best that any metric could expect. In brackets: 2.5 to 97.5 % of {DRAWS} draws.

{table(head, rows)}
- *Shared*: how far two models fail on the same items, as the tetrachoric correlation of their answers. 0 is an
  independent binomial for each of the cells. What it is for these models is *unknown*: answers by item were not
  released.
- The ceiling is too high rather than too low: the released accuracies have measurement noise in them already, which
  spreads them, and noise from training (one seed) is not simulated.
- If the {ITEMS:,} items count as fixed, so that measuring again means the same items, sampling noise is zero by
  definition and there is no ceiling but training noise.
"""


def _does_not_follow(released: Released, ceilings: dict[str, Ceiling]) -> str:
    target, source = _means(released)
    found = {k: _mean_tau(tau_source, *pair) for k, pair in readings(released).items()}
    closest = max(found, key=lambda name: found[name])
    printed = released.printed["tau"]["dataprophet"]["tau"]
    low = [s for s in SHARED if ceilings[f"τ_target, shared {s:g}"].best.mean() < target]
    best = ceilings["τ_target, shared 0"].best
    means = printed_averages(released)
    worst = max(means, key=lambda name: abs(means[name][0] - means[name][1]))
    real = np.subtract(means["real dataprophet"], means["real uniform"])
    overall = shares(released.metric.mean(axis=1))
    return f"""## What does not follow

- **τ_source.** {source:.3f} against {PRINTED_SOURCE} printed. Of {len(found)} readings that we tried none reaches it; \
the closest is *{closest}* with {found[closest]:.3f}.
- **τ of the abstract.** {printed:.3f} is the mean of the printed {PRINTED_TARGET} and {PRINTED_SOURCE} \
({(PRINTED_TARGET + PRINTED_SOURCE) / 2:.3f}); from the released matrices that mean is {(target + source) / 2:.3f}.
  The printed ablations stand in the same table, so half of each is a τ_source, which we cannot reproduce.
- **τ_target above its ceiling.** {target:.3f} is more than the truth itself would reach on {ITEMS:,} independent items
  ({best.mean():.3f}, {ranged(best)}; {(best >= target).sum()} of {DRAWS} draws get there). It needs models that fail on
  the same items (a correlation above {max(low):g} here), or a metric that was fitted to these very measurements.
  Which of the two holds is *unknown*.
- **{worst[0].upper() + worst[1:]}.** Its printed average is {means[worst][0]:.1f}, its cells' mean is \
{means[worst][1]:.1f}. DataProphet's gain over uniform on real data is then {signed(real[1])}, not {signed(real[0])}. A
  misread cell on our side cannot be excluded.
- **A mixture that is nearly uniform.** Shares proportional to M move {moved(overall):.1%} of the rows. That this
  makes the printed gain may be so, but cannot be seen from here; and the largest share asks for
  {round(BUDGET * overall.max()):,} rows of one source.
- **Every ablation of a term**, and the printed τ of single sets: *unknown*.
"""


def _how() -> str:
    return f"""## How this was made

From `results/published/dataprophet.json` and `scores.csv` alone, on a CPU; every random draw from
`numpy.random.default_rng({SEED})`, {DRAWS} draws a simulation. Published τ_target and τ_source are those of the paper
and of its project page (arXiv 2603.19688); all other published cells are rows of `scores.csv`.
"""


def _means(released: Released) -> tuple[float, float]:
    matrices = released.metric, released.gains
    return _mean_tau(tau_target, *matrices), _mean_tau(tau_source, *matrices)


def _mean_tau(tau: Tau, metric: np.ndarray, measured: np.ndarray) -> float:
    return float(np.nanmean(tau(metric, measured)))


def _off(released: Released) -> float:
    return float(tau_target(released.metric, released.gains, diagonal=False).mean())


def _unrounded(metric: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return metric + rng.uniform(-PRINTED_DIGIT, PRINTED_DIGIT, metric.shape)


def _pairs(metric: np.ndarray) -> str:
    n = len(metric)
    return f"{n * n * (n - 1) // 2:,}"


def _rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
