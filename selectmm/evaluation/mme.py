"""MME's total. The task itself only gives perception and cognition apart."""

from collections.abc import Mapping, Sequence

from lmms_eval.tasks.mme.utils import mme_process_results


def process_results(doc: Mapping[str, object], results: Sequence[str]) -> dict[str, dict[str, object]]:
    """The task's own result for the item, counted under its half and under ``mme_total_score``."""
    (half, payload) = next(iter(mme_process_results(doc, results).items()))
    return {half: payload, "mme_total_score": payload}
