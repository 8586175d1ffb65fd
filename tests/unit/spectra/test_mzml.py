"""mzML and mzXML: what a scan says of itself, and how its arrays are packed."""

import base64
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from spectra_files import mzml_file, mzml_scan, mzxml_file, mzxml_scan, read_bytes

from specvae.errors import InputError
from specvae.report import ReadReport, Reason
from specvae.spectra import lines, xml_scans
from specvae.spectra.numpress import decode_linear, decode_pic, decode_slof
from specvae.spectra.read import read_spectra
from specvae.spectra.spectrum import Spectrum

MZ = [69.0447, 110.0713, 195.0877]
HEIGHTS = [90.0, 410.0, 1000.0]


def term(accession: str, value: object = "", unit: str = "") -> str:
    return f'<cvParam accession="MS:{accession}" value="{value}" unitName="{unit}"/>'


def array(kind: str, data: bytes, *terms: str) -> str:
    content = base64.b64encode(data).decode()
    params = "".join(term(t) for t in (kind, *terms))
    return f"<binaryDataArray>{params}<binary>{content}</binary></binaryDataArray>"


def doubles(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


def arrays(mz: bytes, intensity: bytes, *terms: str) -> str:
    both = array("1000514", mz, *terms) + array("1000515", intensity, *terms)
    return f'<binaryDataArrayList count="2">{both}</binaryDataArrayList>'


PLAIN = arrays(doubles(MZ), doubles(HEIGHTS), "1000523", "1000576")


def scan(
    *terms: str, precursor: str = "", data: str = PLAIN, length: int = 3, name: str = "scan=1"
) -> str:
    params = "".join(terms) or term("1000511", 2) + term("1000130")
    listed = f"<precursorList>{precursor}</precursorList>" if precursor else ""
    return (
        f'<spectrum index="0" id="{name}" defaultArrayLength="{length}">{params}{listed}{data}'
        "</spectrum>"
    )


def precursor(*ions: float, target: float | None = None, width: float = 0.5) -> str:
    window = ""
    if target is not None:
        window = (
            f"<isolationWindow>{term('1000827', target)}{term('1000828', width)}"
            f"{term('1000829', width)}</isolationWindow>"
        )
    selected = "".join(f"<selectedIon>{term('1000744', ion)}</selectedIon>" for ion in ions)
    return f"<precursor>{window}<selectedIonList>{selected}</selectedIonList></precursor>"


def one(tmp_path: Path, content: str) -> Spectrum:
    (spectrum,), skips, _ = read_bytes(tmp_path, "x.mzML", mzml_file([content]))
    assert skips == []
    return spectrum


# --------------------------------------------------------------------------- packing


@pytest.mark.parametrize(
    ("pack", "terms"),
    [
        (lambda v: struct.pack(f"<{len(v)}d", *v), ("1000523", "1000576")),
        (lambda v: zlib.compress(struct.pack(f"<{len(v)}d", *v)), ("1000523", "1000574")),
        (lambda v: struct.pack(f"<{len(v)}f", *v), ("1000521", "1000576")),
        (lambda v: zlib.compress(struct.pack(f"<{len(v)}f", *v)), ("1000521", "1000574")),
        (lambda v: struct.pack(f"<{len(v)}i", *map(int, v)), ("1000519", "1000576")),
        (lambda v: struct.pack(f"<{len(v)}q", *map(int, v)), ("1000522", "1000576")),
    ],
    ids=["64", "64_zlib", "32", "32_zlib", "int32", "int64"],
)
def test_types_of_numbers(tmp_path: Path, pack, terms: tuple[str, str]) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    values = [69.0, 110.0, 195.0]
    spectrum = one(tmp_path, scan(data=arrays(pack(values), pack(HEIGHTS), *terms)))
    assert spectrum.mz.tolist() == values
    assert spectrum.intensity.tolist() == HEIGHTS


def halves(number: int) -> list[int]:
    """Half bytes of one whole number as MS-Numpress writes it, straight from its description."""
    nibbles = [(number >> 4 * i) & 15 for i in range(8)]  # lowest first
    for fill, offset in ((0, 0), (15, 8)):
        n = 0
        while n < 8 and nibbles[7 - n] == fill:
            n += 1
        if n and (offset == 0 or n < 8):
            return [n + offset, *nibbles[: 8 - n]]
    return [0, *nibbles]


def packed(numbers: Sequence[int]) -> bytes:
    nibbles = [nibble for number in numbers for nibble in halves(number)]
    nibbles += [0] * (len(nibbles) % 2)
    return bytes(a << 4 | b for a, b in zip(nibbles[0::2], nibbles[1::2], strict=True))


def linear(values: Sequence[float], scale: float) -> bytes:
    whole = [round(value * scale) for value in values]
    errors = [whole[i] - 2 * whole[i - 1] + whole[i - 2] for i in range(2, len(whole))]
    return struct.pack(">d", scale) + struct.pack("<2I", *whole[:2]) + packed(errors)


def slof(values: Sequence[float], scale: float) -> bytes:
    short = [round(np.log(value + 1) * scale) for value in values]
    return struct.pack(">d", scale) + struct.pack(f"<{len(short)}H", *short)


def test_numpress_gives_the_numbers_back() -> None:
    rng = np.random.default_rng(1)
    for n in (2, 3, 4, 57):
        mz = np.sort(rng.uniform(50, 1500, n))
        assert decode_linear(linear(mz.tolist(), 1e6)) == pytest.approx(mz, abs=1e-6)
        counts = rng.integers(0, 2**31 - 1, n) >> rng.integers(0, 31, n)
        assert decode_pic(packed(counts.tolist())).tolist() == counts.tolist()
        heights = rng.uniform(0, 1e6, n)
        assert decode_slof(slof(heights.tolist(), 4000.0)) == pytest.approx(heights, rel=2e-4)


def test_numpress_by_hand() -> None:
    # 100 and 105 thousandths, then the errors 0 (half byte 8), 1 (7 1) and -1 (15 15).
    data = struct.pack(">d", 1000.0) + struct.pack("<2I", 100, 105) + bytes.fromhex("871ff0")
    assert (decode_linear(data) * 1000).round(9).tolist() == [100, 105, 110, 116, 121]


@pytest.mark.parametrize(
    "data",
    [b"", b"1234567", b"\0" * 16, struct.pack(">d", -1.0), struct.pack(">d", 1.0) + b"12345"],
)
def test_numpress_that_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="MS-Numpress"):
        decode_linear(data)


def test_numpress_cut_off_inside_a_number() -> None:
    with pytest.raises(ValueError, match="end inside a number"):
        decode_pic(b"\x01")


@pytest.mark.parametrize("zipped", [False, True])
def test_numpress_in_mzml(tmp_path: Path, zipped: bool) -> None:
    wrap = zlib.compress if zipped else bytes
    mz = array("1000514", wrap(linear(MZ, 1e6)), "1000523", "1002746" if zipped else "1002312")
    height = array("1000515", wrap(slof(HEIGHTS, 4000.0)), "1002748" if zipped else "1002314")
    spectrum = one(tmp_path, scan(data=f"<binaryDataArrayList>{mz}{height}</binaryDataArrayList>"))
    assert spectrum.mz == pytest.approx(MZ, abs=1e-6)
    assert spectrum.intensity == pytest.approx(HEIGHTS, rel=2e-4)


# --------------------------------------------------------------------------- scans


def test_uv_and_other_spectra_are_left_out_and_counted(tmp_path: Path) -> None:
    wavelengths = array("1000617", doubles(MZ), "1000523") + array("1000515", b"", "1000523")
    scans = [
        scan(term("1000804"), name="uv"),
        scan(term("1000511", 1), data=f"<binaryDataArrayList>{wavelengths}</binaryDataArrayList>"),
        scan(term("1000511", 2), term("1000341"), name="precursor ion scan"),
        scan(term("1000511", 2), term("1000928"), name="lock mass"),
        scan(term("1000579"), name="ms1 by its type"),
        scan(name="sound"),
    ]
    path = tmp_path / "x.mzML"
    path.write_text(mzml_file(scans))
    report = ReadReport(strict=True)
    assert [s.query_id for s in read_spectra(path, report)] == ["sound"]
    assert report.counts == {Reason.OTHER_SPECTRUM: 4, Reason.MS_LEVEL: 1}
    assert all(skip.reason.is_other_scan for skip in report.skips)


@pytest.mark.parametrize("kind", ["Full", "EPI", "Q1", "q3", "calibration"])
def test_scan_types_of_mzxml(tmp_path: Path, kind: str) -> None:
    of_fragments = kind in ("Full", "EPI")
    one_scan = _mzxml_scan("<precursorMz>195.0877")
    content = mzxml_file([one_scan.replace("<scan ", f'<scan scanType="{kind}" ', 1)])
    spectra, skips, _ = read_bytes(tmp_path, "x.mzXML", content)
    assert len(spectra) == of_fragments
    assert [skip.reason for skip in skips] == [Reason.OTHER_SPECTRUM] * (not of_fragments)


def test_selected_reactions_are_no_scan_of_all_fragments(tmp_path: Path) -> None:
    note = ("of selected reactions, other fragments were not looked for",)
    scans = [
        scan(term("1000511", 2)),
        scan(term("1000511", 2) + term("1000583")),
        scan(term("1000511", 2) + term("1000512", "+ p ESI SRM ms2 195.088 [138.065-138.067]")),
    ]
    spectra, _, _ = read_bytes(tmp_path, "x.mzML", mzml_file(scans))
    assert [spectrum.notes for spectrum in spectra] == [(), note, note]
    one_scan = _mzxml_scan("<precursorMz>195.0877")
    kinds = ('scanType="Full" ', 'scanType="MRM" ', 'filterLine="+ c ESI SRM ms2 195.088" ')
    content = mzxml_file([one_scan.replace("<scan ", f"<scan {kind}", 1) for kind in kinds])
    spectra, _, _ = read_bytes(tmp_path, "x.mzXML", content)
    assert [spectrum.notes for spectrum in spectra] == [(), note, note]


def test_terms_by_reference_to_a_group(tmp_path: Path) -> None:
    group = (
        '<referenceableParamGroupList><referenceableParamGroup id="g">'
        f"{term('1000511', 2)}{term('1000129')}</referenceableParamGroup>"
        "</referenceableParamGroupList>"
    )
    content = mzml_file([scan('<referenceableParamGroupRef ref="g"/>')])
    content = content.replace("<run", f"{group}<run")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mzML", content)
    assert (spectrum.ms_level, spectrum.ion_mode) == (2, "negative")


_BELOW = "selected ion lies one isotope below the isolation window's target"
_WIDE = "isolation window too wide to tell the precursor m/z ({})"


@pytest.mark.parametrize(
    ("given", "mz", "notes"),
    [
        (precursor(195.0877, target=195.09), 195.0877, ()),
        (precursor(195.0877), 195.0877, ()),
        (
            precursor(300.5, target=195.09),
            195.09,
            ("isolation window's target taken as precursor m/z (selected ion 300.5 lies outside)",),
        ),
        (
            precursor(target=195.09),
            195.09,
            ("isolation window's target taken as precursor m/z (no selected ion)",),
        ),
        (precursor(193.9, target=195.09, width=0.0), 193.9, ()),
        (
            precursor(195.0877, target=195.09, width=-1.0),
            195.0877,
            (),
        ),  # nonsense
        (precursor(195.0877).replace('195.0877"', '195.0877\t394"'), 195.0877, ()),
        (
            precursor(195.0877, 391.1695),
            195.0877,
            ("first of several precursors taken (195.088, 391.17)",),
        ),
        (
            precursor(195.0877) + precursor(391.1695),
            195.0877,
            ("first of several precursors taken (195.088, 391.17)",),
        ),
        (
            precursor(target=195.09) + precursor(target=391.17),
            195.09,
            (
                "first of several precursors taken (195.09, 391.17)",
                "isolation window's target taken as precursor m/z (no selected ion)",
            ),
        ),
        (precursor(195.0877, 195.0879), 195.0877, ()),
        (precursor(), None, ()),
        # Many ions at once, and the m/z of none.
        (precursor(625.0, target=625.0, width=575.0), None, (_WIDE.format("1150 Th around 625"),)),
        (precursor(target=412.5, width=12.5), None, (_WIDE.format("25 Th around 412.5"),)),
        (precursor(411.2931, target=412.5, width=12.5), 411.2931, ()),
        (precursor(412.5, target=412.5, width=5.0), 412.5, ()),
        (
            precursor(344.0399, target=345.0439, width=1.5),
            344.0399,
            (f"{_BELOW} (344.04, 345.044)",),
        ),
        (
            precursor(344.0399, target=344.5416, width=1.5).replace(
                "</selectedIon>", f"{term('1000041', 2)}</selectedIon>"
            ),
            344.0399,
            (f"{_BELOW} (344.04, 344.542)",),
        ),
        (precursor(344.0399, target=344.5416, width=1.5), 344.0399, ()),
    ],
)
def test_precursors(tmp_path: Path, given: str, mz: float | None, notes: tuple[str, ...]) -> None:
    spectrum = one(tmp_path, scan(precursor=given))
    assert (spectrum.precursor_mz, spectrum.notes) == (mz, notes)


@pytest.mark.parametrize(
    ("terms", "ev", "nce"),
    [
        (term("1000045", 35, "electronvolt"), 35.0, None),
        (term("1000045", 35, "percent"), None, 35.0),
        (term("1000138", 35), None, 35.0),
        (term("1002013", 20) + term("1002014", 45), 32.5, None),
        (term("1000045", "20,40,60", "electronvolt"), 40.0, None),
        (term("1000045", "high"), None, None),
        (term("1002013", 20, "percent") + term("1002014", 45, "percent"), None, 32.5),
    ],
)
def test_energies(tmp_path: Path, terms: str, ev: float | None, nce: float | None) -> None:
    given = precursor(195.0877).replace(
        "</precursor>", f"<activation>{terms}</activation></precursor>"
    )
    spectrum = one(tmp_path, scan(precursor=given))
    assert (spectrum.collision_energy, spectrum.normalized_collision_energy) == (ev, nce)


@pytest.mark.parametrize(
    ("terms", "noted"),
    [
        (term("1003294") + term("1003410", 8) + term("1000045", 12), "EAD"),
        (term("1000598") + term("1002679"), "ETD"),
        (term("1000133") + term("1000045", 30), None),
    ],
)
def test_activations_other_than_by_collisions(
    tmp_path: Path, terms: str, noted: str | None
) -> None:
    given = precursor(195.0877).replace(
        "</precursor>", f"<activation>{terms}</activation></precursor>"
    )
    expected = f"fragmented by electrons or light, not by collisions ({noted})"
    assert one(tmp_path, scan(precursor=given)).notes == (() if noted is None else (expected,))


def test_activations_of_mzxml(tmp_path: Path) -> None:
    content = mzxml_file([_mzxml_scan('<precursorMz activationMethod="ETD">625.0')])
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mzXML", content)
    assert spectrum.notes == ("fragmented by electrons or light, not by collisions (ETD)",)


def test_borders_of_a_window_in_the_place_of_their_distances(tmp_path: Path) -> None:
    """Proteome Discoverer writes them so."""
    given = precursor(195.0877, target=195.0877, width=0.5)
    given = given.replace(term("1000828", 0.5), term("1000828", 194.5877))
    given = given.replace(term("1000829", 0.5), term("1000829", 195.5877))
    spectrum = one(tmp_path, scan(precursor=given))
    assert (spectrum.precursor_mz, spectrum.notes) == (195.0877, ())


@pytest.mark.parametrize(
    ("width", "mz", "notes"),
    [
        ("1.0", 625.0, ()),
        ("1150.0", None, (_WIDE.format("1150 Th around 625.0"),)),
        ("", 625.0, ()),
    ],
)
def test_windows_of_mzxml(
    tmp_path: Path, width: str, mz: float | None, notes: tuple[str, ...]
) -> None:
    content = mzxml_file([_mzxml_scan(f'<precursorMz windowWideness="{width}">625.0')])
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mzXML", content)
    assert (spectrum.precursor_mz, spectrum.notes) == (mz, notes)


@pytest.mark.parametrize(
    ("polarity", "mode"),
    [("+", "positive"), ("-", "negative"), ("negative", "negative"), ("Positive", "positive")],
)
def test_polarities_of_mzxml(tmp_path: Path, polarity: str, mode: str) -> None:
    content = mzxml_file([_mzxml_scan("<precursorMz>99.5", polarity)])
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mzXML", content)
    assert (spectrum.ion_mode, spectrum.notes) == (mode, ())


def _mzxml_scan(precursor: str, polarity: str = "+") -> str:
    data = base64.b64encode(struct.pack(">4f", 50.5, 1.0, 60.25, 2.0)).decode()
    return (
        f'<scan num="1" msLevel="2" peaksCount="2" polarity="{polarity}">{precursor}</precursorMz>'
        f'<peaks precision="32" byteOrder="network" pairOrder="m/z-int">{data}</peaks></scan>'
    )


def test_peaks_of_mzxml_that_say_to_be_little_endian(tmp_path: Path) -> None:
    data = base64.b64encode(struct.pack("<4f", 50.5, 1.0, 60.25, 2.0)).decode()
    one_scan = (
        '<scan num="1" msLevel="2" peaksCount="2"><precursorMz>99.5</precursorMz>'
        f'<peaks precision="32" byteOrder="little">{data}</peaks></scan>'
    )
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mzXML", mzxml_file([one_scan]))
    assert spectrum.mz.tolist() == [50.5, 60.25]


def test_scans_inside_one_another_in_mzxml(tmp_path: Path) -> None:
    data = base64.b64encode(struct.pack(">4f", 50.5, 1.0, 60.25, 2.0)).decode()
    peaks = f'<peaks precision="32" byteOrder="network" pairOrder="m/z-int">{data}</peaks>'
    inner = "".join(
        f'<scan num="{n}" msLevel="2" peaksCount="2"><precursorMz>99.5</precursorMz>{peaks}</scan>'
        for n in (2, 3)
    )
    content = mzxml_file([f'<scan num="1" msLevel="1" peaksCount="2">{peaks}{inner}</scan>'])
    spectra, skips, _ = read_bytes(tmp_path, "x.mzXML", content)
    assert [(s.query_id, s.line, s.mz.tolist()) for s in spectra] == [
        ("2", 2, [50.5, 60.25]),
        ("3", 3, [50.5, 60.25]),
    ]
    assert [(s.record, s.line, s.reason) for s in skips] == [("1", 1, Reason.MS_LEVEL)]


def test_mzxml_with_a_block_for_each_column_and_several_precursors(tmp_path: Path) -> None:
    blocks = "".join(
        f'<peaks precision="64" compressionType="zlib" contentType="{content}">'
        f"{base64.b64encode(zlib.compress(struct.pack('>2d', *values))).decode()}</peaks>"
        for content, values in (("m/z", (50.5, 60.25)), ("intensity", (1.0, 2.0)))
    )
    ions = "<precursorMz>99.5</precursorMz><precursorMz>120.25</precursorMz>"
    content = mzxml_file([f'<scan num="1" msLevel="2" peaksCount="2">{ions}{blocks}</scan>'])
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mzXML", content)
    assert spectrum.mz.tolist() == [50.5, 60.25]
    assert spectrum.precursor_mz == 99.5
    assert spectrum.notes == ("first of several precursors taken (99.5, 120.25)",)
    same = mzxml_file([_mzxml_scan("<precursorMz>99.5</precursorMz><precursorMz>99.5", "+")])
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mzXML", same)
    assert (spectrum.precursor_mz, spectrum.notes) == (99.5, ())


# --------------------------------------------------------------------------- broken scans


@pytest.mark.parametrize(
    ("bad", "reason", "detail"),
    [
        (scan(data=PLAIN.replace("<binary>", "<binary>!")), Reason.BAD_ENCODING, "base64"),
        (
            scan(data=arrays(b"no zlib", doubles(HEIGHTS), "1000523", "1000574")),
            Reason.BAD_ENCODING,
            "zlib",
        ),
        (
            scan(data=arrays(zlib.compress(doubles(MZ))[:-6], b"", "1000523", "1000574")),
            Reason.BAD_ENCODING,
            "cut off",
        ),
        (scan(data=arrays(b"1234567", b"", "1000523")), Reason.BAD_ENCODING, "64-bit"),
        (scan(data=arrays(doubles(MZ), doubles(HEIGHTS))), Reason.BAD_ENCODING, "type of numbers"),
        (
            scan(data=arrays(doubles(MZ), doubles(HEIGHTS), "1000523", "1003780")),
            Reason.BAD_ENCODING,
            "zstd",
        ),
        (scan(data=arrays(b"123", b"", "1002312")), Reason.BAD_ENCODING, "MS-Numpress"),
        (
            scan(
                data=arrays(b"", b"", "1000523", "1000576").replace(
                    "<binary>", '<cvParam accession="IMS:1000101" value="true"/><binary>'
                )
            ),
            Reason.BAD_ENCODING,
            "imzML's .ibd",
        ),
        (scan(length=4), Reason.PEAK_COUNT_MISMATCH, "'4' declared, 3 found"),
        (scan(data="", length=0), Reason.NO_PEAKS, ""),
        (
            scan(precursor=precursor(1.0).replace('"1.0"', '"high"')),
            Reason.BAD_FIELD,
            "'high'",
        ),
        (scan(precursor=precursor(-5.0)), Reason.BAD_PRECURSOR, "-5"),
        (
            scan(data=arrays(doubles([1.0, 2.0, float("nan")]), doubles(HEIGHTS), "1000523")),
            Reason.BAD_PEAK,
            "nan",
        ),
    ],
)
def test_a_broken_scan_costs_no_other(
    tmp_path: Path, bad: str, reason: Reason, detail: str
) -> None:
    scans = [scan(name="before"), bad.replace("scan=1", "bad"), scan(name="after")]
    spectra, skips, _ = read_bytes(tmp_path, "x.mzML", mzml_file(scans))
    assert [s.query_id for s in spectra] == ["before", "after"]
    assert [(s.record, s.line, s.reason) for s in skips] == [("bad", 2, reason)]
    assert detail in skips[0].detail


@pytest.mark.parametrize(("own", "n_skipped"), [("3", 0), ("4", 1)])
def test_an_array_with_a_length_of_its_own(tmp_path: Path, own: str, n_skipped: int) -> None:
    data = PLAIN.replace("<binaryDataArray>", f'<binaryDataArray arrayLength="{own}">')
    spectra, skips, _ = read_bytes(tmp_path, "x.mzML", mzml_file([scan(data=data, length=100)]))
    assert [spectrum.mz.tolist() for spectrum in spectra] == [MZ] * (1 - n_skipped)
    assert [skip.reason for skip in skips] == [Reason.PEAK_COUNT_MISMATCH] * n_skipped


def test_more_peaks_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECVAE_LIMITS", "record_peaks=2")
    zipped = arrays(
        zlib.compress(doubles(MZ)), zlib.compress(doubles(HEIGHTS)), "1000523", "1000574"
    )
    _, skips, _ = read_bytes(tmp_path, "x.mzML", mzml_file([scan(data=zipped)]))
    assert [s.reason for s in skips] == [Reason.TOO_LARGE]


@pytest.mark.parametrize("kind", ["mzML", "mzXML"])
def test_entities_are_refused(tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("scan=9")
    declared = f'<!DOCTYPE {kind} [<!ENTITY x SYSTEM "file://{secret}">]>'
    path = tmp_path / f"x.{kind}"
    path.write_text(mzml_file([scan(name="&x;")]).replace("<mzML", f"{declared}<{kind}", 1))
    with pytest.raises(InputError, match="document type declaration"):
        list(read_spectra(path, ReadReport()))


@pytest.mark.parametrize("encoding", ["utf-9", "shift_jis", "1e12"])
def test_encodings_that_are_not_known(tmp_path: Path, encoding: str) -> None:
    content = mzml_file([scan()]).replace("utf-8", encoding)
    spectra, skips, _ = read_bytes(tmp_path, "x.mzML", content)
    assert spectra == []
    assert [skip.reason for skip in skips] == [Reason.TRUNCATED]


def test_a_scan_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECVAE_LIMITS", f"record_bytes={3 * lines._CHUNK_BYTES}")
    path = tmp_path / "x.mzML"
    path.write_text(
        mzml_file([scan(name="sound"), scan().replace("<binary>", "<binary>" + " " * 10**6)])
    )
    with pytest.raises(InputError, match=r"x\.mzML: scan 2 is longer than 196,608 bytes"):
        list(read_spectra(path, ReadReport()))


def test_no_network_and_no_library_of_vocabularies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    content = mzml_file([mzml_scan(0, 2, [50.5], [1.0], negative=False)])
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mzML", content)
    assert spectrum.precursor_mz == 181.07


def test_selected_ions_of_mzml_1_0(tmp_path: Path) -> None:
    given = precursor(195.0877).replace("1000744", "1000040")
    assert one(tmp_path, scan(precursor=given)).precursor_mz == 195.0877


@pytest.mark.parametrize(
    ("unit", "seconds"),
    [
        ('unitAccession="UO:0000010"', 90.0),
        ('unitAccession="UO:0000032"', 324_000.0),
        ('unitName="Seconds"', 90.0),
        ('unitAccession="UO:0000031"', 5400.0),
        ('unitName="second"', 90.0),
        ('unitAccession="UO:0000031" unitName="minute"', 5400.0),
    ],
)
def test_units_of_a_time_by_their_accession(tmp_path: Path, unit: str, seconds: float) -> None:
    time = f'<scanList><scan><cvParam accession="MS:1000016" value="90" {unit}/></scan></scanList>'
    content = scan(term("1000511", 2) + term("1000130") + time)
    assert one(tmp_path, content).retention_time == pytest.approx(seconds)


@pytest.mark.parametrize("accession", ["1000016", "1000826", "1000894", "1000895"])
def test_terms_of_a_retention_time(tmp_path: Path, accession: str) -> None:
    times = f"<scanList><scan>{term(accession, 90, 'second')}</scan></scanList>"
    content = scan(term("1000511", 2) + term("1000130") + times)
    assert one(tmp_path, content).retention_time == pytest.approx(90.0)


def test_the_start_of_a_scan_goes_before_its_elution_time(tmp_path: Path) -> None:
    times = term("1000826", 80, "second") + term("1000016", 90, "second")
    content = scan(term("1000511", 2) + f"<scanList><scan>{times}</scan></scanList>")
    assert one(tmp_path, content).retention_time == pytest.approx(90.0)


@pytest.mark.parametrize("time", ["2,0208", "early"])
def test_a_time_that_is_no_number_costs_no_scan(tmp_path: Path, time: str) -> None:
    times = f"<scanList><scan>{term('1000016', time, 'minute')}</scan></scanList>"
    spectrum = one(tmp_path, scan(term("1000511", 2) + term("1000130") + times))
    assert spectrum.retention_time is None
    is_noted = any(map(str.isdigit, time))  # words stand for none
    assert spectrum.notes == (f"retention time not understood ({time} min)",) * is_noted


def test_a_polarity_that_stands_in_the_scan(tmp_path: Path) -> None:
    polarity = f"<scanList><scan>{term('1000129')}</scan></scanList>"
    spectrum = one(tmp_path, scan(term("1000511", 2) + polarity, precursor=precursor(195.0877)))
    assert spectrum.ion_mode == "negative"


@pytest.mark.parametrize(
    ("polarity", "stated", "charge"),
    [
        ("", "-1", -1),
        ("", "2+", 2),
        ("1000129", "1", -1),  # as most write it
        ("1000130", "1", 1),
        ("1000129", "+1", -1),
        ("1000130", "-2", -2),  # the sign is there on purpose, and a note says so
    ],
)
def test_signs_of_charges(tmp_path: Path, polarity: str, stated: str, charge: int) -> None:
    given = precursor(195.0877).replace(
        "</selectedIon>", f"{term('1000041', stated)}</selectedIon>"
    )
    terms = term("1000511", 2) + (term(polarity) if polarity else "")
    spectrum = one(tmp_path, scan(terms, precursor=given))
    is_odd = (polarity, charge) == ("1000130", -2)
    notes = ("ion mode overruled by charge (positive, -2)",) if is_odd else ()
    assert (spectrum.charge, spectrum.notes) == (charge, notes)


@pytest.mark.parametrize(
    ("stated", "possible", "charge", "notes"),
    [
        ("", ["2"], 2, ()),
        ("", ["2", "2"], 2, ()),
        ("0", ["2"], 2, ()),
        ("3", ["2", "3"], 3, ()),
        ("", ["3", "2"], 2, ("several charges stated, the lowest taken (3+ or 2+)",)),
    ],
)
def test_possible_charges(
    tmp_path: Path, stated: str, possible: list[str], charge: int | None, notes: tuple[str, ...]
) -> None:
    terms = "".join(term("1000633", one) for one in possible)
    terms += term("1000041", stated) if stated else ""
    given = precursor(195.0877).replace("</selectedIon>", f"{terms}</selectedIon>")
    spectrum = one(tmp_path, scan(precursor=given))
    assert (spectrum.charge, spectrum.notes) == (charge, notes)
    attributes = f'possibleCharges="{",".join(possible)}"'
    attributes += f' precursorCharge="{stated}"' if stated else ""
    old = _mzxml_scan(f"<precursorMz {attributes}>195.0877", "+")
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mzXML", mzxml_file([old]))
    assert (spectrum.charge, spectrum.notes) == (charge, notes)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("R&D 1", "R&D 1"),
        ("a &amp; b &lt;c&gt; &#233;&#xe9;", "a & b <c> \u00e9\u00e9"),
        ("a&nbsp;b", "a&nbsp;b"),
        ("a\x01b", "ab"),
        ("a&#x1;b&#0;", "a?b?"),
        ("a&#xFFFFFF;b", "a?b"),
        ("&", "&"),
    ],
)
def test_what_no_xml_may_hold_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, read: str
) -> None:
    """Converters put the bytes of a run's parameters into names and titles as they are."""
    content = mzml_file([scan(name=written), scan()])
    for n_bytes in (1, 7, 1 << 16):
        monkeypatch.setattr(xml_scans, "read_piece", lambda stream, n=n_bytes: stream.read(n))
        spectra, skips, _ = read_bytes(tmp_path, "x.mzML", content)
        assert skips == []
        assert [spectrum.query_id for spectrum in spectra] == [read, "scan=1"]


def _with_id(n: int) -> str:
    return scan(name=f"n={n}")


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        (_with_id(2).replace("</spectrum>", ""), "n=2"),
        (_with_id(2).replace("</binaryDataArrayList>", ""), "n=2"),
        (_with_id(2).replace("</binaryDataArrayList>", "< </binaryDataArrayList>"), "n=2"),
        (_with_id(2).replace("</binaryDataArrayList>", "\0\0</binaryDataArrayList>"), "n=2"),
        (_with_id(2).replace("n=2", "<2>"), "x.mzML#2"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "ns0:", "both"])
def test_a_scan_of_broken_xml_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, name: str, prefix: str
) -> None:
    content = mzml_file([_with_id(1), broken, _with_id(3), broken, _with_id(5)])
    if prefix == "both":
        content = content.replace("xmlns=", 'xmlns:a="http://a/?b=1&amp;c" xmlns=')
    elif prefix:
        content = _with_prefix(content, prefix)
    for n_bytes in (1, 7, 1 << 16):
        monkeypatch.setattr(xml_scans, "read_piece", lambda stream, n=n_bytes: stream.read(n))
        spectra, skips, _ = read_bytes(tmp_path, "x.mzML", content)
        assert [spectrum.query_id for spectrum in spectra] == ["n=1", "n=3", "n=5"]
        assert [skip.reason for skip in skips] == [Reason.TRUNCATED] * 2
        first = min(skips, key=lambda skip: skip.line)
        assert (first.record, first.line) == (name, 2)
        assert first.detail.endswith("; the file is read on from the next scan")


def test_what_is_broken_between_two_scans_is_told(tmp_path: Path) -> None:
    content = mzml_file([_with_id(1), "<cvParam>", _with_id(2), _with_id(3)])
    spectra, skips, _ = read_bytes(tmp_path, "x.mzML", content)
    assert [spectrum.query_id for spectrum in spectra] == ["n=1", "n=2", "n=3"]
    assert [skip.reason for skip in skips] == [Reason.TRUNCATED]


def test_a_broken_scan_of_mzxml_costs_neither_the_scan_around_it_nor_others(tmp_path: Path) -> None:
    def written(number: int, level: int, inner: str = "") -> str:
        return mzxml_scan(number, level, [50.5], [1.0]).replace("</scan>", f"{inner}</scan>")

    broken = written(3, 2).replace("</peaks>", "")
    around = written(1, 1, written(2, 2) + broken + written(4, 2))
    content = mzxml_file([around, written(5, 1, written(6, 2))])
    spectra, skips, _ = read_bytes(tmp_path, "x.mzXML", content)
    assert [spectrum.query_id for spectrum in spectra] == ["2", "4", "6"]
    found = [(skip.record, skip.reason) for skip in skips]
    assert found == [("3", Reason.TRUNCATED), ("1", Reason.MS_LEVEL), ("5", Reason.MS_LEVEL)]


def test_a_tag_without_end_is_refused(tmp_path: Path) -> None:
    """The parser would read it from its start again with each piece, for minutes."""
    content = mzml_file([_with_id(1), f'<spectrum id="{"a" * 5_000_000}'])
    with pytest.raises(InputError, match=r"x\.mzML: a tag is longer than 4,194,304 bytes \(line_"):
        read_bytes(tmp_path, "x.mzML", content)


def test_files_that_were_joined_are_read_one_after_the_other(tmp_path: Path) -> None:
    """As by ``cat a.mzML b.mzML``."""
    first, second = mzml_file([_with_id(1), _with_id(2)]), mzml_file([_with_id(3)])
    spectra, skips, _ = read_bytes(tmp_path, "x.mzML", f"{first}\n\n{second}{first}")
    assert skips == []
    assert [spectrum.query_id for spectrum in spectra] == ["n=1", "n=2", "n=3", "n=1#2", "n=2#2"]
    cut = first[: first.index("n=2") + 200]
    spectra, skips, _ = read_bytes(tmp_path, "y.mzML", cut + second)
    assert [spectrum.query_id for spectrum in spectra] == ["n=1", "n=3"]
    assert [(skip.record, skip.reason) for skip in skips] == [("n=2", Reason.TRUNCATED)]


@pytest.mark.parametrize("around", ["<!-- {} -->", "<![CDATA[{}]]>"])
@pytest.mark.parametrize("before", ["<cvParam", "<run"])
def test_a_declaration_in_a_comment_begins_no_other_file(
    tmp_path: Path, around: str, before: str
) -> None:
    text = around.format('<?xml version="1.0"?> <spectrum id="none">')
    content = mzml_file([_with_id(1), _with_id(2)]).replace(before, text + before)
    spectra, skips, _ = read_bytes(tmp_path, "x.mzML", content)
    assert skips == []
    assert [spectrum.query_id for spectrum in spectra] == ["n=1", "n=2"]


def test_behind_a_broken_scan_the_encoding_is_the_one_that_was_declared(tmp_path: Path) -> None:
    content = mzml_file([_with_id(1), "<spectrum <", scan(name="\u00b5")])
    content = content.replace('encoding="utf-8"', 'encoding="ISO-8859-1"')
    spectra, skips, _ = read_bytes(tmp_path, "x.mzML", content.encode("latin-1"))
    assert [spectrum.query_id for spectrum in spectra] == ["n=1", "\u00b5"]
    assert [skip.reason for skip in skips] == [Reason.TRUNCATED]


def test_blanks_before_the_declaration(tmp_path: Path) -> None:
    spectra, skips, _ = read_bytes(tmp_path, "x.mzML", "\n" + mzml_file([_with_id(1)]))
    assert ([spectrum.query_id for spectrum in spectra], skips) == (["n=1"], [])


@pytest.mark.parametrize("declared", ['encoding="utf-8"', "", 'encoding="ISO-8859-1"'])
def test_bytes_that_are_no_utf_8_cost_nothing(tmp_path: Path, declared: str) -> None:
    """As in the names of samples and operators that Windows' programs write."""
    scans = [scan(name=f"sample \u00b5 scan={n}") for n in range(1, 600)]
    content = mzml_file(scans).replace('encoding="utf-8"', declared)
    spectra, skips, _ = read_bytes(tmp_path, "x.mzML", content.encode("cp1252"))
    assert (skips, len(spectra)) == ([], 599)
    assert spectra[-1].query_id == "sample \u00b5 scan=599"
    if "ISO" not in declared:  # nor where only some bytes are none, and characters have several
        half = content[: len(content) // 2].encode() + content[len(content) // 2 :].encode("cp1252")
        assert len(read_bytes(tmp_path, "y.mzML", half)[0]) == 599


def _with_prefix(content: str, prefix: str) -> str:
    named = re.sub(r"<(/?)(?=[A-Za-z])", rf"<\1{prefix}", content)
    return named.replace("xmlns=", f"xmlns:{prefix[:-1]}=")


def test_broken_and_joined_files_of_mzxml_with_prefixes(tmp_path: Path) -> None:
    scans = [mzxml_scan(n, 2, [50.5], [1.0]) for n in range(1, 5)]
    scans[1] = scans[1].replace("</peaks>", "")
    content = _with_prefix(mzxml_file(scans), "x:")
    spectra, skips, _ = read_bytes(tmp_path, "x.mzXML", content + content)
    assert [spectrum.query_id for spectrum in spectra] == ["1", "3", "4", "1#2", "3#2", "4#2"]
    assert [(skip.record, skip.reason) for skip in skips] == [("2", Reason.TRUNCATED)] * 2


def test_elements_with_a_prefix(tmp_path: Path) -> None:
    """As programs write them that take a file apart and put it together again."""
    content = _with_prefix(mzml_file([scan(precursor=precursor(195.0877))]), "ns0:")
    (spectrum,), skips, _ = read_bytes(tmp_path, "x.mzML", content)
    assert skips == []
    assert (spectrum.precursor_mz, spectrum.mz.tolist()) == (195.0877, MZ)


@pytest.mark.parametrize(
    ("line", "stated", "mode"),
    [
        ("FTMS - p ESI d Full ms2 99.50@hcd35.00 [50.00-105.00]", "", "negative"),
        ("ITMS + c ESI d Full ms2 99.50@cid35.00", "", "positive"),
        ("ASTMS {1,1} - p NSI Full ms2 99.50", "", "negative"),
        ("FTMS - p ESI", "+", "positive"),  # the term for the polarity goes before
        ("Full ms2 -", "", None),
    ],
)
def test_polarities_that_only_a_filter_line_states(
    tmp_path: Path, line: str, stated: str, mode: str | None
) -> None:
    given = term("1000511", 2) + (term("1000130") if stated else "")
    found = f"<scanList><scan>{term('1000512', line)}</scan></scanList>"
    assert one(tmp_path, scan(given + found)).ion_mode == mode
    old = _mzxml_scan("<precursorMz>99.5", stated).replace("<scan", f'<scan filterLine="{line}"')
    (spectrum,), _, _ = read_bytes(tmp_path, "x.mzXML", mzxml_file([old]))
    assert spectrum.ion_mode == mode


def test_a_scan_in_which_nothing_was_measured_is_no_error_of_a_strict_report(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.mzXML"
    sound = mzxml_scan(2, 2, [50.5], [1.0])
    path.write_text(mzxml_file([mzxml_scan(1, 2, [], []), sound]), encoding="utf-8")
    report = ReadReport(strict=True)
    assert [spectrum.query_id for spectrum in read_spectra(path, report)] == ["2"]
    assert [skip.reason for skip in report.skips] == [Reason.NO_PEAKS]
    broken = sound.replace('peaksCount="1"', 'peaksCount="2"')
    path.write_text(mzxml_file([broken]), encoding="utf-8")
    with pytest.raises(InputError, match="number of peaks differs"):
        list(read_spectra(path, ReadReport(strict=True)))


@pytest.mark.parametrize(
    ("n_declared", "reason"),
    [("0", Reason.NO_PEAKS), ("", Reason.NO_PEAKS), ("2", Reason.PEAK_COUNT_MISMATCH)],
)
def test_a_pair_of_zeros_stands_for_no_peak_where_none_is_declared(
    tmp_path: Path, n_declared: str, reason: Reason
) -> None:
    scan = mzxml_scan(1, 2, [0.0], [0.0]).replace('peaksCount="1"', f'peaksCount="{n_declared}"')
    sound = mzxml_scan(2, 2, [50.5], [1.0])
    spectra, (skip,), _ = read_bytes(tmp_path, "x.mzXML", mzxml_file([scan, sound]))
    assert [s.mz.tolist() for s in spectra] == [[50.5]]
    assert skip.reason is reason
    assert skip.detail == ("'2' declared, 1 found" if n_declared == "2" else "")


@pytest.mark.parametrize("none", ["NaN", "INF", "-1", "0"])
def test_what_is_no_mz_of_a_window_or_an_ion_does_not_count(tmp_path: Path, none: str) -> None:
    """The other one of the two was lost, or the scan with it."""
    window = precursor(195.0877, target=7.5).replace("7.5", none)
    found = one(tmp_path, scan(precursor=window))
    assert (found.precursor_mz, found.notes) == (195.0877, ())
    ion = precursor(7.5, target=195.0877).replace('"7.5"', f'"{none}"')
    assert one(tmp_path, scan(precursor=ion)).precursor_mz == 195.0877


@pytest.mark.parametrize(
    ("charges", "charge", "note"),
    [
        (("2", "3"), 2, "several charges stated, the lowest taken (2+ or 3+)"),
        (("3", "2"), 2, "several charges stated, the lowest taken (3+ or 2+)"),
        (("2", "2"), 2, ""),
        (("", "2"), 2, ""),
        (("0", "2"), 2, ""),
    ],
)
def test_an_ion_that_is_listed_once_for_each_charge(
    tmp_path: Path, charges: tuple[str, str], charge: int, note: str
) -> None:
    """The first charge was taken without a word."""
    ions = [
        precursor(195.0877).replace(
            "</selectedIon>", f"{term('1000041', each)}</selectedIon>" if each else "</selectedIon>"
        )
        for each in charges
    ]
    found = one(tmp_path, scan(precursor="".join(ions)))
    assert (found.charge, "; ".join(found.notes)) == (charge, note)
    both = "</precursorMz>".join(
        f"<precursorMz precursorCharge='{each}'>195.0877" for each in charges
    )
    (of_mzxml,), _, _ = read_bytes(tmp_path, "x.mzXML", mzxml_file([_mzxml_scan(both)]))
    assert (of_mzxml.charge, "; ".join(of_mzxml.notes)) == (charge, note)


def test_mzml_1_0_describes_a_spectrum_in_an_element_of_its_own(tmp_path: Path) -> None:
    selected = f"<selectedIon>{term('1000040', 195.0877)}{term('1000041', 1)}</selectedIon>"
    described = (
        f"<spectrumDescription>{term('1000127')}<precursorList><precursor><selectedIonList>"
        f"{selected}</selectedIonList></precursor></precursorList><scan>{term('1000130')}"
        '<cvParam accession="MS:1000016" value="90" unitAccession="MS:1000039"/></scan>'
        "</spectrumDescription>"
    )
    content = scan(term("1000511", 2)).replace(
        "<binaryDataArrayList", f"{described}<binaryDataArrayList"
    )
    found = one(tmp_path, content)
    assert (found.precursor_mz, found.charge, found.ion_mode) == (195.0877, 1, "positive")
    assert found.retention_time == 90.0


def test_a_scan_whose_name_is_blank_is_called_by_its_place(tmp_path: Path) -> None:
    assert one(tmp_path, scan(name=" ")).query_id == "x.mzML#1"
