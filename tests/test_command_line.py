"""The command line answers before anything runs: help, typos, values that cannot be."""

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from selectmm.command_line import jobs
from selectmm.command_line.help import command_files, help_text
from selectmm.command_line.jobs import read_jobs
from selectmm.command_line.reading import check_one_job, check_overrides, read_config, without_verb, words_of
from selectmm.errors import UserError
from selectmm.instantiate import build

ROOT = Path(__file__).parent.parent


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return compose("run", list(overrides))


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))


@pytest.mark.parametrize("group", ["engine", "targets", "experiments"])
def test_a_group_is_left_out_by_null_which_hydra_alone_does_not_read(group: str) -> None:
    assert without_verb(["run", f"{group}=null", "seed=1"]) == [f"~{group}", "seed=1"]
    assert without_verb(["plan", f"{group}=Null"]) == ["plan", f"~{group}"]
    words = without_verb(["sweep", "method=random,full", f"{group}=null"])
    assert words == ["-m", "method=random,full", f"~{group}"]
    read_config(words[2:])
    assert [method for _, method in read_jobs(words[1:], multirun=True)] == ["random", "full"]
    lists = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(words[1:]), None)
    assert [composed(*job).get(group) for job in lists[0]] == [None, None], "and Hydra's own sweeper takes it"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "method=null",
            "'method=null' leaves out what every run needs; give one of the names that 'selectmm --help' lists.",
        ),
        ("engine=null,vllm", "'engine=null,vllm' cannot be read; to leave engine out type ~engine, in a command of"),
    ],
)
def test_a_group_that_cannot_be_left_out_is_told(word: str, said: str) -> None:
    with pytest.raises(UserError) as problem:
        check_overrides(ROOT / "configs", without_verb([word]))
    assert said in str(problem.value)


def test_help_shows_a_command_for_each_wish_and_every_choice() -> None:
    text = help_text(ROOT)
    for part in (
        "method=prism",
        "pool=llava_json",
        "-m",
        "--cfg job",
        "quickstart/ten_minutes",
        "zero3",
        "llava15_lora",
    ):
        assert part in text
    listed = re.search(r"^  method +(.*?)(?=\n  \w)", text, re.MULTILINE | re.DOTALL)[1]
    for name in re.split(r",\s+", listed):
        assert (ROOT / "configs" / "method" / f"{name}.yaml").exists()


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        (
            "method=prsm",
            "There is no 'method=prsm': did you mean 'method=prism'? There are: adapt_inf, by_source, clip_score,",
        ),
        ("method=random,lenght", "There is no 'method=lenght': did you mean 'method=length'?"),
        ("experiments=quikstart/ten", "There is no 'experiments=quikstart/ten': did you mean 'experiments=quickstart/"),
        ("bugdet=0.3", "There is no 'bugdet': did you mean 'budget'? There are:"),
        ("recipe.epoch=2", "There is no 'recipe.epoch': did you mean 'recipe.epochs'?"),
        ("method.layr=2", "There is no 'method.layr': did you mean 'method.layer'?"),
        ("budget.rows=2", "'budget' is one value and has no 'rows'."),
        ("benchmark=sqa", "There is no 'benchmark': "),
        ("zzzz=1", "There is no 'zzzz': There are:"),
        (
            "hydra.launcher.partition=gpu",
            "There is no 'hydra.launcher.partition'; options of a launcher need hydra/launcher=",
        ),
        ("hydra.launcher=joblib", "'hydra.launcher=joblib' chooses nothing; did you mean 'hydra/launcher=joblib'"),
        ("hydra/launcher=jobslib", "There is no 'hydra/launcher=jobslib': did you mean 'hydra/launcher=joblib'? There"),
        ("hydra/lancher=joblib", "There is no 'hydra/lancher': did you mean 'hydra/launcher'? There are: hydra/callb"),
        ("hydra.verbos=true", "There is no 'hydra.verbos': did you mean 'hydra.verbose'? There are:"),
        (
            "hydra.mode=SWEEP",
            "Hydra cannot take hydra.mode=SWEEP (Invalid value 'SWEEP'",
        ),
        ("budget=[0.3", "Cannot read 'budget=[0.3' ("),
        ("method=prism,", "Cannot read 'method=prism,' ("),
        (
            "reprot",
            "'reprot' is neither a command nor an option: did you mean the command 'report'? Options are given as",
        ),
        ("train", "Options are given as key=value; 'selectmm --help' lists the commands."),
        ("method", "'method' has no value; write method=VALUE, without spaces around '=' and ','."),
        ("budget", "'budget' has no value; write budget=VALUE, without spaces around '=' and ','."),
        ("rows.json", "'rows.json' is a file; give it to the pool that reads it: pool=llava_json pool.images=FOLDER "),
        (
            "pool.file=rows.json",
            "This pool has no 'file'; choose the pool that reads your file: pool=llava_json pool.images=FOLDER "
            "pool.file=rows.json.",
        ),
        ("pool.file=a.parquet", "choose the pool that reads your file: pool=parquet pool.file=a.parquet."),
        ("pool.row=1", "There is no 'pool.row': did you mean 'pool.rows'? There are: cache, rows."),
        ("seting=llava15_7b_665k", "There is no 'seting': did you mean 'setting'? There are:"),
        ("engin=vllm", "There is no 'engin': did you mean 'engine'? There are:"),
        (
            "experiment=quickstart/ten_minutes",
            "experiment= only names the records; did you mean experiments=quickstart/ten_minutes?",
        ),
        ("experimets=a", "There is no 'experimets': did you mean 'experiments'? There are:"),
    ],
)
def test_a_typo_is_answered_with_what_exists(argument: str, said: str) -> None:
    with pytest.raises(UserError) as problem:
        check_overrides(ROOT / "configs", [argument])
    assert said in str(problem.value)


def test_a_space_within_a_list_of_values_is_told() -> None:
    with pytest.raises(UserError, match=r"^'random' stands apart from 'method=full,'; write method=full,random, with"):
        check_overrides(ROOT / "configs", ["method=full,", "random"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dryrun", "seed=1"], "There is no option '--dryrun': did you mean '--dry-run'? Values are given without"),
        (["--seed=1"], "There is no option '--seed': Values are given without dashes, as key=value."),
        (["seed=1", "-m", "--budget", "0.3"], "There is no option '--budget': Values are given without dashes"),
    ],
)
def test_an_option_that_does_not_exist_is_answered(arguments: list[str], said: str) -> None:
    with pytest.raises(UserError) as problem:
        words_of(arguments)
    assert str(problem.value).startswith(said)


def test_an_option_of_a_launcher_is_looked_for_in_the_one_that_was_chosen() -> None:
    with pytest.raises(UserError) as problem:
        check_overrides(ROOT / "configs", ["hydra/launcher=joblib", "hydra.launcher.njobs=2", "method=full,random"])
    said = str(problem.value)
    assert said.startswith("There is no 'hydra.launcher.njobs': did you mean 'hydra.launcher.n_jobs'? There are:")
    assert "launcher=slurm" not in said
    for right in (["joblib", "n_jobs=2"], ["slurm", "partition=gpu"], ["ray", "ray.init.address=auto"]):
        check_overrides(ROOT / "configs", [f"hydra/launcher={right[0]}", f"hydra.launcher.{right[1]}", "seed=0,1"])


def test_the_words_of_a_command_are_those_that_hydra_reads() -> None:
    assert words_of(["seed=1", "-m", "budget=0.1,0.2", "--cfg", "job", "~a"]) == ["seed=1", "budget=0.1,0.2", "~a"]


def test_run_and_sweep_are_names_for_what_happens_without_a_command() -> None:
    assert without_verb(["run", "seed=1"]) == ["seed=1"]
    assert without_verb(["sweep", "seed=1,2"]) == ["-m", "seed=1,2"]
    assert without_verb(["sweep", "-m", "seed=1,2"]) == ["-m", "seed=1,2"]
    assert without_verb(["method=run"]) == ["method=run"]
    with pytest.raises(UserError, match="'swep' is neither a command nor an option: did you mean the command 'sweep'"):
        check_overrides(ROOT / "configs", ["swep"])


def test_several_values_are_a_sweep_which_has_to_be_asked_for() -> None:
    with pytest.raises(UserError, match=r"^'method=full,prism' is a sweep; give -m as well, or one value\.$"):
        check_one_job(["seed=0", "method=full,prism"])
    check_one_job(["seed=0", "method=full"])
    check_one_job(["experiments=quickstart/ten_minutes", "seed=0,1"])  # says itself that it is a sweep


def test_what_is_right_passes() -> None:
    check_overrides(
        ROOT / "configs",
        ["-m", "method=full,prism", "seed=0,1", "pool=llava_json", "pool.file=a.json", "hydra.run.dir=x", "+extra=1"],
    )


def test_a_key_of_the_method_that_an_experiment_sweeps_passes() -> None:
    check_overrides(ROOT / "configs", ["experiments=dataprophet/embedded", "method.source=numbers,yesno"])
    with pytest.raises(UserError, match=r"no 'method.sauce': did you mean 'method.source'"):
        check_overrides(ROOT / "configs", ["experiments=dataprophet/embedded", "method.sauce=numbers,yesno"])


def test_jobs_of_a_sweep_are_what_hydra_composes_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each choice of groups is composed once; plain values are set in copies."""
    words = [
        "method=random,prism",
        "seed=0,1",
        "budget=0.1,500",
        "pool.images=null,'a, b'",
        "recipe=embedded_two_epochs",
    ]
    words += ["suite.only=[a],[b,c]", "recipe.lr=2.0e-4"]
    made, one = [], jobs._job
    monkeypatch.setattr(jobs, "_job", lambda words: made.append(words) or one(words))
    found = read_jobs([*words, "pool=llava_json"], multirun=True)
    assert (len(made), len(found)) == (4, 32), (
        "for each method and, as pool is a group that was chosen, each pool.images"
    )
    for number in (0, 13, 31):
        config, method = found[number]
        value = {key: OmegaConf.select(config, key) for key in ("seed", "budget", "pool.images", "suite.only")}
        typed = [f"{key}={_as_typed(given)}" for key, given in value.items()]
        expected = one(
            [*typed, f"method={method}", "recipe=embedded_two_epochs", "recipe.lr=2.0e-4", "pool=llava_json"]
        )
        assert (config, method) == expected
        assert OmegaConf.to_yaml(config, sort_keys=True) == OmegaConf.to_yaml(expected[0], sort_keys=True)
    assert [config.seed for config, _ in found[::8]] == [0, 1, 0, 1], "the last key varies fastest"
    assert [config.budget for config, _ in found[:16:4]] == [0.1, 500, 0.1, 500]


def _as_typed(value: object) -> str:
    return "null" if value is None else f"'{value}'" if isinstance(value, str) else str(value).replace("'", "")


def test_a_swept_option_of_a_swept_method_is_composed(monkeypatch: pytest.MonkeyPatch) -> None:
    made, one = [], jobs._job
    monkeypatch.setattr(jobs, "_job", lambda words: made.append(words) or one(words))
    found = read_jobs(["method=grand,less", "method.warmup.fraction=0.1,0.2"], multirun=True)
    assert [(method, config.method.warmup.fraction) for config, method in found] == [
        ("grand", 0.1), ("grand", 0.2), ("less", 0.1), ("less", 0.2),
    ] and len(made) == 4  # fmt: skip


def test_what_is_typed_takes_the_place_of_an_experiments_own_values() -> None:
    jobs = read_jobs(["experiments=dataprophet/embedded", "method.source=numbers,yesno", "seed=1"], multirun=True)
    assert [(config.method.source, config.seed, method) for config, method in jobs] == [
        ("numbers", 1, "one_source"),
        ("yesno", 1, "one_source"),
    ]


@pytest.mark.parametrize("budget", [0, 1.5, -0.1])
def test_a_budget_that_is_no_share_is_refused(budget: float) -> None:
    with pytest.raises(UserError, match=f"budget={budget:g} is not a share of the pool; give a number above 0"):
        build(composed("suite=prism", f"budget={budget}"), "prism")


def test_a_value_without_default_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"Not set: pool\.file, pool\.images; give pool\.file=… on the command line\."):
        build(composed("suite=prism", "pool=llava_json"), "prism")


GROUPS = {path.name for path in (ROOT / "configs").iterdir() if path.is_dir()}
OF_THEIR_OWN = {"method"}  # `tests.methods.test_configs` composes every method


@pytest.mark.parametrize("group", sorted(GROUPS - OF_THEIR_OWN))
def test_every_choice_of_every_group_composes(group: str) -> None:
    for path in (ROOT / "configs" / group).glob("*.yaml"):
        choice = f"+benchmark@made={path.stem}" if group == "benchmark" else f"{group}={path.stem}"
        place = {"benchmark": "made", "setting": "scale"}.get(group, group)  # a setting has no place of its own
        assert composed(choice)[place]


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_experiment_composes_and_opens_with_its_question(path: Path) -> None:
    name = path.relative_to(ROOT / "experiments").with_suffix("")
    assert composed(f"experiments={name}").experiment != "run"
    assert "?" in path.read_text().split("\nexperiment:")[0]


def test_no_folder_of_the_repository_shadows_a_key() -> None:
    # The repository is on Hydra's search path (for experiments/), so a folder's name would be read as a group's.
    keys = {key for key in composed() if key not in {path.name for path in (ROOT / "configs").iterdir()}}
    assert keys & {path.name for path in ROOT.iterdir() if path.is_dir()} == {"experiments"} & keys


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
    with pytest.raises(UserError) as problem:
        build(composed("suite=prism", *override.split()), "prism")
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


def test_help_names_every_command_with_its_first_line() -> None:
    text = help_text(ROOT)
    for name, path in command_files().items():
        assert f"  {name} " in text
        assert path.read_text().split("\n")[0].strip('"') in re.sub(r"\s+", " ", text)


def test_a_command_reads_a_run_s_choices() -> None:
    assert read_config(["suite=prism", "seed=3"]).seed == 3


def test_a_command_takes_no_sweep() -> None:
    with pytest.raises(UserError, match=r"'seed=1,2' is a sweep, but this command looks at one job; give one value\."):
        read_config(["seed=1,2"])
