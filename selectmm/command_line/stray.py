"""Words of a command line that nothing reads, alone or with dashes: what was probably meant."""

import difflib
from collections.abc import Callable, Collection, Sequence

from selectmm.command_line.help import VERBS, command_files
from selectmm.errors import UserError

FILES = (".json", ".jsonl", ".parquet")  # of rows, that a pool reads


def check_bare(words: Sequence[str], known: Callable[[], Collection[str]]) -> None:
    """Whether every word is an option.

    Args:
        words: choices and values of a command. known: gives groups, and keys that belong to none; a third of a second.

    Raises:
        UserError: naming the first that is none, and how it is probably written.
    """
    for number, word in enumerate(words):
        if "=" not in word and not word.startswith(("-", "~")):
            raise UserError(_message(word, words[number - 1] if number else "", words[number + 1 :], known()))


def _message(word: str, before: str, after: Sequence[str], known: Collection[str]) -> str:
    if word in known:
        value = next((other for other in after[:2] if other != "="), "=")
        value = "VALUE" if "=" in value or value.startswith("-") else value
        return f"'{word}' has no value; write {word}={value}, without spaces around '=' and ','."
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


def no_option(
    word: str, words: Sequence[str], known: Collection[str], options: Collection[str], otherwise: str
) -> UserError:
    """The error for an option with dashes that does not exist, such as ``--pool`` for ``pool=``.

    Args:
        word: the option, perhaps with ``=`` and a value. words: the command, in which a value may follow it.
        known: what a run's options begin with. options: those with dashes that exist.
        otherwise: the way out where no option looks like it; a sentence.
    """
    name, _, value = word.partition("=")
    key = name.lstrip("-")
    if key.split(".")[0] in known:
        after = next(iter(words[words.index(word) + 1 :]), "-")
        value = value or ("VALUE" if after.startswith("-") or "=" in after else after)
        return UserError(f"There is no option '{name}': write {key}={value}, without dashes.")
    close = difflib.get_close_matches(name, options, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return UserError(f"There is no option '{name}': {hint}{otherwise}")


def own_pool(file: str) -> str:
    """What is typed to read a file of one's own."""
    pool = "parquet" if file.endswith(".parquet") else "llava_json pool.images=FOLDER"
    return f"pool={pool} pool.file={file}"
