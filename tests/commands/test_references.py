"""Reference scores go where the configuration says, and never over those of another model."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from selectmm.commands import references
from selectmm.errors import UserError
from selectmm.paths import ROOT
from selectmm.report.references import check_free

ALL = ["mini-POPE", "mini-SQA"]


def test_scores_of_another_model_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "mini.json"
    check_free(file, "ab12", ALL, None)
    beside = tmp_path / "mini.record.json"
    beside.write_text(json.dumps({"model": "ab12", "suite": {}}))
    file.write_text(json.dumps({name: {"base": 50.0} for name in ALL}))
    check_free(file, "ab12", ALL, None)
    with pytest.raises(UserError) as error:
        check_free(file, "cd34", ALL, None)
    assert str(error.value) == (
        f"{file} holds the reference scores of another model; name another file, such as "
        f"references={tmp_path}/mini-2.json, here and in the runs of this model."
    )
    beside.write_text("{}")
    with pytest.raises(UserError, match="does not say which model and prompts its reference scores are of"):
        check_free(file, "ab12", ALL, None)
    beside.unlink()
    with pytest.raises(
        UserError, match=r"Beside the reference scores .* there is no mini\.record\.json, which says what"
    ):
        check_free(file, "ab12", ALL, None)


@pytest.mark.parametrize(
    ("names", "limit", "said"),
    [
        (["mini-POPE"], None, r"also holds reference scores of mini-SQA, which this .* leave suite\.only out, or name"),
        (
            ALL,
            5,
            r"holds reference scores of more items of mini-SQA than suite\.limit=5 would measure; leave suite\.limit",
        ),
        (ALL, 20, r"more items of mini-SQA than suite\.limit=20 would measure"),
        (ALL, 40, None),
        ([*ALL, "mini-MME"], None, None),
    ],
)
def test_scores_that_would_not_be_measured_again_are_kept(
    names: list[str], limit: int | None, said: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "mini.json"
    file.write_text(json.dumps({name: {"base": 50.0} for name in ALL}))
    measured = {"prompts": "p0", "limit": 40}
    record = {"model": "ab12", "suite": {"mini-SQA": measured, "mini-POPE": {**measured, "limit": 3}}}
    (tmp_path / "mini.record.json").write_text(json.dumps(record))
    with nullcontext() if said is None else pytest.raises(UserError, match=said):
        check_free(file, "ab12", names, limit)


@pytest.mark.parametrize("given", ["null", "results/references"])
def test_a_file_is_asked_for(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    said = rf"^selectmm references writes to references=FILE\.json, and references is {given}\.$"
    with pytest.raises(UserError, match=said):
        references.main([f"references={given}"])
