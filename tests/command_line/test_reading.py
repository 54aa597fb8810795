"""A command is read before anything runs: choices that exist, typos, sweeps."""

from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from selectmm.command_line import reading
from selectmm.command_line.jobs import read_jobs
from selectmm.command_line.offered import OWN
from selectmm.command_line.reading import check_one_job, check_overrides, read_config, without_verb, words_of
from selectmm.errors import UserError
from selectmm.paths import ROOT
from tests.command_line.configuration import composed


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
        ("benchmark=sqa", "There is no 'benchmark'. "),
        ("zzzz=1", "There is no 'zzzz'. There are:"),
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
        (
            "model.path=/data/llava",
            "This model has no 'path'; choose the one that reads your checkpoint, such as model=llava15_7b "
            "model.path=/data/llava.",
        ),
        (
            "method=configs/method/prism/deep.yaml",
            "'method=configs/method/prism/deep.yaml' names a file; write method=prism/deep.",
        ),
        (
            "method=/home/me/mine.yaml",
            "'method=/home/me/mine.yaml' names a file; put it into FOLDER/method/ and write --config-dir FOLDER "
            "method=mine.",
        ),
        ("pool=rows.json", "'pool=rows.json' names a file; give it to the pool that reads it: pool=llava_json "),
        (
            "method=[prism,random]",
            "'method=[prism,random]' is a list; write method=prism,random with 'selectmm sweep'.",
        ),
        ("lr=1e-4", "There is no 'lr': did you mean 'recipe.lr'?"),
        ("device=cuda", "There is no 'device': did you mean 'model.device'?"),
        ("pool.row=1", "There is no 'pool.row': did you mean 'pool.rows'? There are: cache, rows."),
        ("seting=llava15_7b_665k", "There is no 'seting': did you mean 'setting'? There are:"),
        ("engin=vllm", "There is no 'engin': did you mean 'engine'? There are:"),
        (
            "experiment=quickstart/ten_minutes",
            "experiment= only names the records; did you mean experiments=quickstart/ten_minutes?",
        ),
        (
            "models=qwen2_vl_7b",
            "models= only says which models an experiment on several compares; did you mean model=qwen2_vl_7b?",
        ),
        ("budget=0,2", "'budget=0,2' is two budgets, 0 and 2; did you mean budget=0.2?"),
        ("budget=20%", "budget=20% is not a number; did you mean budget=0.2?"),
        ("budget=1.5", "budget=1.5 is not a share of the pool; give a number above 0 and at most 1, such as 0.3, or a"),
        ("experimets=a", "There is no 'experimets': did you mean 'experiments'? There are:"),
    ],
)
def test_a_typo_is_answered_with_what_exists(argument: str, said: str) -> None:
    with pytest.raises(UserError) as problem:
        check_overrides(ROOT / "configs", [argument])
    assert said in str(problem.value)


def test_the_models_that_an_experiment_compares_can_be_replaced() -> None:
    chosen = ["experiments=prism/language_models", "models=llava_qwen25,llava_phi2", "model.path=x"]
    check_overrides(ROOT / "configs", chosen)
    with pytest.raises(UserError, match=r"did you mean model=llava_qwen25,llava_phi2\?$"):
        check_overrides(ROOT / "configs", ["experiments=prism/main", "models=llava_qwen25,llava_phi2"])


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("engine=None", "'engine=None' chooses nothing; to leave engine out write engine=null."),
        ("engine=none", "'engine=none' chooses nothing; to leave engine out write engine=null."),
        ("engine=", "'engine=' chooses nothing; to leave engine out write engine=null."),
        ("experiments=None", "'experiments=None' chooses nothing; to leave experiments out write experiments=null."),
        ("full_seeds=None", "'full_seeds=None' is a text; for no value write full_seeds=null."),
    ],
)
def test_none_in_the_place_of_null_is_answered_with_null(word: str, said: str) -> None:
    with pytest.raises(UserError) as problem:
        check_overrides(ROOT / "configs", [word])
    assert str(problem.value) == said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["budget", "0.3"], "'budget' has no value; write budget=0.3, without spaces around '=' and ','."),
        (["budget", "=", "0.3"], "'budget' has no value; write budget=0.3, without spaces around '=' and ','."),
        (["budget", "seed=1"], "'budget' has no value; write budget=VALUE, without spaces around '=' and ','."),
    ],
)
def test_a_value_that_stands_apart_is_answered_with_what_to_write(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as problem:
        check_overrides(ROOT / "configs", words)
    assert str(problem.value) == said


def test_a_space_within_a_list_of_values_is_told() -> None:
    with pytest.raises(UserError, match=r"^'random' stands apart from 'method=full,'; write method=full,random, with"):
        check_overrides(ROOT / "configs", ["method=full,", "random"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dryrun", "seed=1"], "There is no option '--dryrun': did you mean '--dry-run'? Values are given without"),
        (["--zzz"], "There is no option '--zzz': Values are given without dashes, as key=value."),
        (["--seed=1"], "There is no option '--seed': write seed=1, without dashes."),
        (["seed=1", "-m", "--budget", "0.3"], "There is no option '--budget': write budget=0.3, without dashes."),
        (["--pool", "llava_json"], "There is no option '--pool': write pool=llava_json, without dashes."),
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


def test_a_command_reads_a_run_s_choices() -> None:
    assert read_config(["suite=prism", "seed=3"]).seed == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "_target_: x\n\tkey: 1\n",
            "line 2, is not YAML (found character '\\t' that cannot start any token); correct it:",
        ),
        (
            "name: a: b\n",
            "line 1, is not YAML (mapping values are not allowed here); correct it: 'key: value', indented by",
        ),
    ],
    ids=["tab", "colon"],
)
def test_a_file_of_ones_own_that_is_no_yaml_is_named_with_the_line(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text(text)
    monkeypatch.setenv(OWN, str(tmp_path))
    with pytest.raises(UserError) as problem:
        check_overrides(ROOT / "configs", ["method=mine"])
    assert str(problem.value).startswith(f"{tmp_path / 'method' / 'mine.yaml'}, {said}")


def test_a_command_takes_no_sweep() -> None:
    with pytest.raises(UserError, match=r"'seed=1,2' is a sweep, but this command looks at one job; give one value\."):
        read_config(["seed=1,2"])


def test_a_configuration_that_is_asked_for_again_is_a_copy_of_the_one_that_was_composed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    compose = reading.compose
    monkeypatch.setattr(reading, "compose", lambda *given, **how: made.append(given) or compose(*given, **how))
    read_config(["seed=4"]).seed = 5
    count = len(made)
    assert read_config(["seed=4"]).seed == 4 and len(made) == count
    monkeypatch.setenv(OWN, str(tmp_path))  # the user's own folder may have other files of the same names
    read_config(["seed=4"])
    assert len(made) > count
