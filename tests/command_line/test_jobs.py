"""The jobs of a sweep, one configuration each."""

import pytest
from omegaconf import OmegaConf

from selectmm.command_line import jobs, reading
from selectmm.command_line.jobs import read_jobs
from selectmm.command_line.reading import composed
from selectmm.errors import UserError


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
    made = counted(monkeypatch)
    found = read_jobs([*words, "pool=llava_json"], multirun=True)
    assert (len(made), len(found)) == (1 + 4, 32), (
        "beside what stays: for each method and, as pool is a group that was chosen, each pool.images"
    )
    for number in (13, 31):
        config, method = found[number]
        value = {key: OmegaConf.select(config, key) for key in ("seed", "budget", "pool.images", "suite.only")}
        typed = [f"{key}={_as_typed(given)}" for key, given in value.items()]
        fixed = [f"method={method}", "recipe=embedded_two_epochs", "recipe.lr=2.0e-4", "pool=llava_json"]
        (expected,) = read_jobs([*typed, *fixed], multirun=False)
        assert (config, method) == expected
        assert OmegaConf.to_yaml(config, sort_keys=True) == OmegaConf.to_yaml(expected[0], sort_keys=True)
    assert [config.seed for config, _ in found[::8]] == [0, 1, 0, 1], "the last key varies fastest"
    assert [config.budget for config, _ in found[:16:4]] == [0.1, 500, 0.1, 500]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The choices that are composed from here on."""
    made: list[list[str]] = []
    monkeypatch.setattr(
        jobs, "composed", lambda configs, words, hydra: made.append(words) or composed(configs, words, hydra)
    )
    return made


def _as_typed(value: object) -> str:
    return "null" if value is None else f"'{value}'" if isinstance(value, str) else str(value).replace("'", "")


def test_a_run_s_configuration_is_composed_once_and_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[list[str]] = []
    real = reading.compose
    monkeypatch.setattr(reading, "compose", lambda name, words, **more: made.append(words) or real(name, words, **more))
    reading._composed.cache_clear()
    words = ["method=random", "seed=1"]
    ((config, method),) = read_jobs(words, multirun=False)
    assert made == [["method=random"], words] and method == "random", "choices, then the values beside them"
    config.seed, config.recipe.lr = 2, 0.5
    ((again, _),) = read_jobs(words, multirun=False)
    assert len(made) == 2 and again.seed == 1 and again.recipe.lr != 0.5
    assert "hydra" in composed(reading.CONFIGS, words, hydra=True) and "hydra" not in composed(reading.CONFIGS, words)
    with pytest.raises(UserError, match=r"^'seed=1,2' is a sweep; give -m as well, or one value\.$"):
        read_jobs(["method=random", "seed=1,2"], multirun=False)


def test_a_swept_option_of_a_swept_method_is_composed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = counted(monkeypatch)
    found = read_jobs(["method=grand,less", "method.warmup.fraction=0.1,0.2"], multirun=True)
    assert [(method, config.method.warmup.fraction) for config, method in found] == [
        ("grand", 0.1), ("grand", 0.2), ("less", 0.1), ("less", 0.2),
    ] and len(made) == 1 + 4  # fmt: skip


def test_what_is_typed_takes_the_place_of_an_experiments_own_values() -> None:
    jobs = read_jobs(["experiments=dataprophet/embedded", "method.source=numbers,yesno", "seed=1"], multirun=True)
    assert [(config.method.source, config.seed, method) for config, method in jobs] == [
        ("numbers", 1, "one_source"),
        ("yesno", 1, "one_source"),
    ]
