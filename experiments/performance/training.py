"""What does our tuning cost against the plain Hugging Face Trainer and peft, on the same rows at the same batch size?

python experiments/performance/training.py [--rows 240] [--batch-size 8] [--rounds 3] [--out FOLDER]

The embedded recipe over one pass. Both sides open images, encode, train; nobody's model loading is timed. The sides
take turns for ``--rounds`` rounds, and the record holds each side's median round and the seconds of all. The Trainer
also trains in our order, which shows step by step that both compute the same, and with logits of answer tokens alone:
a model as small as the embedded one spends much of its time on logits, and what they leave is what order is worth.
"""

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from omegaconf import OmegaConf

from experiments.performance.floor import Floor
from experiments.performance.plain_trainer import plain
from experiments.performance.rows import Rows, parser
from experiments.performance.sides import ROOT, Comparison, Side, differs, keep, measure
from experiments.performance.work import amount_of, computing, opening
from selectmm.flops import formulas
from selectmm.tuning.finetune import finetune
from selectmm.tuning.recipe import Recipe, Strategy
from selectmm.tuning.targets import lora_pattern

SEED = 0
AIM = 1.3
THEIRS = {
    "plain": "its own order, the model's own loss",
    "plain, answers": "its own order, loss on answer tokens alone",
    "plain, our order": "our order, the model's own loss",
}


def ours(rows: Rows, recipe: Recipe) -> Callable[[], np.ndarray]:
    """`finetune` in this process; returns the loss of every step."""
    vlm, pool = rows.open_model(), rows.open_pool()

    def run() -> np.ndarray:
        losses: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            chosen = np.arange(len(pool))
            log = lambda entry: losses.append(entry["loss"])  # noqa: E731
            finetune(vlm, pool, chosen, recipe, Strategy("single", 1), SEED, Path(folder), log)
        return np.array(losses)

    return run


def main(arguments: list[str]) -> Path:
    """Measure and keep; returns the record's path."""
    made = parser(__doc__.splitlines()[0], rows=240)
    made.set_defaults(batch_size=8)
    made.add_argument("--rounds", type=int, default=3, help="how often the sides take turns")
    given = made.parse_args(arguments)
    rows = Rows(given.rows, given.cache, given.batch_size, given.model, given.pool)
    recipe = recipe_of(given.batch_size)
    rounds = [{name: measure(*side) for name, side in sides(rows, recipe).items()} for _ in range(given.rounds)]
    settings = {"rows": given.rows, "batch_size": given.batch_size, "recipe": recipe.name, "rounds": _as_json(rounds)}
    comparisons = compare(rounds, given.rows)
    stated = [one.record() for one in floors(rows, recipe, {c.what: c.ours for c in comparisons})]
    return keep("training", settings, comparisons, given.out, floors=stated)


def floors(rows: Rows, recipe: Recipe, ours: Mapping[str, Side]) -> list[Floor]:
    """FLOPs of one pass of training, each row by itself without padding, and pictures decoded.

    Forward, and backward as far as LoRA and the projector need it, by the formulas of `selectmm.flops.formulas`; the
    rate is that of the decoder's widest matrix product. The optimiser's few operations a weight are not counted.
    """
    amount = amount_of(rows, limit=recipe.max_length, pattern=lora_pattern(rows.open_model(), recipe))
    training = formulas.training(amount.body, amount.load, recipe)
    parts = (computing(amount, "forward and backward of every row", training), *opening(amount))
    return [Floor(what, side.seconds, parts) for what, side in ours.items()]


def sides(rows: Rows, recipe: Recipe) -> dict[str, tuple]:
    """What is measured, by name: a work and its arguments."""
    return {
        "grouped": (ours, rows, recipe),
        "packed": (ours, rows, replace(recipe, packing=True)),
        "plain": (plain, rows, recipe, SEED, "random"),
        "plain, answers": (plain, rows, recipe, SEED, "random", False),
        "plain, our order": (plain, rows, recipe, SEED, "sequential"),
    }


def recipe_of(batch_size: int) -> Recipe:
    """The embedded recipe without dropout, a micro-batch for a batch."""
    values = OmegaConf.load(ROOT / "configs" / "recipe" / "embedded.yaml")
    values = {name: value for name, value in values.items() if name != "_target_"}
    return replace(Recipe(**values), batch_size=batch_size, micro_batch=batch_size, dropout=0.0, packing=False)


Round = dict[str, tuple[Side, np.ndarray]]


def compare(rounds: list[Round], rows: int) -> list[Comparison]:
    """Our two forms against the Trainer's; numbers compared are the run's mean loss, and in our order every step's."""
    side = {name: _median([one[name][0] for one in rounds]) for name in rounds[0]}
    losses = {name: found for name, (_, found) in rounds[0].items()}

    def against(what: str, ours: str, theirs: str, aim: float | None, by_step: bool = False) -> Comparison:
        pair = losses[ours], losses[theirs]
        off = differs(*pair) if by_step else differs(*(one.mean(keepdims=True) for one in pair))
        compared = "loss of every step" if by_step else f"mean loss {pair[0].mean():.3f}, {pair[1].mean():.3f}"
        baseline = f"the Trainer and peft, {THEIRS[theirs]} ({rows / side[theirs].seconds:.1f} rows/s; {compared})"
        return Comparison(
            f"{what} ({rows / side[ours].seconds:.1f} rows/s)", baseline, side[ours], side[theirs], aim, differs=off
        )

    grouped, packed = "tuning, rows of like length together", "tuning, packed"
    return [
        against(grouped, "grouped", "plain", AIM),
        against(packed, "packed", "plain", AIM),
        against(grouped, "grouped", "plain, answers", None),
        against(packed, "packed", "plain, answers", None),
        against(grouped, "grouped", "plain, our order", None, by_step=True),
    ]


def _median(sides: list[Side]) -> Side:
    return sorted(sides, key=lambda side: side.seconds)[len(sides) // 2]


def _as_json(rounds: list[Round]) -> list[dict[str, float]]:
    """Seconds of every side in every round, for who wants to see how stable the ratios are."""
    return [{name: round(side.seconds, 3) for name, (side, _) in one.items()} for one in rounds]


if __name__ == "__main__":
    main(sys.argv[1:])
