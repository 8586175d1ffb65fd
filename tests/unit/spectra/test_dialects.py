"""What other programs write in the fields of a record, and what it must be taken for."""

from pathlib import Path

import pytest
from spectra_files import mgf_record, msp_record, read_bytes

from specvae.report import ReadReport, Reason
from specvae.spectra.adducts import parse_adduct
from specvae.spectra.build import sort_structures
from specvae.spectra.comments import parse_comments
from specvae.spectra.fields import collect
from specvae.spectra.notes import Note
from specvae.spectra.read import read_spectra
from specvae.spectra.spectrum import Spectrum


def one(tmp_path: Path, name: str, content: str) -> Spectrum:
    (spectrum,), skips, _ = read_bytes(tmp_path, name, content)
    assert skips == []
    return spectrum


# --------------------------------------------------------------------------- ion species


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[M+H]\u207a", "[M+H]+"),
        ("[M+2H]\u00b2\u207a", "[M+2H]2+"),
        ("[M\u2212H]\u2212", "[M-H]-"),
        ("[M\u2013H2O+H]+", "[M+H-H2O]+"),
        ("[M\u2010H]\u207b", "[M-H]-"),
        ("[M+NH\u2084]\u207a", "[M+NH4]+"),
        ("[M+H]<sup>+</sup>", "[M+H]+"),
        ("[M+2H]^2+", "[M+2H]2+"),
        ("[M+2(NH4)]2+", "[M+2NH4]2+"),
        ("[M+(NH4)2]2+", "[M+2NH4]2+"),
        ("[M+H-(H2O)]+", "[M+H-H2O]+"),
        ("[M+H-2(H2O)]+", "[M+H-2H2O]+"),
        ("(M+H)+", "[M+H]+"),
        ("(M+2(NH4))2+", "[M+2NH4]2+"),
        ("[M-e]+", "[M]+"),
        ("[M-e-]+", "[M]+"),
        ("M-e", "[M]+"),
        ("[M+e]-", "[M]-"),
        ("[M]+\u2022", "[M]+"),
        ("[M]\u2022+", "[M]+"),
        ("[M+ H] +", "[M+H]+"),
    ],
)
def test_typographic_forms_of_an_ion_species(text: str, name: str) -> None:
    found = parse_adduct(text)
    assert found is not None
    assert found.name == name
    wanted = parse_adduct(name)
    assert wanted is not None
    assert found.mass_shift == pytest.approx(wanted.mass_shift, abs=1e-12)


@pytest.mark.parametrize("text", ["[M+" + "9" * 5000 + "H]+", "[M+99999H]+", "[M+H]" + "9" * 400])
def test_absurd_counts_are_no_ion_species(text: str) -> None:
    assert parse_adduct(text) is None


@pytest.mark.parametrize("key", ["ION", "Ion", "ADDUCT", "Adduct_Ion_Name", "precursor_type"])
def test_keys_of_the_ion_species(tmp_path: Path, key: str) -> None:
    spectrum = one(tmp_path, "x.mgf", mgf_record("a", f"{key}=[M-H2O+H]+", "CHARGE=1"))
    assert (spectrum.adduct, spectrum.charge) == ("[M+H-H2O]+", 1)
    assert spectrum.notes == ()


@pytest.mark.parametrize(
    ("pepmass", "lines", "charge", "notes"),
    [
        ("241.15 8366.25 2+", (), 2, ()),
        ("241.15\t8366\t1-", (), -1, ()),
        ("241.15 8366 +2", (), 2, ()),
        ("241.15 2+", (), 2, ()),
        ("241.15 8366 2", ("IONMODE=negative",), -2, ()),
        ("241.15 8366 0", ("CHARGE=1-",), -1, ()),
        ("241.15 8366 2+", ("CHARGE=2+",), 2, ()),
        ("241.15 8366 2", ("CHARGE=2-",), -2, ()),
        (
            "241.15 8366 2+",
            ("CHARGE=1+",),
            2,
            ("charge overruled by the precursor's own (1+, 2+)",),
        ),
        ("241.15 8366 2+ and 3+", (), 2, ("several charges stated, the lowest taken (2+ and 3+)",)),
    ],
)
def test_charge_on_the_line_of_the_precursor(
    tmp_path: Path, pepmass: str, lines: tuple[str, ...], charge: int | None, notes: tuple[str, ...]
) -> None:
    content = mgf_record("a", *lines).replace("PEPMASS=181.07", f"PEPMASS={pepmass}")
    spectrum = one(tmp_path, "x.mgf", content)
    assert (spectrum.precursor_mz, spectrum.charge) == (241.15, charge)
    assert spectrum.notes == notes


# --------------------------------------------------------------------------- precursor


def test_two_lines_of_precursors(tmp_path: Path) -> None:
    spectrum = one(tmp_path, "x.mgf", mgf_record("a", "PEPMASS=391.1695"))
    assert spectrum.precursor_mz == 181.07
    assert spectrum.notes == ("first of several precursors taken (181.07, 391.1695)",)
    same = one(tmp_path, "x.mgf", mgf_record("a", "PRECURSOR_MZ=181.0701"))
    assert same.notes == ()


@pytest.mark.parametrize(
    ("comment", "mz", "adduct", "charge"),
    [
        ('"ms level=MS2" "precursor m/z=195.0877" "precursor type=[M+H]+"', 195.0877, "[M+H]+", 1),
        ("Parent=195.0877 Charge=1 Mods=0", 195.0877, None, 1),
        ('"Selected Ion m/z=195.0877" "charge=2+"', 195.0877, None, 2),
    ],
)
def test_precursor_in_the_comment_alone(
    tmp_path: Path, comment: str, mz: float, adduct: str | None, charge: int
) -> None:
    content = f"Name: a\nComments: {comment}\nIon_mode: P\nNum Peaks: 1\n50 1\n"
    spectrum = one(tmp_path, "x.msp", content)
    assert (spectrum.precursor_mz, spectrum.adduct, spectrum.charge) == (mz, adduct, charge)
    assert spectrum.notes == ("precursor m/z taken from the comment (195.0877)",)


def test_lines_of_the_record_go_before_its_comment_wherever_they_stand(tmp_path: Path) -> None:
    content = (
        'Name: a\nComments: "precursor m/z=99" "charge=3+" "SMILES=C"\n'
        "PrecursorMZ: 181.07\nCharge: 1-\nSMILES: CCO\nNum Peaks: 1\n50 1\n"
    )
    spectrum = one(tmp_path, "x.msp", content)
    assert (spectrum.precursor_mz, spectrum.charge, spectrum.smiles) == (181.07, -1, "CCO")
    assert spectrum.notes == ()


def test_selected_ion_as_precursor(tmp_path: Path) -> None:
    content = "Name: a\nSelected Ion m/z: 195.0877\nNum Peaks: 1\n50 1\n"
    assert one(tmp_path, "x.msp", content).precursor_mz == 195.0877


# --------------------------------------------------------------------------- names and levels


def test_ms1_and_ms2_of_one_feature(tmp_path: Path) -> None:
    records = [
        mgf_record("7", "MSLEVEL=1", "SPECTYPE=CORRELATED MS"),
        mgf_record("7", "MSLEVEL=2"),
        mgf_record("8", "SPECTYPE=CORRELATED MS"),
        mgf_record("8"),
    ]
    spectra, skips, _ = read_bytes(tmp_path, "x.mgf", "".join(records))
    assert [s.query_id for s in spectra] == ["7", "8"]
    assert [(s.record, s.line, s.reason) for s in skips] == [
        ("7", 1, Reason.MS_LEVEL),
        ("8", 16, Reason.MS_LEVEL),
    ]
    every = read_spectra(tmp_path / "x.mgf", ReadReport(), every_level=True)
    assert [s.query_id for s in every] == ["7", "7#2", "8", "8#2"]


def test_an_unreadable_survey_scan_is_no_malformed_record(tmp_path: Path) -> None:
    content = mgf_record("a", "MSLEVEL=1", peaks="") + mgf_record("a")
    path = tmp_path / "x.mgf"
    path.write_text(content)
    assert [s.query_id for s in read_spectra(path, ReadReport(strict=True))] == ["a"]


def test_ms_dial_writes_the_number_of_peaks_into_mgf(tmp_path: Path) -> None:
    record = (
        "BEGIN IONS\nSCANS=4\nPEPMASS=195.0877\nMSLEVEL=2\nCHARGE=1+\nION=[M+H]+\n"
        "Num Peaks: 2\n69.0447\t90\n110.0713\t410\nEND IONS\n"
    )
    spectra, skips, _ = read_bytes(tmp_path, "x.mgf", record + record.replace("s: 2", "s: 3"))
    assert [(s.query_id, s.adduct, s.n_peaks) for s in spectra] == [("4", "[M+H]+", 2)]
    assert [s.reason for s in skips] == [Reason.PEAK_COUNT_MISMATCH]


@pytest.mark.parametrize("gap", ["", "\n"])
@pytest.mark.parametrize("n_survey", [0, 2])
def test_ms_finder_has_two_lists_under_one_header(tmp_path: Path, gap: str, n_survey: int) -> None:
    survey = "181.07 9\n182.07 1\n" if n_survey else ""

    def record(peak_id: int) -> str:
        return (
            f"NAME: Unknown\nPEAKID: {peak_id}\nPRECURSORMZ: 181.07\nPRECURSORTYPE: [M+H]+\n"
            f"IONMODE: Positive\nMSTYPE: MS1\nNum Peaks: {n_survey}\n{survey}{gap}"
            f"MSTYPE: MS2\nNum Peaks: 1\n50.5 10\n\n"
        )

    spectra, skips, _ = read_bytes(tmp_path, "x.mat", record(3) + record(4))
    assert [s.query_id for s in spectra] == ["3", "4"]
    assert [(s.precursor_mz, s.adduct, s.ms_level) for s in spectra] == [(181.07, "[M+H]+", 2)] * 2
    assert [s.mz.tolist() for s in spectra] == [[50.5], [50.5]]
    assert [(s.record, s.reason) for s in skips] == [("3", Reason.MS_LEVEL), ("4", Reason.MS_LEVEL)]


def test_names_of_ms_dial_in_msp(tmp_path: Path) -> None:
    for key in ("SCANNUMBER", "SCAN", "ID", "QUERY_ID", "IDENTIFIER", "USI"):
        content = f"{key}: 12\nNAME: Unknown\nNum Peaks: 1\n50 1\n"
        assert one(tmp_path, "x.msp", content).query_id == "12"


def test_msp_of_mzvault_with_terms_of_a_vocabulary(tmp_path: Path) -> None:
    def record(name: str, sign: str, species: str) -> str:
        return (
            f"MS:1009003|Name = {name}\nMS:1000894|RetentionTime = 2.5\n"
            "MS:1000868|Smiles = OC=O\nMS:1009101|CompoundClass = \n"
            "MS:1000744|Selected Ion m/z = 61.5\nMS:1000045|Collision_energy = 20.0\n"
            f"Precursor_type = {species}\nMS:1000073|Electrosprary ionization\n"
            f"MS:1000130|{sign} scan\nMS:1009006|number of peaks = 2\n50.5 10\n60.25 100\n"
        )

    text = "#PSI Spectral Library Format\n"
    text += record("a", "Positive", "M+Na") + "\n" + record("b", "Negative", "")
    text += record("c", "", "")
    spectra, skips, _ = read_bytes(tmp_path, "x.msp", text)
    assert skips == []
    assert [(s.query_id, s.adduct, s.ion_mode) for s in spectra] == [
        ("a", "[M+Na]+", "positive"),
        ("b", None, "negative"),
        ("c", None, None),
    ]
    for spectrum in spectra:
        assert (spectrum.precursor_mz, spectrum.retention_time) == (61.5, 150.0)
        assert (spectrum.smiles, spectrum.collision_energy, spectrum.n_peaks) == ("OC=O", 20.0, 2)


def test_msp_with_the_tags_of_massbank_alone(tmp_path: Path) -> None:
    """As msPurity writes features."""
    record = (
        "RECORD_TITLE: MZ:181.07 | RT:64.0 | grpid:{}\nMS$FOCUSED_ION: PRECURSOR_M/Z 181.07\n"
        "MS$FOCUSED_ION: PRECURSOR_TYPE [M+H]+\nAC$MASS_SPECTROMETRY: ION_MODE POSITIVE\n"
        "PK$NUM_PEAK: 2\nPK$PEAK: m/z int. rel.int.\n50.5 10 9.9\n60.25 100 99\n\n"
    )
    spectra, skips, _ = read_bytes(tmp_path, "x.msp", record.format(12) + record.format(13))
    assert skips == []
    assert [(s.query_id, s.precursor_mz, s.adduct, s.mz.tolist()) for s in spectra] == [
        (f"MZ:181.07 | RT:64.0 | grpid:{n}", 181.07, "[M+H]+", [50.5, 60.25]) for n in (12, 13)
    ]


@pytest.mark.parametrize(
    ("comment", "is_noted"),
    [
        ("|PEAKID=1|MS1SCAN=7|ISOTOPE=M+1", True),
        ("|PEAKID=1|MS1SCAN=7|ISOTOPES=[102][M+1]+", True),
        ("|PEAKID=1|MS1SCAN=7|ISOTOPES=[102][M]+", False),
        ("PEAKID=1|ISOTOPE=M + 2|", True),
        ("|PEAKID=1|ISOTOPE=M+0", False),
        ("a | b=c | d", False),
    ],
)
def test_isotope_peaks_of_ms_dial_are_noted(tmp_path: Path, comment: str, is_noted: bool) -> None:
    content = f"NAME: a\nPRECURSORMZ: 182.07\nCOMMENT: {comment}\nNum Peaks: 1\n50 1\n"
    notes = one(tmp_path, "x.msp", content).notes
    assert [Note.ISOTOPE in note for note in notes] == [True] * is_noted


@pytest.mark.parametrize("peaks", ["50.5 10\n60.25 100\n", "50.5 10; 60.25 100\n"])
def test_fields_between_the_number_of_peaks_and_the_peaks(tmp_path: Path, peaks: str) -> None:
    record = f"Name: {{}}\nPRECURSOR_MZ: 181.07\nNUM PEAKS: 2\nSMILES: CCO\nIONMODE: n\n{peaks}"
    for gap in ("\n", ""):
        content = f"{record.format('a')}{gap}{record.format('b')}"
        spectra, skips, _ = read_bytes(tmp_path, "x.msp", content)
        assert skips == []
        assert [(s.query_id, s.smiles, s.ion_mode) for s in spectra] == [
            ("a", "CCO", "negative"),
            ("b", "CCO", "negative"),
        ]


def test_byte_order_marks_between_joined_files(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    content = b"\n".join(mark + msp_record(name).encode() for name in "ab")
    spectra, _, _ = read_bytes(tmp_path, "x.msp", content)
    assert [s.query_id for s in spectra] == ["a", "b"]


def test_control_characters_reach_nobody(tmp_path: Path) -> None:
    spectrum = one(tmp_path, "x.mgf", mgf_record("a\x1b[31mb\x9bc\u202ed", "NOTE=\x07"))
    assert spectrum.query_id == "a\ufffd[31mb\ufffdc\ufffdd"
    assert spectrum.metadata["NOTE"] == "\ufffd"


# --------------------------------------------------------------------------- structures

ETHANOL = "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3"
KEY = "LFQSCWFLJHTTHZ-UHFFFAOYSA-N"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"smiles": "CCO", "inchi": ETHANOL}, ("CCO", ETHANOL, None)),
        ({"smiles": ETHANOL}, (None, ETHANOL, None)),
        ({"inchi": "CCO"}, ("CCO", None, None)),
        ({"smiles": ETHANOL, "inchi": "CCO"}, ("CCO", ETHANOL, None)),
        ({"inchi": ETHANOL.removeprefix("InChI=")}, (None, ETHANOL, None)),
        ({"inchi": f"InChI={ETHANOL}"}, (None, ETHANOL, None)),
        ({"inchi": f"inchi= {ETHANOL}"}, (None, ETHANOL, None)),
        ({"inchi": KEY}, (None, None, KEY)),
        ({"inchikey": f"InChIKey={KEY}"}, (None, None, KEY)),
        ({"inchikey": ETHANOL}, (None, ETHANOL, None)),
        ({"inchikey": ETHANOL, "computed_inchikey": KEY}, (None, ETHANOL, KEY)),
        ({"inchikey": "none known"}, (None, None, "none known")),
        ({"smiles": "CCO", "inchi": "not available"}, ("CCO", None, None)),
        ({"structure": "CCO"}, ("CCO", None, None)),
        ({"structure": ETHANOL}, (None, ETHANOL, None)),
        ({"smiles": "C/C=C/C"}, ("C/C=C/C", None, None)),
    ],
)
def test_structures_are_told_by_their_shape(
    fields: dict[str, str], expected: tuple[str | None, str | None, str | None]
) -> None:
    assert sort_structures(fields) == expected


def test_keys_of_structures() -> None:
    record = collect([("Smiles/Inchi", "CCO"), ("INCHIAUX", KEY)])
    assert record.fields == {"structure": "CCO", "inchikey": KEY}


# --------------------------------------------------------------------------- peaks


@pytest.mark.parametrize(
    "peaks",
    [
        "50.5,10; 60.25,100;\n",
        "50.5,10\n60.25,100\n",
        "50.5,10 60.25,100\n",
        "50.5, 10; 60.25, 100;\n",
        "50.5, 10, 60.25, 100\n",
        "50.5 : 10; 60.25 : 100\n",
        "50.5 ,10\n60.25 ,100\n",
        "(50.5 10) (60.25 100)\n",
        "(50.5,10)(60.25,100)\n",
        "(50.5;10) (60.25;100)\n",
        "50.5:10;60.25:100\n",
    ],
)
def test_delimiters_of_nist(tmp_path: Path, peaks: str) -> None:
    spectrum = one(tmp_path, "x.msp", f"Name: a\nNum Peaks: 2\n{peaks}")
    assert spectrum.mz.tolist() == [50.5, 60.25]
    assert spectrum.intensity.tolist() == [10, 100]


@pytest.mark.parametrize("peaks", ["50,5 10\n", "50,5\t10,2\n", "50,10\n", "1 060.25 100\n"])
def test_commas_and_blanks_inside_numbers_are_refused_in_mgf(tmp_path: Path, peaks: str) -> None:
    spectra, skips, _ = read_bytes(tmp_path, "x.mgf", mgf_record("a", peaks=peaks))
    assert spectra == []
    assert [s.reason for s in skips] == [Reason.BAD_PEAK]


@pytest.mark.parametrize(
    "peaks", ["50,5 10\n60,2 20\n", "50,5 10,2\n60,2 20\n", "1 060.25 9\n5 1\n"]
)
def test_decimal_commas_are_refused_in_msp(tmp_path: Path, peaks: str) -> None:
    spectra, skips, _ = read_bytes(tmp_path, "x.msp", f"Name: a\nNum Peaks: 2\n{peaks}")
    assert spectra == []
    assert len(skips) == 1


@pytest.mark.parametrize("scale", [1e-310, 1e-150, 1e150, 1e300])
def test_intensities_at_the_ends_of_what_a_double_holds(tmp_path: Path, scale: float) -> None:
    peaks = f"50.5 {scale!r}\n60.25 {2 * scale!r}\n"
    spectrum = one(tmp_path, "x.mgf", mgf_record("a", peaks=peaks))
    assert spectrum.relative_intensity == pytest.approx([0.5, 1.0])
    assert spectrum.intensity.max() == 1.0


# --------------------------------------------------------------------------- comments


def test_a_long_comment_is_split_in_one_go() -> None:
    # Each of these took a time that grew with the square of the length.
    for text in (
        "a " * 200_000,
        "; " * 200_000,
        ";" + " " * 400_000,
        'a"' * 200_000,
        "a= " * 9,
        "A=|" * 9 + "x",
        '"' + '" \\' * 200_000 + "x",
        '"' + '"\t' * 200_000 + "x",
    ):
        assert len(parse_comments(text)) <= 9
    assert parse_comments("A=|" * 200_000 + "=") != []
    text = " ".join(f"k{i}=v{i}" for i in range(50_000))
    assert len(parse_comments(text)) == 50_000


def test_msp_with_the_tags_of_massbank(tmp_path: Path) -> None:
    lines = (
        "CH$SMILES: CCO",
        "CH$IUPAC: InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3",
        "CH$LINK: INCHIKEY LFQSCWFLJHTTHZ-UHFFFAOYSA-N",
        "MS$FOCUSED_ION: PRECURSOR_TYPE [M+Na]+",
        "AC$MASS_SPECTROMETRY: ION_MODE POSITIVE",
        "AC$CHROMATOGRAPHY: RETENTION_TIME 8.5 min",
    )
    text = msp_record("a", *lines).replace("PrecursorMZ:", "MS$FOCUSED_ION: PRECURSOR_M/Z")
    (spectrum,), skips, _ = read_bytes(tmp_path, "x.msp", text)
    assert not skips
    assert (spectrum.precursor_mz, spectrum.adduct) == (181.07, "[M+Na]+")
    assert (spectrum.smiles, spectrum.first_block) == ("CCO", "LFQSCWFLJHTTHZ")
    assert (spectrum.ion_mode, spectrum.retention_time) == ("positive", 510.0)


@pytest.mark.parametrize(
    "lines", [("SPECTYPE=CORRELATED MS", "MSLEVEL=2"), ("MSLEVEL=2", "SPECTYPE=CORRELATED MS")]
)
def test_the_number_of_an_ms_level_goes_before_words(
    tmp_path: Path, lines: tuple[str, ...]
) -> None:
    spectrum = one(tmp_path, "x.mgf", mgf_record("a", *lines))
    assert spectrum.ms_level == 2
    assert spectrum.notes == ("first of several MS levels taken (2, CORRELATED MS)",)


def test_mgf_keys_without_a_value_or_equals_sign_state_nothing(tmp_path: Path) -> None:
    text = mgf_record("a", "CHARGE", "SCANS", "RTINSECONDS=", "IONMODE=negative")
    spectrum = one(tmp_path, "x.mgf", text)
    found = spectrum.charge, spectrum.ion_mode, spectrum.retention_time
    assert found == (None, "negative", None)


@pytest.mark.parametrize(
    ("field", "noted"),
    [
        ("Instrument_type: in-silico QTOF", True),
        ("Instrument: CFM-ID 4.0", True),
        ("Compound_Name: X, predicted MS/MS", True),
        ("Instrument: silicon detector", False),
        ("Compound_Name: X (predicted)", True),
        ("Compound_Name: Suspect related to X (predicted molecular formula: C24H38O3)", False),
        ("Compound_Name: X, structure predicted by MS/MS", False),
        ("Compound_Name: X, formula predicted by MS1", False),
        ("LIBRARYQUALITY: In Silico Fragmented CFM-ID", True),
        ("Spectrum_type: Predicted LC-MS/MS", True),
        ("Spectrum_type: predicted", True),
        ("LIBRARYQUALITY: 1\nDATATYPE: in silico", True),
        ("DATATYPE: measured, not predicted", False),
        ("Instrument: FIORA", True),
        ("Instrument: Fiora", False),  # a name that people and plants have
        ("Activation: in_silico", True),
        ("LIBRARYQUALITY: 1", False),
        ("LIBRARYQUALITY: 1\nORGANISM: LipidBlast", True),
        ("ORGANISM: GNPS-NIH-NATURALPRODUCTSLIBRARY", False),
        ("SPECTRUMID: LipidBlast", True),
        ("DATA_TYPE: theoretical", True),
        ("LIBRARYQUALITY: 3\nDATA_TYPE: Simulated MS/MS spectra", True),
        ("DATA_TYPE: measured, not calculated", False),
        ("ORGANISM: simulated gastric fluid", False),
        ("SPECTRUM_SOURCE: measured; precursor m/z calculated", False),
        ("Comment: theoretical mass 194.08", False),
        ("Comment: predicted formula C8", False),
        ('Comment: "In silico generated spectrum by X v1.0"', True),
        ("Comment: this spectrum was predicted.", True),
        ("Comment: predicted MS/MS spectrum", True),
        ("Comment: spectra computationally predicted", True),
        ("Comment: spectrum matched predicted formula", False),
        ("Comment: spectrum annotation predicted by X", False),
        ("Comment: peaks annotated in silico; measured spectrum", False),
        ("Comment: Mz_exact=195.0877 ; PC 34:1; LipidBlast in silico; C42H82NO8P", True),
        ("Comment: LipidBlast", True),
        ("Comment: identified by LipidBlast", False),
    ],
)
def test_spectra_that_no_instrument_measured_are_noted(
    tmp_path: Path, field: str, noted: bool
) -> None:
    text = f"Name: a\nPrecursorMZ: 195.0877\n{field}\nNum Peaks: 1\n42.0 1\n"
    notes = one(tmp_path, "x.msp", text).notes
    assert any(note.startswith("predicted, not measured (") for note in notes) == noted


@pytest.mark.parametrize(
    ("field", "noted"),
    [
        ("QUALITY_CHIMERIC=CHIMERIC", "CHIMERIC"),
        ("NAME=X (Chimeric precursor selection)", "X (Chimeric precursor selection)"),
        ("NAME=X (chimeric)\nQUALITY_CHIMERIC=PASSED", None),
        ("NAME=chimerictoxin", None),
    ],
)
def test_spectra_of_several_precursors_are_noted(
    tmp_path: Path, field: str, noted: str | None
) -> None:
    """As MZmine says of spectra in whose isolation window it found others."""
    text = f"BEGIN IONS\nPEPMASS=195.0877\n{field}\n42.0 1\nEND IONS\n"
    expected = f"stated to be chimeric, of several precursors ({noted})"
    assert one(tmp_path, "x.mgf", text).notes == (() if noted is None else (expected,))


@pytest.mark.parametrize(
    ("field", "noted"),
    [
        ("FRAGMENTATION_METHOD=EAD", "EAD"),
        ("ACTIVATION=ETD@50.00", "ETD@50.00"),
        ("ActivationMethod=EThcD", "EThcD"),
        ("DISSOCIATION_METHOD=Electron Activated Dissociation", "Electron Activated Dissociation"),
        ("FRAGMENTATION=ultraviolet photodissociation", "ultraviolet photodissociation"),
        ("COLLISION_ENERGY=10 eV (EAD)", "10 eV (EAD)"),
        ("INSTRUMENT_TYPE=LC-ESI-QTOF EAD", "LC-ESI-QTOF EAD"),
        ("Method=EAD", "EAD"),  # MZmine's MSP
        ("FILTER=FTMS + c ESI d Full ms2 500.2500@etd50.00@hcd20.00 [50-600]", "etd50.00"),
        ("FRAGMENTATION_METHOD=HCD", None),
        ("COLLISION_ENERGY=lead 10 eV", None),
        ("FILTER=FTMS + c ESI d Full ms2 195.0877@hcd35.00 [50-210]", None),
        ("COMPOUND_NAME=EAD", None),
    ],
)
def test_fragmentation_other_than_by_collisions_is_noted(
    tmp_path: Path, field: str, noted: str | None
) -> None:
    text = f"BEGIN IONS\nPEPMASS=195.0877\nIONMODE=positive\n{field}\n42.0 1\nEND IONS\n"
    expected = f"fragmented by electrons or light, not by collisions ({noted})"
    assert one(tmp_path, "x.mgf", text).notes == (() if noted is None else (expected,))


@pytest.mark.parametrize(
    ("title", "fields", "found"),
    [
        ("Cmpd 1, -MS2(193.0726), 20.0eV, 5.2 min #312", (), (None, "negative", 312.0)),
        ("Cmpd 1, +MSn(193.0726), 5.2-5.4 min", ("RTINSECONDS=300",), (None, "positive", 300.0)),
        ("1 Features, +MS2(479.538163, 2+), 0.8123 1/k0", (), (2, "positive", None)),
        ("-AutoMSn(193.07)", ("CHARGE=1",), (-1, "negative", None)),
        ("run.1.1 FTMS - p ESI d Full ms2 193.07@hcd30.00", (), (None, "negative", None)),
        (
            "Cpd 1: -ESI Product Ion (5.2 min) Frag=175.0V CID@20.0 (193.07[z=1] -> **)",
            (),
            (-1, "negative", 312.0),
        ),
        ("run.1.1 FTMS + p ESI d Full ms2 193.07@hcd30.00", (), (None, "positive", None)),
        (
            "+ESI Product Ion (5.25 min) Frag=175.0V CID@20.0 (193.07[z=1] -> **)",
            (),
            (1, "positive", 315.0),
        ),
        ("+ESI Product Ion (rt: 5.25 min) (193.07[z=2] -> **)", (), (2, "positive", 315.0)),
        ("+MS2(193.07, 2+), 5.2 min", ("IONMODE=positive",), (2, "positive", 312.0)),
        ("+MS2(193.07, 2+)", ("CHARGE=1+",), (1, "positive", None)),
        ("+MS2(193.07, 2+)", ("IONMODE=negative",), (None, "negative", None)),
        ("2: TOF MSMS 193.07ES- (Cn, Cm(1:2))", (), (None, "negative", None)),
        ("Daughters of 193ES+", (), (None, "positive", None)),
        ("x, Experiment 2, -TOF MS^2 (50 - 1000)", (), (None, "negative", None)),
        ("-EPI (193.07) CE (-35)", (), (None, "negative", None)),
        ("X-EPI of ES+", (), (None, None, None)),
        ("Product Ion of x", (), (None, None, None)),
        ("+MS2(193.07)", ("CHARGE=1-",), (-1, "negative", None)),
        ("+MS2(193.07)", ("IONMODE=negative",), (None, "negative", None)),
        ("X-MS2 of a", (), (None, None, None)),
        ("HRMS - p coumaric acid", (), (None, None, None)),
        ("LC-MS(1)", (), (None, None, None)),
    ],
)
def test_titles_of_instruments_programs_tell_the_ion_mode(
    tmp_path: Path, title: str, fields: tuple[str, ...], found: tuple[object, ...]
) -> None:
    lines = ("BEGIN IONS", f"TITLE={title}", "PEPMASS=193.07", *fields, "50 1", "END IONS", "")
    spectrum = one(tmp_path, "x.mgf", "\n".join(lines))
    assert (spectrum.charge, spectrum.ion_mode, spectrum.retention_time) == found
    is_noted = any(note.startswith(Note.MODE_IN_TITLE) for note in spectrum.notes)
    stated = {"CHARGE=1-", "CHARGE=1+", "IONMODE=negative", "IONMODE=positive"}
    assert is_noted == (found[1] is not None and not stated & {*fields})


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("TITLE=Cmpd 7, +MS3(433.11->271.06), 5.2 min #70", 3),
        ("TITLE=Cmpd 7, -MSn(CID 433.11 -> 271.06), 5.2 min", 3),
        ("TITLE=Cmpd 7, -MSn(433.11), 5.2 min", None),
        ("TITLE=Cmpd 7, +MS2(433.11, 1+), 5.2 min", 2),
        ("TITLE=+MS, 5.2-5.4min #312", 1),
        ("TITLE=FTMS + p ESI d Full ms3 433.11@hcd30.00 271.06@hcd45.00 [50.00-285.00]", 3),
        ("TITLE=FTMS {1,2} + p ESI Full lock ms [67.00-900.00]", 1),
        ("TITLE=FTMS + p ESI Full ms 433.11@hcd30.00 [67.00-900.00]", None),
        ("TITLE=a\nFILTER=ITMS - c NSI d Full ms3 433.11@cid35.00 271.06@cid35.00 [50-400]", 3),
        ("TITLE=+ESI TOF Scan (5.2 min) Frag=175.0V", 1),
        ("NAME=Rutin; LC-ESI-ITFT; MS3; CE 35", 3),
        ("TITLE=msLevel 1; retentionTime 121.25; scanNum 7", 1),
        ("TITLE=msLevel 2; retentionTime 121.25; scanNum 8", 2),
        ("TITLE=1: TOF MSMS 271.06ES+", 2),
        ("TITLE=2: TOF MS ES+", None),
        ("TITLE=Experiment 1, +TOF MS (100 - 1000) from 2.020 min", 1),
        ("TITLE=Experiment 2, +TOF MS^2 (50 - 1000) from 2.020 min", 2),
        ("TITLE=+MS3 (433.11) (271.06) CE (35)", 3),
        ("TITLE=X; EI-B; MS", None),
        ("TITLE=LC-MS of X, 3.1 min", None),
        ("TITLE=+MS3(433.11->271.06)\nMSLEVEL=2", 2),
        ("TITLE=a\nSPECTRUMTYPE=MS3 spectrum", 3),
    ],
)
def test_titles_tell_the_ms_level(tmp_path: Path, line: str, level: int | None) -> None:
    text = f"BEGIN IONS\n{line}\nPEPMASS=271.06\n50 1\nEND IONS\n"
    (tmp_path / "x.mgf").write_text(text)
    (spectrum,) = read_spectra(tmp_path / "x.mgf", ReadReport(), every_level=True)
    assert spectrum.ms_level == level
    is_noted = any(note.startswith(Note.LEVEL_IN_TITLE) for note in spectrum.notes)
    assert is_noted == (level in (1, 3) and "SPECTRUMTYPE" not in line)


@pytest.mark.parametrize(
    ("species", "charge", "noted"),
    [
        ("[M+2H]+", "", True),
        ("[M+Na]2+", "", True),
        ("[M+H]-", "", True),
        ("[M+2H]+", "1+", False),  # the record says it twice
        ("[M+2H]2+", "", False),
        ("[M-H]+", "", False),
        ("[M+Fe-2H]+", "", False),
        ("[M+2H]", "", False),
    ],
)
def test_a_species_of_an_odd_charge_is_noted(
    tmp_path: Path, species: str, charge: str, noted: bool
) -> None:
    text = f"BEGIN IONS\nPEPMASS=193.07\nADDUCT={species}\nCHARGE={charge}\n50 1\nEND IONS\n"
    notes = one(tmp_path, "x.mgf", text).notes
    assert notes == ((Note.ODD_CHARGE.about(species),) if noted else ())


def test_an_ion_species_in_the_field_for_the_charge(tmp_path: Path) -> None:
    text = "BEGIN IONS\nPEPMASS=193.07\nCHARGE=[M+Na]+\n50 1\nEND IONS\n"
    spectrum = one(tmp_path, "x.mgf", text)
    assert (spectrum.adduct, spectrum.charge, spectrum.notes) == ("[M+Na]+", 1, ())


@pytest.mark.parametrize(
    ("peaks", "intensity"),
    [
        ("m/z intensity\n50.5 10\n77.04 50", [10.0, 50.0]),
        ("Mass\tInt.\n50.5\t10\n77.04\t50", [10.0, 50.0]),
        ('"m/z","int"\n50.5 10\n77.04 50', [10.0, 50.0]),
        ("50.5 10%\n77.04 50%", [10.0, 50.0]),
        ("50.5 1,000\n77.04 1,150,000", [1000.0, 1150000.0]),
        ("50.5 1,000\n77.04 50", [1000.0, 50.0]),
        ("50.5\t12\u202f345\n77.04\t1\u00a0012\u00a0345.5", [12345.0, 1012345.5]),
        ("50.5\u00a0123\n77.04\u00a050", [123.0, 50.0]),
    ],
)
@pytest.mark.parametrize("kind", ["mgf", "msp"])
def test_what_stands_around_the_numbers_of_peaks(
    tmp_path: Path, kind: str, peaks: str, intensity: list[float]
) -> None:
    mgf = f"BEGIN IONS\nPEPMASS=193.07\n{peaks}\nEND IONS\n"
    text = mgf if kind == "mgf" else f"Name: a\nPrecursorMZ: 193.07\nNum Peaks: 2\n{peaks}\n"
    assert one(tmp_path, f"x.{kind}", text).intensity.tolist() == intensity


@pytest.mark.parametrize("kind", ["mgf", "msp"])
@pytest.mark.parametrize(
    "peaks",
    [
        "1 50.5 10\n2 60.25 20\n3 77.04 100",
        "0\t50.5\t10\n1\t60.25\t20\n2\t77.04\t100",
        '"mz" "intensity"\n"1" 50.5 10\n"2" 60.25 20\n"3" 77.04 100',
        "1  50.5  10\n2  60.25  20\n3  77.04 100",
    ],
)
def test_numbers_of_rows_in_front_of_peaks(tmp_path: Path, kind: str, peaks: str) -> None:
    """They were the m/z, without a word, and the m/z were intensities."""
    mgf = f"BEGIN IONS\nPEPMASS=193.07\n{peaks}\nEND IONS\n"
    text = mgf if kind == "mgf" else f"Name: a\nPrecursorMZ: 193.07\nNum Peaks: 3\n{peaks}\n"
    found = one(tmp_path, f"x.{kind}", text)
    assert found.mz.tolist() == [50.5, 60.25, 77.04]
    assert found.intensity.tolist() == [10.0, 20.0, 100.0]


@pytest.mark.parametrize("line", ["50 1,000", "50.5 10,100 20", "intensity m/z", "50.5 1,00"])
def test_peaks_that_may_be_something_else_are_refused(tmp_path: Path, line: str) -> None:
    text = f"Name: a\nPrecursorMZ: 193.07\nNum Peaks: 2\n{line}\n77.04 50\n"
    _, (skip,), _ = read_bytes(tmp_path, "x.msp", text)
    assert skip.reason is Reason.BAD_PEAK


@pytest.mark.parametrize(
    ("peaks", "mz"),
    [
        ("50.5 10 77.04 50 138.066 100", [50.5, 77.04, 138.066]),
        ("50.5\t10\t77.04\t50\n138.066\t100\t139.07\t5", [50.5, 77.04, 138.066, 139.07]),
        ("50.5 10 77.04 50\n138.066 100", [50.5, 77.04, 138.066]),
        # Peaks that are close together.
        (
            "50.5 10 77.04 50\n138.066 9 138.07 9\n139.07 5 140 5",
            [50.5, 77.04, 138.066, 138.07, 139.07, 140.0],
        ),
        # One peak and further columns: a single one, resolution and charge, m/z of a formula.
        ("50.5 10 77.04 50", [50.5]),
        ("50.5 10 y3;b2 12.5\n138.066 100 [C6H8N3O]+ ; 0.5ppm", [50.5, 138.066]),
        ("50.5 10 20000 1\n138.066 100 21000 1", [50.5, 138.066]),
        ("50.5 10 50.501 -9\n138.066 100 138.067 7", [50.5, 138.066]),
        ("50.5 10 50.501 9\n138.066 100 138.067 7", [50.5, 138.066]),
        ("138.066 100 22000 5.1 7.2 1", [138.066]),
        ("50.5 10 77.04\n80.5 100 90.25", [50.5, 80.5]),
        # Several peaks, of which some have an intensity of 0.
        ("50.5 10 77.04 0 90.1 7\n138.066 100", [50.5, 90.1, 138.066]),
    ],
)
def test_several_pairs_on_a_line_of_mgf(tmp_path: Path, peaks: str, mz: list[float]) -> None:
    text = f"BEGIN IONS\nPEPMASS=193.07\n{peaks}\nEND IONS\n"
    assert one(tmp_path, "x.mgf", text).mz.tolist() == mz


@pytest.mark.parametrize("blank", [" ", "\t", "\v", "\f"])
def test_blanks_around_fields_are_no_part_of_them(tmp_path: Path, blank: str) -> None:
    lines = ("BEGIN IONS", "PEPMASS=193.07", "IONMODE=negative", "NAME=a", "50 1", "END IONS")
    spectrum = one(tmp_path, "x.mgf", f"{blank}\n".join(lines))
    assert (spectrum.name, spectrum.ion_mode, spectrum.notes) == ("a", "negative", ())
