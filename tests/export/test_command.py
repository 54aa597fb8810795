"""``python -m selectmm export``: from a record, or from folders, to a folder; every mistake is one sentence."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from selectmm.commands.export import main
from selectmm.errors import UserError
from selectmm.records.cached import adapter_of, subset_of
from selectmm.records.files import load
from selectmm.records.schedule import PointEntry
from selectmm.tuning.adapter import load_adapter
from tests.export.recorded import model_choices, pool_choices, recorded_run

from transformers import AutoModelForImageTextToText  # isort: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A place and the record of a run there."""
    place = tmp_path_factory.mktemp("run")
    return place, recorded_run(place, "method=length")


def logits_of(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(6, 40)[None]).logits


def exported(folder: Path) -> torch.Tensor:
    return logits_of(AutoModelForImageTextToText.from_pretrained(folder).eval())


def test_a_record_is_enough_to_export_its_model(run: tuple[Path, Path], tmp_path: Path) -> None:
    place, record = run
    main(["model", "--record", str(record), "--yes", "--to", str(tmp_path / "out")])
    vlm = instantiate(load(record).config["model"])
    with load_adapter(vlm, adapter_of(load(record), place / "cache")) as tuned:
        assert torch.equal(exported(tmp_path / "out"), logits_of(tuned.model))
    card = (tmp_path / "out" / "README.md").read_text()
    for part in (
        load(record).name,
        "4 rows that length chose of a pool of 8",
        "budget 0.5",
        "recipe: embedded (",
        "base",
    ):
        assert part in card


def test_an_adapters_folder_and_a_model_are_enough_too(run: tuple[Path, Path], tmp_path: Path) -> None:
    place, record = run
    main(["model", "--record", str(record), "--yes", "--to", str(tmp_path / "one")])
    adapter = adapter_of(load(record), place / "cache")
    main(["model", "--adapter", str(adapter), *model_choices(place), "--to", str(tmp_path / "two")])
    assert torch.equal(exported(tmp_path / "one"), exported(tmp_path / "two"))
    assert "unknown (exported from an adapter alone)" in (tmp_path / "two" / "README.md").read_text()


def test_a_run_that_was_moved_is_found_with_its_new_places(run: tuple[Path, Path], tmp_path: Path) -> None:
    place = shutil.copytree(run[0], tmp_path / "moved")
    record = place / "records" / run[1].name
    content = record.read_text().replace(str(run[0]), "/elsewhere")
    record.write_text(content)
    there = ["--record", str(record), "--yes", "--cache", str(place / "cache")]
    main(["model", *there, f"model.path={place / 'base'}", "--to", str(tmp_path / "model")])
    assert (tmp_path / "model" / "model.safetensors").is_file()
    choices = [choice for choice in pool_choices(place) if "." in choice.split("=")[0]]
    main(["subset", *there, *choices, "--format", "llava", "--to", str(tmp_path / "subset")])
    assert len(json.loads((tmp_path / "subset" / "subset.json").read_text())) == 4


def test_the_subset_of_a_record_is_exported_with_its_method(run: tuple[Path, Path], tmp_path: Path) -> None:
    place, record = run
    main(["subset", "--record", str(record), "--yes", "--format", "llava", "--to", str(tmp_path / "out")])
    chosen = json.loads((subset_of(load(record), place / "cache") / "subset.json").read_text())["rows"]
    rows = json.loads((tmp_path / "out" / "subset.json").read_text())
    assert [int(row["id"]) for row in rows] == chosen
    page = (tmp_path / "out" / "README.md").read_text()
    assert "- method: length (options: none), seed 0" in page
    assert "- budget: 0.5 of the pool" in page


def test_a_subsets_folder_and_a_pool_are_enough_too(run: tuple[Path, Path], tmp_path: Path) -> None:
    place, record = run
    folder = subset_of(load(record), place / "cache")
    arguments = ["--subset", str(folder), *pool_choices(place), f"cache={place / 'cache'}"]
    main(["subset", *arguments, "--format", "ms_swift", "--to", str(tmp_path / "out")])
    assert len((tmp_path / "out" / "subset.jsonl").read_text().splitlines()) == 4


def test_rows_that_hold_a_placeholder_are_told_of_on_the_screen(
    run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "place"
    shutil.copytree(run[0] / "pool", place / "pool")
    rows = json.loads((place / "pool" / "pool.json").read_text())
    rows[0]["conversations"][1]["value"] = "Use <video> here."
    (place / "pool" / "pool.json").write_text(json.dumps(rows))
    shutil.copytree(run[0] / "base", place / "base")
    record = recorded_run(place, "method=full")
    main(["subset", "--record", str(record), "--yes", "--format", "llama_factory", "--to", str(tmp_path / "out")])
    assert "1 of them hold a placeholder of the trainer in their text; see its README.md" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Say what to export: model or subset."),
        (["modle"], "'modle' cannot be exported; say what to export: model or subset."),
        (["model", "--to", "x"], "Nothing was named: give --record FILE, or --adapter FOLDER and model=…"),
        (
            ["subset", "--to", "x", "--format", "llava"],
            "Nothing was named: give --record FILE, or --subset FOLDER and pool",
        ),
        (["model", "--record", "nowhere.json", "--to", "x"], "There is no record to read at nowhere.json"),
        (["model", "--record", "RECORD", "--to", "PLACE"], "is not empty; give --to a new folder"),
        (
            ["model", "--record", "RECORD", "--to", "x", "model.path=/nowhere"],
            "checkpoint at '/nowhere': give a folder",
        ),
        (
            ["model", "--record", "RECORD", "--to", "x", "model.dtype=bfloat16"],
            "torch.bfloat16.*set model.path and",
        ),
        (
            ["model", "--record", "RECORD", "--to", "x", "recipe.lr=1"],
            "its model can be changed, not recipe.lr",
        ),
        (
            ["model", "--record", "RECORD", "--to", "x", "model.pth=1"],
            "no 'model.pth': did you mean 'model.path'",
        ),
        (
            ["model", "--record", "RECORD", "--to", "x", "--cache", "none"],
            "The adapter of run-length-.* cache none",
        ),
        (
            ["subset", "--record", "RECORD", "--to", "x", "--cache", "none", "--format", "llava"],
            "The subset of run-",
        ),
        *(
            (
                ["subset", "--to", "x", "--absolute", "--format", name],
                f"--absolute is for .* --format {name} does not",
            )
            for name in ("original", "indices")
        ),
        (["model", "--adapter", "PLACE", "--to", "x", "MODEL"], "There is no adapter in"),
        (["subset", "--subset", "PLACE", "--to", "x", "--format", "llava", "POOL"], "no subset.json in"),
    ],
)
def test_every_mistake_is_one_sentence(
    words: list[str], said: str, run: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, record = run
    monkeypatch.chdir(tmp_path)
    known = {
        "RECORD": [str(record), "--yes"],
        "PLACE": [str(place)],
        "MODEL": model_choices(place),
        "POOL": pool_choices(place),
    }
    with pytest.raises(UserError, match=said):
        main([word for given in words for word in known.get(given, [given])])
    assert not (tmp_path / "x").exists()


def test_an_adapter_that_is_gone_comes_with_the_command_that_makes_it_again(run: tuple[Path, Path]) -> None:
    place, record = run
    with pytest.raises(UserError) as caught:
        adapter_of(load(record), place / "empty")
    assert str(caught.value).endswith(f"or make it again: {load(record).provenance.command}")


def test_two_adapters_that_fit_are_not_guessed_between(run: tuple[Path, Path], tmp_path: Path) -> None:
    """Such as one trained on a GPU and one on the CPU: the record does not say which."""
    cache = shutil.copytree(run[0] / "cache", tmp_path / "cache")
    folder = adapter_of(load(run[1]), cache)
    shutil.copytree(folder, folder.with_name("another"))
    with pytest.raises(UserError, match=r" and .* could be the adapter of run-length-.*; name one with --adapter"):
        adapter_of(load(run[1]), cache)


def test_an_adapter_in_bfloat16_is_found_and_that_of_an_earlier_version_is_not_taken_for_it(
    run: tuple[Path, Path], tmp_path: Path
) -> None:
    """Earlier versions rounded its buffers; what is trained now says so where it is named (`Recipe.learned`)."""
    cache, record = shutil.copytree(run[0] / "cache", tmp_path / "cache"), load(run[1])
    folder = adapter_of(record, cache)
    options = {**record.recipe.options, "precision": "bf16-true"}
    half = replace(record, recipe=replace(record.recipe, options=options))
    stage = json.loads((folder / "stage.json").read_text())
    stage["identity"]["recipe"]["precision"] = "bf16-true"
    (folder / "stage.json").write_text(json.dumps(stage))
    with pytest.raises(UserError, match="is not in the cache"):
        adapter_of(half, cache)
    stage["identity"]["recipe"]["buffers"] = "float32"
    (folder / "stage.json").write_text(json.dumps(stage))
    assert adapter_of(half, cache) == folder
    with pytest.raises(UserError, match="is not in the cache"):
        adapter_of(record, cache)


def test_an_adapter_with_points_on_the_way_is_that_of_the_run_that_was_evaluated_there(
    run: tuple[Path, Path], tmp_path: Path
) -> None:
    cache, record = shutil.copytree(run[0] / "cache", tmp_path / "cache"), load(run[1])
    folder = adapter_of(record, cache)
    other = shutil.copytree(folder, folder.with_name("another"))
    stage = json.loads((other / "stage.json").read_text())
    (other / "stage.json").write_text(json.dumps({**stage, "identity": {**stage["identity"], "points": [1]}}))
    assert adapter_of(record, cache) == folder
    assert adapter_of(replace(record, evaluations=2, curve=(PointEntry(1, 0.0, 1.0, {}),)), cache) == other


def test_subsets_of_equal_rows_and_other_scores_are_not_guessed_between(run: tuple[Path, Path], tmp_path: Path) -> None:
    cache = shutil.copytree(run[0] / "cache", tmp_path / "cache")
    folder = subset_of(load(run[1]), cache)
    shutil.copytree(folder, folder.with_name("another"))
    assert subset_of(load(run[1]), cache).name in {folder.name, "another"}
    np.save(folder.with_name("another") / "scores.npy", np.zeros(8))
    with pytest.raises(UserError, match=r"chose the rows of run-length-.* by other scores; name one with --subset"):
        subset_of(load(run[1]), cache)


def test_another_run_is_another_adapter(run: tuple[Path, Path]) -> None:
    """Seed, recipe and rows tell stages of one cache apart."""
    place, record = run
    others = [recorded_run(place, "method=length", "seed=1"), recorded_run(place, "method=full")]
    folders = {adapter_of(load(each), place / "cache") for each in [record, *others]}
    assert len(folders) == 3
