"""The verdicts as a column: what every row's Rel. is beside random's, and whether the difference is significant."""

from html import escape

from selectmm.report.rows import Comparison
from selectmm.report.verdict import ONE_SEED, ORDER, Verdict, verdicts

NAME = "vs. random"
TIP = (
    "Difference in Rel. from random at the same budget and recipe ± half its 95 % confidence interval. "
    "▲ and ▼: significant after Holm correction for all rows of this table that are compared with random."
)
SIGNS = {ORDER[0]: "▲ ", ORDER[1]: "▼ "}


def against(comparison: Comparison) -> list[str]:
    """A cell of HTML for each row of the comparison; empty if no row can be compared with random."""
    judged = verdicts(comparison)
    by_row = {id(verdict.row): _cell(verdict, len(judged)) for verdict in judged}
    return [by_row.get(id(row), "<td>–</td>") for row in comparison.rows] if judged else []


def _cell(verdict: Verdict, comparisons: int) -> str:
    found, random = verdict.found, verdict.random
    words = verdict.shown
    chance = "" if verdict.conclusion == ONE_SEED else f", p = {found.p:.2g} before correction"
    conclusion = verdict.conclusion.format(comparisons)
    tip = (
        f"{conclusion}.\n{verdict.row.label} − {random.label} at {100 * random.budget:.4g} % "
        f"under {random.recipe}: {words} percentage points of Rel.{chance}."
    )
    style = "verdict" if verdict.conclusion in SIGNS else "verdict soft"
    return f'<td class="{style}" data-tip="{escape(tip)}">{SIGNS.get(verdict.conclusion, "")}{words}</td>'
