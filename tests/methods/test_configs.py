"""The files under configs/method: every one makes its method, and writes out every option with its default."""

from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from selectmm.errors import UserError
from selectmm.fields import check_values
from selectmm.methods.check import check_method
from selectmm.methods.method import Method

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = sorted(file.stem for file in (CONFIGS / "method").glob("*.yaml"))
VARIANTS = sorted(f"{file.parent.name}/{file.stem}" for file in (CONFIGS / "method").glob("*/*.yaml"))
MIXES = {"oracle"}  # a hand-made mix of one pool's sources: by_source with its lists filled in


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m selectmm` sets it."""
    monkeypatch.setenv("SELECTMM_ROOT", str(CONFIGS.parent))


def options(name: str, *overrides: str) -> dict[str, object]:
    """A new dictionary each time."""
    return OmegaConf.to_container(composed(name, *overrides).method, resolve=True)


@cache
def composed(name: str, *overrides: str) -> DictConfig:
    """A method's file beside ``depth``, which some read; a whole run takes three times as long to compose."""
    depths = OmegaConf.load(CONFIGS / "setting" / "embedded.yaml").depth
    ConfigStore.instance().store("tested", {"defaults": [{"method": "prism"}, "_self_"], "depth": depths})
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("tested", [f"method={name}", *overrides])


def test_a_run_has_the_method_that_is_named_as_it_is_composed_here() -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        run = compose("run", ["method=scalselect/middle", "method.energy=0.5"])
    assert OmegaConf.to_container(run.method, resolve=True) == options("scalselect/middle", "method.energy=0.5")


def made(name: str, *overrides: str) -> Method:
    method = instantiate(options(name, *overrides), _convert_="all")
    check_values(type(method), options(name, *overrides), "method")
    return method


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"from_indices", "from_scores", "one_source", "self_sup"}))
def test_every_file_makes_its_method(name: str) -> None:
    method = made(name)
    assert callable(method.select) and type(method) is get_class(str(options(name)["_target_"]))


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_written_out_with_its_default(name: str) -> None:
    written = options(name)
    kind = get_class(str(written.pop("_target_")))
    settable = {field.name: field for field in fields(kind) if field.init}
    assert written.keys() == settable.keys()
    for option, field in settable.items():
        if field.default is MISSING and field.default_factory is MISSING:
            assert written[option] == "???", f"{option} has no default, so it has to be given"
        elif name not in MIXES:
            default = field.default if field.default_factory is MISSING else field.default_factory()
            assert written[option] == plain(default), option


def plain(value: object) -> object:
    """As YAML has it: an object is a mapping with its class under ``_target_``."""
    if is_dataclass(value):
        return {"_target_": f"{type(value).__module__}.{type(value).__qualname__}", **asdict(value)}
    return list(value) if isinstance(value, tuple) else value


def test_a_method_made_from_its_file_keeps_the_contract() -> None:
    """Lists come from YAML as lists, and mappings as what they describe."""
    for name in ("random", "prism", "scalselect", "dataprophet", "by_source"):
        check_method(made(name))
    check_method(made("tive", "method.exclude=[source-1]"), repeats=True)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_differs_from_its_method_and_keeps_the_contract(name: str) -> None:
    own, base = options(name), options(name.split("/")[0])
    assert own["_target_"] == base["_target_"] and own != base
    method = made(name)
    assert type(method) is get_class(str(base["_target_"]))
    check_method(method, repeats=name.startswith("tive/"))


def test_files_of_rows_and_scores_are_made_from_a_path(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text("[0]")
    assert made("from_indices", f"method.file={file}").file == str(file)
    assert made("from_scores", f"method.file={file}", "method.keep=low").keep == "low"


def test_self_sup_says_which_end_it_keeps_because_the_papers_do_not() -> None:
    assert [made("self_sup", f"method.keep={keep}").keep for keep in ("hard", "easy")] == ["hard", "easy"]


def test_clip_score_asks_for_its_clip_before_anything_runs() -> None:
    with pytest.raises(UserError, match=r"method=clip_score needs a CLIP: set method\.checkpoint"):
        made("clip_score").needs()
