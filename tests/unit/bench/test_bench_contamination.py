"""Contaminated spectra have all their own peaks, and noise or peaks of another compound."""

from pathlib import Path

import numpy as np
import pytest
from annotation_examples import spectrum_of
from click.testing import CliRunner
from specvae_bench.contamination import Contamination
from specvae_bench.folds.holdout import holdout

from specvae.report import ReadReport
from specvae.spectra.read import read_spectra
from specvae.spectra.spectrum import Spectrum

ETHANOL, PROPANE, PYRIDINE = "CCO", "CCC", "c1ccncc1"
SPECTRA = {
    "A": [spectrum_of(ETHANOL, 29.03, 31.01)],
    "B": [spectrum_of(PROPANE, 15.02, 29.04), spectrum_of(PROPANE, 27.02)],
    "C": [spectrum_of(PYRIDINE, 51.02, 53.04, 80.05)],
}


def pairs(spectrum: Spectrum) -> set[tuple[float, float]]:
    return set(zip(spectrum.mz.tolist(), spectrum.intensity.tolist(), strict=True))


def test_a_spectrum_keeps_its_peaks_and_gets_others() -> None:
    contamination, rng = Contamination(SPECTRA), np.random.default_rng(0)
    own = SPECTRA["C"][0]
    assert own.precursor_mz is not None
    others = {mz for block in "AB" for one in SPECTRA[block] for mz in one.mz.tolist()}
    n_with = {"noise": 0, "other": 0, "both": 0}
    for _ in range(300):
        found = contamination.of(own, "C", rng)
        assert pairs(own) < pairs(found)
        assert (np.diff(found.mz) >= 0).all()
        assert found.intensity.max() == own.intensity.max()
        assert found.mz.max() < own.precursor_mz + 1.0
        assert (found.query_id, found.precursor_mz) == (own.query_id, own.precursor_mz)
        added = np.array(sorted(pairs(found) - pairs(own)))
        is_other = np.isin(added[:, 0], list(others))
        heights = added[:, 1] / own.intensity.max()
        assert ((heights >= 0.001) & (heights <= 1.0)).all()
        assert (heights[~is_other] <= 0.05).all()
        assert is_other.sum() <= 2
        assert is_other.all() or 5 <= (~is_other).sum() <= 200
        kind = "other" if is_other.all() else "both" if is_other.any() else "noise"
        n_with[kind] += 1
    assert all(70 < n < 130 for n in n_with.values())


def test_a_spectrum_is_not_contaminated_with_its_own_compound() -> None:
    alone = Contamination({"B": SPECTRA["B"]})
    rng = np.random.default_rng(0)
    for _ in range(20):
        found = alone.of(SPECTRA["B"][0], "B", rng)
        assert 27.02 not in found.mz.tolist()


def test_a_compound_of_many_spectra_may_have_no_neighbour() -> None:
    many = [spectrum_of(ETHANOL, 29.03, 31.01)] * 60
    contamination, rng = Contamination({"A": many, **SPECTRA}), np.random.default_rng(0)
    found = [contamination.of(many[0], "A", rng) for _ in range(100)]
    others = {mz for one in SPECTRA["C"] for mz in one.mz.tolist()}
    assert any(len(one.mz) > 2 for one in found)
    assert not any(others & set(one.mz.tolist()) for one in found)


def test_the_same_seed_draws_the_same() -> None:
    drawn = [
        Contamination(SPECTRA).of(SPECTRA["C"][0], "C", np.random.default_rng(3)) for _ in range(2)
    ]
    assert pairs(drawn[0]) == pairs(drawn[1])


@pytest.mark.parametrize("share", ["0.0", "1.0"])
def test_holdout_contaminates_queries(share: str, tmp_path: Path, library: Path) -> None:
    sound, contaminated = tmp_path / "sound", tmp_path / "contaminated"
    for folder, given in ((sound, "0.0"), (contaminated, share)):
        command = ["--spectra", str(library), "--share", "0.3"]
        result = CliRunner().invoke(holdout, [*command, "--contaminated", given, "-o", str(folder)])
        assert result.exit_code == 0, result.output
    assert (sound / "truth.csv").read_text() == (contaminated / "truth.csv").read_text()
    before, after = (
        list(read_spectra(folder / "queries.mgf", ReadReport())) for folder in (sound, contaminated)
    )
    assert [one.query_id for one in before] == [one.query_id for one in after]
    n_more = [len(b.mz) - len(a.mz) for a, b in zip(before, after, strict=True)]
    assert all(n >= 0 for n in n_more)
    assert any(n_more) == (share == "1.0")
