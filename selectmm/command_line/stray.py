"""Words of a command line that stand alone, where a command or ``key=value`` was expected: what was probably meant."""

import difflib
from collections.abc import Callable, Collection, Sequence

from selectmm.command_line.help import VERBS, command_files
from selectmm.errors import UserError

FILES = (".json", ".jsonl", ".parquet", ".npy", ".csv")


def check_bare(words: Sequence[str], known: Callable[[], Collection[str]]) -> None:
    """Whether every word is an option.

    Args:
        words: choices and values of a command. known: gives groups, and keys that belong to none; a third of a second.

    Raises:
        UserError: naming the first that is none, and how it is probably written.
    """
    for number, word in enumerate(words):
        if "=" not in word and not word.startswith(("-", "~")):
            raise UserError(_message(word, words[number - 1] if number else "", known()))


def _message(word: str, before: str, known: Collection[str]) -> str:
    if word in known:
        return f"'{word}' has no value; write {word}=VALUE, without spaces around '=' and ','."
    if before.endswith((",", "=")):
        return f"'{word}' stands apart from '{before}'; write {before}{word}, without spaces around '=' and ','."
    if word.endswith(FILES):
        return f"'{word}' is a file; give it to the pool that reads it: {own_pool(word)}."
    close = difflib.get_close_matches(word, [*VERBS, *command_files()], n=1)
    hint = f"did you mean the command '{close[0]}'? " if close else ""
    return (
        f"'{word}' is neither a command nor an option: {hint}Options are given as key=value; 'selectmm --help' lists "
        f"the commands."
    )


def own_pool(file: str) -> str:
    """What is typed to read a file of one's own."""
    pool = "parquet" if file.endswith(".parquet") else "llava_json pool.images=FOLDER"
    return f"pool={pool} pool.file={file}"
