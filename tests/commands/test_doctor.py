"""python -m selectmm doctor: its status, its file, its words."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from selectmm.command_line.reading import chosen_by, read_config
from selectmm.commands.doctor import _asks_model, main
from selectmm.errors import UserError
from selectmm.instantiate import build
from selectmm.screen import output
from tests.tiny import tiny_llava, tiny_qwen2_vl, write_pool

ROOT = Path(__file__).parents[2]
Found = Callable[..., dict[str, object]]


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests, as the built-in model is made in it the first time."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def choices(tmp_path: Path, cache: Path) -> list[str]:
    file, images = write_pool(tmp_path, rows=16)
    place = [f"pool.file={file}", f"pool.images={images}", f"cache={cache}"]
    return ["pool=llava_json", *place]


@pytest.fixture
def found(capsys: pytest.CaptureFixture[str]) -> Found:
    """The document that the command prints for a script; its status is told as ``status``."""

    def ask(*words: str) -> dict[str, object]:
        status = 0
        with output(json=True):
            try:
                main(words)
            except SystemExit as end:
                status = end.code
        return {**json.loads(capsys.readouterr().out), "status": status}

    return ask


def test_a_good_pool_ends_with_status_0(choices: list[str], found: Found, capsys: pytest.CaptureFixture[str]) -> None:
    report = found(*choices)
    assert (report["status"], report["rows"], report["blocked"], report["expected"]) == (0, 16, False, None)
    main(choices)
    assert "Nothing here stops a run." in capsys.readouterr().out


def test_a_setting_s_pool_is_compared_with_its_published_counts(choices: list[str], found: Found) -> None:
    report = found("setting=llava15_7b_665k", *choices[1:])
    assert report["pool"] == "llava_665k" and report["expected"] is not None and report["unread"] is None


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], True),
        (["pool=llava_json"], True),
        (["pool=llava_665k"], False),  # the built-in model is not what one tunes on it
        (["recipe=embedded"], True),
        (["setting=qwen2_5_vl_7b_625k"], True),
        (["setting=llava15_7b_665k"], False),  # its model has no path before one is given
        (["setting=llava15_7b_665k", "model.path=x"], True),
    ],
)
def test_own_pools_are_measured_for_the_model_of_a_run_and_published_ones_for_a_chosen_model(
    words: list[str], named: bool
) -> None:
    assert _asks_model(read_config(words), words, chosen_by(words)) is named


def test_a_bad_pool_ends_with_status_1_and_is_told(
    choices: list[str], tmp_path: Path, found: Found, capsys: pytest.CaptureFixture[str]
) -> None:
    next((tmp_path / "images").rglob("*.png")).unlink()
    with pytest.raises(SystemExit) as end:
        main(choices)
    assert end.value.code == 1
    shown = capsys.readouterr().out
    report = found(*choices)
    assert report["status"] == 1
    assert report["findings"][0]["name"] == "missing image" and report["blocked"]
    assert "missing image" in shown
    main([*choices, "pool.bad_rows=drop"])


def test_rows_that_cannot_be_read_are_told_in_the_report(choices: list[str], tmp_path: Path, found: Found) -> None:
    (tmp_path / "pool.json").write_text('[{"conversations": []}, {"text": "…"}]')
    report = found(*choices)
    first = report["findings"][0]
    assert (report["unread"], first["name"], first["count"]) == (None, "cannot be read: no turns", 2)
    assert first["examples"][1].startswith(f"Row 1 of {tmp_path / 'pool.json'} has no list 'conversations'")
    (tmp_path / "pool.json").write_text('[{"conversations": []}, {"text')
    report = found(*choices)
    assert report["status"] == 1
    assert "Row 1 of" in report["unread"] and "is not JSON (the file ends in the middle of it)" in report["unread"]


def test_with_a_model_rows_are_measured_in_its_tokens(choices: list[str], tmp_path: Path, found: Found) -> None:
    model = tiny_llava(tmp_path / "model")
    report = found(*choices, "model=llava15_7b", f"model.path={model}", "recipe.max_length=8")
    assert report["status"] == 1, "no image fits into 8 tokens"
    findings = {f["name"]: f for f in report["findings"]}
    assert 0 < findings["longer than 8 tokens"]["count"] <= 16
    assert findings["image behind recipe.max_length"]["count"] == 12  # all but every fourth row, which is text
    with pytest.raises(UserError, match="No tokenizer at"):
        main([*choices, "model=llava15_7b", f"model.path={tmp_path / 'none'}"])


def test_without_a_model_rows_are_measured_as_a_run_with_the_defaults_would(
    choices: list[str], tmp_path: Path, found: Found
) -> None:
    rows = json.loads((tmp_path / "pool.json").read_text())
    rows[3]["conversations"][1]["value"] = "word " * 1000  # 5,000 characters, 1,000 tokens
    (tmp_path / "pool.json").write_text(json.dumps(rows))
    findings = {f["name"]: f for f in found(*choices)["findings"]}
    assert findings["longer than 512 tokens"]["count"] == 1
    assert findings["longer than 512 tokens"]["advice"] == (
        "They are cut in training with model=embedded and recipe=embedded, and the run's record counts them; raise "
        "recipe.max_length to keep them whole."
    )


def test_what_is_not_set_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"Not set: pool\.file, pool\.images; give pool\.file="):
        main(["pool=llava_json"])


def test_a_run_does_not_keep_bad_rows(choices: list[str]) -> None:
    with pytest.raises(UserError, match=r"pool\.bad_rows=keep is for looking at bad rows; a run takes stop or drop\."):
        build(read_config([*choices, "pool.bad_rows=keep"]), "prism")


def test_with_a_model_rows_that_it_cannot_take_are_found(choices: list[str], tmp_path: Path, found: Found) -> None:
    """A Qwen2-VL: its placeholder in a text, a shape above 200 to 1, a long question before the image, and </s>."""
    rows = json.loads((tmp_path / "pool.json").read_text())[:4]
    ends = "What?", "Red<|im_end|> and </s>."  # the second is no token of this model
    late = [("word " * 60, "Yes."), ("<image>This?", "Red.")]
    seen = [[("What?", "An <|image_pad|>.")], [("<image>What?", "Red.")], late, [ends]]
    for number, talk in enumerate(seen, start=4):
        turns = [
            {"from": who, "value": text} for said in talk for who, text in zip(("human", "gpt"), said, strict=True)
        ]
        image = {5: {"image": "thin.png"}, 6: {"image": rows[0]["image"]}}.get(number, {})
        rows.append({"id": f"n{number}", "conversations": turns, **image})
    Image.new("RGB", (4, 804)).save(tmp_path / "images" / "thin.png")
    (tmp_path / "pool.json").write_text(json.dumps(rows))
    model = ["model=qwen2_vl_2b", f"model.path={tiny_qwen2_vl(tmp_path / 'model')}", "recipe.max_length=64"]
    findings = {f["name"]: f for f in found(*choices, *model)["findings"]}
    shown = {name: (f["weight"], f["examples"]) for name, f in findings.items() if "model" in name or "behind" in name}
    assert shown == {
        "image mark of the model in a text": ("blocks", ["row 4 (id 'n4'): <|image_pad|>"]),
        "image of a shape that the model refuses": ("blocks", ["row 5 (id 'n5'), thin.png"]),
        "image behind recipe.max_length": ("blocks", [f"row 6 (id 'n6'), {rows[0]['image']}"]),
        "special tokens of the model in a text": ("look", ["row 7 (id 'n7'): <|im_end|>"]),
    }
    main([*choices, *model, "pool.bad_rows=drop"])
