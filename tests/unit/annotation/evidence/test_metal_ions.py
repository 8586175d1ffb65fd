"""Ions of a metal's adduct: fragments may keep the metal in place of a hydrogen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from specvae_bench.fragments.examples import read_measurements

from specvae.annotation.evidence.fragment_lists import FragmentList, scoring
from specvae.annotation.evidence.fragment_peaks import (
    Peaks,
    composition,
    has_subformula,
    match_peaks,
)
from specvae.annotation.evidence.fragment_score import (
    METAL_SHARE,
    FragmentScorer,
    standard_scorers,
)
from specvae.annotation.evidence.likeliest_ions import FragmentIon, likeliest_ions
from specvae.annotation.library.filter import SpectrumFilter
from specvae.cli.console import Console
from specvae.masses import ELECTRON_MASS, formula_mass
from specvae.molecules.fragments import FragmentTable
from specvae.molecules.molecule import Molecule
from specvae.spectra.adducts import parse_adduct
from specvae.spectra.spectrum import Spectrum

ACID, ESTER = "OC(=O)Cc1ccccc1", "COC(=O)c1ccccc1"  # C8H8O2
MORE_BY = formula_mass("Na") - formula_mass("H")


def ion(formula: str) -> float:
    """Return the m/z of a cation of this composition."""
    return formula_mass(formula) - ELECTRON_MASS


def peaks(*formulas: str, adduct: str = "[M+Na]+") -> Peaks:
    mz = np.array(sorted(map(ion, formulas)))
    spectrum = Spectrum(
        mz=mz, intensity=np.linspace(1.0, 0.5, len(mz)), query_id="q", adduct=adduct
    )
    return Peaks.of(spectrum)


def likeliest(table: FragmentTable, query: Peaks) -> list[FragmentIon | None]:
    return likeliest_ions(table, query, standard_scorers()[query.ion_mode])


@pytest.fixture(scope="module")
def scorer() -> FragmentScorer:
    return standard_scorers()["positive"]


def test_peaks_know_the_metal_of_the_adduct() -> None:
    assert peaks("C7H7")[-2:] == ("Na", 1)
    assert peaks("C7H7", adduct="[M+2K-H]+")[-2:] == ("K", 2)
    assert peaks("C7H7", adduct="[M+H]+")[-2:] == ("", 0)


def test_ions_with_and_without_sodium_by_hand() -> None:
    table = FragmentTable.of(ACID)
    found = likeliest(table, peaks("C7H7", "C7H8Na", "C8H8O2Na"))
    assert [None if e is None else e.formula for e in found] == ["C7H7+", "C7H8Na+", "C8H8NaO2+"]
    assert [0.0 if e is None else e.error for e in found] == pytest.approx([0.0] * 3, abs=1e-6)
    protonated = likeliest(table, peaks("C7H7", "C7H8Na", "C8H8O2Na", adduct="[M+H]+"))
    assert [e is not None for e in protonated] == [True, False, False]


def test_salts_keep_one_or_two_atoms_of_their_metal() -> None:
    found = likeliest(FragmentTable.of(ACID), peaks("C8H7O2Na2", "C8H8O2Na", adduct="[M+2Na-H]+"))
    assert [None if e is None else e.formula for e in found] == ["C8H8NaO2+", "C8H7Na2O2+"]


def test_a_fragment_has_no_more_metal_than_hydrogens_and_charges() -> None:
    table = FragmentTable.of("ClC(Cl)(Cl)Cl")
    found = likeliest(table, peaks("CCl4Na", "CCl3Na", adduct="[M+Na]+"))
    assert [None if e is None else e.formula for e in found] == ["CCl3Na+", "CCl4Na+"]
    # It has no hydrogen that a second atom could stand for.
    assert likeliest(table, peaks("CCl4Na2", adduct="[M+2Na]2+")) == [None]


def test_matches_are_in_the_order_of_the_peaks() -> None:
    found = match_peaks(FragmentTable.of(ACID), peaks("C7H7", "C7H8Na", "C8H8O2Na"))
    assert found.peak.tolist() == sorted(found.peak.tolist())
    assert set(zip(found.peak.tolist(), found.metals.tolist(), strict=True)) == {
        (0, 0),
        (1, 1),
        (2, 1),
    }


def test_parts_of_the_formula_may_have_the_metal() -> None:
    kinds = composition(FragmentTable.of(ACID).graph)
    query = peaks("C7H7", "C7H8Na", "C9H7Na")
    assert has_subformula(kinds, query).tolist() == [True, True, False]
    protonated = query._replace(metal="", n_metals=0)
    assert has_subformula(kinds, protonated).tolist() == [True, False, False]


def test_peaks_lighter_than_the_metal_are_no_part_of_the_formula() -> None:
    kinds = composition(FragmentTable.of(ACID).graph)
    light = Peaks(np.array([50.3, 100.4, 118.6]), np.ones(3), 243.0)
    for metal in ("", "Na", "K", "Ag", "Cs"):
        query = light._replace(metal=metal, n_metals=int(metal != ""))
        assert not has_subformula(kinds, query).any()


def test_the_score_is_that_of_both_kinds_of_ions_together(scorer: FragmentScorer) -> None:
    query = peaks("C7H7", "C7H8Na", "C8H6ONa", "C8H8O2Na")
    table = FragmentTable.of(ACID)
    without = scorer.of_query(query._replace(metal="", n_metals=0))
    (plain,) = scorer.explain(table, [without])
    moved = scorer.of_query(query._replace(mz=query.mz - MORE_BY, metal="", n_metals=0))
    moved.constants = without.constants  # what is known of the spectrum is of its own peaks
    (sodiated,) = scorer.explain(table, [moved])
    assert np.flatnonzero(plain.at_peaks).tolist() == [0]
    assert np.flatnonzero(sodiated.at_peaks).tolist() == [1, 2, 3]
    together = plain._replace(
        total=METAL_SHARE * (plain.total + sodiated.total),
        at_peaks=METAL_SHARE * (plain.at_peaks + sodiated.at_peaks),
    )
    (found,) = scorer.explain(table, [scorer.of_query(query)])
    assert found.total == pytest.approx(together.total)
    assert found.at_peaks == pytest.approx(together.at_peaks)
    # All four peaks are parts of the formula, with sodium or without.
    arrays, place = scorer.to_arrays(), np.searchsorted([0.35, 0.7], query.mz / query.precursor_mz)
    assert has_subformula(composition(table.graph), query).all()
    known = without.background(np.ones(4, np.bool_))
    odds = np.log(together.at_peaks + np.exp(known))
    odds -= arrays["share"] * np.log(together.total + 1e-6)
    height = np.searchsorted([0.01, 0.05, 0.25], query.intensity)
    weight = np.sqrt(query.intensity) * np.exp(arrays["peak_weight"][height, place])
    weight /= weight.sum()
    spread = np.exp(-(weight * np.log(weight)).sum() / 2 + arrays["scale"])
    (score,) = scorer.scores(query, [table])
    assert score == pytest.approx((weight * odds).sum() * spread, abs=1e-3)


def test_sodiated_fragments_tell_isomers_apart(scorer: FragmentScorer) -> None:
    tables = [FragmentTable.of(smiles) for smiles in (ACID, ESTER)]
    seen = ("C7H8Na", "C8H8O2Na")  # the acid loses CO2
    acid, ester = scorer.scores(peaks(*seen), tables)
    assert acid > ester + 0.5


def test_gains_are_those_of_the_score(scorer: FragmentScorer) -> None:
    query = peaks("C7H7", "C7H8Na", "C9H7Na")
    table = FragmentTable.of(ACID)
    (explained,) = scorer.explain(table, [scorer.of_query(query)])
    background = scorer.of_query(query).background(has_subformula(composition(table.graph), query))
    found = likeliest_ions(table, query, scorer)
    gains = np.log1p(explained.at_peaks / np.exp(background))
    assert [0.0 if e is None else e.gain for e in found] == pytest.approx(gains.tolist())
    matches = match_peaks(table, query)
    weights, _ = scorer.weigh(table, query, matches)
    by_peak = np.bincount(matches.peak, weights, minlength=3)
    assert METAL_SHARE * by_peak == pytest.approx(explained.at_peaks, rel=1e-4)


def test_the_score_counts_no_ion_with_more_metal_than_hydrogens(scorer: FragmentScorer) -> None:
    table = FragmentTable.of("ClC(Cl)(Cl)Cl")
    query = peaks("CCl3Na", "CCl4Na")
    lacking = query._replace(mz=query.mz - np.array([formula_mass("H"), 0.0]))
    (explained,) = scorer.explain(table, [scorer.of_query(lacking)])
    assert (explained.at_peaks > 0.0).tolist() == [False, True]
    matches = match_peaks(table, lacking)
    weights, _ = scorer.weigh(table, lacking, matches)
    by_peak = METAL_SHARE * np.bincount(matches.peak, weights, minlength=2)
    assert by_peak == pytest.approx(explained.at_peaks, rel=1e-4)


@pytest.mark.parametrize("off_by", [5e-6, 9.7e-6])
def test_the_score_and_its_explanation_have_one_tolerance(
    scorer: FragmentScorer, off_by: float
) -> None:
    table = FragmentTable.of("CCCCCCCCCCCCCCCCCCCCCCCCCC(=O)O")
    query = peaks("C26H52O2Na")
    query = query._replace(mz=query.mz * (1 + off_by))
    (explained,) = scorer.explain(table, [scorer.of_query(query)])
    assert explained.at_peaks[0] > 0.0
    assert len(match_peaks(table, query).peak) > 0


def test_many_queries_of_all_kinds_share_a_molecule() -> None:
    queries = [
        peaks("C7H7", "C8H9O2", adduct="[M+H]+"),
        peaks("C7H7", "C7H8Na"),
        peaks("C7H7")._replace(mz=np.zeros(0), intensity=np.zeros(0)),
        peaks("C7H8K", "C8H8O2K", adduct="[M+K]+"),
    ]
    molecules = [Molecule.parse(ACID), Molecule.parse(ESTER)]
    lists = [FragmentList(query, molecules) for query in queries]
    with scoring(standard_scorers(), lists) as scores:
        found = scores()
    scorer = standard_scorers()["positive"]
    for query, of_query in zip(queries, found, strict=True):
        alone = scorer.scores(query, map(FragmentTable.of, (ACID, ESTER)))
        np.testing.assert_array_equal(of_query, alone)


def test_weights_are_not_fitted_to_them(tmp_path: Path) -> None:
    record = "NAME: x\nPRECURSORTYPE: {}\nPRECURSORMZ: {}\nSMILES: {}\nNum Peaks: 1\n91.054 9\n\n"
    library = tmp_path / "library.msp"
    library.write_text(
        record.format("[M+H]+", ion("C8H9O2"), ACID)
        + record.format("[M+Na]+", ion("C8H8O2Na"), ACID)
        + record.format("[M+Na]+", ion("C8H8O2Na"), ESTER),
        encoding="utf-8",
    )
    measured = read_measurements([library], SpectrumFilter(), Console())
    (spectra,) = measured.spectra.values()
    assert [spectrum.ion for spectrum in spectra] == [parse_adduct("[M+H]+")]
