"""Reference scores go where the configuration says, and never over those of another model."""

import json
from pathlib import Path

import pytest

from selectmm.commands import references
from selectmm.errors import UserError
from selectmm.paths import ROOT
from selectmm.report.references import check_free


def test_scores_of_another_model_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "mini.json"
    check_free(file, "ab12")
    beside = tmp_path / "mini.record.json"
    beside.write_text(json.dumps({"model": "ab12", "suite": {}}))
    check_free(file, "ab12")
    with pytest.raises(UserError) as error:
        check_free(file, "cd34")
    assert str(error.value) == (
        f"{file} holds the reference scores of another model; name another file, such as "
        f"references={tmp_path}/mini-2.json, here and in the runs of this model."
    )
    beside.write_text("{}")
    with pytest.raises(UserError, match="does not say which model and prompts its reference scores are of"):
        check_free(file, "ab12")


@pytest.mark.parametrize("given", ["null", "results/references"])
def test_a_file_is_asked_for(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    said = rf"^selectmm references writes to references=FILE\.json, and references is {given}\.$"
    with pytest.raises(UserError, match=said):
        references.main([f"references={given}"])
