"""Values that cannot be are answered before anything is built."""

import re

import pytest

from selectmm.command_line.jobs import _with as with_values
from selectmm.command_line.reading import CONFIGS, groups_of
from selectmm.command_line.reading import composed as read_composed
from selectmm.errors import UserError
from selectmm.instantiate import build
from selectmm.paths import ROOT
from tests.command_line.configuration import composed


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))


@pytest.mark.parametrize("budget", [0, 1.5, -0.1])
def test_a_budget_that_is_no_share_is_refused(budget: float) -> None:
    with pytest.raises(UserError, match=f"budget={budget:g} is not a share of the pool; give a number above 0"):
        build(composed("suite=prism", f"budget={budget}"), "prism")


def test_a_value_without_default_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"Not set: pool\.file, pool\.images; give pool\.file=… on the command line\."):
        build(composed("suite=prism", "pool=llava_json"), "prism")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("method.scope=globl", "There is no method.scope=globl; there are: per_source, global."),
        ("method.keep=hihg", "There is no method.keep=hihg; there are: low, medium, high."),
        ("recipe.length=epoch", "There is no recipe.length=epoch; there are: epochs, steps."),
        ("strategy.kind=zero4", "There is no strategy.kind=zero4; there are: single, ddp, zero2, zero3."),
        (
            "budget=lots",
            "budget=lots is not a number; give a share, such as 0.2 for 20 %, a number of rows, such as 5000, or, "
            "with 'selectmm select', hours of a GPU, such as 8h@h100.",
        ),
        ("seed=1.5", "seed=1.5 is not a whole number, such as 0 or 1."),
        ("seed=-1", "seed=-1 is below zero; set it to 0 or more."),
        ("batch_size=0", "batch_size=0: a pass takes at least one row; set it to 1 or more."),
        ("recipe.micro_batch=0", "recipe.micro_batch=0 is out of range; set it to 1 or more."),
        ("method=coincide method.temperature=0", "method.temperature=0 is out of range; set it above 0."),
        ("method=presel method.rows_per_cluster=0", "method.rows_per_cluster=0 is out of range; set it to 1 or more."),
        ("method=scalselect method.energy=5", "method.energy=5 is out of range; set it to 1 or less."),
        ("method=icons method.percentile=101", "method.percentile=101 is out of range; set it to 100 or less."),
        ("method=grand method.warmup.fraction=5", "method.warmup.fraction=5 is out of range; set it to 1 or less."),
        ("method=adapt_inf method.trim=0.5", "method.trim=0.5 is out of range; set it below 0.5."),
        ("schedule=loss schedule.weight=-5", "schedule.weight=-5 is out of range; set it to 0 or more."),
        ("schedule=delta_loss schedule.window=20", "schedule.window=20 is out of range; set it to 1 or less."),
        ("schedule=delta_loss schedule.outside=-1", "schedule.outside=-1 is out of range; set it to 0 or more."),
        ("method=magic method.cut=inf", "method.cut=inf is not a finite number."),
        ("method=magic method.cut=none", "method.cut=none is not a number or null."),
        ("method=icons method.percentile=90%", "method.percentile=90% is not a number or null."),
        ("method=coincide method.depth=24x", "method.depth=24x is not a whole number or null."),
        ("method=coincide method.layers=4", "method.layers=4 is not a list; write method.layers=[4]."),
        ("method=magic method.top=[1,2.5]", "method.top=[1, 2.5] is not a list of whole numbers in brackets."),
        ("method=tive method.exclude=gqa", "method.exclude=gqa is not a list; write method.exclude=[gqa]."),
        ("seed=null", "seed=null is not a whole number, such as 0 or 1."),
        ("cache=5", "cache=5 is not a folder; set cache=outputs/cache or another folder."),
        ("cache=null", "cache=null is not a folder; set cache=outputs/cache or another folder."),
        ("records=null", "records=null is not a folder; set records=outputs/records or another folder."),
        ("recipe.lr=abc", "recipe.lr=abc is not a number."),
        ("recipe.lr=", "recipe.lr= is not a number."),
        ("recipe.lr=null", "recipe.lr=null is not a number."),
        ("recipe.max_length=2k", "recipe.max_length=2k is not a whole number."),
        ("recipe.packing=maybe", "recipe.packing=maybe is not true or false."),
        ("engine=vllm engine.memory=abc", "engine.memory=abc is not a number."),
        (
            "method=from_scores method.file=a.json method.device_seconds=abc",
            "method.device_seconds=abc is not a number.",
        ),
        ("suite.only=SQA", "suite.only=SQA is not a list; write suite.only=[SQA]."),
        ("method=by_source method.first=gqa", "method.first=gqa is not a list; write method.first=[gqa]."),
    ],
)
def test_a_value_that_does_not_exist_is_answered_with_those_that_do(override: str, said: str) -> None:
    words = ["suite=prism", *override.split()]
    groups = groups_of(CONFIGS)
    chosen = [word for word in words if word.partition("=")[0] in groups]
    values = [word for word in words if word not in chosen]
    config = with_values(read_composed(CONFIGS, chosen), values)  # most have the same choices, composed once
    with pytest.raises(UserError) as problem:
        build(config, "prism")
    assert str(problem.value) == said


def test_a_budget_without_value_is_answered_with_examples() -> None:
    with pytest.raises(UserError, match=r"^budget=null is not a number; give a share, such as 0\.2 for 20 %, a number"):
        build(composed("suite=prism", "budget=null"), "prism")


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("+recipe.foo=1", r"There is no 'recipe\.foo'; there are: alpha, batch_size, .*, weight_decay\."),
        ("+method.foo=1", r"There is no 'method\.foo'; there are: centering, .*"),
        ("+model.foo=1", r"There is no 'model\.foo'; there are: .*"),
        ("+pool.foo=1", r"There is no 'pool\.foo'; there are: cache, rows\."),
    ],
)
def test_a_value_that_is_added_where_nothing_reads_it_is_refused(added: str, said: str) -> None:
    with pytest.raises(UserError) as problem:
        build(composed("suite=prism", added), "prism")
    assert re.fullmatch(said, str(problem.value))


@pytest.mark.parametrize("typo", ["seed=abc", "budget=1.5", "batch_size=x", "curve=x", "recipe.lr=x", "cache=null"])
def test_a_typo_is_told_before_the_benchmarks_data_are_made(typo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selectmm.instantiate.open_suite", lambda _: pytest.fail("the suite was opened"))
    with pytest.raises(UserError, match=f"^{typo} is not a"):
        build(composed(typo), "prism")
