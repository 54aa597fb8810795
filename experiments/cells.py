"""Numbers as a table's cells, and cells as Markdown."""

import textwrap
from collections.abc import Sequence

import numpy as np

UNKNOWN = "*unknown*"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, ending in a line break; numbers to the right of their names."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def compared(name: str, published: float | None, ours: float) -> tuple[str, str, str, str]:
    """A row ``name, published, ours, ours − published`` of three digits; *unknown* where nothing was printed."""
    if published is None:
        return name, UNKNOWN, f"{ours:.3f}", UNKNOWN
    # Both rounded first, so that the difference is that of the two numbers shown.
    return name, f"{published:.3f}", f"{ours:.3f}", f"{round(ours, 3) - published:+.3f}"


def mean_cell(tau: np.ndarray) -> str:
    """The mean of known τ, or that there is none because a predictor ties all."""
    return "all tied" if np.isnan(tau).all() else f"{np.nanmean(tau):.3f}"


def ranged(values: np.ndarray) -> str:
    """The middle 95 % of draws: ``[low, high]``."""
    low, high = np.percentile(values, (2.5, 97.5))
    return f"[{low:.3f}, {high:.3f}]"


def signed(difference: float) -> str:
    """One digit and a sign, and no minus before zero."""
    return f"{round(difference, 1) + 0.0:+.1f}"


def flowed(page: str) -> str:
    """Markdown with its paragraphs and list entries filled to 120 characters; all other lines as they are."""
    lines: list[str] = []
    open_text = False
    for line in page.split("\n"):
        text = bool(line) and line[0] not in "|#!<"
        if text and open_text and not line.startswith("- "):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
        open_text = text
    return "\n".join(_filled(line) for line in lines)


def _filled(line: str) -> str:
    if not line or line[0] in "|#!<":
        return line
    indent = "  " if line.startswith("- ") else ""
    return textwrap.fill(line, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
