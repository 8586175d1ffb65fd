"""Small files of spectra that tests write, and how they read them back."""

import base64
import struct
from collections.abc import Sequence
from pathlib import Path

from specvae.report import ReadReport, Reason, Skip
from specvae.spectra.read import read_spectra
from specvae.spectra.spectrum import Spectrum

Place = tuple[int, Reason]


def read_bytes(
    folder: Path, name: str, content: bytes | str
) -> tuple[list[Spectrum], list[Skip], ReadReport]:
    """Write a file, read it, and return spectra, skips and the report."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    report = ReadReport()
    spectra = list(read_spectra(path, report))
    return spectra, report.skips, report


def msp_record(name: str, *lines: str) -> str:
    """Return a sound MSP record of two peaks with further header lines."""
    header = "".join(f"{line}\n" for line in lines)
    return f"Name: {name}\nPrecursorMZ: 181.07\n{header}Num Peaks: 2\n50.5 10\n60.25 100\n"


def mgf_record(name: str, *lines: str, peaks: str = "50.5 10\n60.25 100\n") -> str:
    """Return a sound MGF record of two peaks with further header lines."""
    header = "".join(f"{line}\n" for line in lines)
    return f"BEGIN IONS\nTITLE={name}\nPEPMASS=181.07\n{header}{peaks}END IONS\n"


def _base64(values: Sequence[float], order: str) -> str:
    return base64.b64encode(struct.pack(f"{order}{len(values)}d", *values)).decode()


def _cv(accession: str, name: str, value: object = "", unit: str = "") -> str:
    return (
        f'<cvParam cvRef="MS" accession="{accession}" name="{name}" value="{value}"'
        + (f' unitCvRef="UO" unitAccession="UO:0" unitName="{unit}"' if unit else "")
        + "/>"
    )


def mzml_scan(
    index: int, level: int, mz: Sequence[float], intensity: Sequence[float], *, negative: bool
) -> str:
    """Return one mzML spectrum; fragment spectra come from m/z 181.07 at 20 eV, 1.5 min."""
    precursor = (
        '<precursorList count="1"><precursor><selectedIonList count="1"><selectedIon>'
        + _cv("MS:1000744", "selected ion m/z", 181.07, "m/z")
        + _cv("MS:1000041", "charge state", 1)
        + "</selectedIon></selectedIonList><activation>"
        + _cv("MS:1000045", "collision energy", 20.0, "electronvolt")
        + "</activation></precursor></precursorList>"
    )
    arrays = "".join(
        f'<binaryDataArray encodedLength="0">{_cv("MS:1000523", "64-bit float")}'
        f"{_cv('MS:1000576', 'no compression')}{_cv(accession, name)}"
        f"<binary>{_base64(values, '<')}</binary></binaryDataArray>"
        for accession, name, values in (
            ("MS:1000514", "m/z array", mz),
            ("MS:1000515", "intensity array", intensity),
        )
    )
    polarity = ("MS:1000129", "negative scan") if negative else ("MS:1000130", "positive scan")
    return (
        f'<spectrum index="{index}" id="scan={index + 1}" defaultArrayLength="{len(mz)}">'
        f"{_cv('MS:1000511', 'ms level', level)}{_cv(*polarity)}"
        f'<scanList count="1"><scan>{_cv("MS:1000016", "scan start time", 1.5, "minute")}'
        f"</scan></scanList>{precursor if level > 1 else ''}"
        f'<binaryDataArrayList count="2">{arrays}</binaryDataArrayList></spectrum>\n'
    )


def mzml_file(scans: Sequence[str]) -> str:
    """Return an mzML file of these spectra."""
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<mzML xmlns="http://psi.hupo.org/ms/mzml" version="1.1.0"><run id="r">\n'
        f'<spectrumList count="{len(scans)}">\n{"".join(scans)}</spectrumList></run></mzML>\n'
    )


def mzxml_scan(number: int, level: int, mz: Sequence[float], intensity: Sequence[float]) -> str:
    """Return one mzXML scan; fragment spectra come from m/z 181.07 at 20 eV."""
    interleaved = [value for pair in zip(mz, intensity, strict=True) for value in pair]
    precursor = '<precursorMz precursorCharge="1">181.07</precursorMz>' if level > 1 else ""
    energy = ' collisionEnergy="20"' if level > 1 else ""
    return (
        f'<scan num="{number}" msLevel="{level}" peaksCount="{len(mz)}" polarity="-"'
        f' retentionTime="PT90S"{energy}>{precursor}'
        '<peaks precision="64" byteOrder="network" contentType="m/z-int" compressionType="none">'
        f"{_base64(interleaved, '>')}</peaks></scan>\n"
    )


def mzxml_file(scans: Sequence[str]) -> str:
    """Return an mzXML file of these scans."""
    return (
        '<?xml version="1.0"?>\n<mzXML xmlns="http://sashimi.sourceforge.net/schema_revision/'
        f'mzXML_3.2"><msRun scanCount="{len(scans)}">\n{"".join(scans)}</msRun></mzXML>\n'
    )
