"""DataProphet's counts, mixtures and selection table: what its released numbers say about them, as sections."""

import numpy as np

from experiments.cells import UNKNOWN, signed, table
from experiments.dataprophet.released import ITEMS, PRINTED_DIGIT, Released, recover_base, shares

BUDGET = 280_000  # rows of the paper's mixtures


def bases(released: Released) -> str:
    """The base counts, recovered from Δ, beside those of the data file."""
    rows, doubled = [], []
    for t, name in enumerate(released.names):
        found = recover_base(released.gains[:, t])
        fits = ", ".join(f"{count}" for count in found.fits)
        known = int(released.base[t])
        smallest = min(found.fits)
        rows.append((name, UNKNOWN, str(smallest), str(known), str(smallest - known), fits, f"{found.runner_up}"))
        if len(found.fits) > 1:
            own = max(found.fits) * (1 + released.gains[t, t]) / ITEMS
            best = max(cells[name] for cells in released.printed["T3"].values())
            doubled.append(f"{name} {100 * own:.1f} % ({best:.1f} %)")
    head = ("target", "published", "ours", "in dataprophet.json", "ours − json", "all counts that fit", "next best")
    exact = np.array_equal(np.rint(released.base * (1 + released.gains)), released.after)
    return f"""## Base accuracies

Counts c of {ITEMS:,} for which c·(1 + Δ) is whole for all {len(released.names)} sources, within Δ's printed digits.
*Next best*: the most sources that any other count explains (a wrong c
explains one by chance with probability c/10,000; half of the right one explains every even count after training).

{table(head, rows)}
- The accuracies after training in dataprophet.json {"follow" if exact else "do not follow"} from ours and Δ.
- Where a count's double fits too, we take the smaller: with the larger, training on the set itself would give
  accuracies that no mixture of the paper's selection table comes near (in brackets its best): {"; ".join(doubled)}.
"""


def mixture(released: Released) -> str:
    """Shares and rows of each source."""
    by_target, overall = shares(released.metric), shares(released.metric.mean(axis=1))
    rows = []
    for s, name in enumerate(released.names):
        ends = f"{100 * by_target[s].min():.2f} to {100 * by_target[s].max():.2f}"
        rows.append((name, UNKNOWN, f"{100 * overall[s]:.2f}", ends, f"{round(BUDGET * overall[s]):,}"))
    left = [int(np.rint(BUDGET * column).sum()) - BUDGET for column in by_target.T]
    total = int(np.rint(BUDGET * overall).sum())
    slack = PRINTED_DIGIT / released.metric.mean(axis=1).sum()
    head = ("source", "published, %", "ours over all targets, %", "for single targets, %", f"rows of {BUDGET:,}")
    return f"""## Mixture shares

m_s / Σ m, with m_s the mean of M's row (all targets) or one of its cells (single targets).

{table(head, rows)}
- N_s = round(N · m_s / Σ m) sums to {total:,}, which is {total - BUDGET:+d} rows off; for single targets the sums are
  off by {min(left):+d} to {max(left):+d}. What the paper does about it is *unknown*.
- M's two digits leave each share uncertain by at most about {100 * slack:.2f} points.
- Over all targets {moved(overall):.1%} of the rows lie elsewhere than in a uniform mixture \
({round(BUDGET * moved(overall)):,} of {BUDGET:,}); for single targets
  {min(map(moved, by_target.T)):.1%} to {max(map(moved, by_target.T)):.1%}.
"""


def averages(released: Released) -> str:
    """Printed averages against the mean of their printed cells."""
    rows = []
    for method, (printed, cells) in printed_averages(released).items():
        uniform = printed_averages(released)[f"{method.split()[0]} uniform"]
        gain = (signed(printed - uniform[0]), signed(cells - uniform[1]))
        rows.append((method, f"{printed:.1f}", f"{cells:.1f}", signed(cells - printed), *gain))
    head = ("mixture", "published", "ours", "difference", "gain over uniform, published", "ours")
    return f"""## Averages of the selection table

Published: the average that the paper prints, in per cent. Ours: the mean of the {len(released.names)} cells beside it.

{table(head, rows)}"""


def moved(mixture: np.ndarray) -> float:
    """Share of rows that a uniform mixture would have elsewhere (total variation)."""
    return float(np.abs(mixture - 1 / len(mixture)).sum() / 2)


def printed_averages(released: Released) -> dict[str, tuple[float, float]]:
    """By mixture of the selection table: the printed average, and the mean of the printed cells; per cent."""
    return {
        method: (cells["average"], float(np.mean([cells[name] for name in released.names])))
        for method, cells in released.printed["T3"].items()
    }
