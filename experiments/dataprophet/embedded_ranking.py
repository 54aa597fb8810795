"""DataProphet's metric against measured gains on the embedded pool: a page and a picture, from committed results.

python experiments/dataprophet/embedded_ranking.py [FOLDER]
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import flowed, mean_cell, ranged, table
from selectmm.cache.stage import write_atomically
from selectmm.errors import UserError
from selectmm.records.files import load
from selectmm.records.record import RunRecord
from selectmm.report.pairing import tallies_of
from selectmm.report.ranking import interval, tau_source, tau_target
from selectmm.report.references import load_references
from selectmm.report.rows import Tallies
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
        sources, targets: names. base: scores of the untuned model, [targets]. after: mean scores of a source's runs
            (seeds), [sources, targets], each in its benchmark's own unit.
        runs: of each source, one a seed. tallies: of their answers.
    """

    sources: list[str]
    targets: list[str]
    base: np.ndarray
    after: np.ndarray
    runs: list[list[RunRecord]]
    tallies: Tallies

    @property
    def records(self) -> list[RunRecord]:
        """All runs, source by source."""
        return [record for runs in self.runs for record in runs]

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
    paths = sorted((ROOT / "results" / "records").glob("dataprophet_embedded-*.json"))
    records = [load(path) for path in paths]
    runs: dict[str, list[RunRecord]] = {}
    for record in records:
        runs.setdefault(str(record.method.options["source"]), []).append(record)
    references = load_references(ROOT / "results" / "references" / "mini.json")
    return Measured(
        sorted(runs),
        targets,
        np.array([references[name].base for name in targets]),
        np.array([[measured_at(runs[source], name) for name in targets] for source in sorted(runs)]),
        [runs[source] for source in sorted(runs)],
        tallies_of(zip(paths, records, strict=True)),
    )


def measured_at(records: list[RunRecord], target: str) -> float:
    """A benchmark's mean score over the runs (seeds) of one source."""
    return fmean(score.value for record in records for score in record.scores if score.benchmark == target)


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
    """τ_target between the measured scores and those of items and seeds that are drawn again, [draws]."""
    again = drawn_again(measured.runs, measured.tallies, measured.targets, DRAWS // 10, np.random.default_rng(SEED))
    return np.array([np.nanmean(tau_target(measured.after, one)) for one in again])


def drawn_again(
    runs: list[list[RunRecord]], tallies: Tallies, targets: list[str], draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Bootstrap of mean scores, [draws, sources, targets]: clusters of items within strata, and each source's seeds.

    All sources answered the same items, so that each draw has the same clusters for all of them: an item that is hard
    for all does not change their ranking.

    Raises:
        UserError: answers are missing, or are not of the same items.
    """
    found = np.empty((draws, len(runs), len(targets)))
    for column, target in enumerate(targets):
        answered = [[tallies.get(record.name, {}).get(target) for record in of_source] for of_source in runs]
        first = answered[0][0]
        if first is None or any(one is None or one.clusters != first.clusters for row in answered for one in row):
            raise UserError(f"The runs did not all answer the same items of {target}; make them again.")
        times = _times(first.strata, draws, rng)
        for row, of_source in enumerate(answered):
            scores = np.stack([one.value(times @ one.sums) for one in of_source if one is not None], axis=1)
            seeds = rng.integers(scores.shape[1], size=scores.shape)
            found[:, row, column] = np.take_along_axis(scores, seeds, axis=1).mean(axis=1)
    return found


def _times(strata: tuple[str, ...], draws: int, rng: np.random.Generator) -> np.ndarray:
    """How often each cluster is drawn, as many within each stratum as it has, [draws, clusters]."""
    names, times = np.asarray(strata), np.zeros((draws, len(strata)))
    for name in dict.fromkeys(strata):
        inside = names == name
        times[:, inside] = rng.multinomial(inside.sum(), np.full(inside.sum(), 1 / inside.sum()), size=draws)
    return times


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
measured scores agree with themselves, items (the same for all sources) and seeds drawn again, at
{best.mean():.3f} {ranged(best)}. Scale: embedded; {_seeds(measured)}.

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
