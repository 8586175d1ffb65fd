"""Whole files that cannot be read: one line that names the file, or what survives."""

import gzip
import io
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from spectra_files import (
    mgf_record,
    msp_record,
    mzml_file,
    mzml_scan,
    mzxml_file,
    mzxml_scan,
    read_bytes,
)

from specvae.errors import InputError
from specvae.report import ReadReport, Reason
from specvae.spectra.read import read_spectra

SCAN = mzml_scan(0, 2, [50.5], [1.0], negative=False)


def tar(text: str) -> bytes:
    """Return an archive of one file; read as lines it would lose the first record."""
    data = text.encode()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo("x.mgf")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


WRONG: dict[str, tuple[str, bytes, str]] = {
    "empty": ("x.msp", b"", "is empty"),
    "blank": ("x.mgf", b"\n \n\n", "is empty"),
    "empty_gz": ("x.mgf.gz", gzip.compress(b""), "is empty"),
    "binary": ("x.msp", bytes(range(256)) * 20, "binary file"),
    "prose_msp": ("x.msp", b"Dear all,\nhere are my spectra.\n", "no MSP file"),
    "prose_mgf": ("x.mgf", b"Dear all,\nhere are my spectra.\n", "no MGF file"),
    "prose": ("x.txt", b"Dear all,\nhere are my spectra.\n", "is no file of spectra"),
    "json": ("x.msp", b'[\n  {"peaks_json": "[]"}\n]\n', "looks like JSON"),
    "mzspeclib": ("x.txt", b"<mzSpecLib>\n<Spectrum=1>\n<Peaks>\n", "is an mzSpecLib library"),
    "mzdata": (
        "x.xml",
        b'<?xml version="1.0"?>\n<mzData version="1.05"/>',
        "is mzData, neither",
    ),
    "sirius": ("x.ms", b">compound a\n>parentmass 195.08\n\n>ms2\n42 1\n", "is a SIRIUS .ms file"),
    "cfm-id": (
        "x.txt",
        b"#PREDICTED BY CFM-ID\n#PMass=195.1\nenergy0\n42.0 1\n",
        "is CFM-ID's list",
    ),
    "ms2": ("x.ms2", b"H\tCreator\nS\t1\t1\t195.08\n42.0 1\n", "is an .ms2 file"),
    "jcamp": ("x.jdx", b"##TITLE=caffeine\n##JCAMP-DX=4.24\n##XYDATA=1\n", "is JCAMP-DX"),
    "mztab": ("x.mztab", b"MTD\tmzTab-version\t2.0.0-M\n", "is mzTab, which has no peaks"),
    "peak_table": ("x.tsv", b"id\tmzs\tintensities\n1\t42,43\t1,2\n", "is a table of spectra"),
    "alignment": (
        "x.txt",
        b"\t\tClass\nAlignment ID\tAverage Mz\n",
        "is a table of spectra",
    ),
    "features": ("x.csv", b"row ID,row m/z,row retention time\n1,195.08,2.1\n", "is a table of"),
    "html": ("x.mzML", b"<!DOCTYPE html><html><body>404</body></html>", "is a web page"),
    "thermo": (
        "x.raw",
        b"\x01\xa1F\0i\0n\0n\0i\0g\0a\0n\0" + b"\0" * 30,
        "or MassBank records: write mzML, as by msconvert",
    ),
    "sciex": ("x.wiff", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 30, "file of Sciex"),
    "netcdf": ("x.cdf", b"CDF\x01" + b"\0" * 30, "is a netCDF file"),
    "sqlite": ("x.db", b"SQLite format 3\0" + b"\0" * 30, "is an SQLite database"),
    "zip": ("x.mgf", b"PK\x03\x04" + b"\0" * 30, "zip archive"),
    "tar": ("x.mgf", tar(mgf_record("a")), "tar archive"),
    "tar_gz": ("x.tar.gz", gzip.compress(tar(mgf_record("a"))), "tar archive"),
    "msp_named_mgf": ("x.mgf", msp_record("a").encode(), "its content is msp"),
    "mgf_named_msp": ("x.msp", mgf_record("a").encode(), "its content is mgf"),
    "mzml_named_mgf": ("x.mgf", mzml_file([SCAN]).encode(), "its content is mzml"),
    "mgf_named_mzml": ("x.mzML", mgf_record("a").encode(), "its content is mgf"),
    "gz_cut_at_once": ("x.msp.gz", gzip.compress(b"Name: a\n")[:12], "cut off"),
    "mzml_without_spectra": ("x.mzML", mzml_file([]).encode(), "holds no spectrum"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_one_line_that_names_the_file(tmp_path: Path, kind: str) -> None:
    name, content, expected = WRONG[kind]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        list(read_spectra(path, ReadReport()))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert "\n" not in message


def test_missing_file_and_directory(tmp_path: Path) -> None:
    # Without asking for a spectrum: a wrong path must not wait for the first one.
    with pytest.raises(InputError, match=r"none\.msp: no such file"):
        read_spectra(tmp_path / "none.msp", ReadReport())
    (tmp_path / "folder.mgf").mkdir()
    with pytest.raises(InputError, match=r"folder\.mgf: is a directory"):
        read_spectra(tmp_path / "folder.mgf", ReadReport())


def _peaks(rng: random.Random, n: int) -> str:
    return "".join(f"{50 + i + rng.random():.6f} {rng.random():.9f}\n" for i in range(n))


@pytest.mark.parametrize("kind", ["msp", "mgf"])
def test_gzip_cut_off_in_the_middle(tmp_path: Path, kind: str) -> None:
    rng = random.Random(1)
    if kind == "msp":
        records = [
            f"Name: {i}\nPrecursorMZ: 99.5\nNum Peaks: 400\n{_peaks(rng, 400)}\n" for i in range(60)
        ]
    else:
        records = [mgf_record(str(i), peaks=_peaks(rng, 400)) for i in range(60)]
    whole = gzip.compress("".join(records).encode())
    spectra, skips, _ = read_bytes(tmp_path, f"x.{kind}.gz", whole[: len(whole) // 2])
    assert 20 < len(spectra) < 40
    assert [s.query_id for s in spectra] == [str(i) for i in range(len(spectra))]
    assert {s.n_peaks for s in spectra} == {400}
    assert [(s.record, s.reason) for s in skips] == [(str(len(spectra)), Reason.TRUNCATED)]


def test_gzip_cut_off_between_two_records_is_counted_too(tmp_path: Path) -> None:
    whole = gzip.compress(f"{msp_record('a')}\n".encode())
    spectra, skips, _ = read_bytes(tmp_path, "x.msp.gz", whole[:-6])
    assert [s.query_id for s in spectra] == ["a"]
    assert [s.reason for s in skips] == [Reason.TRUNCATED]


def test_mzml_cut_off(tmp_path: Path) -> None:
    scans = [mzml_scan(i, 2, [50.5, 60.25], [1.0, 2.0], negative=False) for i in range(3)]
    content = mzml_file(scans)
    cut = content[: content.index('index="2"') + 200]
    spectra, skips, _ = read_bytes(tmp_path, "x.mzML", cut)
    assert [s.query_id for s in spectra] == ["scan=1", "scan=2"]
    assert [(s.line, s.reason) for s in skips] == [(3, Reason.TRUNCATED)]


def test_mzml_scan_without_peaks_between_two_sound_ones(tmp_path: Path) -> None:
    scans = [mzml_scan(i, 2, mz, mz, negative=False) for i, mz in enumerate([[50.5], [], [60.25]])]
    spectra, skips, _ = read_bytes(tmp_path, "x.mzML", mzml_file(scans))
    assert [s.mz.tolist() for s in spectra] == [[50.5], [60.25]]
    assert [(s.line, s.record, s.reason) for s in skips] == [(2, "scan=2", Reason.NO_PEAKS)]


def test_mzml_scan_with_unequal_arrays(tmp_path: Path) -> None:
    scans = [
        mzml_scan(0, 2, [50.5, 60.25], [1.0], negative=False),
        mzml_scan(1, 2, [50.5], [1.0], negative=False),
    ]
    spectra, skips, _ = read_bytes(tmp_path, "x.mzML", mzml_file(scans))
    assert [s.query_id for s in spectra] == ["scan=2"]
    assert [s.reason for s in skips] == [Reason.PEAK_COUNT_MISMATCH]


def test_mzxml_cut_off(tmp_path: Path) -> None:
    content = mzxml_file([mzxml_scan(i, 2, [50.5], [1.0]) for i in (1, 2)])
    cut = content[: content.index('num="2"') + 100]
    spectra, skips, _ = read_bytes(tmp_path, "x.mzXML", cut)
    assert [s.query_id for s in spectra] == ["1"]
    assert [s.reason for s in skips] == [Reason.TRUNCATED]


def test_mzml_is_read_without_a_word(tmp_path: Path) -> None:
    path = tmp_path / "x.mzML"
    path.write_text(mzml_file([SCAN]))
    code = (
        "import sys; from pathlib import Path; from specvae.report import ReadReport; "
        "from specvae.spectra.read import read_spectra; "
        "print(len(list(read_spectra(Path(sys.argv[1]), ReadReport()))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("1", "")
