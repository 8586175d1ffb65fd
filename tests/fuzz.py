"""Break sound files of every kind in seeded ways, and see that nothing worse happens than a clear
line, a skipped record or the same answer.

    python tests/fuzz.py --number 100000 --seed 1 --json docs/results/reliability.json

In portions: ``--first 0 --number 10000``, then ``--first 10000 --number 20000 --add`` and so on.
Each failure is printed with the seed and number that repeat it. Not in ``make test``, which tries
a few thousand in tests/unit/spectra/test_mutations.py. docs/reliability.md has what came of it.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gzip
import json
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import click
import numpy as np
from annotation_examples import tiny_annotator
from pool_files import write_pool
from spectra_files import (
    mgf_record,
    msp_record,
    mzml_file,
    mzml_scan,
    mzxml_file,
    mzxml_scan,
)

from specvae.annotation.library.compounds import read_truth
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.training.settings import preset_config
from specvae.cli.annotate import annotate
from specvae.cli.defaults import option_defaults
from specvae.errors import CONTROLS, SpecvaeError
from specvae.molecules.candidate_pool import CandidatePool
from specvae.molecules.candidates import read_candidates
from specvae.molecules.fingerprint import get_layout
from specvae.report import ReadReport
from specvae.settings import override, read_toml
from specvae.spectra.binning import BinLayout
from specvae.spectra.read import read_spectra
from specvae.spectra.spectrum import Spectrum
from specvae.vae.checkpoint import save_checkpoint

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
    "q1,,InChI=1S/C6H6/c1-2-4-6-5-3-1/h1-6H,,x,2\n"
    "q2,CC(=O)[O-].[Na+],,,salt,3\n"
)

TRUTH = (
    "query_id,inchikey14,smiles\n"
    'q1,LFQSCWFLJHTTHZ,\nq2,,CCO\n"q, 3",LFQSCWFLJHTTHZ-UHFFFAOYSA-N,\nq4,,CC(=O)O\n'
)
SETTINGS = """fingerprint = "morgan4096"
[model]
kind = "svae"
n_latent = 8
spectrum_encoder = [64, 32]
[optim]
epochs = 2
learning_rate = 1e-3
[filter]
ion_mode = "positive"
"""
OPTIONS = """ppm = 5.0
top = "all"
adduct = ["[M+H]+", "[M+Na]+"]
in-list = 0.9
"""

_NASTY = (
    b"\0", b"\x1b[2J", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n\n", b"\t", b'"', b"'", b"=", b":",
    b";", b",", b"(", b"[", b"<", b"&x;", b"]]>", b"<!--", b"-", b"+", b"1e999", b"-1e999", b"nan",
    b"inf", b"1e-320", b"0", b"-0", b"1_0", b"0x1f", b"9" * 400, b"9" * 5000, b"1e12", b" 000",
    b"\xc2\xa0", "\N{MINUS SIGN}".encode(), "\N{SUPERSCRIPT TWO}".encode(),
    "\N{ARABIC-INDIC DIGIT ONE}".encode(), b"BEGIN IONS\n", b"END IONS\n", b"Num Peaks: 2\n",
    b"Name: y\n", b"//\n", b"MSLEVEL=1\n", b"MSTYPE: MS2\n", b"</scan>", b"<spectrum>",
    b"[M+?]-", b"[M+2(NH4)]2+", b"/", b"InChI=", b"[" * 3000, b"{" * 3000, b"C(" * 2000,
    b"x" * 140_000,
    b"C" * 20_000, b"N/A", b"=1+1", b"true", b"null", b"[]", b"{}",
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


def _binary(rng: random.Random, data: bytes) -> bytes:
    """Return the bytes of a binary file after one to three changes, most of them of one bit."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(changed))
        kind = rng.randrange(8)
        if kind < 4:
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 4:
            changed[place] = rng.randrange(256)
        elif kind == 5:
            length = rng.randint(1, 400)
            changed[place : place + length] = rng.randbytes(length)
        elif kind == 6:
            changed[place : place + 8] = rng.choice((b"\0" * 8, b"\xff" * 8, b"\x7f" * 8))
        else:
            del changed[place : place + rng.choice((1, 8, 512, len(changed)))]
            changed = changed or bytearray(b"x")
    return bytes(changed)


def _header_value(rng: random.Random, data: bytes) -> bytes:
    """Return a checkpoint in whose header one value is of another kind, as if written so."""
    length = int.from_bytes(data[:8], "little")
    table = json.loads(data[8 : 8 + length])
    header = json.loads(table["__metadata__"]["specvae"])
    del header["header_sha256"]
    place = header
    while True:
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
            break
        place = inner
    if isinstance(place, dict) and rng.random() < 0.2:
        del place[key]
    else:
        place[key] = rng.choice(
            (
                None,
                True,
                -1,
                0,
                1e308,
                10**30,
                "",
                "x",
                "\ud800",
                [],
                {},
                [[]],
                [None],
                {"x": {}},
                "9" * 5000,
            )
        )
    table["__metadata__"]["specvae"] = json.dumps(header)
    text = json.dumps(table).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


@dataclass(frozen=True)
class Outcome:
    """How the reading of one broken file went.

    Attributes
    ----------
    kind
        ``refused`` in one line, ``in part`` (something was skipped, and is said), or ``read``.
    failure
        What is wrong about it; empty if nothing is.
    """

    kind: str
    failure: str = ""


def outcome_of_spectra(path: Path) -> Outcome:
    """Read a file of spectra."""
    report = ReadReport()
    try:
        spectra = list(read_spectra(path, report))
    except SpecvaeError as error:
        return _refused(error)
    return Outcome(
        "in part" if report.skips else "read", _failure_of_spectra(path, spectra, report)
    )


def _failure_of_spectra(path: Path, spectra: list[Spectrum], report: ReadReport) -> str:
    names = [spectrum.query_id for spectrum in spectra]
    if len(set(names)) < len(names):
        return "two spectra have one name"
    for spectrum in spectra:
        mass = spectrum.neutral_mass
        if mass is not None and not np.isfinite(mass):
            return f"neutral mass {mass}"
        if any(CONTROLS.search(text) for text in (spectrum.query_id, *spectrum.notes)):
            return f"name {spectrum.query_id!r} or a note is not printable"
    if spectra and not np.isfinite(_LAYOUT.encode_many(spectra).values).all():
        return "a spectrum is encoded to no finite number"
    intact = _intact_records(path)
    if len(spectra) + len(report.skips) < len(intact):
        return f"{len(intact)} records are intact, {len(spectra)} were read"
    return _failure_of_skips(report)


@cache
def _records(name: str) -> tuple[bytes, ...]:
    if name == "x.mgf":
        return tuple(re.findall(rb"BEGIN IONS.*?END IONS\n", SOUND[name].encode(), re.DOTALL))
    return (
        tuple(r + b"//\n" for r in SOUND[name].encode().split(b"//\n")[:-1])
        if name == "x.txt"
        else ()
    )


def _intact_records(path: Path) -> list[bytes]:
    """Return the records that a broken file still has as they were, each with its own borders."""
    data = _unpacked(path)
    return [record for record in _records(path.name) if b"\n" + record in b"\n" + data]


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except Exception:  # damaged as a whole
        return b""


def outcome_of_candidates(path: Path) -> Outcome:
    """Read a table of candidates."""
    report = ReadReport()
    try:
        found = read_candidates(path, report)
    except SpecvaeError as error:
        return _refused(error)
    failure = _failure_of_skips(report)
    if not np.isfinite(found.exact_mass).all():
        failure = "an exact mass is no finite number"
    n_intact = _n_intact_rows(path, CANDIDATES)
    if len(found) + len(report.skips) < n_intact:
        failure = f"{n_intact} rows are intact, {len(found)} were read"
    return Outcome("in part" if report.skips else "read", failure)


def outcome_of_truth(path: Path) -> Outcome:
    """Read a file of truths."""
    try:
        truth = read_truth(path)
    except SpecvaeError as error:
        return _refused(error)
    if bad := [block for block in truth.values() if not re.fullmatch("[A-Z]{14}", block)]:
        return Outcome("read", f"{bad[0]!r} is no first block")
    n_intact = _n_intact_rows(path, TRUTH)
    return Outcome("read", "" if len(truth) >= n_intact else f"{n_intact} rows are intact")


def _n_intact_rows(path: Path, sound: str) -> int:
    """Return how many rows of a table are as they were, if no quotation mark was put in."""
    lines = _unpacked(path).split(b"\n")
    head, *rows = sound.encode().strip().split(b"\n")
    if lines[0] != head or sum(b'"' in line and line not in rows for line in lines):
        return 0
    return sum(row in lines for row in rows)


def outcome_of_settings(path: Path) -> Outcome:
    """Read a file of training settings."""
    return _outcome_of(lambda: override(preset_config("small", "svae"), read_toml(path)))


def outcome_of_options(path: Path) -> Outcome:
    """Read a file of a command's options, and let the command convert them."""

    def given() -> None:
        options = option_defaults(annotate, read_toml(path))
        with contextlib.suppress(click.UsageError):
            for param in annotate.params:
                if param.name in options:
                    param.type_cast_value(click.Context(annotate), options[param.name])

    return _outcome_of(given)


def _outcome_of(read: Callable[[], object]) -> Outcome:
    try:
        read()
    except SpecvaeError as error:
        return _refused(error)
    return Outcome("read")


def contents_of_pool(path: Path) -> object:
    """Return all that a pool gives to a ranking."""
    with CandidatePool.open(path, get_layout("morgan4096")) as pool:
        found = pool.slice(0, len(pool))
        columns = (found.smiles, found.name, found.id, found.inchikey, found.packed)
        return pool.exact_mass.tolist(), [column.tolist() for column in columns]


def contents_of_model(path: Path) -> object:
    """Return what a model says of itself, and what it predicts for nothing."""
    annotator = Annotator.load(path, "cpu")
    return annotator.header.to_json(), annotator.blind_logits.tolist()


class Binary:
    """A binary file that must be refused or say what it said: pools and models."""

    def __init__(self, contents: Callable[[Path], object], sound: Path) -> None:
        self._contents, self._sound = contents, contents(sound)

    def __call__(self, path: Path) -> Outcome:
        try:
            found = self._contents(path)
        except SpecvaeError as error:
            return _refused(error)
        return Outcome("read", "" if found == self._sound else "silently different")


def outcome_of_foreign_model(path: Path) -> Outcome:
    """Load a model whose header another program may have written."""
    return _outcome_of(lambda: contents_of_model(path))


def _refused(error: SpecvaeError) -> Outcome:
    return Outcome("refused", _failure_of_message(str(error)))


def _failure_of_skips(report: ReadReport) -> str:
    return next((f for skip in report.skips if (f := _failure_of_message(str(skip)))), "")


def _failure_of_message(message: str) -> str:
    if "\n" in message or CONTROLS.search(message):
        return f"a message of several lines, or with control characters: {message[:80]!r}"
    if len(message) > _LONGEST_MESSAGE:
        return f"a message of {len(message)} characters"
    return ""


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes
    ----------
    sound
        The bytes of a sound one.
    change
        Breaks it.
    check
        Reads a broken one.
    """

    sound: bytes
    change: Callable[[random.Random, bytes], bytes]
    check: Callable[[Path], Outcome]


def kinds(folder: Path) -> dict[str, Kind]:
    """Return the kinds by file name; sound pools and models are made in a folder."""
    found = {name: Kind(text.encode(), mutate, outcome_of_spectra) for name, text in SOUND.items()}
    tables = {
        "x.csv": (CANDIDATES, outcome_of_candidates),
        "x.tsv": (CANDIDATES.replace(",", "\t"), outcome_of_candidates),
        "truth.csv": (TRUTH, outcome_of_truth),
        "settings.toml": (SETTINGS, outcome_of_settings),
        "options.toml": (OPTIONS, outcome_of_options),
    }
    for name, (text, check) in tables.items():
        found[name] = Kind(text.encode(), mutate, check)
    table, pool, model = folder / "pool.smi", folder / "pool.h5", folder / "m.safetensors"
    table.write_text("".join(f"{'C' * n}O n{n}\n" for n in range(1, 40)), encoding="utf-8")
    write_pool(table, get_layout("morgan4096"), pool)
    annotator = tiny_annotator()
    save_checkpoint(model, annotator.model, annotator.header)
    found["pool.h5"] = Kind(pool.read_bytes(), _binary, Binary(contents_of_pool, pool))
    found["model.safetensors"] = Kind(model.read_bytes(), _binary, Binary(contents_of_model, model))
    found["header.safetensors"] = Kind(model.read_bytes(), _header_value, outcome_of_foreign_model)
    return found


def mutations(
    seed: int, wanted: Mapping[str, Kind], number: int = 0
) -> Iterator[tuple[int, str, bytes]]:
    """Yield number, file name and bytes of broken files without end; the seed decides them all."""
    names = list(wanted)
    while True:
        name = names[number % len(names)]
        rng = random.Random(f"{seed}:{number}")
        yield number, name, wanted[name].change(rng, wanted[name].sound)
        number += 1


def tried(
    path: Path,
    data: bytes,
    check: Callable[[Path], Outcome],
    seconds: float | None = _LONGEST_SECONDS,
) -> Outcome:
    """Write one broken file and read it; `seconds` is the longest that it may take."""
    path.write_bytes(data)
    start = time.process_time()  # of this process: others must not make it look slow
    try:
        outcome = check(path)
    except Exception:  # what this is looking for
        return Outcome("refused", traceback.format_exception_only(*sys.exc_info()[:2])[-1][:200])
    if seconds is not None and time.process_time() - start > seconds:
        return Outcome(outcome.kind, "took longer than it may")
    return outcome


def main() -> int:
    """Try as many as are wanted, and tell what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=10_000, help="of broken files")
    parser.add_argument("--first", type=int, default=0, help="number at which it begins")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="one kind of file, by its name")
    parser.add_argument("--json", type=Path, help="where the counts are written")
    parser.add_argument("--add", action="store_true", help="to those that stand there")
    options = parser.parse_args()
    faulthandler.enable()
    counts: dict[str, Counter[str]] = {}
    failures: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        known = kinds(Path(folder))
        for number, name, data in islice(
            mutations(options.seed, known, options.first), options.number - options.first
        ):
            if options.only not in ("", name):
                continue
            # What hangs in a library's C code ends the run, with the place.
            faulthandler.dump_traceback_later(120, exit=True)
            outcome = tried(Path(folder) / name, data, known[name].check)
            count = counts.setdefault(name, Counter())
            count["tried"] += 1
            count[outcome.kind] += 1
            if outcome.failure:
                count["badly"] += 1
                failures[f"{name}: {outcome.failure[:60]}"] += 1
                if failures[f"{name}: {outcome.failure[:60]}"] <= 3:
                    print(f"{name}, seed {options.seed}, number {number}: {outcome.failure}")  # noqa: T201
    for name, count in counts.items():
        print(f"{name}: {dict(count)}")  # noqa: T201
    if options.json is not None:
        result = {"date": time.strftime("%Y-%m-%d"), "seed": options.seed, "number": options.number}
        before = json.loads(options.json.read_text(encoding="utf-8")) if options.add else {}
        for name, found in before.get("kinds", {}).items():
            counts.setdefault(name, Counter()).update(found)
        result["kinds"] = {name: dict(count) for name, count in counts.items()}
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
