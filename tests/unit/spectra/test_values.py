import pytest

from specvae.report import Reason
from specvae.spectra.energies import parse_collision_energy
from specvae.spectra.values import (
    Precursor,
    RejectedRecordError,
    given,
    parse_charge,
    parse_ion_mode,
    parse_ms_level,
    parse_precursor,
    parse_retention_time,
)


def test_words_for_nothing() -> None:
    assert [given(t) for t in ("", " ", "NA", "n/a", "None", "-", None)] == [None] * 7
    assert given(' "InChI=1S/CH4/h1H4" ') == "InChI=1S/CH4/h1H4"
    assert given("NAD") == "NAD"


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
    "text",
    [
        "(195.0877, None)",
        "(195.0877, 1000.0)",
        "[195.0877]",
        "c(195.0877)",
        "195.0877 m/z",
        "195.0877Da",
        "m/z 195.0877",
        "+195.0877",
        "195.0877 Da",
        "195.0877 \u00b1 0.5",
        "195.0877 +/- 0.01",
    ],
)
def test_one_precursor_in_other_words(text: str) -> None:
    assert parse_precursor(text)[0:4:2] == (195.0877, ())


@pytest.mark.parametrize(
    "text", ["195.0877->138.06", "195.0877 \u2192 138.06", "[195.0877, 391.2]"]
)
def test_several_precursors_in_other_words(text: str) -> None:
    assert parse_precursor(text)[0:4:2] == (
        195.0877,
        (f"first of several precursors taken ({text})",),
    )


@pytest.mark.parametrize(
    ("text", "charge"), [("195.0877 1000 -1-", "-1-"), ("195.0877 (1+)", "(1+)")]
)
def test_charges_behind_a_precursor(text: str, charge: str) -> None:
    assert parse_precursor(text).charge == charge


@pytest.mark.parametrize(
    ("text", "charge"),
    [
        ("195.0877 z=2", "2"),
        ("195.0877 (z = 2+)", "2+"),
        ("195.0877, charge 2+", "2+"),
        ("195.0877/2+", "2+"),
        ("195.0877, 2-", "2-"),
        ("195.0877 1- 1200", "1-"),
        ("(195.0877, None, 2)", "2"),
    ],
)
def test_a_charge_that_is_named_or_stands_elsewhere(text: str, charge: str) -> None:
    """It was lost, and its ion taken for a singly charged one."""
    assert parse_precursor(text) == Precursor(195.0877, charge)


def test_a_precursor_with_a_mark_behind_it_is_one() -> None:
    assert parse_precursor("195.0877;") == Precursor(195.0877)


@pytest.mark.parametrize(
    ("text", "mz"),
    [
        ("195.0877, 391.1695", 195.0877),
        ("195.0877,391.1695", 195.0877),
        ("195.0877; 391.1695; 587.2513", 195.0877),
        ("195.0877/138.0662", 195.0877),
        ("195.0877 391.1695", 195.0877),
        ("195.0877 391.1695 587.2513", 195.0877),
        ("300, 302", 300.0),
    ],
)
def test_of_several_precursors_the_first_is_taken_with_a_note(text: str, mz: float) -> None:
    found = parse_precursor(text)
    assert found.mz == mz
    assert found.notes == (f"first of several precursors taken ({text})",)


@pytest.mark.parametrize("text", ["195.0877 31836872", "195.0877 12345.6", "195.0877 Da"])
def test_an_intensity_beside_the_precursor_needs_no_note(text: str) -> None:
    assert parse_precursor(text) == Precursor(195.0877)


@pytest.mark.parametrize(
    "text",
    [
        "1 181.07",
        "1\u00a0181.07",
        "1\u202f181.07",
        "1,181.07",
        "1.181,07",
        "1'181,07",
        "1 181,07",
        "1.181,07 836632",
    ],
)
def test_thousands_separators_of_a_precursor(text: str) -> None:
    found = parse_precursor(text)
    assert found.mz == 1181.07
    assert found.notes[0].startswith("precursor m/z read with a thousands separator")


@pytest.mark.parametrize(
    "text",
    [
        "397.0512 1.3 355.7804 1.4 112.0057 4.6",
        "397.0512 1.3 355.7804 1.4",
        "397.0512 1.3; 355.7804 1.4",
        "397.1, 355.2, 300.3, 200.4, 100.5",
        "1e12",
        "9" * 5000,
    ],
)
def test_a_list_of_peaks_and_other_absurd_precursors_are_refused(text: str) -> None:
    with pytest.raises(RejectedRecordError) as caught:
        parse_precursor(text)
    assert caught.value.reason is Reason.BAD_PRECURSOR
    assert len(caught.value.detail) < 120


@pytest.mark.parametrize(
    ("text", "charge"),
    [("1+", (1, True)), ("+1", (1, True)), ("1-", (-1, True)), ("-1", (-1, True)),
     ("2", (2, False)), ("0", (0, False)), ("", (0, False)), (None, (0, False)),
     ("2+ and 3+", (0, False)), ("+1+", (1, True)), ("-1-", (-1, True)), ("-0", (0, False)),
     ("++", (2, True)), ("--", (-2, True)), ("1.0", (1, False)), ("2\u207a", (2, True)),
     ("\u22121", (-1, True)), ("1+,", (1, True)), ("-1;", (-1, True)), ("2+.", (2, True)),
     ("'1+'", (1, True)), (",", (0, False))],
)  # fmt: skip
def test_charges(text: str | None, charge: tuple[int, bool]) -> None:
    assert parse_charge(text) == charge


@pytest.mark.parametrize("text", ["one", "+1-", "1.5", "1++-", "9" * 5000, "101+"])
def test_unreadable_charges(text: str) -> None:
    with pytest.raises(RejectedRecordError) as caught:
        parse_charge(text)
    assert caught.value.reason is Reason.BAD_CHARGE


@pytest.mark.parametrize("text", ["(2+)", "[2+]", "2+;", "z=2+", "+2+", "2 +"])
def test_charges_in_brackets(text: str) -> None:
    assert parse_charge(text) == (2, True)


@pytest.mark.parametrize("text", ["2+ or 3+", "2+ and 3+", "2+,3+", "2+;3+", "1+/2+", "2+&3+"])
def test_an_open_charge(text: str) -> None:
    assert parse_charge(text) == (0, False)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("P", "positive"),
        ("POSITIVE", "positive"),
        ("pos", "positive"),
        ("+", "positive"),
        ("1+", "positive"),
        ("ESI+", "positive"),
        ("+ve", "positive"),
        ("-ve", "negative"),
        ("(+VE)", "positive"),
        ("ESI -ve", "negative"),
        ("ES+", "positive"),
        ("API-ES-", "negative"),
        ("H-ESI+", "positive"),
        ("ES (+)", "positive"),
        ("Positive ion mode", "positive"),
        ("N", "negative"),
        ("Negative", "negative"),
        ("neg.", "negative"),
        ("-", "negative"),
        ("1-", "negative"),
        ("n/a", None),
        ("", None),
        ("both", None),
        ("POLARITY_POSITIVE", "positive"),
        ("polarity: negative", "negative"),
        ("Photoionisation, positive", "positive"),
        ("LC/ESI-", "negative"),
        ("ESI/NEG", "negative"),
        ("1.0", "positive"),
        ("0.0", "negative"),
        ("photoionization", None),
        ("positive and negative", None),
        ("neutral", None),
        ("no", None),
        ("1", "positive"),
        ("0", "negative"),
        ("(+)", "positive"),
        ("ESI(-)", "negative"),
        ("(-)ESI", "negative"),
        ("LC-ESI+", "positive"),
        ("NSI-", "negative"),
        ("APCI positive", "positive"),
        ("positive scan", "positive"),
        ("Negative-ion mode", "negative"),
        ("\u2212", "negative"),
        ("minus", "negative"),
        ("NSI", None),
        ("N.A.", None),
        ("nano", None),
        ("profile", None),
        ("negligible", None),
        ("-1", None),
        ("ESI", None),
        ("ESP", None),
        ("ES", None),
        ("not positive", None),
        ("positivo", "positive"),
        ("negativa", "negative"),
        ("positive/negative", None),
        ("positive ion mode, HESI", "positive"),
        ("negative (APCI)", "negative"),
    ],
)
def test_ion_modes(text: str, mode: str | None) -> None:
    assert parse_ion_mode(text) == mode


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("MS2", 2),
        ("2", 2),
        ("MS/MS", 2),
        ("ms1", 1),
        ("MS", 1),
        ("MS3", 3),
        ("MSn", None),
        ("Centroid", None),
        ("in-source", None),
        ("1.0", 1),
        ("2.0", 2),
        ("MS (1)", 1),
        ("ms level 1", 1),
        ("MS^2", 2),
        ("Full ms2", 2),
        ("-1", None),
        ("12", None),
        ("FEATURE_MS1", 1),
        ("FTMS + p ESI Full ms [100.0-900.0]", 1),
        ("full scan", 1),
        ("Full scan MS/MS", None),
        ("ALL_MSN_TO_PSEUDO_MS2", None),
        ("MS10", None),
    ],
)
def test_ms_levels(text: str, level: int | None) -> None:
    assert parse_ms_level(text) == level


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


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1.2125E2", 121.25),
        ("2:01.25", 121.25),
        ("00:02:01", 121.0),
        ("(121.25, 's')", 121.25),
        ("121,25", None),  # a decimal comma, or two times
        ("120.5,122.0", 120.5),
        ("1,234.5", 1234.5),
        ("1\u202f234.5", 1234.5),
        ("1\u00a0234.5 s", 1234.5),
        ("1.234,5", None),  # thousands and a decimal comma
        ("12 345.6 sec", 12345.6),
        ("120,122.5", 120.0),  # two times
        ("PT121.250000S", 121.25),
        ("PT2M1.25S", 121.25),
        ("P0Y0M0DT0H2M1.25S", 121.25),
        ("P1DT2M1.25S", None),
        ("PT1H2M", 3720.0),
        ("pt90s", 90.0),
        ("120.5-122.0", 120.5),
        ("PT", None),
        ("9" * 5000, None),
        ("4 min 10 s", 250.0),
        ("4'10\"", 250.0),
        ("4\u201910\u201d", 250.0),  # as word processors write it
        ("4\u203210.5\u2033", 250.5),
        ("4 min, 10 s", 250.0),
        ("4 min and 10.5 sec", 250.5),
        ("4 Minuten 10 Sek.", 250.0),
        ("4 min, 5 min", 240.0),  # two times
        ("PT121,25S", 121.25),
        ("PT4M10,5S", 250.5),
        ("1h 2min", 3720.0),
        ("1 h 4 min 10.5 sec", 3850.5),
        ("250000 ms", 250.0),
        ("0.5 h", 1800.0),
        ("12 columns", None),
        ("4'", None),
        ("240.5 (apex)", 240.5),
    ],
)
def test_retention_times(text: str, seconds: float | None) -> None:
    assert parse_retention_time(text, 1.0) == seconds


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
        ("20,30,40 eV (stepped)", 30, None),
        ("42% (nominal) with stepped collision energies 30% and 55%", None, 42),
        ("resonant relative/normalized 35 %", None, 35),
        ("20 eV, 35 NCE", 20, 35),
        ("30 (NCE), 20 eV", 20, 30),
        ("65 HCD (NCE 20-30-40%)", None, 30),  # of no known scale is what stands in front
        ("NCE=35% (z=1)", None, 35),
        ("35 NCE (1+)", None, 35),
        ("60 eV (Ar)", 60, None),
        ("SNCE 20,30,40", None, 30),
        ("sNCE203040", None, None),  # three numbers, run together
        ("N(S)CE 20, 30, 40", None, 30),
        ("CE=35;CES=15", 35, None),
        ("CE 35 eV, CES 15 eV", 35, None),
        ("20...40 eV", 30, None),
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
        "2.5 eV (com)",
        "30 (Ar)",
        "20 40",
        "25,60,100 (stepped)",
        "stepped 15, 30, 45",
        "Ramp 17.2-25.8 eV 30 eV",
        "30 V, ramp 17.2-25.8 V",
    ],
)
def test_collision_energies_that_cannot_be_told_stay_text(text: str) -> None:
    assert parse_collision_energy(text) == (None, None, text)


@pytest.mark.parametrize(
    ("text", "ev"), [("35,5", None), ("35,5 eV", None), ("20,40", 30.0), ("20, 40, 60", 40.0)]
)
def test_a_comma_inside_an_energy(text: str, ev: float | None) -> None:
    assert parse_collision_energy(text).ev == ev


@pytest.mark.parametrize(
    ("text", "ev", "nce"),
    [
        ("35 eV +/- 15", 35.0, None),
        ("35 +- 15 eV", 35.0, None),
        ("energy0", 10.0, None),
        ("Energy2", 40.0, None),
        ("35\N{PLUS-MINUS SIGN}15 eV", 35.0, None),
        ("30 \N{PLUS-MINUS SIGN} 5 %", None, 30.0),
        ("CE=20", 20.0, None),
        ("NCE=30%", None, 30.0),
        ("CE 20 NCE 35", 20.0, 35.0),
        ("35% NCE (39 eV)", 39.0, 35.0),
        ("NCE 35; CE 20", 20.0, 35.0),
        ("40 Volts", 40.0, None),
        ("20 electron volts", 20.0, None),
        ("CE = 0.0363 * m/z + 9", None, None),
    ],
)
def test_energies_with_spread_key_and_words(text: str, ev: float | None, nce: float | None) -> None:
    assert parse_collision_energy(text)[:2] == (ev, nce)
