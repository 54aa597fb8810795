"""The picture of two matrices, also where they are not square and have unknown cells."""

from pathlib import Path

import numpy as np

from selectmm.report.transfer import TransferPicture, save_transfer


def test_unknown_cells_and_more_sources_than_targets_are_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    metric, gains = rng.random((5, 3)), rng.normal(size=(5, 3))
    gains[1, 2] = np.nan
    transfer = TransferPicture(metric, gains, "abcde", "xyz", printed_target=0.5)
    svg, png = save_transfer(transfer, "toy", tmp_path, "toy")
    again, _ = save_transfer(transfer, "toy", tmp_path, "again")
    assert svg.read_bytes() == again.read_bytes() and png.exists()
