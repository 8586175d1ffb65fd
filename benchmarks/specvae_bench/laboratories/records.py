"""A library read once: its spectra as flat arrays, with what each record says of its origin."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import rdBase

from specvae.annotation.evidence.analogues import ANALOGUE_BINS
from specvae.annotation.library.filter import SpectrumFilter
from specvae.annotation.library.pairs import read_pairs
from specvae.cli.console import Console
from specvae.errors import InputError
from specvae.files import atomic_path, sha256_of
from specvae.molecules.candidates import CandidateSet, column_of, read_candidates
from specvae.molecules.entry_store import default_cache_directory
from specvae.molecules.graph import GRAPH_VERSION
from specvae.molecules.molecule import Molecule
from specvae.molecules.parsing import parse_together
from specvae.molecules.standard import STANDARD_VERSION
from specvae.molecules.structure_cache import READING_VERSION
from specvae.molecules.text_mass import text_masses
from specvae.molecules.text_tables import read_named_rows
from specvae.report import ReadReport
from specvae.spectra.sparse import SparseMatrix
from specvae.spectra.spectrum import Spectrum

LABORATORY = "laboratory"
"""The default of ``--by``: what stands between the first and the last part of an accession."""

# Of what is kept of files: the first rises when spectra are read, or fragments compared, otherwise.
_VERSIONS = (2, STANDARD_VERSION, READING_VERSION, GRAPH_VERSION, rdBase.rdkitVersion)
_SAME_MASS = 1e-3  # Da
_NUMBERS = (
    "precursor_mz",
    "collision_energy",
    "normalized_collision_energy",
    "retention_time",
)
_ACCESSION = re.compile(r'"?accession=([^"]+)"?')

Strings = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Records:
    """Spectra of known compounds with the fields that folds and methods need.

    Attributes
    ----------
    offsets
        Spectrum i has the peaks ``offsets[i]:offsets[i + 1]``, int64 (n + 1,).
    mz, intensity
        float64 (n_peaks,), Th and arbitrary unit.
    precursor_mz
        float64 (n,), Th.
    query_id, adduct, ion_mode, instrument_type, group
        Text (n,), empty where the record says nothing; the group is what folds are made by.
    collision_energy, normalized_collision_energy, retention_time
        float64 (n,), eV, percent and seconds; NaN where not known.
    stated
        Text (n,): first block of the InChIKey that the record itself states.
    compound
        int64 (n,): index into the following three.
    first_blocks, smiles, formulas
        One per InChIKey first block, in order of first appearance.
    """

    offsets: NDArray[np.int64]
    mz: NDArray[np.float64]
    intensity: NDArray[np.float64]
    precursor_mz: NDArray[np.float64]
    query_id: Strings
    adduct: Strings
    ion_mode: Strings
    instrument_type: Strings
    group: Strings
    collision_energy: NDArray[np.float64]
    normalized_collision_energy: NDArray[np.float64]
    retention_time: NDArray[np.float64]
    stated: Strings
    compound: NDArray[np.int64]
    first_blocks: Strings
    smiles: Strings
    formulas: Strings

    def __len__(self) -> int:
        return len(self.compound)

    def spectrum(self, row: int) -> Spectrum:
        """Return one record without its structure: what a query may know."""
        first, end = self.offsets[row : row + 2].tolist()

        def number(value: float) -> float | None:
            return None if np.isnan(value) else float(value)

        return Spectrum(
            mz=self.mz[first:end],
            intensity=self.intensity[first:end],
            query_id=str(self.query_id[row]),
            precursor_mz=number(self.precursor_mz[row]),
            adduct=str(self.adduct[row]) or None,
            ion_mode=str(self.ion_mode[row]) or None,
            ms_level=2,
            collision_energy=number(self.collision_energy[row]),
            normalized_collision_energy=number(self.normalized_collision_energy[row]),
            retention_time=number(self.retention_time[row]),
            instrument_type=str(self.instrument_type[row]) or None,
        )

    def of_others(self, excluded: Collection[str]) -> NDArray[np.int64]:
        """Return the rows of other compounds than these first blocks, int64 (n,), ascending.

        A record's own key counts too: where it and the structure disagree, either may be meant.
        """
        named = sorted(excluded)
        kept = ~np.isin(self.first_blocks[self.compound], named) & ~np.isin(self.stated, named)
        return np.flatnonzero(kept)

    @cached_property
    def signs(self) -> NDArray[np.int8]:
        """Sign of the charge, int8 (n,); 0 where the ion mode is not known."""
        signs = np.zeros(len(self), np.int8)
        signs[self.ion_mode == "positive"] = 1
        signs[self.ion_mode == "negative"] = -1
        return signs

    @cached_property
    def encoded(self) -> SparseMatrix:
        """All spectra in the bins by which analogues are compared."""
        return ANALOGUE_BINS.encode_many([self.spectrum(row) for row in range(len(self))])


def read_records(paths: Sequence[Path], by: str, console: Console) -> Records:
    """Read the MS2 spectra with a structure that fits; from the cache, if they were read before.

    Parameters
    ----------
    paths
        Libraries.
    by
        Field that names the group of a record: `LABORATORY`, an attribute of `Spectrum`, or a
        field of the file.
    console
        Where progress is shown.

    Raises
    ------
    InputError
        If no spectrum is left, or the field is in none of them.
    """

    def build() -> Mapping[str, NDArray[Any]]:
        report = ReadReport()
        wanted = SpectrumFilter(precursor_of_structure=False)  # the queries' was measured
        pairs = read_pairs(paths, wanted, report, console)
        rows: dict[str, list[Any]] = {field.name: [] for field in fields(Records)}
        rows["offsets"].append(0)
        index: dict[str, int] = {}
        for spectrum, molecule in pairs:
            if molecule.first_block not in index:
                index[molecule.first_block] = len(index)
                rows["first_blocks"].append(molecule.first_block)
                rows["smiles"].append(molecule.smiles)
                rows["formulas"].append(molecule.formula)
            rows["compound"].append(index[molecule.first_block])
            rows["offsets"].append(rows["offsets"][-1] + spectrum.n_peaks)
            rows["mz"].append(spectrum.mz)
            rows["intensity"].append(spectrum.intensity)
            rows["group"].append(group_of(spectrum, by))
            rows["stated"].append(spectrum.first_block or "")
            for name in ("query_id", "adduct", "ion_mode", "instrument_type"):
                rows[name].append(getattr(spectrum, name) or "")
            for name in _NUMBERS:
                value = getattr(spectrum, name)
                rows[name].append(np.nan if value is None else value)
        console.log(f"library: {report.summary()}")
        if not rows["compound"]:
            raise InputError(f"{paths[0]}: no usable spectrum ({report.summary()})")
        if not any(rows["group"]):
            raise InputError(f"{paths[0]}: no record has the field {by!r}, which --by asks for")
        return {
            name: np.concatenate(values) if name in ("mz", "intensity") else np.array(values)
            for name, values in rows.items()
        }

    columns = [field.name for field in fields(Records)]
    arrays = cached_arrays("records", paths, {"by": by, "columns": columns}, build)
    return Records(**arrays)


def read_structures(paths: Sequence[Path], console: Console) -> CandidateSet:
    """Read tables of structures below one another; from the cache, if they were read before.

    Structures with one first block and mass are kept once: the first of them. A table that states
    ``inchikey14``, ``monoisotopic_mass`` and ``smiles`` is trusted where the text of the structure
    bears its mass out: to parse half a million takes minutes. Structures that are written as ions
    have the mass of the molecule, as they have for `specvae annotate`.
    """

    def build() -> Mapping[str, NDArray[Any]]:
        smiles: list[str] = []
        masses: list[float] = []
        blocks: list[str] = []
        seen: set[tuple[str, float]] = set()
        for path in paths:
            console.log(f"reading {path.name}")
            for text, mass, block in _stated(path) or _computed(path):
                if (block, round(mass, 3)) not in seen:
                    seen.add((block, round(mass, 3)))
                    smiles.append(text)
                    masses.append(mass)
                    blocks.append(block)
        return {"smiles": np.array(smiles), "mass": np.array(masses), "block": np.array(blocks)}

    arrays = cached_arrays("structures", paths, {}, build)
    return candidate_set(arrays)


def _stated(path: Path) -> list[tuple[str, float, str]]:
    """Return SMILES, mass and first block as a table states them; nothing if it does not."""
    wanted = {"inchikey14", "monoisotopic_mass", "smiles"}
    smiles: list[str] = []
    masses: list[float] = []
    blocks: list[str] = []
    for line, row in read_named_rows(path):
        if not wanted <= row.keys():
            return []
        try:
            masses.append(float(row["monoisotopic_mass"]))
        except ValueError:
            raise InputError(
                f"{path}:{line}: monoisotopic_mass: found '{row['monoisotopic_mass'][:40]}', "
                "wanted a number (Da)"
            ) from None
        smiles.append(row["smiles"])
        blocks.append(row["inchikey14"])
    found = text_masses(smiles)
    is_borne_out = (found.n_further == 0) & (np.abs(found.lightest - masses) < _SAME_MASS)
    others = np.flatnonzero(~is_borne_out).tolist()
    parsed = parse_together([(smiles[place], "") for place in others])
    for place, molecule in zip(others, parsed, strict=True):
        # One that cannot be parsed is left out where it is a candidate.
        if isinstance(molecule, Molecule):
            masses[place] = molecule.exact_mass
    return list(zip(smiles, masses, blocks, strict=True))


def _computed(path: Path) -> Iterable[tuple[str, float, str]]:
    table = read_candidates(path)
    return zip(table.smiles, table.exact_mass.tolist(), table.first_block, strict=True)


def candidate_set(arrays: Mapping[str, NDArray[Any]]) -> CandidateSet:
    """Return candidates from columns: smiles, mass, block, and query_id if there is one."""
    n = len(arrays["smiles"])
    query_id = arrays.get("query_id")
    return CandidateSet(
        column_of(arrays["smiles"].tolist()),
        arrays["mass"],
        inchikey=column_of(arrays["block"].tolist()),
        name=column_of([""] * n),
        id=column_of([""] * n),
        query_id=None if query_id is None else column_of(query_id.tolist()),
    )


def cached_arrays(
    kind: str,
    paths: Sequence[Path],
    settings: Mapping[str, Any],
    build: Callable[[], Mapping[str, NDArray[Any]]],
) -> dict[str, NDArray[Any]]:
    """Return arrays that are made of files, kept on disk beside the fingerprints.

    Parameters
    ----------
    kind
        What they are, the beginning of the file's name.
    paths
        Files that they are made of; their contents are part of the key.
    settings
        Whatever else they depend on, as JSON.
    build
        Makes them; it runs once for each key.
    """
    key = json.dumps([_VERSIONS, [_sha256(path) for path in paths], settings])
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    file = default_cache_directory() / "laboratories" / f"{kind}-{digest}.npz"
    if file.is_file():
        try:
            with np.load(file) as stored:
                return dict(stored)
        except (OSError, ValueError, zipfile.BadZipFile):
            pass  # made again below
    arrays: dict[str, Any] = dict(build())
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays)
    except OSError:
        pass  # a cache that cannot be written is none
    return arrays


@lru_cache(maxsize=64)
def _sha256(path: Path) -> str:
    return sha256_of(path)


def group_of(spectrum: Spectrum, by: str) -> str:
    """Return what a record says in the field that folds are made by; empty if nothing.

    The laboratory of ``MSBNK-Eawag-EA000401`` is ``Eawag``; of an accession without dashes, such as
    ``EA000401``, it is the letters in front.
    """
    if by != LABORATORY:
        value = getattr(spectrum, by, None)
        return str(value if value is not None else spectrum.metadata.get(by, ""))
    found = _ACCESSION.search(spectrum.metadata.get("Comments", ""))
    accession = found.group(1) if found else spectrum.query_id
    first, *middle = accession.split("-")
    if len(middle) >= 2:
        return "-".join(middle[:-1])
    letters = re.match(r"[A-Za-z_]+", first)
    return letters.group() if letters else ""
