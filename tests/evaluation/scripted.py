"""A model of lm-eval's kind that knows the answers."""

from collections.abc import Callable, Sequence

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from selectmm.quickstart.item import Item


class Scripted(LM):
    """Prefers the right option where ``right(position)`` holds, else the next one."""

    def __init__(self, items: Sequence[Item], right: Callable[[int], bool], form: str = "{}).") -> None:
        super().__init__()
        self._items, self._right, self._form = items, right, form

    def _said(self, position: int) -> int:
        options = self._items[position].options
        place = options.index(self._items[position].answer)
        return place if self._right(position) else (place + 1) % len(options)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        return [(-1.0 if request.idx == self._said(request.doc_id) else -99.0, False) for request in requests]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        return [self._form.format("ABCDEFGHIJ"[self._said(request.doc_id)]) for request in requests]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise NotImplementedError("no task of ours asks for the likelihood of a whole text")
