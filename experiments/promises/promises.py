"""The page of results/tables on what is promised and how it is tested, from the records of results/metrics.

python experiments/promises/promises.py [FOLDER]
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import flowed, table
from experiments.promises.bad_inputs import NAME
from selectmm.cache.stage import write_atomically

ROOT = Path(__file__).resolve().parents[2]
METRICS = ROOT / "results" / "metrics"
HEAD = "<!-- Made by `python experiments/promises/promises.py`; never edited by hand. -->"


class Promise(NamedTuple):
    """One thing that users may rely on.

    Attributes:
        text: the promise. tests: those that check it, as ``path below tests/::function``; a path names all of them.
        figure: kind of bad input whose count belongs to it, or ``kills``.
    """

    text: str
    tests: tuple[str, ...]
    figure: str = ""


FILES = (
    Promise(
        "**A record** is data. It can name only the loaders that `configs/` names, with plain values; nothing in it is "
        "evaluated. Files, folders and hub ids that only the record names are shown, and opened after you agree.",
        ("commands/test_recorded.py",),
        "a record's pool and model",
    ),
    Promise(
        "**Records, answers and reference scores** with a wrong value anywhere end in one sentence or are shown. "
        "Answers that unpack to more than their items can take are not unpacked.",
        ("records/test_fuzz.py", "records/test_answers.py"),
        "records, answers and references",
    ),
    Promise(
        "**Text of a file** never reaches the terminal with control characters.",
        ("test_printable.py",),
    ),
    Promise(
        "**Rows of a pool** that cannot be read are counted by reason; they stop the run, or are dropped if you say "
        "so. No field that changes what a row means is ignored silently. The kept rows are exactly the good ones.",
        ("pool/test_strange_rows.py",),
        "rows of a pool",
    ),
    Promise(
        "**Images** that no decoder can read are counted like other bad rows. Paths never leave the image folder; "
        "links that you put there are followed. Pixels of more than 8 bits are scaled or refused, never cut off.",
        ("pool/test_image.py",),
        "images",
    ),
    Promise(
        "**What only the model can tell** (its image placeholders in a text, shapes that its processor refuses, images "
        "beyond the length limit) is found before the first stage.",
        ("models/test_check_rows.py",),
    ),
    Promise(
        "**Adapters** are read from safetensors and a configuration of known keys. A pickle is never opened; a number "
        "that is not finite is never exported.",
        ("tuning/test_adapter_file.py",),
        "adapters",
    ),
    Promise(
        "**Subsets and scores** are numbers; a file takes no more memory than it has bytes.",
        ("methods/test_from_file.py", "methods/test_subset.py"),
        "subsets and scores",
    ),
    Promise(
        "**A checkpoint of a model** never runs code of its own, and nobody is asked to allow it.",
        ("models/test_load.py::test_code_of_a_checkpoint_is_never_run_and_nobody_is_asked",),
    ),
    Promise(
        "**A checkpoint of a training** is read only if the user who runs the training wrote it and nobody else could.",
        ("tuning/test_trusted.py",),
    ),
    Promise(
        "**The job of a process** that a run starts, and the code in a cached suite, are those that the run wrote, "
        "even in a cache that others can write to.",
        (
            "launch/test_launch.py::test_ranks_read_no_other_job_than_the_one_that_they_were_started_for",
            "evaluation/test_own.py",
        ),
    ),
    Promise(
        "**Benchmark data in a folder** name no file outside of it, and of their images only those that they hold are "
        "opened.",
        ("evaluation/test_cells.py", "test_network.py"),
    ),
    Promise(
        "**The judge's key** goes to the address that you gave and nowhere else; a request ends after `judge.timeout`.",
        (
            "evaluation/test_judge.py::test_a_redirect_is_not_followed_and_the_key_goes_nowhere",
            "evaluation/test_judge.py::test_a_server_that_sends_a_byte_at_a_time_is_given_no_more_time",
            "evaluation/test_judge.py::test_an_answer_without_end_is_cut_off",
        ),
    ),
)
RUNS = (
    Promise(
        "**A run that is killed** at any moment (`kill -9`, any of its processes) continues with the same command and "
        "ends with the same subset, weights (bit for bit on a CPU), answers and scores.",
        ("experiments/test_chaos.py", "tuning/test_kill.py"),
        "kills",
    ),
    Promise(
        "**A finished shard of a feature** is not computed again after a kill.",  # the long run killed none in between
        (
            "features/test_ranks.py::test_a_dead_ranks_shard_is_computed_again_and_finished_ones_are_not",
            "features/test_passes.py",
        ),
    ),
    Promise(
        "**A full disk, a folder that cannot be written, a cache that is deleted** under a run is one sentence; what "
        "was finished is kept. A warm cache may be read-only.",
        ("cache/test_stage_errors.py", "test_main.py"),
    ),
    Promise(
        "**`cache prune`** never removes what a running process uses, and never what is not a stage.",
        ("cache/test_prune.py", "cache/test_in_use.py"),
    ),
    Promise(
        "**SIGTERM and SIGHUP** end a run in order, as Ctrl-C does.",
        ("test_main.py::test_a_terminated_job_unwinds_unless_its_launcher_has_another_way",),
    ),
)


def make(folder: Path) -> Path:
    """Write ``promises.md`` under ``folder``; the same records give the same bytes. Returns its path."""
    tried, killed = (json.loads((METRICS / name).read_text()) for name in (NAME, "chaos.json"))
    figures = {kind: f"{found['passed']:,} bad inputs" for kind, found in tried["kinds"].items()}
    figures["kills"] = f"{len(killed['kills'])} kills"
    page = folder / "promises.md"
    folder.mkdir(parents=True, exist_ok=True)
    parts = [
        HEAD,
        "# What we promise, and how it is tested\n",
        "Each promise has tests that `make test` runs. Where a figure is given, a longer run of the same tests tried "
        "so many bad inputs or survived so many kills, without a traceback, a hang or a difference.\n",
        "## Files from elsewhere\n",
        _table(FILES, figures),
        "## Runs that are interrupted\n",
        _table(RUNS, figures),
        _origin(tried, killed),
    ]
    write_atomically(page, flowed("\n".join(parts)))
    return page


def _table(promises: tuple[Promise, ...], figures: dict[str, str]) -> str:
    rows = [
        [promise.text, ", ".join(map(_link, promise.tests)), figures.get(promise.figure, "–")] for promise in promises
    ]
    return table(["promise", "tests", "latest long run"], rows)


def _link(test: str) -> str:
    """A test as a link to its file."""
    file, _, function = test.partition("::")
    return f"[`{function or Path(file).stem}`](../../tests/{file})"


def _origin(tried: dict, killed: dict) -> str:
    bad, kills = tried["provenance"], killed["provenance"]
    return (
        f"- Bad inputs: `{bad['command']}` at commit {str(bad['commit'])[:10]}, seed {tried['seed']}.\n"
        f"- Kills: `{kills['command']}` at commit {str(kills['commit'])[:10]}; [what was killed](chaos.md).\n"
    )


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
