"""A pool of candidates on disk, sorted by exact mass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from specvae.errors import InputError
from specvae.masses import deviation_ppm, ppm_width
from specvae.molecules.candidates import CandidateSet, column_of
from specvae.molecules.fingerprint import FingerprintLayout
from specvae.molecules.pool_file import PoolFile
from specvae.molecules.standard import STANDARD_VERSION
from specvae.progress import Progress

_CHECKED_ROWS = 16_384
FAR_ROWS = 1024  # rows of a pool with so many others between them are read separately


class CandidatePool:
    """Structures with fingerprints in one HDF5 file, sorted by exact mass.

    Of the masses, the first of each chunk is held in memory; a query reads the rows of its mass
    window, in chunks whose checksums are compared when they are first read: a damaged file never
    changes an answer.

    `build_pool` makes one; `open` opens it, also as a context manager.
    """

    def __init__(self, file: PoolFile, layout: str) -> None:
        self.path = file.path
        self._file = file
        self._layout = layout

    @classmethod
    def open(cls, path: Path, layout: FingerprintLayout | None = None) -> CandidatePool:
        """Open a pool.

        Parameters
        ----------
        path
            The file.
        layout
            The layout of the fingerprints that are wanted; None for the pool's first.

        Raises
        ------
        InputError
            If the file is missing, truncated, no pool, newer than this program, or has other
            fingerprints.
        """
        file = PoolFile(path)
        try:
            _require_layout(file, layout)
        except InputError:
            file.close()
            raise
        return cls(file, file.layouts[0].name if layout is None else layout.name)

    @property
    def exact_mass(self) -> NDArray[np.float64]:
        """Exact masses, ascending, float64 (n_rows,), Da; none once the pool is closed."""
        return self._file.exact_mass

    def __len__(self) -> int:
        return len(self.exact_mass)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def is_current(self) -> bool:
        """Whether its structures were standardised by the present rules."""
        return int(self._file.attributes.get("standard_version", 1)) == STANDARD_VERSION

    @property
    def has_checksums(self) -> bool:
        """Whether it has checksums; pools of the first format have none."""
        return self._file.has_checksums

    @property
    def layouts(self) -> tuple[str, ...]:
        """Names of its fingerprints."""
        return tuple(layout.name for layout in self._file.layouts)

    def has(self, layout: FingerprintLayout) -> bool:
        """Return whether the pool holds fingerprints of a layout."""
        return _difference(self._file, layout) is None

    def packed(self, layout: FingerprintLayout, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return fingerprints of rows, (n, n_bytes); see `has`.

        Rows that stand close together, as those of a mass window do, are read together.
        """
        order = np.argsort(rows, kind="stable")
        parts = []
        for window in np.split(rows[order], np.flatnonzero(np.diff(rows[order]) > FAR_ROWS) + 1):
            first = int(window.min(initial=len(self) - 1))
            end = int(window.max(initial=first)) + 1
            parts.append(self._file.packed(layout.name, first, end)[window - first])
        found = np.concatenate(parts)
        found[order] = found.copy()
        return found

    def info(self) -> dict[str, Any]:
        """Return what the pool holds and was built from, ready for JSON."""
        attributes = dict(self._file.attributes)
        for key in ("layout", "layout_version", "n_bits", "probe_sha256"):
            attributes.pop(key, None)
        attributes["layouts"] = [layout.to_json() for layout in self._file.layouts]
        attributes["sources"] = json.loads(attributes["sources"])
        n = len(self)
        low, high = self._file.masses(0, 1)[0], self._file.masses(n - 1, n)[0]
        attributes["mass_range"] = [float(low), float(high)]
        attributes["n_bytes"] = self.path.stat().st_size
        return attributes

    def check(self, progress: Progress | None = None) -> None:
        """Compare all of the file with its checksums.

        Raises
        ------
        InputError
            If the file is damaged.
        """
        for first in range(0, len(self), _CHECKED_ROWS):
            end = min(first + _CHECKED_ROWS, len(self))
            self._file.rows(first, end)
            if progress is not None:
                progress.progress("checking the pool", end, len(self))

    def within(self, neutral_mass: float, ppm: float) -> CandidateSet:
        """Return the structures whose exact mass is at most `ppm` away, by rising mass."""
        width = ppm_width(neutral_mass, ppm)
        return self.slice(*self._file.window(neutral_mass - width, neutral_mass + width))

    def n_within(self, neutral_mass: float, ppm: float) -> int:
        """Return the number of structures whose exact mass is at most `ppm` away."""
        width = ppm_width(neutral_mass, ppm)
        first, end = self._file.window(neutral_mass - width, neutral_mass + width)
        return int(end - first)

    def nearest_ppm(self, neutral_mass: float) -> float:
        """Return how far the nearest exact mass is from a mass, in ppm of that mass."""
        return abs(deviation_ppm(self._file.nearest(neutral_mass), neutral_mass))

    def slice(self, first: int, end: int) -> CandidateSet:
        """Return the structures of a range of rows, with fingerprints.

        Raises
        ------
        InputError
            If the file is damaged there.
        """
        end = max(first, min(end, len(self)))
        texts = self._file.texts(first, end)
        return CandidateSet(
            column_of(texts["smiles"]),
            self._file.masses(first, end),
            inchikey=column_of(texts["inchikey"]),
            name=column_of(texts["name"]),
            id=column_of(texts["id"]),
            formula=column_of(texts["formula"]) if "formula" in texts else None,
            fingerprint=self._file.packed(self._layout, first, end),
            pool_row=np.arange(first, end),
        )


def _require_layout(file: PoolFile, layout: FingerprintLayout | None) -> None:
    difference = None if layout is None else _difference(file, layout)
    if difference is not None:
        raise InputError(f"{file.path}: {difference}")


def _difference(file: PoolFile, layout: FingerprintLayout) -> str | None:
    """Return why a pool has no fingerprints of a layout, None if it has."""
    found = next((stored for stored in file.layouts if stored.name == layout.name), None)
    if found is None or layout.mismatch(version=found.version):
        held = ", ".join(f"{stored.name} version {stored.version}" for stored in file.layouts)
        return f"fingerprints are {held}, but {layout.name} version {layout.version} is wanted"
    if layout.mismatch(probe_sha256=found.probe_sha256):
        return (
            f"{layout.name} was computed with another version of RDKit, whose bits differ: "
            "build the pool again"
        )
    return None
