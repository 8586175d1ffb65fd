"""The files of a CASMI contest, merged or one for each challenge."""

from __future__ import annotations

import csv
import dataclasses
import filecmp
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from specvae.errors import InputError
from specvae.files import atomic_path, sha256_of
from specvae.molecules.text_tables import read_named_rows
from specvae.report import ReadReport
from specvae.spectra.read import read_spectra
from specvae_bench.files import write_mgf
from specvae_bench.options import ELSEWHERE, has_result

_CHALLENGE = re.compile(r"challenge[-_ ]?0*(\d+)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Challenges:
    """The contest in three merged files."""

    queries: Path
    candidates: Path
    truth: Path

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each file by its name."""
        return {path.name: sha256_of(path) for path in (self.queries, self.candidates, self.truth)}


def prepare(data: Path, output: Path, log: Callable[[str], None]) -> Challenges:
    """Find the contest's files in a folder, merging what lies there one per challenge.

    Merged files are used where they lie; loose ones are merged into `output`.

    Parameters
    ----------
    data, output
        The folder, and where merged files are written.
    log
        Is told what of loose queries cannot be read.

    Raises
    ------
    InputError
        If a file that is needed is missing, or a file of others' would be replaced; the message
        names it.
    """
    if not data.is_dir():
        raise InputError(f"{data}: no such folder; wanted the contest's files")
    solutions = _read_solutions(data / "solutions.csv") if (data / "solutions.csv").exists() else {}
    truth = _first(data, "truth.csv")
    if truth is None:
        if not solutions:
            raise InputError(f"{data}: neither truth.csv nor solutions.csv lies in it")
        truth = _write_rows(
            output / "truth.csv",
            ("query_id", "inchikey14", "ion_mode"),
            ((name, s["inchikey"][:14], s["ion_mode"]) for name, s in solutions.items()),
        )
    queries = _first(data, "queries.mgf", "queries.mgf.gz")
    if queries is None:
        queries = _merge_queries(data, solutions, output / "queries.mgf", log)
    candidates = _first(data, "candidates.csv.gz", "candidates.csv")
    if candidates is None:
        candidates = _merge_candidates(data, solutions, output / "candidates.csv")
    return Challenges(queries, candidates, truth)


def _first(folder: Path, *names: str) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _number(text: str) -> int | None:
    found = _CHALLENGE.search(text)
    return int(found[1]) if found else None


def _read_solutions(path: Path) -> dict[str, dict[str, str]]:
    """Return challenge name -> inchikey, ion_mode and precursor_mz; 2016 and 2017 spell apart."""
    solutions = {}
    for line, fields in read_named_rows(path):
        name = fields.get("challengename") or fields.get("challenge", "")
        if not name or not fields.get("inchikey"):
            raise InputError(
                f"{path}:{line}: wanted columns Challenge (or ChallengeName) and InChIKey"
            )
        solutions[name] = {
            "inchikey": fields["inchikey"],
            "ion_mode": fields.get("ion_mode", "").lower(),
            "precursor_mz": fields.get("precursor_mz", ""),
        }
    return solutions


def _merge_queries(
    data: Path,
    solutions: Mapping[str, Mapping[str, str]],
    output: Path,
    log: Callable[[str], None],
) -> Path:
    """Write one MGF: identifiers, ion modes and missing precursors are the solutions'."""
    by_number = {_number(name): name for name in solutions}
    merged = []
    report = ReadReport()
    with _challenge_files(data, "raw_mgf", ".mgf") as files:
        for file in files:
            name = by_number.get(_number(file.name))
            if name is None:
                raise InputError(f"{file.name}: solutions.csv has no such challenge")
            ion_mode = solutions[name]["ion_mode"]
            if ion_mode not in ("positive", "negative"):
                raise InputError(
                    f"{data / 'solutions.csv'}: {name}: ion_mode is {ion_mode!r}, wanted positive "
                    "or negative"
                )
            for spectrum in read_spectra(file, report):
                precursor = spectrum.precursor_mz
                if precursor is None:
                    precursor = _precursor(data / "solutions.csv", name, solutions[name])
                merged.append(
                    dataclasses.replace(
                        spectrum,
                        query_id=name,
                        precursor_mz=precursor,
                        ion_mode=ion_mode,
                        charge=1 if ion_mode == "positive" else -1,
                        adduct=None,
                    )
                )
    if not merged:
        raise InputError(f"{data}: neither queries.mgf nor an MGF per challenge lies in it")
    if report.skips:
        log(f"queries: {report.summary()}, the first: {report.skips[0]}")
    with _merged(output) as made:
        write_mgf(merged, made)
    return output


def _precursor(path: Path, name: str, solution: Mapping[str, str]) -> float | None:
    text = solution["precursor_mz"]
    try:
        return float(text) if text else None
    except ValueError:
        raise InputError(
            f"{path}: {name}: precursor_mz is {text!r}, wanted a number (Th)"
        ) from None


def _merge_candidates(data: Path, solutions: Mapping[str, Any], output: Path) -> Path:
    """Write one CSV of the per-challenge ones, with columns query_id and smiles or inchi."""
    by_number = {_number(name): name for name in solutions}
    rows: list[tuple[str, str, str]] = []
    with _challenge_files(data, "candidates", ".csv") as files:
        for file in files:
            name = by_number.get(_number(file.name))
            if name is not None:
                rows += [
                    (name, fields.get("smiles", ""), fields.get("inchi", ""))
                    for _, fields in read_named_rows(file)
                ]
    if not rows:
        raise InputError(f"{data}: neither candidates.csv nor a CSV per challenge lies in it")
    return _write_rows(output, ("query_id", "smiles", "inchi"), rows)


@contextmanager
def _challenge_files(data: Path, name: str, suffix: str) -> Iterator[list[Path]]:
    """Yield the files of single challenges: loose, in a folder `name`, or in `name`.zip.

    Raises
    ------
    InputError
        If two are of one challenge, or the archive cannot be read.
    """
    archive = data / f"{name}.zip"
    if not archive.is_file():
        found = sorted(
            path
            for folder in (data, data / name)
            if folder.is_dir()
            for path in folder.iterdir()
            if _is_of_challenge(path.name.removesuffix(".gz"), suffix)
        )
        _require_one_each(data, found)
        yield found
        return
    with tempfile.TemporaryDirectory() as room:
        found = _unpacked(archive, suffix, Path(room))
        _require_one_each(archive, found)
        yield found


def _is_of_challenge(name: str, suffix: str) -> bool:
    """Whether a file is of a challenge by its name; macOS adds hidden ones to archives."""
    is_hidden = name.startswith(".")
    return name.lower().endswith(suffix) and not is_hidden and _number(name) is not None


def _unpacked(archive: Path, suffix: str, room: Path) -> list[Path]:
    """Return the files of single challenges in an archive, each in a folder of its own."""
    found = []
    try:
        with zipfile.ZipFile(archive) as members:
            for position, member in enumerate(sorted(members.namelist())):
                # The archive's own folders are dropped: a member can never land elsewhere.
                path = room / str(position) / Path(member).name
                if _is_of_challenge(path.name, suffix):
                    path.parent.mkdir()
                    path.write_bytes(members.read(member))
                    found.append(path)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{archive}: cannot be read as a ZIP archive ({error})") from None
    return found


def _require_one_each(source: Path, files: Iterable[Path]) -> None:
    seen: dict[int | None, Path] = {}
    for file in files:
        other = seen.setdefault(_number(file.name), file)
        if other is not file:
            raise InputError(
                f"{source}: {other.name} and {file.name} are both of challenge "
                f"{_number(file.name)}, wanted one file of each"
            )


def _write_rows(path: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Path:
    with _merged(path) as made, made.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return path


@contextmanager
def _merged(path: Path) -> Iterator[Path]:
    """Yield where a merged file is written, which then takes its place at `path`.

    Raises
    ------
    InputError
        If another file is there, and no result of a run beside it.
    """
    with tempfile.TemporaryDirectory() as room:
        made = Path(room) / path.name
        yield made
        if path.is_file() and filecmp.cmp(made, path, shallow=False):
            return
        if path.is_file() and path.stat().st_size and not has_result(path.parent):
            raise InputError(
                f"{path}: would be replaced, and no result of an earlier run is beside it; "
                f"{ELSEWHERE}"
            )
        with atomic_path(path) as temporary:
            shutil.copyfile(made, temporary)
