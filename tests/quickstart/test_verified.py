"""The embedded model's evaluator, verified end to end; broken on purpose it falls outside of the band."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from selectmm.evaluation import generate as generating
from selectmm.evaluation.evaluate import evaluate
from selectmm.evaluation.images import as_shown
from selectmm.evaluation.results import read_manifest
from selectmm.evaluation.suite import Suite
from selectmm.models.vlm import VLM
from selectmm.quickstart.items import held_out
from selectmm.quickstart.schemas import write
from selectmm.report.references import Reference
from selectmm.verification.bands import Released, released_for
from selectmm.verification.verify import Verification, judged, save, verify
from tests.evaluation.material import suite

ITEMS = 24


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    tasks = tmp_path_factory.mktemp("tasks")
    write({name: items[:ITEMS] for name, items in held_out().items()}, tasks)
    return replace(suite("vizwiz", folder=tasks, batch_size=ITEMS), max_new_tokens=4)


@pytest.fixture(scope="module")
def released(vlm: VLM, wanted: Suite, tmp_path_factory: pytest.TempPathFactory) -> Released:
    """Scores recorded by a first evaluation, as ``python -m selectmm references`` records them."""
    folder = tmp_path_factory.mktemp("recorded")
    (score,) = evaluate(vlm, wanted, folder, 0)
    assert score.value > 30, "the base sees"
    references = folder / "references.json"
    references.write_text(json.dumps({score.benchmark: asdict(Reference(base=score.value))}))
    record = {"model": vlm.identity, "suite": read_manifest(folder, wanted)}
    references.with_suffix(".record.json").write_text(json.dumps(record))
    return released_for(None, vlm.identity, references)


def test_the_same_evaluator_is_inside(vlm: VLM, wanted: Suite, released: Released, tmp_path: Path) -> None:
    found = verify(vlm, wanted, released, tmp_path, 0)
    assert [verdict.answer for verdict in found.verdicts] == ["inside"]
    assert found.verdicts[0].ours == found.verdicts[0].released and found.changed == ()
    save(found, tmp_path / "to" / "found.json")
    kept = json.loads((tmp_path / "to" / "found.json").read_text())
    entry = kept["evaluator"]["mini-VizWiz"]
    assert len(entry["task_files"]) == len(entry["prompts"]) == 16
    assert entry["generation"].items() >= {"padding": "left", "batch_size": ITEMS, "dtype": "torch.float32"}.items()
    assert kept["suite"]["harnesses"] == {"lmms-eval": "0.7.3", "lm-eval": "0.4.13"}
    assert kept["template"] == asdict(vlm.family.template)


def _wrong_template(vlm: VLM, _: pytest.MonkeyPatch) -> VLM:
    template = replace(vlm.family.template, user_prefix="", assistant_prefix="\n\n### ")
    return replace(vlm, family=replace(vlm.family, template=template))


def _right_padding(vlm: VLM, monkeypatch: pytest.MonkeyPatch) -> VLM:
    encode = generating.encode
    monkeypatch.setattr(generating, "encode", lambda *given, **how: encode(*given, **{**how, "side": "right"}))
    return vlm


def _no_images(vlm: VLM, monkeypatch: pytest.MonkeyPatch) -> VLM:
    monkeypatch.setattr("selectmm.evaluation.multimodal.as_shown", lambda asked, _, rng: as_shown(asked, "blind", rng))
    return vlm


@pytest.mark.parametrize("broken", [_wrong_template, _right_padding, _no_images])
def test_a_broken_evaluator_is_outside(
    vlm: VLM,
    wanted: Suite,
    released: Released,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: Callable[[VLM, pytest.MonkeyPatch], VLM],
) -> None:
    evaluate(broken(vlm, monkeypatch), wanted, tmp_path, 0)
    found: Verification = judged(vlm, wanted, released, tmp_path)
    assert [verdict.answer for verdict in found.verdicts] == ["outside"]
    assert found.changed == (("mini-VizWiz",) if broken is _wrong_template else ())
