from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotation_examples import spectrum_of

from specvae.annotation.evidence.analogues import ANALOGUE_BINS
from specvae.annotation.library.filter import SpectrumFilter, canonical_adducts
from specvae.annotation.library.folds import fold_of
from specvae.annotation.library.labels import TENTATIVE
from specvae.annotation.library.library import Library, encode_unpaired_spectra
from specvae.annotation.library.pairs import (
    CATION,
    FITTING_COMPONENT,
    PRECURSOR_OF_STRUCTURE,
    SALT_ION,
    TENTATIVE_STRUCTURE,
    read_many,
    usable_pairs,
)
from specvae.annotation.library.precursors import COARSE_PRECURSOR, ROUNDED_PRECURSOR
from specvae.annotation.library.query import ELECTRON_IONISATION
from specvae.errors import ConfigError, InputError
from specvae.report import ReadReport, Reason
from specvae.spectra.binning import BinLayout
from specvae.spectra.sparse import SparseMatrix
from specvae.spectra.spectrum import Spectrum

CAFFEINE = "Cn1cnc2c1c(=O)n(C)c(=O)n2C"
ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
QUADRUPOLE = {"instrument_type": "LC-ESI-QQ"}
LIPID = "CCCCCCCCCCCCCCCCCCCCCC(=O)NC(CO)C(O)/C=C/CCCCCCCCCCCCC"


def spectrum(**changes: object) -> Spectrum:
    fields: dict[str, object] = {
        "mz": np.array([110.0713, 138.0662]),
        "intensity": np.array([10.0, 100.0]),
        "query_id": "s1",
        "precursor_mz": 195.0877,
        "adduct": "[M+H]+",
        "charge": 1,
        "ion_mode": "positive",
        "ms_level": 2,
        "instrument_type": "LC-ESI-QTOF",
        "smiles": CAFFEINE,
    }
    return Spectrum(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "wanted", "reason"),
    [
        ({"ms_level": 1}, {}, Reason.MS_LEVEL),
        ({"ion_mode": "negative"}, {"ion_mode": "positive"}, Reason.ION_MODE),
        ({"adduct": "[M+Na]+"}, {"adducts": frozenset({"[M+H]+"})}, Reason.ADDUCT),
        ({"instrument_type": "EI-B"}, {"instrument_types": ("*QTOF*",)}, Reason.INSTRUMENT_TYPE),
        ({}, {"min_peaks": 3}, Reason.TOO_FEW_PEAKS),
        ({"precursor_mz": None}, {"precursor_of_structure": False}, Reason.NO_PRECURSOR),
        ({"precursor_mz": None, "ms_level": None}, {}, Reason.NO_PRECURSOR),
        ({"precursor_mz": None, "adduct": None}, {}, Reason.NO_PRECURSOR),
        ({"precursor_mz": None, "smiles": None}, {}, Reason.NO_PRECURSOR),
        ({"precursor_mz": None, "smiles": "C1CC"}, {}, Reason.NO_PRECURSOR),
        ({"precursor_mz": None, "smiles": "C[N+](C)(C)CCO"}, {}, Reason.NO_PRECURSOR),
        ({"precursor_mz": None, "smiles": f"{CAFFEINE}.{ASPIRIN}"}, {}, Reason.NO_PRECURSOR),
        # More than a tenth of the intensity lies above the m/z of ethanol's ion.
        ({"precursor_mz": None, "smiles": "CCO"}, {}, Reason.NO_PRECURSOR),
        ({"smiles": None}, {}, Reason.NO_STRUCTURE),
        ({"name": "w/o MS2:Caffeine"}, {}, Reason.SUGGESTED),
        ({"name": "no MS2: Caffeine"}, {}, Reason.SUGGESTED),
        ({"name": "low score: Caffeine"}, {}, Reason.SUGGESTED),
        ({"name": "DECOY_caffeine"}, {}, Reason.DECOY),
        ({"name": "Caffeine decoy 7"}, {}, Reason.DECOY),
        ({"metadata": {"IS_DECOY": "True"}}, {}, Reason.DECOY),
        ({"metadata": {"LIBRARYQUALITY": "decoy"}}, {}, Reason.DECOY),
        ({"metadata": {"Comment": "Mods=0 Remark=DECOY_7"}}, {}, Reason.DECOY),
        ({"metadata": {"comments": '"decoy=true" "author=X"'}}, {}, Reason.DECOY),
        ({"smiles": "C1CC"}, {}, Reason.BAD_STRUCTURE),
        ({"precursor_mz": 196.0877}, {}, Reason.MASS_MISMATCH),
        ({"adduct": "[M+Na]+"}, {}, Reason.MASS_MISMATCH),
        ({}, {"excluded": frozenset({"RYYVLZVUVIJVGH"})}, Reason.EXCLUDED),
    ],
)
def test_each_filter_names_its_reason(
    changes: dict[str, object], wanted: dict[str, object], reason: Reason
) -> None:
    report = ReadReport()
    good = spectrum(query_id="good", smiles=ASPIRIN, precursor_mz=181.0495)
    odd = spectrum(**changes)
    if reason is Reason.TOO_FEW_PEAKS:
        good = replace(good, mz=np.array([1.0, 2.0, 3.0]), intensity=np.ones(3))
    library = Library.from_spectra(
        [odd, good],
        BinLayout(),
        report,
        SpectrumFilter(**wanted),  # type: ignore[arg-type]
    )
    assert [skip.reason for skip in report.skips] == [reason]
    assert report.skips[0].record == "s1"
    assert [m.first_block for m in library.molecules] == ["BSYNRYMUTXBXSQ"]


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": {"DECOY": "false"}},
        {"metadata": {"decoy": "0", "comment": "decoy=0, no decoys were searched"}},
        {"name": "Decoyinine"},
        {"name": "Caffeine (target-decoy FDR < 1%)"},
        {"query_id": "target+decoys.msp#1", "path": "lib/target+decoys.msp"},
        {"query_id": "all decoys.msp#1", "path": "lib/all decoys.msp"},
    ],
)
def test_records_that_are_no_decoys_are_used(changes: dict[str, object]) -> None:
    report = ReadReport()
    library = Library.from_spectra([spectrum(**changes)], BinLayout(), report, SpectrumFilter())
    assert not report.skips
    assert len(library.molecules) == 1


def test_filter_patterns_ignore_case_and_let_unknown_levels_pass() -> None:
    wanted = SpectrumFilter(instrument_types=("*qtof*", "LC-ESI-ITFT"))
    assert wanted.reject(spectrum(ms_level=None)) is None
    assert wanted.reject(spectrum(instrument_type="lc-esi-itft")) is None
    assert wanted.reject(spectrum(instrument_type=None)) == (Reason.INSTRUMENT_TYPE, "unknown")


def test_mass_tolerance_is_relative_but_at_least_a_hundredth() -> None:
    # 20 ppm of 195 Th are 0.004 Th; rounding to two decimals must still pass.
    report = ReadReport()
    shifted = [spectrum(precursor_mz=195.0877 + d) for d in (0.0, 0.009, -0.009, 0.012, -0.012)]
    library = Library.from_spectra(shifted, BinLayout(), report)
    assert len(library) == 3
    assert report.counts == {Reason.MASS_MISMATCH: 2}


@pytest.mark.parametrize(
    ("changes", "exact", "kind"),
    [
        ({"precursor_mz": None}, 195.0877, PRECURSOR_OF_STRUCTURE),
        ({"precursor_mz": None, "adduct": "[M+Na]+"}, 217.0696, PRECURSOR_OF_STRUCTURE),
        (
            {
                "precursor_mz": None,
                "adduct": "[M]+",
                "smiles": "C[N+](C)(C)CCO",
                "mz": [58.0, 60.0],
            },
            104.1070,
            PRECURSOR_OF_STRUCTURE,
        ),
        ({"precursor_mz": 195.0}, 195.0877, ROUNDED_PRECURSOR),
        ({"precursor_mz": 195.1}, 195.0877, ROUNDED_PRECURSOR),
        # Rounded up, and to one decimal.
        ({"precursor_mz": 623.0, "smiles": LIPID}, 622.6133, ROUNDED_PRECURSOR),
        ({"precursor_mz": 622.6, "smiles": LIPID}, 622.6133, ROUNDED_PRECURSOR),
        # As a quadrupole measured it, mostly without ion species.
        ({"precursor_mz": 194.81, **QUADRUPOLE}, 195.0877, COARSE_PRECURSOR),
        ({"precursor_mz": 195.31, **QUADRUPOLE, "adduct": None}, 195.0877, COARSE_PRECURSOR),
        (
            {"precursor_mz": 217.42, **QUADRUPOLE, "adduct": "[M+Na]+"},
            217.0696,
            COARSE_PRECURSOR,
        ),
        (
            {"precursor_mz": 195.06, "instrument_type": "linear ion trap"},
            195.0877,
            COARSE_PRECURSOR,
        ),
        ({"precursor_mz": 195.0, **QUADRUPOLE, "adduct": None}, 195.0877, ROUNDED_PRECURSOR),
    ],
)
def test_precursors_that_are_rounded_or_not_stated_are_the_structures(
    changes: dict[str, object], exact: float, kind: str
) -> None:
    """Libraries state what the quadrupole was set to, or nothing."""
    report = ReadReport()
    ((found, _),) = usable_pairs([spectrum(**changes)], SpectrumFilter(), report)
    assert found.precursor_mz == pytest.approx(exact, abs=2e-4)
    assert report.notes == {kind: 1}
    strict = SpectrumFilter(precursor_of_structure=False)
    assert list(usable_pairs([spectrum(**changes)], strict, ReadReport())) == []


@pytest.mark.parametrize("mz", [None, 195.0])
def test_spectra_that_are_left_out_are_not_noted(mz: float | None) -> None:
    report = ReadReport()
    wanted = SpectrumFilter(excluded=frozenset({"RYYVLZVUVIJVGH"}))
    assert list(usable_pairs([spectrum(precursor_mz=mz)], wanted, report)) == []
    assert (report.counts, report.notes) == ({Reason.EXCLUDED: 1}, {})


@pytest.mark.parametrize(
    "changes",
    [
        {"precursor_mz": 194.0},
        {"precursor_mz": 196.0},
        {"precursor_mz": 195.2},
        {"precursor_mz": 195.06},  # two decimals: an m/z that was measured, of something else
        {"precursor_mz": 195.06, "instrument_type": "LC-ESI-QTOF"},
        {"precursor_mz": 195.06, "instrument_type": "linear ion trap, orbitrap"},
        {"precursor_mz": 194.81, "instrument_type": None},
        {"precursor_mz": 195.7123, **QUADRUPOLE},  # a quadrupole is not off by so much
        {"precursor_mz": 195.7, **QUADRUPOLE},
        {"precursor_mz": 194.21, **QUADRUPOLE},
        {"precursor_mz": 180.12, **QUADRUPOLE},
        {"precursor_mz": 195.0, "adduct": None, "instrument_type": "LC-ESI-QTOF"},
        {"precursor_mz": 195.2123, **QUADRUPOLE},  # four decimals were measured exactly
        {"precursor_mz": 195.0, "adduct": "[M+Na]+"},
        {"precursor_mz": 195.0, "smiles": f"{CAFFEINE}.{ASPIRIN}"},
    ],
)
def test_other_precursors_still_do_not_fit(changes: dict[str, object]) -> None:
    report = ReadReport()
    assert list(usable_pairs([spectrum(**changes)], SpectrumFilter(), report)) == []
    assert report.counts == {Reason.MASS_MISMATCH: 1}


@pytest.mark.parametrize(
    ("instrument_type", "is_coarse"),
    [
        *dict.fromkeys(
            ("LC-ESI-QQQ", "QqQ/triple quadrupole", "IT/ion trap", "Quattro_QQQ:25eV", "ESI-LTQ",
             "TripleQuadrupole", "Triple Quad", "Xevo TQ-S", "QqLIT", "API QTRAP"),
            True,
        ).items(),
        *dict.fromkeys(
            ("LC-ESI-ITTOF", "Quadrupole time-of-flight", "Q-ICR", "LTQ-FT", "LTQ Orbitrap",
             "Q Exactive", "Quadrupole - Fourier transform", "Synapt Q", "HCD"),
            False,
        ).items(),
    ],
)  # fmt: skip
def test_instruments_of_low_resolution_are_known_by_their_type(
    instrument_type: str, is_coarse: bool
) -> None:
    """As MassBank, MoNA, GNPS, NIST and vendors call them."""
    read = spectrum(precursor_mz=194.81, instrument_type=instrument_type)
    assert len(list(usable_pairs([read], SpectrumFilter(), ReadReport()))) == is_coarse


def test_adduct_is_assumed_from_the_ion_mode() -> None:
    negative = spectrum(adduct=None, ion_mode="negative", charge=-1, precursor_mz=193.0731)
    report = ReadReport()
    library = Library.from_spectra([negative, spectrum(adduct=None)], BinLayout(), report)
    assert (len(library), report.notes) == (2, {})


@pytest.mark.parametrize(
    ("changes", "ion"),
    [
        ({"precursor_mz": 195.0877}, "[M+H]+"),
        ({"precursor_mz": 193.0731}, "[M-H]-"),
        ({"precursor_mz": 217.0696, "ion_mode": "positive", "charge": 1}, "[M+Na]+"),
        ({"precursor_mz": 104.1070, "smiles": "C[N+](C)(C)CCO"}, "[M]+"),
        # As read from "CHARGE=1" alone.
        (
            {
                "precursor_mz": 193.0731,
                "ion_mode": "positive",
                "charge": 1,
                "notes": ("charge without sign taken as positive (1)",),
            },
            "[M-H]-",
        ),
        # Only the InChI's structure fits.
        (
            {
                "precursor_mz": 179.0350,
                "inchi": "InChI=1S/C9H8O4/c1-6(10)13-8-5-3-2-4-7(8)9(11)12/h2-5H,1H3,(H,11,12)",
            },
            "[M-H]-",
        ),
    ],
)
def test_structure_and_precursor_tell_the_ion_of_a_record_that_states_none(
    changes: dict[str, object], ion: str
) -> None:
    """Old libraries state neither ion mode, charge nor ion species."""
    nothing: dict[str, object] = {"adduct": None, "ion_mode": None, "charge": None}
    report = ReadReport()
    wanted = SpectrumFilter(adducts=frozenset({ion}))
    records = [spectrum(**{**nothing, **changes})]
    library = Library.from_spectra(records, BinLayout(), report, wanted)
    assert (dict(library.adducts), report.counts) == ({ion: 1}, {})
    assert "ion species not stated, taken from structure and precursor m/z" in report.notes
    mode = "positive" if ion.endswith("+") else "negative"
    assert dict(library.ion_modes) == {mode: 1}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"precursor_mz": 196.0911}, Reason.ADDUCT),  # an isotope peak
        ({"precursor_mz": 195.0}, Reason.ADDUCT),
        ({"precursor_mz": 193.0731, "ion_mode": "positive"}, Reason.MASS_MISMATCH),
        ({"precursor_mz": 195.0877, "adduct": "[M+X]+"}, Reason.ADDUCT),
        ({"precursor_mz": 195.0877, "charge": 2}, Reason.ADDUCT),
    ],
)
def test_no_ion_is_told_that_does_not_fit(changes: dict[str, object], reason: Reason) -> None:
    nothing: dict[str, object] = {"adduct": None, "ion_mode": None, "charge": None}
    report = ReadReport()
    records = [spectrum(**{**nothing, **changes})]
    library = Library.from_spectra(records, BinLayout(), report)
    assert (len(library), report.counts) == (0, {reason: 1})


def test_spectra_of_one_compound_share_it_whatever_the_spelling() -> None:
    spectra = [
        spectrum(smiles=CAFFEINE),
        spectrum(smiles="CN1C=NC2=C1C(=O)N(C)C(=O)N2C"),
        spectrum(smiles=ASPIRIN, precursor_mz=181.0495),
    ]
    library = Library.from_spectra(spectra, BinLayout(), ReadReport())
    assert library.compound.tolist() == [0, 0, 1]
    assert len(library.molecules) == 2
    layout = BinLayout()
    expected = layout.encode_many(spectra)
    np.testing.assert_array_equal(library.spectra.columns, expected.columns)
    np.testing.assert_array_equal(library.spectra.offsets, expected.offsets)


def test_folds_hang_on_compound_and_seed_alone() -> None:
    blocks = [f"{i:014d}" for i in range(4000)]
    folds = [fold_of(block, 0.1, 0.2, seed=5) for block in blocks]
    counts = Counter(folds)
    assert abs(counts["val"] - 400) < 80
    assert abs(counts["test"] - 800) < 110
    assert folds == [fold_of(block, 0.1, 0.2, seed=5) for block in blocks]
    assert folds != [fold_of(block, 0.1, 0.2, seed=6) for block in blocks]
    # Growing the test share moves no compound from validation.
    for block, fold in zip(blocks, folds, strict=True):
        if fold == "val":
            assert fold_of(block, 0.1, 0.5, seed=5) == "val"


def test_split_keeps_compounds_together() -> None:
    spectra = [
        spectrum(smiles=smiles, precursor_mz=mz)
        for smiles, mz in ((CAFFEINE, 195.0877), (ASPIRIN, 181.0495))
        for _ in range(3)
    ]
    library = Library.from_spectra(spectra, BinLayout(), ReadReport())
    blocks = [molecule.first_block for molecule in library.molecules]
    rows = library.split({blocks[0]: "val", blocks[1]: "train"})
    assert {name: members.tolist() for name, members in rows.items()} == {
        "train": [3, 4, 5],
        "val": [0, 1, 2],
        "test": [],
    }


@pytest.mark.parametrize(
    ("changes", "origin"),
    [
        ({"name": "Methyl-X (TP6) (Tentative)"}, TENTATIVE),
        ({"metadata": {"remark": "x\nCONFIDENCE Tentative identification (Level 3)"}}, TENTATIVE),
        ({"metadata": {"Comments": '"confidence=Tentative" "ms level=MS2"'}}, TENTATIVE),
        ({"metadata": {"remark": "CONFIDENCE standard compound\nannotation tentative"}}, ""),
        ({"name": "Tentatively named"}, ""),
        ({"metadata": {"OTHER_MATCHED_COMPOUNDS": "2"}}, TENTATIVE),  # MZmine
        ({"metadata": {"OTHER_MATCHED_COMPOUNDS": "0"}}, ""),
    ],
)
def test_a_structure_that_its_record_calls_tentative(
    changes: dict[str, object], origin: str
) -> None:
    report = ReadReport()
    pairs = usable_pairs([spectrum(**changes)], SpectrumFilter(), report)
    (label,) = Library.from_pairs(pairs).labels
    assert label.origin == origin
    assert report.notes == ({TENTATIVE_STRUCTURE: 1} if origin else {})


def test_unpaired_spectra_need_no_structure_but_heed_the_exclusion() -> None:
    report = ReadReport()
    wanted = SpectrumFilter(excluded=frozenset({"RYYVLZVUVIJVGH"}))
    spectra = [
        spectrum(smiles=None),
        spectrum(),
        spectrum(smiles=None, inchikey="RYYVLZVUVIJVGH-UHFFFAOYSA-N"),
        spectrum(smiles="C1CC"),
    ]
    matrix = encode_unpaired_spectra(spectra, BinLayout(), report, wanted)
    assert len(matrix.offsets) - 1 == 2
    assert report.counts == {Reason.EXCLUDED: 2}


@pytest.mark.parametrize(
    ("odd", "other_block"),
    [
        # The record calls caffeine aspirin.
        (spectrum(inchikey="BSYNRYMUTXBXSQ-UHFFFAOYSA-N"), "BSYNRYMUTXBXSQ"),
        # The structure without its counter-ion has another key than the salt.
        (spectrum(smiles="CN1C=NC2=C1C(=O)N(C(=O)N2C)C.Cl"), "VDHPYBVMFNLZQG"),
    ],
)
def test_exclusion_heeds_the_keys_of_record_and_salt_as_well_as_the_structure(
    odd: Spectrum, other_block: str
) -> None:
    """Whichever of them is excluded, it is not learned from."""
    for block in ("RYYVLZVUVIJVGH", other_block):
        report = ReadReport()
        wanted = SpectrumFilter(excluded=frozenset({block}))
        library = Library.from_spectra([odd], BinLayout(), report, wanted)
        unpaired = encode_unpaired_spectra([odd], BinLayout(), report, wanted)
        assert len(library) == len(unpaired.offsets) - 1 == 0
        assert [(s.reason, s.detail) for s in report.skips] == 2 * [(Reason.EXCLUDED, block)]


def test_held_out_compounds_are_not_learned_from_unpaired() -> None:
    report = ReadReport()
    spectra = [spectrum(), spectrum(smiles=ASPIRIN, precursor_mz=181.0495), spectrum(smiles=None)]
    held_out = frozenset({"RYYVLZVUVIJVGH"})
    matrix = encode_unpaired_spectra(spectra, BinLayout(), report, SpectrumFilter(), held_out)
    assert len(matrix.offsets) - 1 == 2
    assert report.counts == {Reason.HELD_OUT: 1}


def test_adducts_in_any_spelling() -> None:
    assert canonical_adducts(["M+H", "[M+H]1+", "[M+FA-H]-"]) == {"[M+H]+", "[M+HCOO]-"}
    with pytest.raises(ConfigError, match="wanted one like"):
        canonical_adducts(["[M+H]+", "[M+Zz]+"])


def test_chunks_join_seamlessly() -> None:
    layout = BinLayout()
    spectra = [
        spectrum(mz=np.array([50.0 + i, 300.0 + i]), intensity=np.array([1.0, 2.0 + i]))
        for i in range(1300)
    ]
    whole = layout.encode_many(spectra)
    parts = [layout.encode_many(spectra[i : i + 500]) for i in (0, 500, 1000)]
    joined = SparseMatrix.stack(parts, layout.n_columns)
    through_library = encode_unpaired_spectra(spectra, layout, ReadReport(), SpectrumFilter())
    for name in ("offsets", "columns", "values"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
        np.testing.assert_array_equal(getattr(through_library, name), getattr(whole, name))


def test_an_inchi_stands_in_for_a_smiles_that_cannot_be_parsed() -> None:
    inchi = "InChI=1S/C9H8O4/c1-6(10)13-8-5-3-2-4-7(8)9(11)12/h2-5H,1H3,(H,11,12)"
    report = ReadReport()
    broken = [
        spectrum(query_id=name, smiles="CC(=O)Oc1ccccc1C(=O)O)", inchi=inchi, precursor_mz=181.0495)
        for name in "ab"
    ]
    library = Library.from_spectra([*broken, spectrum()], BinLayout(), report)
    assert report.skips == []
    assert [molecule.first_block for molecule in library.molecules] == [
        "BSYNRYMUTXBXSQ",
        "RYYVLZVUVIJVGH",
    ]
    assert report.notes == {"InChI taken where the SMILES cannot be parsed": 2}


def test_a_key_that_is_another_structures_is_noted() -> None:
    """The structure counts; a record whose key contradicts it was taken without a word."""
    report = ReadReport()
    spectrum = spectrum_of("CCO", 29.0386)
    keys = ("LFQSCWFLJHTTHZ-UHFFFAOYSA-N", "RYYVLZVUVIJVGH-UHFFFAOYSA-N", None)
    spectra = [replace(spectrum, query_id=str(n), inchikey=key) for n, key in enumerate(keys)]
    # The key of a salt is not that of its acid.
    salt = replace(spectra[1], smiles="CCO.Cl", query_id="salt")
    library = Library.from_spectra([*spectra, salt], ANALOGUE_BINS, report)
    assert {m.first_block for m in library.molecules} == {"LFQSCWFLJHTTHZ"}
    assert report.notes == {"InChIKey of another structure, the structure taken": 1}


ASPIRIN_INCHI = "InChI=1S/C9H8O4/c1-6(10)13-8-5-3-2-4-7(8)9(11)12/h2-5H,1H3,(H,11,12)"
CAFFEINE_INCHI = "InChI=1S/C8H10N4O2/c1-10-4-9-6-5(10)7(13)12(3)8(14)11(6)2/h4H,1-3H3"
CAFFEINE_SALT_INCHI = "InChI=1S/C8H10N4O2.ClH/c1-10-4-9-6-5(10)7(13)12(3)8(14)11(6)2;/h4H,1-3H3;1H"
ASPIRIN_SALT_INCHI = (
    "InChI=1S/C9H8O4.Na/c1-6(10)13-8-5-3-2-4-7(8)9(11)12;/h2-5H,1H3,(H,11,12);/q;+1/p-1"
)


@pytest.mark.parametrize(
    ("smiles", "inchi", "block", "note"),
    [
        # Two structures in one record: the precursor m/z tells which is meant.
        (CAFFEINE, ASPIRIN_INCHI, "RYYVLZVUVIJVGH", "InChI of another structure than the SMILES"),
        ("CCO", CAFFEINE_INCHI, "RYYVLZVUVIJVGH", "InChI taken, as the SMILES does not fit"),
        (CAFFEINE, CAFFEINE_INCHI, "RYYVLZVUVIJVGH", ""),
        (f"{CAFFEINE}.Cl", ASPIRIN_INCHI, "RYYVLZVUVIJVGH", ""),  # nor are keys of salts compared
        (CAFFEINE, CAFFEINE_SALT_INCHI, "RYYVLZVUVIJVGH", ""),
        (CAFFEINE, "InChI=1/C9H8O4", "RYYVLZVUVIJVGH", ""),  # has no standard key
    ],
)
def test_a_record_whose_smiles_and_inchi_differ(
    smiles: str, inchi: str, block: str, note: str
) -> None:
    report = ReadReport()
    both = [spectrum(query_id=name, smiles=smiles, inchi=inchi) for name in "ab"]
    library = Library.from_spectra(both, BinLayout(), report)
    assert [molecule.first_block for molecule in library.molecules] == [block]
    assert [(text[: len(note)], n) for text, n in report.notes.items()] == [(note, 2)] * bool(note)


@pytest.mark.parametrize(
    ("smiles", "mz", "wanted", "adduct"),
    [
        ("C[N+](C)(C)CCO", 104.1070, {}, "[M]+"),
        ("C[N+](C)(C)CCO.[Cl-]", 104.1070, {}, "[M]+"),
        ("C[N+](C)(C)CCO", 104.1070, {"adducts": frozenset({"[M+H]+"})}, ""),
        ("C[N+](C)(C)CCO", 104.1070, {"excluded": frozenset({"OEYIOHPDSNJKLS"})}, ""),
        ("C[N+](C)(C)CCO", 105.1148, {}, "[M+H]+"),  # what the record says, and cannot be
        ("CN(C)CCO", 89.0835, {}, ""),  # no cation: another structure, or another ion
    ],
)
def test_a_cation_that_is_said_to_be_protonated(
    smiles: str, mz: float, wanted: dict[str, Any], adduct: str
) -> None:
    report = ReadReport()
    one = spectrum(smiles=smiles, precursor_mz=mz)
    found = list(usable_pairs([one], SpectrumFilter(**wanted), report))
    assert [kept.adduct for kept, _ in found] == [adduct] * bool(adduct)
    assert report.notes == ({CATION.format("[M+H]+", "[M]+"): 1} if adduct == "[M]+" else {})


def test_a_cation_that_is_said_to_have_lost_one_proton() -> None:
    cyanidin = "Oc1cc(O)c2cc(O)c(-c3ccc(O)c(O)c3)[o+]c2c1"
    report = ReadReport()
    negative = {"smiles": cyanidin, "precursor_mz": 285.0405, "ion_mode": "negative", "charge": -1}
    stated, unstated, other = (
        spectrum(adduct="[M-H]-", **negative),
        spectrum(adduct=None, **negative),
        spectrum(adduct="[M-H]-", **{**negative, "smiles": CAFFEINE}),
    )
    found = usable_pairs([stated, unstated, other], SpectrumFilter(), report)
    assert [kept.adduct for kept, _ in found] == ["[M-2H]-", "[M-2H]-"]
    assert report.notes[CATION.format("[M-H]-", "[M-2H]-")] == 1
    assert [skip.reason for skip in report.skips] == [Reason.MASS_MISMATCH]


@pytest.mark.parametrize(
    ("stated", "charge", "mz", "adduct"),
    [
        ("[M+2H]2+", 2, 93.0573, "[M]2+"),
        (None, 2, 93.0573, "[M]2+"),
        (None, None, 93.0573, "[M]2+"),
        (None, 0, 93.0573, "[M]2+"),
        ("[M]2+", 2, 93.0573, "[M]2+"),
        ("[M+H]+", 1, 185.1073, "[M-H]+"),
        (None, 1, 185.1073, "[M-H]+"),
        ("[M+H]+", 1, 187.1230, "[M+H]+"),
        ("[M+Na]+", 1, 185.1073, ""),
    ],
)
def test_ions_of_a_cation_of_two_charges(
    stated: str | None, charge: int | None, mz: float, adduct: str
) -> None:
    paraquat = "C[n+]1ccc(-c2cc[n+](C)cc2)cc1"
    mode = None if charge is None else "positive"
    one = spectrum(smiles=paraquat, precursor_mz=mz, adduct=stated, charge=charge, ion_mode=mode)
    found = list(usable_pairs([one], SpectrumFilter(), ReadReport()))
    assert [kept.adduct for kept, _ in found] == [adduct] * bool(adduct)


@pytest.mark.parametrize(
    ("changes", "noted"),
    [
        ({"instrument_type": "GC-EI-TOF", "ms_level": None}, True),
        ({"metadata": {"IONIZATION": "EI"}, "ms_level": None}, True),
        ({"instrument_type": "GC-EI-QTOF", "ms_level": 2}, False),
        ({"ms_level": None}, False),
    ],
)
def test_spectra_of_electron_ionisation_are_counted(
    changes: dict[str, object], noted: bool
) -> None:
    report = ReadReport()
    assert len(list(usable_pairs([spectrum(**changes)], SpectrumFilter(), report))) == 1
    assert report.notes == ({ELECTRON_IONISATION: 1} if noted else {})


@pytest.mark.parametrize(
    ("smiles", "stated", "mz", "adduct"),
    [
        ("C[N+](C)(C)CCO.[Cl-]", "[M-Cl]+", 104.1070, "[M]+"),
        ("C[N+](C)(C)CCO.[I-]", "[M-I]+", 104.1070, "[M]+"),
        ("CC(=O)Oc1ccccc1C(=O)[O-].[Na+]", "[M-Na]-", 179.0350, "[M-H]-"),
        ("C[N+](C)(C)CCO.[Cl-]", "[M-Cl]+", 105.1143, ""),
        ("OCCCl", "[M-Cl]+", 45.0335, "[M-Cl]+"),  # no salt
        ("CC(=O)[O-]", "[M]-", 59.0139, "[M-H]-"),
        ("CC(=O)[O-]", "[M]-", 60.0217, "[M]-"),
        ("CN(C)c1ccc2nc3ccc(=[NH2+])cc-3sc2c1", "[M]+", 256.0903, "[M+H]+"),  # azure A
        ("c1ccc2ccccc2c1", "[M]+", 128.0621, "[M]+"),
        ("CC(=O)Oc1ccccc1C(=O)[O-].[Na+]", "[M-K]-", 201.0169, ""),
    ],
)
def test_ions_that_are_stated_of_the_whole_salt(
    smiles: str, stated: str, mz: float, adduct: str
) -> None:
    mode, charge = ("positive", 1) if stated.endswith("+") else ("negative", -1)
    one = spectrum(smiles=smiles, precursor_mz=mz, adduct=stated, charge=charge, ion_mode=mode)
    report = ReadReport()
    found = list(usable_pairs([one], SpectrumFilter(), report))
    assert [kept.adduct for kept, _ in found] == [adduct] * bool(adduct)
    assert (SALT_ION.format(stated, adduct) in report.notes) == (adduct not in ("", stated))


CHOLINE_TARTRATE = "C[N+](C)(C)CCO.OC(C(O)C(=O)[O-])C(=O)O"


@pytest.mark.parametrize(
    ("smiles", "adduct", "mz", "block"),
    [
        (CHOLINE_TARTRATE, "[M]+", 104.1070, "OEYIOHPDSNJKLS"),
        (CHOLINE_TARTRATE, "[M-H]-", 149.0092, "FEWJPZIEWOKRBE"),  # the largest
        (CHOLINE_TARTRATE, "[M]+", 120.0, ""),  # of none
        (f"NCCS.OC(C(O)C(=O)O)C(=O)O.{CAFFEINE}", "[M+H]+", 78.0372, "UFULAYFCSOUIOV"),
        ("CCCO.CCOC.OC(=O)c1ccccc1", "[M+H]+", 61.0648, ""),  # two of one mass
    ],
)
def test_a_smaller_component_of_a_salt_that_fits(
    smiles: str, adduct: str, mz: float, block: str
) -> None:
    report = ReadReport()
    mode = "negative" if adduct.endswith("-") else "positive"
    one = spectrum(smiles=smiles, adduct=adduct, precursor_mz=mz, ion_mode=mode, charge=None)
    library = Library.from_spectra([one], BinLayout(), report)
    assert [molecule.first_block for molecule in library.molecules] == [block] * bool(block)
    is_told = bool(block) and block != "FEWJPZIEWOKRBE"
    assert report.notes == ({FITTING_COMPONENT: 1} if is_told else {})
    excluded = SpectrumFilter(excluded=frozenset({"OEYIOHPDSNJKLS", "UFULAYFCSOUIOV"}))
    kept = Library.from_spectra([one], BinLayout(), ReadReport(), excluded)
    assert len(kept) == (block == "FEWJPZIEWOKRBE")


def test_a_key_of_the_salt_that_the_inchi_is_of_is_no_other_structures() -> None:
    report = ReadReport()
    record = spectrum(inchi=CAFFEINE_SALT_INCHI, inchikey="VDHPYBVMFNLZQG-UHFFFAOYSA-N")
    assert len(Library.from_spectra([record], BinLayout(), report)) == 1
    assert report.notes == {}


def test_neither_of_two_structures_that_fit_is_learned_from() -> None:
    report = ReadReport()
    misfit = spectrum(smiles="CCO", inchi=ASPIRIN_INCHI)
    assert len(Library.from_spectra([misfit], BinLayout(), report)) == 0
    assert report.counts == {Reason.MASS_MISMATCH: 1}


@pytest.mark.parametrize("inchi", [ASPIRIN_INCHI, ASPIRIN_SALT_INCHI])
def test_excluded_compounds_are_those_of_the_inchi_too(inchi: str) -> None:
    wanted = SpectrumFilter(excluded=frozenset(["BSYNRYMUTXBXSQ"]))
    report = ReadReport()
    record = spectrum(inchi=inchi)
    assert list(usable_pairs([record], wanted, report)) == []
    assert report.counts == {Reason.EXCLUDED: 1}


def test_a_library_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    path, link = tmp_path / "a.msp", tmp_path / "b.msp"
    path.write_text("Name: a\nPrecursorMZ: 99\nNum Peaks: 1\n42 1\n", encoding="utf-8")
    link.symlink_to(path)
    assert len(list(read_many([path], ReadReport()))) == 1
    with pytest.raises(InputError, match=r"b\.msp: is there twice among the files of spectra"):
        list(read_many([path, link], ReadReport()))
