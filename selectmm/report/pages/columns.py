"""What every column means, in a sentence or two: the tooltips of the leaderboard and of a report."""

SCORE = "Score on this benchmark, in its own unit, mostly per cent of correct answers."
AT_CHANCE = "†: even the full run is not clearly better than guessing here, so Rel. leaves this benchmark out."

TIPS = {
    "method": "How the rows were chosen. Brackets hold the options in which variants of a method differ.",
    "budget": "How many rows of the pool were kept, in per cent.",
    "recipe": "How the model was fine-tuned, by the name of the recipe.",
    "seeds": "How many runs are behind the row. One seed cannot separate methods.",
    "Rel. %": "Relative performance: the mean over the benchmarks of score / the full run's score, in per cent. "
    "100 is as good as fine-tuning on all rows.",
    "selection": "Cost of choosing the rows (warm-up, features and selection), in seconds × devices.",
    "tuning": "Cost of fine-tuning on the chosen rows, in seconds × devices.",
    "total": "Selection and tuning together, in seconds × devices.",
    "share of full": "Cost of selection and tuning, in per cent of fine-tuning on the whole pool.",
    "OSC": "PRISM's cost score: share of full / Rel. Below 1 the method saves a larger share of the cost than it loses "
    "of the score.",
}
# In the tables of one run, below its row on the leaderboard.
RUN_TIPS = {
    "benchmark": "What the tuned model was evaluated on.",
    "score": SCORE,
    "95 %, items": "Half of the score's 95 % confidence interval over the benchmark's items.",
    "items": "How many items were answered.",
    "chance": "The score of guessing.",
    "source": "The data set that rows of the pool come from.",
    "kept": "How many rows of the source were kept.",
    "of": "How many rows of the source the pool has.",
    "share": "The rows that were kept, in per cent of the source's.",
    "share as a bar": "The same share, drawn.",
}
BESIDE = "the paper's number / ours / difference."
# In a paper's table; its other columns mean the same as elsewhere.
PAPER_TIPS = {
    "rows": "How many rows were kept: the paper's number / ours.",
    "evidence": "Where we read the paper's numbers: paper, its own text; released, its repository or model card; "
    "secondary, a source about the paper.",
    "Rel. %": f"Relative performance, over the benchmarks that the paper averages: {BESIDE}",
}


def tip_of(column: str, at_chance: bool = False) -> str:
    """The tooltip of a column; a name that is not in `TIPS` is a benchmark's."""
    return TIPS.get(column, f"{SCORE} {AT_CHANCE}" if at_chance else SCORE)


def paper_tip_of(column: str) -> str:
    """The tooltip of a column of a paper's table with our numbers in it."""
    return PAPER_TIPS.get(column) or TIPS.get(column, f"Score on this benchmark: {BESIDE}")
