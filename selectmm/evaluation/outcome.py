"""What a harness's run of one benchmark comes to, whichever harness it was."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace

from selectmm.errors import UserError
from selectmm.evaluation.suite import Benchmark


@dataclass(frozen=True)
class Answer:
    """One item: the prompt as the task's code made it, what the model said, and the item's own score in 0..1.

    ``answer`` is the generated text; for a task scored by likelihoods it is the option the model finds likeliest, and
    for one scored by the loss of the right answer that loss.
    ``score`` is None where the metric is not a property of single items. ``cut``: the text was still going on when the
    tokens allowed were used up. What belongs together when two models are compared item by item: ``image`` is a hash of
    the item's pictures as they are stored (empty without one), ``unit`` names the items that count as one (MME's pairs,
    MMBench's rotations) and ``stratum`` the group that is averaged by itself (MME's categories); files of before these
    fields were kept have them empty.
    """

    item: str
    prompt: str
    target: str
    answer: str
    score: float | None
    image: str = ""
    unit: str = ""
    stratum: str = ""
    cut: bool = False


@dataclass(frozen=True)
class Outcome:
    """A benchmark's value, standard error and majority score in the table's unit, with all its answers."""

    value: float
    stderr: float | None
    majority: float | None
    answers: tuple[Answer, ...]
    generation: Mapping[str, object]

    def marked(self, cut: Container[str]) -> "Outcome":
        """The same outcome, the answers to the items in ``cut`` marked so."""
        return replace(self, answers=tuple(replace(answer, cut=answer.item in cut) for answer in self.answers))


def metric_key(benchmark: Benchmark, results: Mapping[str, object]) -> str:
    """The key of the benchmark's metric in a harness's results, whose keys read ``metric,filter``.

    Raises:
        UserError: it is not there, or several filters have it; the sentence names the keys that exist.
    """
    keys = [key for key, value in results.items() if isinstance(value, int | float) and "," in key]
    found = [key for key in keys if benchmark.metric in (key, key.split(",")[0])]
    if len(found) != 1:
        problem = "several metrics" if found else "no metric"
        raise UserError(
            f"Benchmark '{benchmark.name}': task '{benchmark.task}' gives {problem} '{benchmark.metric}'; "
            f"it has: {', '.join(k for k in keys if '_stderr' not in k and not k.startswith('samples')) or 'none'}."
        )
    return found[0]
