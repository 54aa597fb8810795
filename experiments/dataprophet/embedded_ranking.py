"""DataProphet's metric against measured gains on the embedded pool: a page and a picture, from committed results.

python experiments/dataprophet/embedded_ranking.py [FOLDER]
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import flowed, mean_cell, ranged, table
from selectmm.errors import UserError
from selectmm.records.files import load
from selectmm.records.record import RunRecord
from selectmm.records.stage import write_atomically
from selectmm.report.margin import joined
from selectmm.report.ranking import interval, tau_source, tau_target
from selectmm.report.references import load_references
from selectmm.report.transfer import TransferPicture, save_transfer
from selectmm.statistics.paired import ALPHA

ROOT = Path(__file__).resolve().parents[2]
NAME = "dataprophet-embedded"
HEAD = "<!-- Made by `python experiments/dataprophet/embedded_ranking.py`; never edited by hand. -->"
TERMS = ("question", "answer", "image", "source_perplexity", "diversity", "target_perplexity")
SEED, DRAWS = 0, 2000


@dataclass(frozen=True)
class Measured:
    """What training on each source alone did.

    Attributes:
        sources, targets: names. base: scores of the untuned model, [targets]. after, stderr: scores after training and
            their standard errors over items and seeds, [sources, targets], each in its benchmark's own unit.
        records: the runs, one per source and seed.
    """

    sources: list[str]
    targets: list[str]
    base: np.ndarray
    after: np.ndarray
    stderr: np.ndarray
    records: list[RunRecord]

    @property
    def gains(self) -> np.ndarray:
        """after − base over the spread (standard deviation) of its column.

        Δ divides by the base score, which is 0 for a benchmark whose format the base was never taught. τ_target is the
        same for any scale of a column; τ_source hangs on it, so that it is a reading of ours here.
        """
        return (self.after - self.base) / np.maximum(self.after.std(0), 1e-12)


def make(folder: Path) -> Path:
    """Write the page and its picture under ``folder``; the same results give the same bytes. Returns the page."""
    terms = json.loads((ROOT / "results" / "metrics" / f"{NAME}.json").read_text())
    measured = read_measured(terms["targets"])
    if terms["sources"] != measured.sources:
        raise UserError(f"The metric knows sources {terms['sources']}, but the runs are of {measured.sources}.")
    metric = product(terms, TERMS)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = metric, measured.gains, measured.sources, measured.targets
    transfer = TransferPicture(*drawn, unit="Δ, standard deviations of the column", scale=1, by_column=True)
    save_transfer(transfer, _title(metric, measured), folder, NAME)
    sections = [
        _opening(metric, measured),
        _ranking(terms, measured),
        _targets(metric, measured),
        _how(terms, measured),
    ]
    page = folder / f"{NAME}.md"
    write_atomically(page, flowed("\n".join([HEAD, f"# {NAME}\n", *sections])))
    return page


def read_measured(targets: list[str]) -> Measured:
    """The committed single-source runs and the base's scores."""
    runs: dict[str, list[RunRecord]] = {}
    for path in sorted((ROOT / "results" / "records").glob("dataprophet_embedded-*.json")):
        record = load(path)
        runs.setdefault(str(record.method.options["source"]), []).append(record)
    references = load_references(ROOT / "results" / "references" / "mini.json")
    cells = [[measured_at(runs[source], name) for name in targets] for source in sorted(runs)]
    return Measured(
        sorted(runs),
        targets,
        np.array([references[name].base for name in targets]),
        np.array([[mean for mean, _ in row] for row in cells]),
        np.array([[error for _, error in row] for row in cells]),
        [record for source in sorted(runs) for record in runs[source]],
    )


def measured_at(records: list[RunRecord], target: str) -> tuple[float, float]:
    """A benchmark's mean score over the runs (seeds) of one source, and its standard error over items and seeds."""
    scores = [score for record in records for score in record.scores if score.benchmark == target]
    found = joined([score.value for score in scores], [score.stderr or 0.0 for score in scores])
    return found.mean, found.stderr


def product(terms: dict, names: tuple[str, ...]) -> np.ndarray:
    """M from some of its terms, [sources, targets]."""
    metric = np.ones((len(terms["sources"]), len(terms["targets"])))
    for name in names:
        values = np.array(terms[name])
        if name == "target_perplexity":
            metric /= values
        else:
            metric *= values if values.ndim == 2 else values[:, None]
    return metric


def ceiling(measured: Measured) -> np.ndarray:
    """τ_target between the measured scores and the same with noise of their standard errors added, [draws]."""
    rng = np.random.default_rng(SEED)
    noisy = (measured.after + measured.stderr * rng.standard_normal(measured.after.shape) for _ in range(DRAWS // 10))
    return np.array([np.nanmean(tau_target(measured.after, one)) for one in noisy])


def by_chance(metric: np.ndarray, gains: np.ndarray) -> float:
    """One-sided p of τ_target: how often sources in any other order, the same for all targets, are ranked as well."""
    rng = np.random.default_rng(SEED)
    found = np.nanmean(tau_target(metric, gains))
    drawn = [np.nanmean(tau_target(metric[rng.permutation(len(metric))], gains)) for _ in range(DRAWS)]
    return (1 + sum(one >= found for one in drawn)) / (1 + DRAWS)


def _title(metric: np.ndarray, measured: Measured) -> str:
    tau = np.nanmean(tau_target(metric, measured.gains))
    return f"DataProphet's metric and measured gains on the embedded pool: τ over sources {tau:.2f}"


def _opening(metric: np.ndarray, measured: Measured) -> str:
    found = interval(tau_target(metric, measured.gains), np.random.default_rng(SEED))
    best = ceiling(measured)
    p = by_chance(metric, measured.gains)
    says = "better than chance" if p <= ALPHA else "no better than chance"
    return f"""\
**Does DataProphet's metric rank the embedded pool's {len(measured.sources)} sources as training on each of them alone
does?** Over {found.count} mini-benchmarks it is {says}: τ_target {found.mean:.3f}, p {p:.3f} if the sources are
permuted; 95 % bootstrap over benchmarks {found.low:.3f} to {found.high:.3f}, for these sources. Chance is 0, and the
measured scores agree with themselves, the items' noise added once more, at {best.mean():.3f} {ranged(best)}. Scale:
embedded; {_seeds(measured)}.

![M and the measured gains, with τ of every benchmark and source]({NAME}.svg)
"""


def _ranking(terms: dict, measured: Measured) -> str:
    rng = np.random.default_rng(SEED)
    rows = []
    variants = {"all terms": TERMS}
    variants |= {f"without {name.replace('_', ' ')}": tuple(t for t in TERMS if t != name) for name in TERMS}
    variants |= {f"only {name.replace('_', ' ')}": (name,) for name in TERMS}
    for label, names in variants.items():
        metric = product(terms, names)
        target, source = tau_target(metric, measured.gains), tau_source(metric, measured.gains)
        found = interval(target, rng)
        shown = f"{found.low:.3f} to {found.high:.3f}" if np.isfinite(found.low) else "–"
        rows.append([label, mean_cell(target), shown, mean_cell(source)])
    head = ["terms of M", "τ_target", "95 % over benchmarks", "τ_source"]
    return f"## Which terms carry the ranking\n\n{table(head, rows)}"


def _targets(metric: np.ndarray, measured: Measured) -> str:
    tau = tau_target(metric, measured.gains)
    rows = []
    for column, name in enumerate(measured.targets):
        scores = measured.after[:, column]
        best, foretold = int(scores.argmax()), int(metric[:, column].argmax())
        rows.append([
            name, f"{tau[column]:.3f}", f"{measured.base[column]:.1f}", f"{scores.min():.1f} to {scores.max():.1f}",
            measured.sources[best], measured.sources[foretold],
        ])  # fmt: skip
    head = ["benchmark", "τ", "base", "after, over sources", "best source measured", "best by M"]
    return f"\n## By benchmark\n\n{table(head, rows)}"


def _how(terms: dict, measured: Measured) -> str:
    first = measured.records[0]
    commits = ", ".join(sorted({str(record.provenance.commit)[:10] for record in measured.records}))
    origin, method = terms["provenance"], terms["method"]
    return f"""
## How

- Gains: `{first.provenance.command}`, commit {commits}; {first.recipe.steps} steps of
  {first.recipe.options["batch_size"]} rows each, whatever the source's size; base scores from
  results/references/mini.json.
- Metric: `python experiments/dataprophet/embedded_metric.py`, commit {str(origin["commit"])[:10]}; from the frozen base
  and twenty examples per benchmark; layer {method["layer"]}, K = {method["clusters"]}.
- Unlike the paper's Δ, gains are after − base over the spread of the column: the base scores 0 on benchmarks whose
  format it was never taught. τ_target does not depend on that; τ_source does.
- Text-only sources and benchmarks take part: two rows without image count as alike, one with and one without as unlike
  (the paper has images everywhere).
{_noise(measured)}"""


def _seeds(measured: Measured) -> str:
    count = len({record.seed for record in measured.records})
    return "one seed" if count == 1 else f"{count} seeds"


def _noise(measured: Measured) -> str:
    if len(measured.records) > len(measured.sources):
        return f"- Every source was trained on with {_seeds(measured)}; scores are their means.\n"
    return "- One run per source: noise of the training seed is in no interval here.\n"


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
