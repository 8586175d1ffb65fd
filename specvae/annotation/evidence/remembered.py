"""Encoded spectra of known compounds, which form a library, in memory and in a file.

A file is HDF5, written whole or not at all; a digest of its arrays is checked when it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from specvae import __version__
from specvae.annotation.evidence.analogues import ANALOGUE_BINS
from specvae.annotation.evidence.other_mode import SIGNS
from specvae.annotation.library.filter import SpectrumFilter
from specvae.annotation.library.labels import SpectrumLabel, labels_of, text_of
from specvae.annotation.library.library import Library
from specvae.annotation.library.pairs import read_pairs
from specvae.errors import ConfigError, InputError
from specvae.files import atomic_path, sha256_of
from specvae.molecules.fingerprint import cached_fingerprints, get_layout
from specvae.molecules.hdf5 import written_hdf5
from specvae.molecules.standard import STANDARD_VERSION
from specvae.progress import Progress, Silence
from specvae.report import ReadReport
from specvae.sources import no_such_file
from specvae.spectra.binning import BinLayout
from specvae.spectra.sparse import SparseMatrix

# Analogues are compared by atom environments, whose likeness falls off faster with each change of
# the structure than that of the bits that can be predicted from a spectrum.
ANALOGUE_FINGERPRINT = "morgan4096"

_KIND = "specvae library"
_FORMAT_VERSION = 1
_SUFFIX = ".h5"


@dataclass(frozen=True, eq=False)
class RememberedSpectra:
    """Encoded spectra with their compounds.

    Attributes
    ----------
    spectra
        Encoded by `bins`, a row each.
    compound
        int64 (n_spectra,): index into the three last.
    signs
        int8 (n_spectra,): 1 for positive, -1 for negative ions, 0 where it is not known.
    labels
        Of the spectra.
    first_blocks, smiles
        Of the compounds.
    fingerprints
        Of the compounds, packed, uint8 (n_compounds, n_bytes), in the layout `fingerprint`.
    bins, fingerprint
        How spectra and compounds are encoded.
    """

    spectra: SparseMatrix
    compound: NDArray[np.int64]
    signs: NDArray[np.int8]
    labels: Sequence[SpectrumLabel]
    first_blocks: Sequence[str]
    smiles: Sequence[str]
    fingerprints: NDArray[np.uint8]
    bins: BinLayout = ANALOGUE_BINS
    fingerprint: str = ANALOGUE_FINGERPRINT

    def __len__(self) -> int:
        return len(self.compound)

    @classmethod
    def from_library(
        cls,
        library: Library,
        rows: NDArray[np.int64],
        fingerprints: NDArray[np.uint8],
        bins: BinLayout = ANALOGUE_BINS,
    ) -> RememberedSpectra:
        """Return some spectra of a library.

        Parameters
        ----------
        library
            With `Library.peaks`, encoded by `bins`.
        rows
            int64 (n,): the spectra.
        fingerprints
            Packed fingerprints of `library.molecules` in the layout `ANALOGUE_FINGERPRINT`, uint8
            (n_molecules, n_bytes).
        bins
            The columns of the spectra.
        """
        assert library.peaks is not None
        kept, compound = np.unique(library.compound[rows], return_inverse=True)
        return cls(
            library.peaks.select(rows),
            compound.astype(np.int64),
            library.signs[rows],
            [library.labels[row] for row in rows.tolist()],
            [library.molecules[i].first_block for i in kept],
            [library.molecules[i].smiles for i in kept],
            fingerprints[kept],
            bins,
        )

    @classmethod
    def read_spectra(
        cls,
        paths: Iterable[Path],
        report: ReadReport,
        *,
        bins: BinLayout = ANALOGUE_BINS,
        wanted: SpectrumFilter | None = None,
        n_jobs: int | None = None,
        progress: Progress | None = None,
    ) -> RememberedSpectra:
        """Encode the spectra of some files whose structure fits their precursor, as training does.

        Parameters
        ----------
        paths
            Files of spectra in any format.
        report
            Where the other spectra are counted.
        bins
            How they are encoded.
        wanted
            Which of them; None for all.
        n_jobs, progress
            Processes that compute fingerprints, and where progress is shown.

        Raises
        ------
        InputError
            If a file cannot be used, or not one spectrum of them all.
        """
        progress = progress or Silence()
        listed = list(paths)
        pairs = read_pairs(listed, wanted or SpectrumFilter(), report, progress)
        library = Library.from_pairs(pairs, peaks=bins)
        if not len(library):
            raise InputError(
                f"{', '.join(map(str, listed))}: no usable spectrum ({report.nothing_read()})"
            )
        layout = get_layout(ANALOGUE_FINGERPRINT)
        packed = cached_fingerprints(library.molecules, layout, n_jobs, progress)
        return cls.from_library(library, np.arange(len(library)), packed, bins)

    @classmethod
    def read(cls, path: Path) -> RememberedSpectra:
        """Read a file that `write` wrote.

        Raises
        ------
        InputError
            If the file is missing, no library, damaged, newer than this program, or encoded in
            another way.
        """
        if not path.is_file():
            found = "is a folder, wanted a file" if path.is_dir() else no_such_file(path)
            raise InputError(f"{path}: {found}")
        if not h5py.is_hdf5(path):
            raise InputError(
                f"{path}: no library of encoded spectra, which 'specvae library build' writes"
            )
        try:
            with h5py.File(path, "r") as file:
                return _checked(path, file)
        except (KeyError, OSError, RuntimeError, ValueError, ConfigError) as error:
            raise InputError(f"{path}: no whole library of encoded spectra ({error})") from None

    def write(self, path: Path, sources: Sequence[Path], report: ReadReport) -> None:
        """Write the spectra as a file that appears whole or not at all.

        Parameters
        ----------
        path
            The HDF5 file.
        sources
            The files that they were read from, whose names and digests are kept.
        report
            What was skipped.
        """
        arrays = self._arrays()
        layout = get_layout(self.fingerprint)
        attributes = {
            "kind": _KIND,
            "format_version": _FORMAT_VERSION,
            "program": f"specvae {__version__}",
            "bins": json.dumps(self.bins.to_json()),
            "fingerprint": layout.name,
            "fingerprint_version": layout.version,
            "probe_sha256": layout.probe_sha256,
            "standard_version": STANDARD_VERSION,
            "n_columns": self.spectra.n_columns,
            "n_skipped": len(report.skips),
            "sources": json.dumps([{"file": p.name, "sha256": sha256_of(p)} for p in sources]),
            "sha256": _digest(arrays),
        }
        with atomic_path(path) as temporary, written_hdf5(temporary) as file:
            file.attrs.update(attributes)
            for name, array in arrays.items():
                file.create_dataset(name, data=array, compression="gzip", compression_opts=1)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "offsets": self.spectra.offsets,
            "columns": self.spectra.columns,
            "values": self.spectra.values,
            "compound": self.compound,
            "signs": self.signs,
            "labels": text_of(self.labels),
            "compounds": text_of(
                [
                    SpectrumLabel(block, smiles)
                    for block, smiles in zip(self.first_blocks, self.smiles, strict=True)
                ]
            ),
            "fingerprints": self.fingerprints,
        }

    def counts(self) -> dict[str, Any]:
        """Return how many spectra, compounds, ion modes and adducts there are, as JSON values."""
        modes = {sign: mode for mode, sign in SIGNS.items()}
        return {
            "n_spectra": len(self),
            "n_compounds": len(self.first_blocks),
            "ion_modes": dict(
                Counter(modes.get(s, "unknown") for s in self.signs.tolist()).most_common()
            ),
            "adducts": dict(
                Counter(label.adduct or "unknown" for label in self.labels).most_common()
            ),
        }


def read_library(
    paths: Iterable[Path],
    report: ReadReport,
    *,
    bins: BinLayout,
    n_jobs: int | None,
    progress: Progress,
) -> list[RememberedSpectra]:
    """Return the spectra of files of either kind: of spectra, or of encoded ones (``.h5``).

    `bins` is how plain spectra are encoded: as the model's own, which may be an older one's.

    Parameters as in `RememberedSpectra.read_spectra`.
    """
    listed = list(paths)
    plain = [path for path in listed if path.suffix != _SUFFIX]
    found = [RememberedSpectra.read(path) for path in listed if path.suffix == _SUFFIX]
    if plain:
        spectra = RememberedSpectra.read_spectra(
            plain, report, bins=bins, n_jobs=n_jobs, progress=progress
        )
        found.append(spectra)
    return found


def describe_library(path: Path) -> dict[str, Any]:
    """Return what a file of encoded spectra holds and was made from, as JSON values.

    Raises
    ------
    InputError
        As `RememberedSpectra.read`.
    """
    counts = RememberedSpectra.read(path).counts()
    with h5py.File(path, "r") as file:
        attributes = {
            name: value.item() if hasattr(value, "item") else value
            for name, value in file.attrs.items()
        }
    del attributes["bins"], attributes["n_columns"]
    return {**attributes, "sources": json.loads(attributes["sources"]), **counts}


def _checked(path: Path, file: h5py.File) -> RememberedSpectra:
    if file.attrs.get("kind") != _KIND:
        raise InputError(f"{path}: an HDF5 file, but no library (see specvae library build)")
    version = int(file.attrs["format_version"])
    if version > _FORMAT_VERSION:
        raise InputError(
            f"{path}: library format {version}, but this program knows up to {_FORMAT_VERSION}"
        )
    layout = get_layout(str(file.attrs["fingerprint"]))
    mismatch = layout.mismatch(
        version=int(file.attrs["fingerprint_version"]), probe_sha256=str(file.attrs["probe_sha256"])
    )
    if mismatch or int(file.attrs["standard_version"]) != STANDARD_VERSION:
        cause = mismatch or "structures were standardised by another version"
        raise InputError(f"{path}: {cause}; build the library again")
    names = (
        "offsets", "columns", "values", "compound", "signs", "labels", "compounds", "fingerprints",
    )  # fmt: skip
    arrays: dict[str, NDArray[Any]] = {name: file[name][:] for name in names}
    if _digest(arrays) != file.attrs["sha256"]:
        raise InputError(f"{path}: damaged: the arrays differ from their recorded SHA-256")
    compounds = labels_of(arrays["compounds"])
    return RememberedSpectra(
        spectra=SparseMatrix(
            arrays["offsets"], arrays["columns"], arrays["values"], int(file.attrs["n_columns"])
        ),
        compound=arrays["compound"],
        signs=arrays["signs"],
        labels=labels_of(arrays["labels"]),
        first_blocks=[block for block, *_ in compounds],
        smiles=[smiles for _, smiles, *_ in compounds],
        fingerprints=arrays["fingerprints"],
        bins=BinLayout.from_json(json.loads(str(file.attrs["bins"]))),
        fingerprint=layout.name,
    )


def _digest(arrays: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
