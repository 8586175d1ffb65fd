import numpy as np
import pytest

from specvae.report import Reason
from specvae.spectra.fields import collect, parse_comments, require_peaks
from specvae.spectra.keys import field_of
from specvae.spectra.polarity import settle_polarity
from specvae.spectra.values import (
    RejectedRecordError,
    given,
    parse_charge,
    parse_collision_energy,
    parse_ion_mode,
    parse_ms_level,
    parse_precursor,
    parse_retention_time,
)


@pytest.mark.parametrize(
    ("text", "ev", "nce"),
    [
        ("10 eV", 10, None),
        ("10.0eV", 10, None),
        ("20 ev", 20, None),
        ("6V", 6, None),
        ("45 V", 45, None),
        ("40", 40, None),
        ("-20", 20, None),
        ("-35 eV", 35, None),
        ("CE60", 60, None),
        ("35 CID", 35, None),
        ("3 kV", 3000, None),
        ("5 keV", 5000, None),
        ("20-40 eV", 30, None),
        ("30-50", 40, None),
        ("15,30,45 V", 30, None),
        ("Ramp 21.1-31.6 eV", 26.35, None),
        ("RAMP 20.8-31.2 eV", 26, None),
        ("Ramp 22,9-34.3 eV", 28.6, None),
        ("Ramp 5-60 V", 32.5, None),
        ("10->20V", 15, None),
        ("50 V (ramped)", 50, None),
        ("65 eV FT-MS", 65, None),
        ("35 eV FT-MS II", 35, None),
        ("30%", None, 30),
        ("30 % (nominal)", None, 30),
        ("35 (NCE)", None, 35),
        ("35(NCE)", None, 35),
        ("35  (nominal)", None, 35),
        ("35 NCE", None, 35),
        ("40.0 NCE", None, 40),
        ("HCD 45% ", None, 45),
        ("HCD (NCE 20-30-40%)", None, 30),
        ("Ramp 20%-70% (nominal)", None, 45),
        ("25,60,100% (stepped)", None, 185 / 3),
        ("42% (nominal) with stepped collision energies 30% and 55%", None, 42),
        ("resonant relative/normalized 35 %", None, 35),
        ("20 eV, 35 NCE", 20, 35),
        ("30 (NCE), 20 eV", 20, 30),
    ],
)
def test_collision_energies(text: str, ev: float | None, nce: float | None) -> None:
    energy = parse_collision_energy(text)
    assert energy.ev == (None if ev is None else pytest.approx(ev))
    assert energy.nce == (None if nce is None else pytest.approx(nce))
    assert energy.text == text


@pytest.mark.parametrize(
    "text",
    [
        "n.d.",
        "SORI CID",
        "ceV",
        "scaled by m/z",
        "scaled 80 (m/z=200) to 110 (m/z=120)",
        "160-0.41mz or 15 (mz>350) nominal units",
        "15, 30, 45, 60, 70 or 90 (nominal)",
        "0.70",
        "0.60/0.55/0.45",
        "180 HCD",
        "medium 25",
    ],
)
def test_collision_energies_that_cannot_be_told_stay_text(text: str) -> None:
    assert parse_collision_energy(text) == (None, None, text)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("P", "positive"),
        ("POSITIVE", "positive"),
        ("pos", "positive"),
        ("+", "positive"),
        ("1+", "positive"),
        ("ESI+", "positive"),
        ("Positive ion mode", "positive"),
        ("N", "negative"),
        ("Negative", "negative"),
        ("neg.", "negative"),
        ("-", "negative"),
        ("1-", "negative"),
        ("n/a", None),
        ("", None),
        ("both", None),
    ],
)
def test_ion_modes(text: str, mode: str | None) -> None:
    assert parse_ion_mode(text) == mode


@pytest.mark.parametrize(
    ("text", "level"),
    [("MS2", 2), ("2", 2), ("MS/MS", 2), ("ms1", 1), ("MS", 1), ("MS3", 3), ("MSn", None),
     ("Centroid", None), ("in-source", None)],
)  # fmt: skip
def test_ms_levels(text: str, level: int | None) -> None:
    assert parse_ms_level(text) == level


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("70.04 31836872", 70.04),
        ("285.0208/283.1", 285.0208),
        ("866.59/792.13", 866.59),
        ("179.0697", 179.0697),
        ("", None),
        ("0", None),
        ("0.0", None),
        ("N/A", None),
        (None, None),
    ],
)
def test_precursor_mz(text: str | None, value: float | None) -> None:
    found = parse_precursor(text)
    assert found.mz == value
    assert bool(found.notes) == ("/" in (text or "") and value is not None)


@pytest.mark.parametrize("text", ["-1", "abc", "inf", "NaN?", "285,02", "1_000", "/283.1"])
def test_precursor_mz_that_is_no_positive_number(text: str) -> None:
    with pytest.raises(RejectedRecordError) as caught:
        parse_precursor(text)
    assert caught.value.reason is Reason.BAD_PRECURSOR
    assert repr(text) in caught.value.detail


@pytest.mark.parametrize(
    ("text", "charge"),
    [("1+", (1, True)), ("+1", (1, True)), ("1-", (-1, True)), ("-1", (-1, True)),
     ("2", (2, False)), ("0", (0, False)), ("", (0, False)), (None, (0, False)),
     ("2+ and 3+", (0, False)), ("+1+", (1, True)), ("-1-", (-1, True)), ("-0", (0, False)),
     ("++", (2, True)), ("--", (-2, True)), ("1.0", (1, False)), ("2\u207a", (2, True)),
     ("\u22121", (-1, True))],
)  # fmt: skip
def test_charges(text: str | None, charge: tuple[int, bool]) -> None:
    assert parse_charge(text) == charge


@pytest.mark.parametrize("text", ["one", "+1-", "1.5", "1++-", "9" * 5000, "101+"])
def test_unreadable_charges(text: str) -> None:
    with pytest.raises(RejectedRecordError) as caught:
        parse_charge(text)
    assert caught.value.reason is Reason.BAD_CHARGE


@pytest.mark.parametrize(
    ("adduct", "charge", "mode", "expected", "n_notes"),
    [
        ("M+H", "1+", "Positive", ("[M+H]+", 1, "positive"), 0),
        ("[M-H]-", "1+", None, ("[M-H]-", -1, "negative"), 1),
        ("[M-H]-", "1", None, ("[M-H]-", -1, "negative"), 0),
        ("[M+2H]2+", "1+", "P", ("[M+2H]2+", 2, "positive"), 1),
        (None, "1+", "negative", (None, 1, "positive"), 1),
        (None, "1", "negative", (None, -1, "negative"), 0),
        (None, None, "-", (None, None, "negative"), 0),
        (None, "2-", None, (None, -2, "negative"), 0),
        (None, "1", None, (None, 1, "positive"), 1),
        (None, "0", "n/a", (None, None, None), 0),
        ("M", None, "N", ("[M]-", -1, "negative"), 0),
        ("[MCl37+H]", "1+", "Positive", ("[MCl37+H]", 1, "positive"), 0),
        ("[M+CH3COO]-/[M-CH3]-", None, "N", ("[M+CH3COO]-", -1, "negative"), 1),
    ],
)
def test_species_then_ion_mode_then_charge_decide(
    adduct: str | None,
    charge: str | None,
    mode: str | None,
    expected: tuple[str | None, int | None, str | None],
    n_notes: int,
) -> None:
    polarity = settle_polarity(adduct, charge, mode)
    assert polarity[:3] == expected
    assert len(polarity.notes) == n_notes


def test_species_overrules_the_ion_mode() -> None:
    polarity = settle_polarity("[M+H]+", "1+", "negative")
    assert polarity[:3] == ("[M+H]+", 1, "positive")
    assert polarity.notes == ("ion mode overruled by ion species (negative, [M+H]+)",)


@pytest.mark.parametrize(
    ("text", "unit", "seconds"),
    [
        ("3.44", 60.0, 206.4),
        ("3.44", 1.0, 3.44),
        ("7.5 min", 1.0, 450),
        ("7.5 min (in paper: 9 min)", 1.0, 450),
        ("35  sec", 60.0, 35),
        ("35.5 s", 60.0, 35.5),
        ("8.1, 8.9 min", 1.0, 486),
        ("5 min.", 1.0, 300),
        ("-1", 1.0, None),
        ("N/A min", 60.0, None),
    ],
)
def test_retention_times_become_seconds(text: str, unit: float, seconds: float | None) -> None:
    found = parse_retention_time(text, unit)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_keys_are_known_by_any_spelling() -> None:
    for key in ("PRECURSORMZ", "PrecursorMZ", "precursor_mz", "Precursor m/z", "PEPMASS"):
        assert field_of(key) == "precursor_mz", key
    assert field_of("DB#") == "db"
    assert field_of("Num Peaks") == "n_peaks"
    assert field_of("ion type") == "adduct"
    assert field_of("Ontology") is None


def test_words_for_nothing() -> None:
    assert [given(t) for t in ("", " ", "NA", "n/a", "None", "-", None)] == [None] * 7
    assert given(' "InChI=1S/CH4/h1H4" ') == "InChI=1S/CH4/h1H4"
    assert given("NAD") == "NAD"


def test_comments_of_mona_keep_quotes_and_equal_signs_inside_values() -> None:
    text = '"SMILES=C/C=C/C" "author=A. "Bob" B, C" "InChI=InChI=1S/CH4/h1H4" "plain words"'
    assert parse_comments(text) == [
        ("SMILES", "C/C=C/C"),
        ("author", 'A. "Bob" B, C'),
        ("InChI", "InChI=1S/CH4/h1H4"),
    ]


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
        ([1.0, 2.0], [1.0, -1.0], Reason.BAD_PEAK),
        ([0.0, 2.0], [1.0, 1.0], Reason.BAD_PEAK),
        ([-1.0, 2.0], [1.0, 1.0], Reason.BAD_PEAK),
        ([1.0, np.inf], [1.0, 1.0], Reason.BAD_PEAK),
    ],
)
def test_peaks_that_are_none(mz: list[float], intensity: list[float], reason: Reason) -> None:
    with pytest.raises(RejectedRecordError) as caught:
        require_peaks(np.array(mz), np.array(intensity))
    assert caught.value.reason is reason
