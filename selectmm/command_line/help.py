"""The help, and what can be typed: commands, and the choices of every group."""

import textwrap
from pathlib import Path

from selectmm.command_line.offered import offered_methods, own_choices

PARTS = {"hydra", "benchmark"}  # folders of configs/ that are no choice of a run: its logs, and what suites are made of

VERBS = {
    "run": "Run one job, or the sweep that an experiment defines; the same as without a command.",
    "sweep": "Run every combination of the values that are given, with a table at the end; the same as -m.",
}

HELP = """\
selectmm compares data-selection methods for vision-language models: it selects a subset of a training pool, fine-tunes
a model on it, evaluates the model, and records score and cost.

  one run                selectmm run method=prism budget=0.15 seed=1
  a comparison           selectmm sweep method=full,random,prism seed=0,1,2
  an experiment          selectmm sweep experiments=quickstart/ten_minutes
  your own data          selectmm run pool=llava_json pool.file=rows.json pool.images=folder
  print, do not run      selectmm run method=prism --cfg job
  estimate, do not run   selectmm plan method=prism --gpu h100

Commands. `selectmm <command> --help` explains one. run may be left out, and sweep is the same as -m.

{commands}

Options. group=name chooses a file configs/<group>/<name>.yaml, whose comments explain its values; group.key=value
changes one value; -m with commas runs every combination, several at a time with hydra/launcher=joblib, slurm or ray.
Options without a group (budget, seed, cache, records, ...) are in configs/run.yaml; the setting gives devices its
default. The folder configs/ is in {root}.

{groups}

W&B stays offline until tracker.mode=online. Models and benchmarks that are not built in are downloaded from the Hugging
Face hub. Press Ctrl-C at any time to stop; the same command continues.

  --quiet                               print results and errors only
  --json                                print the result as JSON, and everything else to standard error
  --config-dir FOLDER                   choices of your own: FOLDER/method/mine.yaml is method=mine
  --version                             print the version
  eval "$(selectmm -sc install=bash)"   complete options in bash; install=zsh for zsh"""


SHORT = {
    "run": """\
usage: selectmm run [group=name ...] [key=value ...]

{says}

Used most:

  setting=llava15_7b_665k    a paper's model, pool, recipe and benchmarks together; without it, small built-in ones
  method=prism               how rows are selected
  budget=0.15                share of the pool's rows to keep; above 1, a number of rows
  seed=1                     another draw of everything that is random
  pool=llava_json pool.file=rows.json pool.images=folder
                             your own data

  selectmm run method=prism budget=0.15 seed=1

{rest}""",
    "sweep": """\
usage: selectmm sweep [group=name,name ...] [key=value,value ...]

{says}

Used most:

  experiments=prism/main     a paper's comparison, or another file of experiments/
  method=full,random,prism   the methods to compare; full and random are the references
  seed=0,1,2                 one run of each method for each seed; one seed cannot separate methods
  budget=0.05,0.15           shares of the pool's rows to keep
  hydra/launcher=joblib      several jobs at a time on this machine; slurm or ray: on a cluster

  selectmm sweep method=full,random,prism seed=0,1,2 budget=0.15

{rest}""",
}
REST = """\
The rest:

  selectmm --help            every command, and every option with its choices
  selectmm run method=prism --cfg job
                             all values of a run; nothing is started
  selectmm plan method=prism --gpu h100
                             time, memory and disk of a run or, with -m, of a sweep
  {root}/configs
                             a file for every choice; its comments explain its values"""


def short_help(verb: str, root: Path) -> str:
    """The page that ``run --help`` or ``sweep --help`` prints: the options used most, and where the rest is."""
    return SHORT[verb].format(says=VERBS[verb], rest=REST.format(root=root))


def help_text(root: Path) -> str:
    """The page that ``--help`` prints: examples, commands, and every option."""
    groups = [folder for folder in sorted((root / "configs").iterdir()) if folder.is_dir() and folder.name not in PARTS]
    lines = [_wrapped(folder.name, ", ".join(choices_of(folder))) for folder in [*groups, root / "experiments"]]
    named = VERBS | {name: _first_line(path) for name, path in command_files().items()}
    commands = [_wrapped(name, summary) for name, summary in named.items()]
    return HELP.format(groups="\n".join(lines), commands="\n".join(commands), root=root)


def _wrapped(name: str, text: str) -> str:
    """A name and its text, which starts in the same column on every line."""
    start = f"  {name:<13} "
    return textwrap.fill(start + text, 120, subsequent_indent=" " * len(start), break_on_hyphens=False)


def command_files() -> dict[str, Path]:
    """The files of `selectmm.commands` by the names that are typed."""
    folder = Path(__file__).parent.parent / "commands"
    return {path.stem.replace("_", "-"): path for path in sorted(folder.glob("[a-z]*.py"))}


def _first_line(path: Path) -> str:
    """What a command's file says of itself (read as text: to import it takes seconds)."""
    return path.read_text(encoding="utf-8").split("\n", 1)[0].strip('"')


def _names(folder: Path) -> list[str]:
    """Choices of a group, as they are typed."""
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def choices_of(folder: Path) -> list[str]:
    """Choices of a group, with those of the user's own folder and, of methods, those that other packages offer."""
    more = offered_methods() if folder.name == "method" else []
    return sorted({*_names(folder), *own_choices(folder.name), *more})
