"""The code blocks of the tutorials do what the text says.

Cheap commands run as they are printed, in a folder with the files that they name. Commands that would train are
composed and built (the class of every choice is made from the configuration), but not run; so are those for a cluster,
which no test has.
"""

import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from omegaconf import DictConfig
from PIL import Image

from selectmm.command_line.help import command_files
from selectmm.command_line.jobs import read_jobs
from selectmm.command_line.offered import OWN
from selectmm.command_line.reading import CONFIGS, ROOT, check_overrides, words_of
from selectmm.instantiate import build
from tests.export.recorded import model_choices
from tests.tiny import tiny_llava, write_pool

METHOD, POOL, PAGE = "selectmm/methods/README.md", "selectmm/pool/README.md", "selectmm/records/README.md"
TABLE, CLUSTER = "experiments/README.md", "experiments/cluster/README.md"
RUN = {"check", "compare", "doctor", "power", "report"}  # commands that end in a second or two on a few rows or records
APART = {"select"}  # has a test of its own


def blocks(page: str, language: str = "") -> list[str]:
    """The code blocks of a page in a language; those of the shell have none."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    return [block for its, block in found if its == language]


def lines(page: str) -> list[str]:
    """The commands of a page's blocks and, of the cluster's, those in its table; each once, without comments."""
    found = "".join(blocks(page)).replace("\\\n", " ").splitlines()
    if page == CLUSTER:
        found = re.findall(r"`([^`]*selectmm (?:-m )?…[^`]*)`", (ROOT / page).read_text())
    return list(dict.fromkeys(" ".join(shlex.split(line, comments=True)) for line in found if line.strip("# ")))


def commands(page: str) -> list[str]:
    """What stands behind ``selectmm`` in each of a page's commands."""
    found = [re.search(r"(?:^|\s)selectmm (.+)$", line) for line in lines(page)]
    return list(dict.fromkeys(match[1] for match in found if match))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the tutorials name: rows, images, committed results, and the method they write."""
    folder = tmp_path_factory.mktemp("tutorials")
    tiny_llava(folder / "base")
    write_pool(folder, rows=16)
    example = json.loads(blocks(POOL, "json")[0])
    for row in example:
        (folder / "images" / row["image"]).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), "red").save(folder / "images" / row["image"])
    rows = [*json.loads((folder / "pool.json").read_text()), *example]
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "results").mkdir()
    for name in ("records", "references"):
        (folder / "results" / name).symlink_to(ROOT / "results" / name)
    (folder / "out").mkdir()
    (folder / "out" / "rows_stats.jsonl").touch()  # these two are read when a run chooses
    (folder / "llava_v1.5-7b-top15.json").touch()
    (folder / "conf" / "method").mkdir(parents=True)
    (folder / "conf" / "method" / "shortest.yaml").write_text(blocks(METHOD, "yaml")[0])
    return folder


@pytest.fixture(autouse=True)
def _in_the_folder(bench: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """There, with the method that the tutorial writes as if its two files had been saved."""
    monkeypatch.chdir(bench)
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    monkeypatch.setenv(OWN, str(bench / "conf"))
    module = ModuleType("selectmm.methods.shortest")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(next(block for block in blocks(METHOD, "python") if "class Shortest" in block), module.__dict__)
    yield


def spelled_out(command: str) -> list[str]:
    """Its words; files are found as a shell finds them, and ``…`` of the cluster's table stands for a method."""
    words: list[str] = []
    for word in shlex.split(command.replace("…", "method=random")):
        words += sorted(str(path) for path in Path().glob(word)) if "*" in word else [word]
    return words


PAGES = (TABLE, POOL, METHOD, PAGE, CLUSTER)
ALL = [
    (page, one)
    for page in PAGES
    for one in commands(page)
    if one.split()[0] not in APART and not re.search(r"=…|\[", one)
]
CHEAP = [(page, command) for page, command in ALL if command.split()[0] in RUN]
COMPOSED = [one for one in ALL if one not in CHEAP]


@pytest.mark.parametrize(("page", "command"), CHEAP, ids=[f"{page}: {command}" for page, command in CHEAP])
def test_a_cheap_command_runs(page: str, command: str, bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, *words = spelled_out(command)
    if name == "doctor":  # the built-in model takes half a minute to make
        words = [*model_choices(bench), "recipe.max_length=1024", *words]
    importlib.import_module(f"selectmm.commands.{name}").main(words)
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(("page", "command"), COMPOSED, ids=[f"{page}: {command}" for page, command in COMPOSED])
def test_a_command_that_would_train_or_needs_a_cluster_is_composed_and_built(page: str, command: str) -> None:
    words = spelled_out(command)
    if words[0] in command_files():
        words = [word for word in words[1:] if "=" in word]
    check_overrides(CONFIGS, words_of(words))  # every value that is named exists
    if "experiments" not in command:  # those are composed and built in tests of their own
        first = [re.sub(r"=([^,\[{]+),.*", r"=\1", word) for word in words_of(words)]
        [(config, method)] = read_jobs(first, multirun=False)
        build(config, method)


def on_boards(method: str) -> set[tuple[object, ...]]:
    """Suite, recipe, budget and seed of the committed records of a method."""
    records = [json.loads(file.read_text()) for file in (ROOT / "results/records").glob(f"*-{method}-*.json")]
    return {(one["suite"]["name"], one["recipe"]["name"], one["budget"], one["seed"]) for one in records}


def test_a_method_that_is_compared_as_in_the_tutorial_can_stand_beside_random_on_the_leaderboard() -> None:
    for page in ("README.md", METHOD):
        [compared] = [one for one in commands(page) if "random,shortest" in one and "--config-dir" not in one]
        jobs = read_jobs(words_of(spelled_out(compared)), multirun=True)
        made = {name: [_asked(config) for config, method in jobs if method == name] for name in ("shortest", "random")}
        assert made["shortest"] and set(made["shortest"]) <= on_boards("random"), page
        assert made["random"] == made["shortest"]


def _asked(config: DictConfig) -> tuple[object, ...]:
    return config.suite.name, config.recipe.name, config.budget, config.seed


def test_boards_that_a_row_is_added_to_have_random_for_every_seed_and_a_full_run() -> None:
    page = (ROOT / "results/README.md").read_text()
    named = re.findall(r"`suite=(\w+) recipe=(\w+) budget=([\d.]+) seed=([\d,]+)`", page)
    assert len(named) == 2
    for suite, recipe, budget, seeds in named:
        wanted = {(suite, recipe, float(budget), int(seed)) for seed in seeds.split(",")}
        assert wanted <= on_boards("random")
        assert {(suite, recipe)} <= {one[:2] for one in on_boards("full")}


def test_the_page_that_is_made_from_records_is_the_committed_one() -> None:
    [report] = [command for command in commands(TABLE) if command.startswith("report ")]
    [compared] = [line for line in lines(TABLE) if line.startswith("diff ")]
    importlib.import_module("selectmm.commands.report").main(spelled_out(report)[1:])
    made, committed = compared.split()[1:]
    assert Path(made).read_bytes() == (ROOT / committed).read_bytes()


def test_the_rows_that_are_selected_are_half_and_stand_as_in_the_pools_file(bench: Path) -> None:
    """With the tiny model in place of the built-in one, whose weights take seconds to read."""
    [select] = [command for command in commands(POOL) if command.startswith("select ")]
    main = importlib.import_module("selectmm.commands.select").main
    main([*model_choices(bench), "recipe.max_length=1024", *spelled_out(select)[1:]])
    rows, kept = (json.loads((bench / name).read_text()) for name in ("rows.json", "kept.json"))
    assert len(kept) == len(rows) // 2 and all(row in rows for row in kept)


def test_the_rows_for_data_juicer_are_as_many_as_the_pools_with_a_mark_for_each_image(bench: Path) -> None:
    exec(next(block for block in blocks(METHOD, "python") if "__dj__image" in block), {})
    rows = json.loads((bench / "pool.json").read_text())
    written = [json.loads(line) for line in (bench / "rows.jsonl").read_text().splitlines()]
    assert [row["text"].count("<__dj__image>") for row in written] == [int("image" in row) for row in rows]
    assert [row["images"] for row in written] == [[f"images/{row['image']}"] if "image" in row else [] for row in rows]


@pytest.mark.parametrize("page", PAGES)
def test_what_is_no_command_of_ours_is_a_file_or_known(page: str) -> None:
    others = [line for line in lines(page) if "selectmm" not in line]
    assert {line.split()[0] for line in others} <= {"diff", "pip", "python"}
    for line in others:
        if line.startswith("python"):
            assert (ROOT / line.split()[1]).exists(), line


@pytest.mark.parametrize("page", PAGES)
def test_examples_of_files_can_be_read(page: str) -> None:
    for block in blocks(page, "json"):
        if "…" not in block:
            json.loads(block)
    for block in blocks(page, "yaml"):
        assert yaml.safe_load(block)


def test_what_an_agent_of_wandb_would_start_is_a_command_of_ours() -> None:
    """Its own documentation: ``${args_no_hyphens}`` stands for ``name=value`` of every parameter."""
    sweep = next(block for block in map(yaml.safe_load, blocks(PAGE, "yaml")) if "parameters" in block)
    program, args, *more = sweep["command"]
    assert (program, args) == (sweep["program"], "${args_no_hyphens}") == ("selectmm", "${args_no_hyphens}")
    for name, values in sweep["parameters"].items():
        for value in values["values"]:
            check_overrides(CONFIGS, words_of([f"{name}={value}", *more]))
