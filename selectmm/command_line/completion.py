"""What the shell completes: Hydra completes options; the commands, which it does not know, are completed here."""

from collections.abc import Sequence

from selectmm.command_line.help import VERBS, command_files
from selectmm.command_line.reading import without_verb


def commands_for(line: str) -> list[str]:
    """Commands that the line's last word may become; none where it is not the first word.

    Args:
        line: as it is typed so far, with the program's name.
    """
    words = _words(line)
    return [name for name in (*VERBS, *command_files()) if name.startswith(words[0])] if len(words) == 1 else []


def line_of_options(line: str) -> str:
    """The line as Hydra reads it: without the command, and without options that are not Hydra's."""
    words = _words(line)
    if len(words) > 1 and words[0] in command_files():
        words = words[1:]
    kept = [word for word in without_verb(words) if not word.startswith("-") or word in ("-m", "--multirun")]
    return " ".join([*line.split()[:1], *kept])


def _words(line: str) -> Sequence[str]:
    """The words behind the program's name; the last is empty where the next one begins."""
    words = line.split()[1:]
    return [*words, ""] if line.endswith(" ") or not words else words
