"""The suites as they are configured."""

import numpy as np
import pytest
import yaml

from selectmm.evaluation.tasks import OURS
from selectmm.quickstart.items import held_out
from tests.evaluation.material import CONFIGS, benchmarks


def test_the_mini_suite_has_the_eleven_columns() -> None:
    names = "SQA SQA-IMG VizWiz POPE MM-Vet MMBench MME MMMU HellaSwag MMLU MMLU-Pro"
    assert [benchmark.name for benchmark in benchmarks().values()] == [f"mini-{name}" for name in names.split()]


def test_chance_is_guessing_among_the_options_of_the_held_out_items() -> None:
    for key, made in held_out().items():
        benchmark = benchmarks()[key]
        assert 50 <= len(made) <= 200
        if made[0].options:
            guessed = 100 * float(np.mean([1 / len(item.options) for item in made]))
            assert benchmark.chance == pytest.approx(guessed, abs=0.5), key
        elif key == "mme":
            assert benchmark.chance == 75 * len({item.kind for item in made})
        elif key == "pope":
            assert benchmark.chance == 50
            assert np.mean([item.answer == "yes" for item in made]) == 0.5
        else:
            assert benchmark.chance is None


def test_the_prism_suite_marks_what_no_judge_has_seen() -> None:
    entries = yaml.safe_load((CONFIGS / "prism.yaml").read_text())["benchmarks"]
    assert {entry["name"] for entry in entries if entry.get("judge") == "exact"} == {"MM-Vet"}
    assert "mmvet_exact" in {file.stem for file in OURS.glob("*.yaml")}
    assert not any(entry["name"].startswith("mini") for entry in entries)
