"""A checkpoint's tokenizer alone, where the weights are not needed."""

from collections.abc import Callable, Sequence

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from selectmm.models.load import OWN_CODE, place, reading


def open_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a local folder, ``owner/name`` or ``owner/name@revision``.

    Raises:
        UserError: there is none, or the folder is an adapter's.
    """
    name, options = place(path)
    with reading(f"No tokenizer at '{path}': give a folder that holds one, or, with a network, a hub id"):
        return AutoTokenizer.from_pretrained(name, **options, **OWN_CODE)


def token_counts(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[str]], Sequence[int]]:
    """Counts the tokens of texts, without what a template adds."""

    def count(texts: list[str]) -> list[int]:
        # Not truncated, whatever the tokenizer's own limit, which it would only warn of.
        return [len(ids) for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]]

    return count
