"""The file of a candidate pool, written (`specvae.molecules.pool_format`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.hdf5 import WrittenFile
from specvae.molecules.pool_format import (
    CHUNK_ROWS,
    DIGEST_SIZE,
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

_BLOCK_ROWS = 16 * CHUNK_ROWS  # rows that are written at a time
_TEXT_CHUNK = 1 << 16  # bytes
_END_CHUNK = 4096  # rows


class PoolWriter:
    """Writes a pool chunk by chunk, by rising mass; memory does not grow with the pool.

    Parameters
    ----------
    path
        The file, which must not be used before `finish`.
    layouts
        The fingerprints of each row.
    spool
        An empty binary file for reading and writing: masses wait there, as their number is known at
        the end.
    """

    def __init__(self, path: Path, layouts: Sequence[StoredLayout], spool: IO[bytes]) -> None:
        self._layouts = tuple(layouts)
        self._spool = spool
        self._waiting: list[PoolRows] = []
        self._n_waiting = 0
        self._n_rows = 0
        self._first_mass: list[float] = []
        self._last_mass = -np.inf
        self._sums: dict[str, list[bytes]] = {
            name: [] for name in (MASS, TEXT, *(layout.name for layout in self._layouts))
        }
        self._text_end = dict.fromkeys(TEXTS, 0)
        self._written = WrittenFile(path, libver="latest")
        self._file = self._written.file
        for name in TEXTS:
            self._dataset(f"{name}_end", np.dtype("<u8"), _END_CHUNK)
            self._dataset(f"{name}_text", np.dtype(np.uint8), _TEXT_CHUNK)
        for layout in self._layouts:
            self._dataset(
                f"packed_{layout.name}", np.dtype(np.uint8), CHUNK_ROWS, (layout.n_bytes,)
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._written.close()

    def append(self, rows: PoolRows) -> None:
        """Add rows whose masses rise, and are not below those before.

        Raises
        ------
        ValueError
            If they fall.
        """
        if not len(rows):
            return
        if rows.exact_mass[0] < self._last_mass or (np.diff(rows.exact_mass) < 0).any():
            raise ValueError("rows of a pool are added by rising mass")
        self._last_mass = float(rows.exact_mass[-1])
        self._waiting.append(rows)
        self._n_waiting += len(rows)
        if self._n_waiting >= _BLOCK_ROWS:
            self._flush(self._n_waiting // CHUNK_ROWS * CHUNK_ROWS)

    def finish(self, attributes: Mapping[str, str | int]) -> int:
        """Write the waiting rows and the attributes of the pool; return the number of rows."""
        self._flush(self._n_waiting)
        file = self._file
        masses = file.create_dataset("exact_mass", (self._n_rows,), MASS_TYPE)
        self._spool.seek(0)
        for first in range(0, self._n_rows, _BLOCK_ROWS):
            end = min(first + _BLOCK_ROWS, self._n_rows)
            chunk = self._spool.read((end - first) * MASS_TYPE.itemsize)
            masses[first:end] = np.frombuffer(chunk, MASS_TYPE)
        first_mass = np.array(self._first_mass, MASS_TYPE)
        file["first_mass"] = first_mass
        for name, sums in self._sums.items():
            file[f"checksum_{name}"] = np.array(sums, dtype=f"V{DIGEST_SIZE}")
        described = {
            "kind": KIND,
            "format_version": FORMAT_VERSION,
            "n_structures": self._n_rows,
            "layouts": json.dumps([layout.to_json() for layout in self._layouts]),
            **attributes,
        }
        for key, value in described.items():
            file.attrs[key] = np.bytes_(value.encode()) if isinstance(value, str) else value
        sums = [value for values in self._sums.values() for value in values]
        file.attrs["digest"] = np.bytes_(digest_of_whole(described, first_mass, sums))
        return self._n_rows

    def _dataset(
        self, name: str, dtype: np.dtype[Any], n_rows: int, width: tuple[int, ...] = ()
    ) -> None:
        self._file.create_dataset(
            name,
            shape=(0, *width),
            maxshape=(None, *width),
            chunks=(n_rows, *width),
            dtype=dtype,
            compression="gzip",
            compression_opts=1,
            shuffle=dtype.itemsize > 1,
        )

    def _flush(self, n_rows: int) -> None:
        """Write the first of the waiting rows: whole chunks, unless they are the last."""
        if not n_rows:
            return
        waiting = PoolRows.joined(self._waiting)
        rows = waiting.select(np.arange(n_rows)) if n_rows < len(waiting) else waiting
        rest = waiting.select(np.arange(n_rows, len(waiting)))
        self._waiting, self._n_waiting = ([rest] if len(rest) else []), len(rest)
        masses = rows.exact_mass.astype(MASS_TYPE)
        self._spool.write(masses.tobytes())
        columns = {name: Texts.of(rows.texts[name]) for name in TEXTS}
        for name, texts in columns.items():
            ends = texts.ends[1:] + self._text_end[name]
            self._extend(f"{name}_end", ends)
            self._extend(f"{name}_text", np.frombuffer(texts.joined, np.uint8))
            self._text_end[name] = int(ends[-1])
        for name, packed in rows.packed.items():
            self._extend(f"packed_{name}", packed)
        self._written.require_written()
        for first in range(0, n_rows, CHUNK_ROWS):
            chunk = slice(first, min(first + CHUNK_ROWS, n_rows))
            self._first_mass.append(float(masses[first]))
            self._sums[MASS].append(checksum([masses[chunk].tobytes()]))
            self._sums[TEXT].append(checksum(parts_of_texts(columns, chunk)))
            for name, packed in rows.packed.items():
                self._sums[name].append(checksum([packed[chunk].tobytes()]))
        self._n_rows += n_rows

    def _extend(self, name: str, values: NDArray[Any]) -> None:
        dataset = self._file[name]
        n = len(dataset)
        dataset.resize(n + len(values), axis=0)
        dataset[n:] = values
