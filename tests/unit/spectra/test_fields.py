import itertools
import random

import numpy as np
import pytest

from specvae.report import Reason
from specvae.spectra import fields
from specvae.spectra.build import require_peaks
from specvae.spectra.comments import parse_comments
from specvae.spectra.fields import collect
from specvae.spectra.keys import field_of
from specvae.spectra.values import (
    RejectedRecordError,
)


def test_keys_are_known_by_any_spelling() -> None:
    for key in ("RTINSECONDS", "RTINSECONDS[0]", "RTinSeconds[12] "):
        assert field_of(key) == "rt_seconds", key
    for key in ("PRECURSORMZ", "PrecursorMZ", "precursor_mz", "Precursor m/z", "PEPMASS"):
        assert field_of(key) == "precursor_mz", key
    assert field_of("DB#") == "db"
    assert field_of("Num Peaks") == "n_peaks"
    assert field_of("ion type") == "adduct"
    assert field_of("Ontology") is None


def test_comments_of_mona_keep_quotes_and_equal_signs_inside_values() -> None:
    text = '"SMILES=C/C=C/C" "author=A. "Bob" B, C" "InChI=InChI=1S/CH4/h1H4" "plain words"'
    assert parse_comments(text) == [
        ("SMILES", "C/C=C/C"),
        ("author", 'A. "Bob" B, C'),
        ("InChI", "InChI=1S/CH4/h1H4"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        '"adduct=[M+H]+"  "author=A "B""',
        '"adduct=[M+H]+"\t"author=A "B""',
        '"adduct=[M+H]+", "author=A "B""',
        '"adduct=[M+H]+";"author=A "B""',
        '"author=A "B"" "adduct=[M+H]+" "',
        '"author=A "B"" "" "adduct=[M+H]+" ""',
        '"author=A "B"" "adduct=[M+H]+" \\""',
    ],
)
def test_quoted_comments_with_other_marks_between_them_or_one_too_many(text: str) -> None:
    assert dict(parse_comments(text)) == {"adduct": "[M+H]+", "author": 'A "B"'}


def test_comments_of_nist_and_of_riken() -> None:
    assert parse_comments('Parent=428.31 Source="two words" Mods=0') == [
        ("Parent", "428.31"),
        ("Source", "two words"),
        ("Mods", "0"),
    ]
    assert parse_comments("Synon=a, b; Spectrum_type=MS2; Collision_energy=35 %; MW=1") == [
        ("Synon", "a, b"),
        ("Spectrum_type", "MS2"),
        ("Collision_energy", "35 %"),
        ("MW", "1"),
    ]


def test_the_first_value_that_says_something_is_kept() -> None:
    record = collect(
        [
            ("SMILES", "N/A"),
            ("smiles", "CCO"),
            ("Smiles", "CCC"),
            ("PEPMASS", "0"),
            ("PRECURSOR_MZ", "47.05"),
            ("Synon", "a"),
            ("Synon", "b"),
            ("Spectrum_type", "Centroid"),
            ("Comments", '"ms level=MS2" "precursor m/z=99" "computed SMILES=OCC"'),
        ]
    )
    assert record.fields == {
        "smiles": "CCO",
        "precursor_mz": "47.05",
        "ms_level": "MS2",
        "computed_smiles": "OCC",
    }
    assert record.notes == ()
    assert record.metadata["Synon"] == "a\nb"
    assert record.metadata["Spectrum_type"] == "Centroid"


def test_peaks_are_sorted_with_their_intensities() -> None:
    mz, intensity = require_peaks(np.array([3.0, 1.0, 2.0]), np.array([30.0, 0.0, 20.0]))
    assert mz.tolist() == [1.0, 2.0, 3.0]
    assert intensity.tolist() == [0.0, 20.0, 30.0]


@pytest.mark.parametrize(
    ("mz", "intensity", "reason"),
    [
        ([], [], Reason.NO_PEAKS),
        ([1.0, 2.0], [0.0, 0.0], Reason.NO_PEAKS),
        ([1.0, np.nan], [1.0, 1.0], Reason.BAD_PEAK),
        ([1.0, 2.0], [1.0, np.nan], Reason.BAD_PEAK),
        ([1.0, 2.0], [1.0, np.inf], Reason.BAD_PEAK),
        ([1.0, 2.0], [1.0, -np.inf], Reason.BAD_PEAK),
        ([1.0, 2.0], [0.0, -1.0], Reason.NO_PEAKS),
        ([0.0, 2.0], [1.0, 1.0], Reason.BAD_PEAK),
        ([-1.0, 2.0], [1.0, 1.0], Reason.BAD_PEAK),
        ([1.0, np.inf], [1.0, 1.0], Reason.BAD_PEAK),
    ],
)
def test_peaks_that_are_none(mz: list[float], intensity: list[float], reason: Reason) -> None:
    with pytest.raises(RejectedRecordError) as caught:
        require_peaks(np.array(mz), np.array(intensity))
    assert caught.value.reason is reason


def test_an_ion_species_in_the_field_for_the_ion_mode() -> None:
    """Compound Discoverer writes ``IonMode: [M+Na]+1``."""
    assert collect([("IonMode", "[M+Na]+1")]).fields == {"adduct": "[M+Na]+1"}
    assert collect([("IonMode", "[+]")]).fields == {"ion_mode": "[+]"}
    record = collect([("Adduct", "[M+H]+"), ("IonMode", "[M+Na]+1")])
    assert record.fields == {"adduct": "[M+H]+"}
    assert record.notes == ("first of several ion species taken ([M+H]+, [M+Na]+1)",)


def test_pairs_of_zeros_are_no_peaks() -> None:
    mz, intensity = require_peaks(np.array([0.0, 42.0, 0.0]), np.array([0.0, 3.0, 0.0]))
    assert (mz.tolist(), intensity.tolist()) == ([42.0], [3.0])
    with pytest.raises(RejectedRecordError) as caught:
        require_peaks(np.zeros(1), np.zeros(1))
    assert caught.value.reason is Reason.NO_PEAKS
    with pytest.raises(RejectedRecordError) as caught:
        require_peaks(np.zeros(1), np.ones(1))
    assert caught.value.reason is Reason.BAD_PEAK


LINES = [
    ("Name", "caffeine [M+Na]+"),
    ("DB#", "-"),
    ("Synon", "1,3,7-trimethylxanthine"),
    ("Synon", "$:03[M+H]+"),
    ("Synon", "$:00MS2"),
    ("Synon", "$:00in-source"),
    ("Synon", "$:04195.0877"),
    ("Precursor_type", "[M+H]+"),
    ("Precursor_type", '"[M+K]+"'),
    ("Ion", "negative"),
    ("PrecursorMZ", "N/A"),
    ("PEPMASS", "195.0877 100"),
    ("PRECURSOR MZ", "217.0696"),
    ("Ion_mode", "P"),
    ("Ion_mode", "[M-H]-1"),
    ("Polarity", "-"),
    ("Polarity", '"N"'),
    ("MS level", "full scan"),
    ("Spectrum_type", "MS2"),
    ("Spectrum_type", "Centroid"),
    ("Charge", "1"),
    ("Charge", "2-"),
    ("Ionization", "ESI+"),
    ("Precursor", "195.1"),
    ("Collision_energy", "20"),
    ("CE", "30 eV"),
    ("MW", "194"),
    ("MW", "195"),
    ("Comments", '"SMILES=C" "ionization mode=negative" "precursor m/z=193.07"'),
]


@pytest.mark.parametrize("seed", range(200))
def test_lines_taken_at_once_say_what_they_say_in_turn(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    pairs = rng.sample(LINES, rng.randint(1, len(LINES)))
    at_once = fields.collect(pairs)
    plan = fields._plan
    monkeypatch.setattr(fields, "_plan", lambda keys, **_: plan(keys, in_turn=True))
    in_turn = fields.collect(pairs)
    assert at_once == in_turn
    assert [*at_once.metadata] == [*in_turn.metadata]


def test_a_line_counts_where_it_stands_before_another_of_its_field() -> None:
    lines = [("Synon", "$:03[M+H]+"), ("Ion", "[M+Na]+"), ("IonMode", "[M+K]+1")]
    for order in itertools.permutations(lines):
        species = order[0][1].removeprefix("$:03")
        assert fields.collect(order).fields["adduct"] == species
