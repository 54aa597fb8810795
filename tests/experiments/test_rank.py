"""ScalSelect's ranks on the embedded pool: the committed page follows from the committed spectra."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.scalselect.rank import NAME, ROOT, make, rank


def test_the_committed_page_and_picture_are_made_again(tmp_path: Path) -> None:
    make(tmp_path)
    for ending in ("md", "svg"):
        made, kept = tmp_path / f"{NAME}.{ending}", ROOT / "results" / "tables" / f"{NAME}.{ending}"
        assert made.read_text() == kept.read_text()


def test_the_spectra_are_shares_largest_first_of_the_layers_that_the_setting_names() -> None:
    measured = json.loads((ROOT / "results" / "metrics" / "scalselect-spectrum.json").read_text())
    depth = (ROOT / "configs" / "setting" / "embedded.yaml").read_text()
    for layer, called in zip(measured["layers"], ("shallow", "middle", "deep"), strict=True):
        assert f"{called}: {layer['layer']}" in depth
        for shares in (np.array(layer["centred"]), np.array(layer["uncentred"])):
            assert len(shares) == layer["width"] and (np.diff(shares) <= 0).all()
            assert shares.sum() == pytest.approx(1, abs=1e-5)


def test_directions_until_the_energy_is_reached() -> None:
    assert [rank([0.6, 0.3, 0.1], energy) for energy in (0.6, 0.61, 0.9, 0.91)] == [1, 2, 2, 3]
