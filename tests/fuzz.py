"""Break sound files of spectra and candidates in seeded ways, and see that nothing worse happens
than a clear line or a skipped record.

    python tests/fuzz.py --minutes 10 --seed 1

Each failure is told with the seed and number that repeat it. Not part of ``make test``, which tries
a few thousand in tests/unit/spectra/test_mutations.py.
"""

from __future__ import annotations

import argparse
import gzip
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from spectra_files import (
    mgf_record,
    msp_record,
    mzml_file,
    mzml_scan,
    mzxml_file,
    mzxml_scan,
)

from specvae.errors import CONTROLS, InputError
from specvae.report import ReadReport
from specvae.spectra.binning import BinLayout
from specvae.spectra.read import read_spectra

_LONGEST_MESSAGE = 1000
_LONGEST_SECONDS = 5.0
_LAYOUT = BinLayout()

_HEAD = ("ADDUCT=[M+H]+", "CHARGE=1+", "IONMODE=positive", "RTINSECONDS=PT1M2S", "CE=20 eV")
_MASSBANK = """ACCESSION: {}
RECORD_TITLE: x
CH$NAME: x
CH$SMILES: CCO
CH$LINK: INCHIKEY LFQSCWFLJHTTHZ-UHFFFAOYSA-N
AC$MASS_SPECTROMETRY: MS_TYPE MS2
AC$MASS_SPECTROMETRY: ION_MODE POSITIVE
MS$FOCUSED_ION: PRECURSOR_M/Z 181.07
PK$NUM_PEAK: 2
PK$PEAK: m/z int. rel.int.
  50.5 10 1
  60.25 100 10
//
"""

SOUND: dict[str, str] = {
    "x.mgf": "".join(mgf_record(str(i), *_HEAD, f"PEPMASS={181.07 + i} 500 1+") for i in range(4)),
    "x.msp": "\n".join(
        msp_record(
            str(i),
            "Precursor_type: [M+H]+",
            'Comments: "precursor m/z=181.07" "SMILES=CCO" "ms level=MS2"',
            "Collision_energy: Ramp 20%-70% (nominal)",
        )
        for i in range(4)
    ),
    "x.txt": "".join(_MASSBANK.format(i) for i in range(3)),
    "x.mzML": mzml_file(
        [mzml_scan(i, 2, [50.5, 60.25], [1.0, 2.0], negative=i == 1) for i in range(3)]
    ),
    "x.mzXML": mzxml_file([mzxml_scan(i, 2, [50.5, 60.25], [1.0, 2.0]) for i in (1, 2, 3)]),
}
CANDIDATES = (
    "query_id,smiles,inchi,inchikey,name,id\n"
    'q1,CCO,,LFQSCWFLJHTTHZ-UHFFFAOYSA-N,"ethanol, pure",1\n'
    "q1,,InChI=1S/C2H6O/c1-2-3/h3H2,2H2,1H3,,x,2\n"
    "q2,CC(=O)[O-].[Na+],,,salt,3\n"
)

_NASTY = (
    b"\0", b"\x1b[2J", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n\n", b"\t", b'"', b"'", b"=", b":",
    b";", b",", b"(", b"[", b"<", b"&x;", b"]]>", b"<!--", b"-", b"+", b"1e999", b"-1e999", b"nan",
    b"inf", b"1e-320", b"0", b"-0", b"1_0", b"0x1f", b"9" * 400, b"9" * 5000, b"1e12", b" 000",
    b"\xc2\xa0", "\N{MINUS SIGN}".encode(), "\N{SUPERSCRIPT TWO}".encode(),
    "\N{ARABIC-INDIC DIGIT ONE}".encode(), b"BEGIN IONS\n", b"END IONS\n", b"Num Peaks: 2\n",
    b"Name: y\n", b"//\n", b"MSLEVEL=1\n", b"MSTYPE: MS2\n", b"</scan>", b"<spectrum>",
    b"[M+?]-", b"[M+2(NH4)]2+", b"/", b"InChI=",
)  # fmt: skip


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Return the bytes of a file after one to four changes."""
    for _ in range(rng.randint(1, 4)):
        data = rng.choice(_CHANGES)(rng, data)
    if rng.random() < 0.1:
        packed = bytearray(gzip.compress(data))
        if rng.random() < 0.7:
            packed[rng.randrange(len(packed))] ^= 1 << rng.randrange(8)
        data = bytes(packed[: rng.randint(1, len(packed))] if rng.random() < 0.3 else packed)
    return data


def _flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data or b"x")
    changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _insert(rng: random.Random, data: bytes) -> bytes:
    place = rng.randint(0, len(data))
    return data[:place] + rng.choice(_NASTY) + data[place:]


def _drop(rng: random.Random, data: bytes) -> bytes:
    place = rng.randint(0, len(data))
    return data[:place] + data[place + rng.randint(1, 40) :]


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randint(0, len(data))]


def _lines(rng: random.Random, data: bytes) -> bytes:
    """Drop, double or swap whole lines."""
    lines = data.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(3)
    if kind == 0:
        del lines[i]
    elif kind == 1:
        lines.insert(j, lines[i])
    else:
        lines[i], lines[j] = lines[j], lines[i]
    return b"\n".join(lines)


def _value(rng: random.Random, data: bytes) -> bytes:
    """Put something nasty in the place of a value."""
    lines = data.split(b"\n")
    i = rng.randrange(len(lines))
    for sign in (b"=", b": ", b" "):
        key, found, _ = lines[i].partition(sign)
        if found:
            lines[i] = key + found + rng.choice(_NASTY) * rng.choice((1, 1, 1, 30))
            break
    return b"\n".join(lines)


_CHANGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flip, _insert, _insert, _drop, _cut, _lines, _value, _value,
)  # fmt: skip


def failure_of_spectra(path: Path) -> str | None:
    """Read a file, and return what is wrong about how that went, None if nothing is."""
    report = ReadReport()
    try:
        spectra = list(read_spectra(path, report))
    except InputError as error:
        return _failure_of_message(str(error))
    names = [spectrum.query_id for spectrum in spectra]
    if len(set(names)) < len(names):
        return "two spectra have one name"
    for skip in report.skips:
        if (failure := _failure_of_message(str(skip))) is not None:
            return failure
    for spectrum in spectra:
        mass = spectrum.neutral_mass
        if mass is not None and not np.isfinite(mass):
            return f"neutral mass {mass}"
        if any(CONTROLS.search(text) for text in (spectrum.query_id, *spectrum.notes)):
            return f"name {spectrum.query_id!r} or a note is not printable"
    if spectra and not np.isfinite(_LAYOUT.encode_many(spectra).values).all():
        return "a spectrum is encoded to no finite number"
    return None


def failure_of_candidates(path: Path) -> str | None:
    """Read a table of candidates, as `failure_of_spectra` does."""
    from specvae.molecules.candidates import read_candidates

    report = ReadReport()
    try:
        found = read_candidates(path, report)
    except InputError as error:
        return _failure_of_message(str(error))
    if not np.isfinite(found.exact_mass).all():
        return "an exact mass is no finite number"
    return next((f for skip in report.skips if (f := _failure_of_message(str(skip)))), None)


def _failure_of_message(message: str) -> str | None:
    if "\n" in message or CONTROLS.search(message):
        return f"a message of several lines, or with control characters: {message[:80]!r}"
    if len(message) > _LONGEST_MESSAGE:
        return f"a message of {len(message)} characters"
    return None


def mutations(seed: int, kinds: dict[str, str]) -> Iterator[tuple[int, str, bytes]]:
    """Yield number, file name and bytes of broken files without end; the seed decides them all."""
    names = list(kinds)
    number = 0
    while True:
        name = names[number % len(names)]
        yield number, name, mutate(random.Random(f"{seed}:{number}"), kinds[name].encode())
        number += 1


def main() -> int:
    """Try for as long as is wanted, and tell what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tried: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    end = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        for number, name, data in mutations(options.seed, {**SOUND, "x.csv": CANDIDATES}):
            if time.monotonic() > end:
                break
            path = Path(folder) / name
            path.write_bytes(data)
            check = failure_of_candidates if name == "x.csv" else failure_of_spectra
            start = time.monotonic()
            try:
                failure = check(path)
            except Exception:  # what this is looking for
                failure = traceback.format_exc().strip().splitlines()[-1]
            if failure is None and time.monotonic() - start > _LONGEST_SECONDS:
                failure = "took longer than it may"
            tried[name] += 1
            if failure is not None:
                bad[name] += 1
                print(f"{name}, seed {options.seed}, number {number}: {failure}")  # noqa: T201
    for name, n in tried.items():
        print(f"{name}: {n:,} tried, {bad[name]:,} badly")  # noqa: T201
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
