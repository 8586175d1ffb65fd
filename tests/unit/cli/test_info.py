from __future__ import annotations

import pytest

from specvae.annotation.library.header import CalibrationFigures, StoredEvidence
from specvae.cli.info import _evidence_lines
from specvae.spectra.binning import BinLayout

EVIDENCE = StoredEvidence(BinLayout(), "morgan4096", "", {"fragments": 1.4}, ("A" * 14,), ("C",))


@pytest.mark.parametrize(
    ("fitted", "wanted"),
    [
        (None, ("the shipped calibration, fitted to other models", "[M+H]+ spectra", "only")),
        (
            CalibrationFigures(1200, 400, 10.0, 0.25, 0.5, "pool.h5"),
            ("this model's own calibration", "400 validation compounds among pool.h5", "in-sample"),
        ),
    ],
)
def test_info_says_whose_the_calibration_is(
    fitted: CalibrationFigures | None, wanted: tuple[str, ...]
) -> None:
    lines = dict(_evidence_lines(EVIDENCE, fitted))
    assert lines["ranks by"] == "fragments 1.40"
    for text in wanted:
        assert text in lines["probabilities"]
