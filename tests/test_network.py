"""Without a network, what would have to be downloaded from the hub is refused at once, in one sentence."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from selectmm import network
from selectmm.commands import references, verify_eval
from selectmm.errors import UserError
from selectmm.evaluation.suite import Benchmark, Suite
from selectmm.instantiate import open_model
from selectmm.models import llava
from selectmm.network import check_data_sets, check_inside, check_model, check_path
from selectmm.pool.hub import load_split
from selectmm.stages.suite_data import check_data

ROOT = Path(__file__).parent.parent
ASKED = []


@pytest.fixture(autouse=True)
def unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Online by its settings, with an empty cache, and a client that finds nobody."""

    def head(url: str, timeout: float) -> None:
        ASKED.append((url, timeout))
        raise ConnectionError("[Errno -2] Name or\nservice not known")

    ASKED.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(network, "get_session", lambda: SimpleNamespace(head=head))


def test_a_checkpoint_of_the_hub_is_refused_after_one_question_of_five_seconds() -> None:
    said = (
        r"^'llava-hf/llava-1\.5-7b-hf' is not in the hub's cache, and https://\S+ cannot be reached from this machine "
        r"\(\[Errno -2\] Name or service not known\): download it where there is a network \(hf download llava-hf/"
        r"llava-1\.5-7b-hf --local-dir FOLDER\), and set model\.path=FOLDER\.$"
    )
    with pytest.raises(UserError, match=said):
        llava.load("llava-hf/llava-1.5-7b-hf", device="cpu")
    assert ASKED == [(constants.ENDPOINT, 5.0)]


def test_nothing_is_asked_for_a_folder_or_a_cached_checkpoint_or_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_model(str(tmp_path / "gone"), {})
    monkeypatch.setattr(network, "try_to_load_from_cache", lambda *_, **__: "/cache/config.json")
    check_model("owner/name", {"revision": "main"})
    monkeypatch.undo()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    check_model("owner/name", {})
    assert ASKED == []


def test_a_path_of_a_model_that_is_no_folder_names_its_option(tmp_path: Path) -> None:
    check_path("model.path", str(tmp_path))
    check_path("model.path", "llava-hf/llava-1.5-7b-hf@main")
    for path in ("/nope", "./nope", "", "llava"):
        with pytest.raises(UserError) as problem:
            open_model({"_target_": "selectmm.models.llava.load", "path": path, "device": "cpu"})
        assert str(problem.value) == (
            f"model.path={path}: there is no such folder; give a folder that holds a checkpoint, or a hub id such as "
            f"llava-hf/llava-1.5-7b-hf."
        )


def test_a_hub_that_answers_anything_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "get_session", lambda: SimpleNamespace(head=lambda url, timeout: None))
    check_model("owner/name", {})


def suite_of(tasks: Path | None, *names: str) -> Suite:
    made = [Benchmark(name, "lmms-eval", name, "exact_match", 100, None) for name in names]
    return Suite("tested", made, tasks, None, 4, 8)


def test_a_suite_s_data_sets_and_a_pool_are_refused_likewise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "prepared")
    said = (
        r"'lmms-lab-encoder/POPE' is not in the hub's cache, .*: download it where there is a network \(hf download "
        r"lmms-lab-encoder/POPE --repo-type dataset --local-dir FOLDER/lmms-lab-encoder/POPE, and likewise "
        r"lmms-lab-encoder/ChartQA\), and set suite\.data=FOLDER\.$"
    )
    with pytest.raises(UserError, match=said):
        check_data(suite_of(None, "pope", "pope_adv", "chartqa"))
    with pytest.raises(UserError, match=r"dataset --local-dir FOLDER\), and set pool\.dataset=FOLDER\.$"):
        load_split("owner/name", None, "main", "train")
    assert ASKED == 2 * [(constants.ENDPOINT, 5.0)]


@pytest.mark.parametrize("command", [verify_eval.main, references.main])
def test_data_that_are_out_of_reach_are_named_before_a_model_is_opened(
    command: Callable[[Sequence[str]], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "prepared")
    with pytest.raises(UserError, match=r"^'[\w/-]+' is not in the hub's cache, .* and set suite\.data=FOLDER\.$"):
        command(["model=llava15_7b", "suite=scalselect"])


def test_nothing_is_asked_for_data_that_are_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "prepared")
    (tmp_path / "prepared" / "lmms-lab-encoder___pope").mkdir(parents=True)
    (tmp_path / "cache" / "datasets--lmms-lab-encoder--ChartQA").mkdir(parents=True)
    monkeypatch.setattr(network, "get_token", lambda: "hf_mine")
    check_data(suite_of(None, "pope", "chartqa"))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "mine.yaml").write_text("task: mine\ndataset_path: parquet\n")
    check_data(suite_of(tmp_path / "tasks", "mine"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    check_data_sets(["owner/name"], "pool.dataset")
    assert ASKED == []


def test_a_task_that_wants_a_token_of_the_hub_says_so_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    (tmp_path / "lmms-lab-encoder___pope").mkdir()
    monkeypatch.setattr(network, "get_token", lambda: None)
    said = r"^Benchmark 'pope' reads 'lmms-lab-encoder/POPE' .* token, and there is none: log in once"
    with pytest.raises(UserError, match=said):
        check_data(suite_of(None, "pope"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    check_data(suite_of(None, "pope"))


@pytest.mark.parametrize(
    "path", ["http://host/x.parquet", "/etc/x.parquet", "../x.parquet", "zip://x::http://host/a.zip"]
)
@pytest.mark.parametrize("file", ["README.md", ".huggingface.yaml"])
def test_a_data_set_in_a_folder_names_no_file_outside_of_it(file: str, path: str, tmp_path: Path) -> None:
    said = (
        f"configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: ['data/*.parquet', '{path}']\n"
    )
    (tmp_path / file).write_text(
        f"---\nlicense: mit\n{said}---\n# Its page at https://host\n" if file[0] == "R" else said
    )
    with pytest.raises(UserError, match=r"names the file '.*', which is not in its folder; put it there"):
        load_split(str(tmp_path), None, "main", "train")
    (tmp_path / file).write_text((tmp_path / file).read_text().replace(f", '{path}'", ""))
    check_inside(tmp_path)
