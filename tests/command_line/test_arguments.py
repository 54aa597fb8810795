"""Commands that take options of a run answer options with dashes, and their help imports nothing heavy."""

import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest

from selectmm.commands import (
    bench,
    check,
    contamination,
    doctor,
    export,
    inspect,
    plan,
    references,
    select,
    verify_eval,
)
from selectmm.errors import UserError


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (select.main, ()),
        (plan.main, ()),
        (doctor.main, ()),
        (check.main, ()),
        (bench.main, ()),
        (references.main, ()),
        (contamination.main, ()),
        (verify_eval.main, ()),
        (export.main, ("model",)),
        (export.main, ("subset",)),
        (inspect.main, ("subset",)),
    ],
    ids=lambda value: value.__module__.rpartition(".")[2] if callable(value) else None,
)
def test_an_option_of_a_run_with_dashes_is_answered_with_how_it_is_written(
    main: Callable[[Sequence[str]], None], words: Sequence[str]
) -> None:
    for typed in (["--pool", "llava_json"], ["--pool=llava_json"]):
        with pytest.raises(UserError) as problem:
            main([*words, *typed])
        assert str(problem.value) == "There is no option '--pool': write pool=llava_json, without dashes."


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ["--gpuu", "h100"],
            "There is no option '--gpuu': did you mean '--gpu'? 'selectmm plan --help' lists the options.",
        ),
        (["--zzz"], "There is no option '--zzz': 'selectmm plan --help' lists the options."),
        (["--recipe.lr=1"], "There is no option '--recipe.lr': write recipe.lr=1, without dashes."),
        (["--method", "seed=1"], "There is no option '--method': write method=VALUE, without dashes."),
    ],
)
def test_an_option_that_does_not_exist_is_answered_with_the_closest(typed: list[str], said: str) -> None:
    with pytest.raises(UserError) as problem:
        plan.main(typed)
    assert str(problem.value) == said


SHOWN = """
import sys
from selectmm.__main__ import main
for words in ({words}):
    sys.argv = ["selectmm", "export", *words, "--help"]
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
print("torch" in sys.modules)
"""


def test_the_help_of_export_is_printed_without_importing_torch() -> None:
    code = SHOWN.format(words='[], ["model"], ["subset"]')
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "selectmm export model --help" in done.stdout and "--adapter FOLDER" in done.stdout
    assert "--absolute" in done.stdout and done.stdout.splitlines()[-1] == "False"
