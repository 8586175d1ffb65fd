"""The file of a candidate pool, opened: its rows by mass (`specvae.molecules.pool_format`).

Rows are sorted by exact mass. Masses lie in one piece, so that the file is searched as it is mapped
into memory: the first mass of every chunk is read when the file is opened, and the chunks at both
ends of a mass window when it is searched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from specvae.errors import InputError
from specvae.molecules.pool_format import (
    CHUNK_ROWS,
    DAMAGE,
    EARLIER_TEXTS,
    FORMAT_VERSION,
    KIND,
    MASS,
    MASS_TYPE,
    TEXT,
    TEXTS,
    PoolRows,
    StoredLayout,
    Texts,
    checksum,
    digest_of_whole,
    parts_of_texts,
)
from specvae.sources import no_such_file

_LONGEST_TEXT = 0xFFFFFFFF  # bytes: checksums are of lengths in four of them
_KEPT_BYTES = 1 << 23  # of each column, unpacked, for the next query

_Parts = Callable[[slice], Iterable[bytes]]


class PoolFile:
    """An open pool.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    attributes
        The attributes of the whole pool.
    layouts
        Its fingerprints.
    exact_mass
        In Da, rising, (n,); mapped into memory, and not compared with checksums: see `masses`.

    Raises
    ------
    InputError
        If the file is missing, truncated, no pool, damaged, or newer than this program.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise InputError(f"{path}: {no_such_file(path)}")
        try:
            self._file = h5py.File(path, "r", rdcc_nbytes=_KEPT_BYTES)
        except DAMAGE:
            raise InputError(
                f"{path}: not a complete HDF5 file; a candidate pool is wanted"
            ) from None
        self._checksums: dict[str, list[bytes]] = {}
        self._checked: dict[str, set[int]] = {}
        self._columns: dict[str, h5py.Dataset] = {}  # looked up once: that takes as long as a read
        try:
            self.attributes = _attributes(self._file)
            self._require_kind()
            self._texts_here = TEXTS if self.version >= 3 else EARLIER_TEXTS
            self.layouts = self._stored_layouts()
            self.exact_mass: NDArray[np.float64] = self._mapped_masses()
            self._require_columns()
            self._first_mass: NDArray[np.float64] = self._fence()
            if self.has_checksums:
                self._require_whole()
        except DAMAGE:
            self._file.close()
            raise self._damaged() from None
        except InputError:
            self._file.close()
            raise

    @property
    def version(self) -> int:
        """Version of the file's format."""
        return int(self.attributes["format_version"])

    @property
    def has_checksums(self) -> bool:
        """Whether damage is noticed: pools of the first format have none."""
        return self.version >= 2

    def __len__(self) -> int:
        return len(self.exact_mass)

    def close(self) -> None:
        """Close the file and unmap its masses, as Windows replaces no file that is in use."""
        self.exact_mass = self.exact_mass[:0].copy()
        self._file.close()

    def masses(self, first: int, end: int) -> NDArray[np.float64]:
        """Return the exact masses of a range of rows (n,), Da, compared with their checksums.

        Raises
        ------
        InputError
            If the file is damaged there.
        """
        if self.version < 3:  # compared as a whole when the file was opened, if at all
            return self.exact_mass[first:end]
        begin, stop = self._whole_chunks(first, end)
        try:
            masses = np.array(self.exact_mass[begin:stop])
            self._require_sums(MASS, begin, len(masses), lambda rows: [masses[rows].tobytes()])
        except DAMAGE:
            raise self._damaged() from None
        return masses[first - begin : end - begin]

    def window(self, low: float, high: float) -> tuple[int, int]:
        """Return first and end of the rows with masses from `low` to `high`, both included."""
        return self._search(low, "left"), self._search(high, "right")

    def nearest(self, mass: float) -> float:
        """Return the exact mass that is nearest to a mass."""
        place = self._search(mass, "left")
        beside = self.masses(max(place - 1, 0), min(place + 1, len(self)))
        return float(beside[np.argmin(np.abs(beside - mass))])

    def texts(self, first: int, end: int) -> dict[str, list[str]]:
        """Return the texts of a range of rows by column.

        Chunks are read whole and compared with their checksums the first time.

        Raises
        ------
        InputError
            If the file is damaged there.
        """
        begin, stop = self._whole_chunks(first, end)
        try:
            columns = {name: self._texts(name, begin, stop) for name in self._texts_here}
            if self.version >= 3:
                self._require_sums(
                    TEXT, begin, stop - begin, lambda rows: parts_of_texts(columns, rows)
                )
            elif self.has_checksums:
                self._require_earlier(begin, columns, self._columns["packed"][begin:stop])
            rows = slice(first - begin, end - begin)
            return {name: texts.decoded(rows) for name, texts in columns.items()}
        except DAMAGE:
            raise self._damaged() from None

    def packed(self, layout: str, first: int, end: int) -> NDArray[np.uint8]:
        """Return fingerprints of a range of rows, (n, n_bytes); errors as in `texts`."""
        begin, stop = self._whole_chunks(first, end)
        try:
            if self.version >= 3:
                packed = self._columns[f"packed_{layout}"][begin:stop]
                self._require_sums(
                    layout, begin, len(packed), lambda rows: [packed[rows].tobytes()]
                )
            else:
                packed = self._columns["packed"][begin:stop]
                if self.has_checksums:
                    columns = {name: self._texts(name, begin, stop) for name in self._texts_here}
                    self._require_earlier(begin, columns, packed)
        except DAMAGE:
            raise self._damaged() from None
        # A copy, as the rows of a query shall not keep whole chunks in memory.
        found: NDArray[np.uint8] = packed[first - begin : end - begin].copy()
        return found

    def rows(self, first: int, end: int) -> PoolRows:
        """Return all of a range of rows; errors as in `texts`."""
        texts = self.texts(first, end)
        return PoolRows(
            self.masses(first, end),
            {name: [text.encode() for text in values] for name, values in texts.items()},
            {layout.name: self.packed(layout.name, first, end) for layout in self.layouts},
        )

    def _search(self, mass: float, side: str) -> int:
        chunk = int(np.searchsorted(self._first_mass, mass, side=side)) - 1  # type: ignore[call-overload]
        if chunk < 0:
            return 0
        first = chunk * CHUNK_ROWS
        masses = self.masses(first, min(first + CHUNK_ROWS, len(self)))
        return first + int(np.searchsorted(masses, mass, side=side))  # type: ignore[call-overload]

    def _whole_chunks(self, first: int, end: int) -> tuple[int, int]:
        begin = first // CHUNK_ROWS * CHUNK_ROWS
        return begin, min(-(-end // CHUNK_ROWS) * CHUNK_ROWS, len(self.exact_mass))

    def _stored_layouts(self) -> tuple[StoredLayout, ...]:
        found = self.attributes
        if self.version >= 3:
            return tuple(map(StoredLayout.from_json, json.loads(found["layouts"])))
        return (
            StoredLayout(
                str(found["layout"]),
                int(found["layout_version"]),
                int(found["n_bits"]),
                str(found["probe_sha256"]),
            ),
        )

    def _mapped_masses(self) -> NDArray[np.float64]:
        dataset = self._file["exact_mass"]
        offset = dataset.id.get_offset()
        if self.version < 3 or offset is None:
            masses: NDArray[np.float64] = dataset[:]
            return masses
        return np.memmap(self.path, MASS_TYPE, "r", offset, dataset.shape)

    def _fence(self) -> NDArray[np.float64]:
        """Return the first mass of each chunk."""
        if self.version >= 3:
            first: NDArray[np.float64] = self._file["first_mass"][:]
            return first
        masses = self.exact_mass
        if not np.isfinite(masses).all() or (np.diff(masses) < 0).any():
            raise ValueError("masses are not sorted")
        return masses[::CHUNK_ROWS]

    def _texts(self, name: str, begin: int, stop: int) -> Texts:
        """Return a column's texts of a range of rows.

        Raises
        ------
        ValueError
            If they end where they cannot.
        """
        if not self.has_checksums:
            return Texts.of([bytes(value) for value in self._columns[name][begin:stop]])
        stored = self._columns[f"{name}_end"][max(begin - 1, 0) : stop].astype(np.int64)
        ends = stored if begin else np.concatenate([[0], stored])
        lengths = np.diff(ends)
        if (lengths < 0).any() or (lengths > _LONGEST_TEXT).any():
            raise ValueError("ends")
        joined = self._columns[f"{name}_text"][ends[0] : ends[-1]].tobytes()
        return Texts(ends - ends[0], joined)

    def _require_kind(self) -> None:
        if self.attributes.get("kind") != KIND:
            raise InputError(
                f"{self.path}: an HDF5 file, but no candidate pool (see specvae pool build)"
            )
        found = int(self.attributes["format_version"])
        if found > FORMAT_VERSION:
            raise InputError(
                f"{self.path}: pool format {found}, but this program knows up to {FORMAT_VERSION}"
            )

    def _require_columns(self) -> None:
        """Fail with a ValueError if columns are not those of a pool, or lie outside the file."""
        n = len(self.exact_mass)
        shapes: dict[str, tuple[tuple[int, ...] | None, str]] = {"exact_mass": ((n,), "f")}
        for layout in self.layouts:
            name = "packed" if self.version < 3 else f"packed_{layout.name}"
            shapes[name] = ((n, layout.n_bytes), "u")
        if self.version >= 3:
            shapes["first_mass"] = ((-(-n // CHUNK_ROWS),), "f")
        for name in self._texts_here:
            if self.has_checksums:
                shapes |= {f"{name}_end": ((n,), "u"), f"{name}_text": (None, "u")}
            else:
                shapes[name] = ((n,), "S" if name == "inchikey" else "O")
        for name, (shape, kind) in shapes.items():
            values = self._columns[name] = self._file[name]
            is_inside = isinstance(self._file.get(name, getlink=True), h5py.HardLink)
            if not is_inside or values.external or values.is_virtual:
                raise ValueError(f"{name} is stored elsewhere")
            if shape not in (None, values.shape) or values.dtype.kind != kind:
                raise ValueError(f"{name} is of another kind")
        if not n or not self.layouts:
            raise ValueError("nothing is stored")

    def _require_whole(self) -> None:
        """Compare the digest of attributes, masses and checksums with the stored one."""
        names = [""]
        if self.version >= 3:
            names = [MASS, TEXT, *(layout.name for layout in self.layouts)]
        for name in names:
            stored = self._file[f"checksum_{name}" if name else "checksum"][:]
            self._checksums[name] = [bytes(value) for value in stored]
            self._checked[name] = set()
        described = {key: value for key, value in self.attributes.items() if key != "digest"}
        masses = self._first_mass if self.version >= 3 else self.exact_mass
        sums = [value for name in names for value in self._checksums[name]]
        n_chunks = -(-len(self.exact_mass) // CHUNK_ROWS)
        if digest_of_whole(described, masses, sums) != self.attributes["digest"] or any(
            len(self._checksums[name]) != n_chunks for name in names
        ):
            raise ValueError("digest")

    def _require_earlier(
        self, begin: int, columns: Mapping[str, Texts], packed: NDArray[np.uint8]
    ) -> None:
        """Compare the sums of format 2, which are of texts and fingerprints together."""

        def parts(rows: slice) -> Iterator[bytes]:
            for name in EARLIER_TEXTS:
                yield from columns[name].values(rows)
            yield np.ascontiguousarray(packed[rows]).tobytes()

        self._require_sums("", begin, len(packed), parts)

    def _require_sums(self, name: str, begin: int, n_rows: int, parts: _Parts) -> None:
        checked, sums = self._checked[name], self._checksums[name]
        for offset in range(0, n_rows, CHUNK_ROWS):
            number = (begin + offset) // CHUNK_ROWS
            if number in checked:
                continue
            if checksum(parts(slice(offset, min(offset + CHUNK_ROWS, n_rows)))) != sums[number]:
                raise ValueError("checksum")
            checked.add(number)

    def _damaged(self) -> InputError:
        return InputError(f"{self.path}: the candidate pool is damaged")


def _attributes(file: h5py.File) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in file.attrs.items():
        if isinstance(value, bytes):  # NumPy's texts of fixed length too
            found[key] = value.decode()
        else:
            found[key] = value.item() if hasattr(value, "item") else value
    return found
