"""The page of methods follows from their files, and has a line for every method, with where it is from."""

import re
from pathlib import Path

from experiments.studies.method_table import NAME, REFERENCES, ROOT, SOURCES, bytes_of, make
from selectmm.features.outputs import AttentionOutputs
from selectmm.features.states import ImageStates
from selectmm.methods.method import Needs


def test_the_committed_page_is_made_again(tmp_path: Path) -> None:
    assert make(tmp_path).read_text() == (ROOT / "results" / "tables" / f"{NAME}.md").read_text()


def test_every_method_with_a_paper_in_the_readme_has_the_same_one_here() -> None:
    readme = (ROOT / "README.md").read_text().split("<!-- methods:begin -->")[1].split("<!-- methods:end -->")[0]
    papers = dict(re.findall(r"^\| `(\w+)` \|.*?\[([\d.]+)\]", readme, re.MULTILINE))
    assert {name: SOURCES[name][0] for name in papers} == papers
    page = (ROOT / "results" / "tables" / f"{NAME}.md").read_text()
    there = {path.stem for path in (ROOT / "configs" / "method").glob("*.yaml")} - REFERENCES
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == there


def test_bytes_by_hand() -> None:
    """4,096 numbers of two bytes; COINCIDE's five layers, two halves each."""
    assert bytes_of(Needs()) == "0"
    assert bytes_of(Needs(features=(ImageStates(layer=1),))) == "8,192 per image"
    five = AttentionOutputs(layers=(4, 8, 12, 16, 20), depth=24)
    assert bytes_of(Needs(features=(five,))) == f"{2 * 5 * 4096 * 2:,}"
