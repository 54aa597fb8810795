"""What DataProphet released (arXiv 2603.19688, as data in results/published), and what follows from it alone."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import linprog
from scipy.stats import rankdata

from selectmm.report.ranking import without_diagonal

PRINTED_DIGIT = 0.005  # half of the last digit: of Δ in per cent, and of M
ITEMS = 1000  # per benchmark


@dataclass(frozen=True)
class Released:
    """Matrices are ``[sources, targets]`` over the same sets; ``printed[table][method][benchmark]`` is the paper's.

    ``gains`` are fractions as printed (rounded), ``base`` and ``after`` are counts of ``ITEMS`` as results/published
    infers them.
    """

    names: tuple[str, ...]
    metric: np.ndarray
    gains: np.ndarray
    base: np.ndarray
    after: np.ndarray
    printed: Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class Base:
    """Base counts that explain every gain of one target, ascending, and how many sources the best other explains."""

    fits: tuple[int, ...]
    runner_up: int


def load(folder: Path) -> Released:
    """Read ``dataprophet.json`` and DataProphet's rows of ``scores.csv`` from ``folder``."""
    found = json.loads((folder / "dataprophet.json").read_text())
    printed: dict[str, dict[str, dict[str, float]]] = {}
    for row in csv.DictReader((folder / "scores.csv").read_text().splitlines()):
        if row["paper"] == "DataProphet":
            printed.setdefault(row["table"], {}).setdefault(row["method"], {})[row["benchmark"]] = float(row["value"])
    return Released(
        tuple(found["names"]),
        np.array(found["metric_scores_fig_rows_source_cols_target"]),
        np.array(found["relative_improvement_pct_rows_source_cols_target"]) / 100,
        np.array(found["base_correct_of_1000_inferred"]),
        np.array(found["absolute_correct_of_1000_inferred"]),
        printed,
    )


def recover_base(gains: np.ndarray) -> Base:
    """Which base counts c of ``ITEMS`` make c·(1 + Δ) a whole number for every source, within Δ's printed digits.

    Args:
        gains: of one target, fractions, ``[sources]``.
    """
    counts = np.arange(1, ITEMS + 1)[:, None]
    after = np.rint(counts * (1 + gains))
    # The printed digits are exact halves at worst; the margin only absorbs floating point.
    near = np.abs(100 * ((after - counts) / counts - gains)) <= PRINTED_DIGIT * (1 + 1e-6)
    explained = np.where((after <= ITEMS).all(axis=1), near.sum(axis=1), 0)
    fits = explained == len(gains)
    return Base(tuple(int(c) for c in counts[fits, 0]), int(explained[~fits].max()))


def tied_pairs(matrix: np.ndarray) -> int:
    """Pairs of equal values inside the columns of ``[n, columns]``, summed over the columns."""
    counts = [np.unique(column, return_counts=True)[1] for column in matrix.T]
    return int(sum((c * (c - 1) // 2).sum() for c in counts))


def predictors(released: Released) -> dict[str, np.ndarray]:
    """What else could rank the sources: ``[sources, targets]`` each, made of the released matrices alone."""
    metric, n = released.metric, len(released.names)
    others = np.nanmean(without_diagonal(metric), axis=1, keepdims=True)
    elsewhere = without_diagonal(released.gains)
    return {
        "M as released": metric,
        "the source alone: mean of M's row": np.tile(metric.mean(axis=1, keepdims=True), n),
        "the source alone: mean of M's row without the diagonal": np.tile(others, n),
        "the target alone: mean of M's column": np.tile(metric.mean(axis=0), (n, 1)),
        "the target's own set first, all others tied": np.eye(n),
        "the target's own set first, then the row mean without the diagonal": others + np.eye(n),
        "(M + Mᵀ) / 2": (metric + metric.T) / 2,
        "√(M · Mᵀ): without PPL(s)/PPL(t), diversity as √(D(s)·D(t))": np.sqrt(metric * metric.T),
        "Mᵀ: source and target exchanged": metric.T,
        "the source's mean measured gain on all other targets": _mean_elsewhere(elsewhere),
    }


def readings(released: Released) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Other things that "rank the targets for each source" could mean: metric and measurement, to be ranked by row."""
    metric, gains, base, after = released.metric, released.gains, released.base, released.after
    return {
        "M against Δ (the definition)": (metric, gains),
        "M against the absolute gain, A_t^s − A_t": (metric, after - base),
        "M against the accuracy afterwards, A_t^s": (metric, after),
        "M against the gain's share of what was left, (A_t^s − A_t) / (1 − A_t)": (
            metric,
            (after - base) / (ITEMS - base),
        ),
        "M over its column's mean against Δ": (metric / metric.mean(axis=0), gains),
        "both over their column's mean": (metric / metric.mean(axis=0), gains / gains.mean(axis=0)),
        "both over their column's diagonal": (metric / np.diag(metric), gains / np.diag(gains)),
        "both standardised in each column": (_standardised(metric), _standardised(gains)),
        "both ranked in each column": (rankdata(metric, axis=0), rankdata(gains, axis=0)),
        "Mᵀ against Δ": (metric.T, gains),
    }


def shares(metric: np.ndarray) -> np.ndarray:
    """Mixture m_s / Σ m over the sources (the first axis), fractions that sum to 1."""
    return metric / metric.sum(axis=0)


def rounding_needed(metric: np.ndarray) -> float:
    """By how much M's cells must be off, at the least, for M to be S(s, t)·a(s)/b(t) with a symmetric S.

    The formula is of that form (similarities are symmetric, perplexity and diversity belong to one set), so that
    log M(s→t) − log M(t→s) = f(s) − f(t) for some f. A linear programme finds f; bisection the smallest error.
    """
    low, high = 0.0, float(metric.min()) / 2
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if _is_potential(metric, middle) else (middle, high)
    return high


def _is_potential(metric: np.ndarray, error: float) -> bool:
    n = len(metric)
    pairs = [(s, t) for s in range(n) for t in range(n) if s != t]
    differences = np.array([np.eye(n)[s] - np.eye(n)[t] for s, t in pairs])
    most = np.array([np.log(metric[s, t] + error) - np.log(metric[t, s] - error) for s, t in pairs])
    return linprog(np.zeros(n), A_ub=differences, b_ub=most, bounds=(None, None)).success


def _mean_elsewhere(gains: np.ndarray) -> np.ndarray:
    """For cell (s, t): mean of row s over what is known, without t."""
    known = np.isfinite(gains)
    total, count = np.nansum(gains, axis=1, keepdims=True), known.sum(axis=1, keepdims=True)
    return (total - np.where(known, gains, 0)) / (count - known)


def _standardised(matrix: np.ndarray) -> np.ndarray:
    return (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
