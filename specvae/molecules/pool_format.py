"""The format of the file of a candidate pool: HDF5, with checksums that are compared on reading.

Texts are stored as bytes with the ends of each, and attributes have a fixed length: HDF5's own
texts of variable length are in a heap without checksums, in which a flipped bit can make a reader
loop for ever. The other structures of the file are of the kind that HDF5 itself checks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FORMAT_VERSION = 3
"""1 has texts of HDF5's own, and no checksums; 2 has one layout, and masses that are checked as a
whole."""

DAMAGE = (
    AttributeError, IndexError, KeyError, MemoryError, OSError, OverflowError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip
"""The errors of h5py on invalid bytes, and of `PoolFile` on a wrong checksum."""

TEXTS = ("inchikey", "smiles", "name", "id", "formula")
"""Columns of text; the last one is of format 3."""

EARLIER_TEXTS = TEXTS[:4]

CHUNK_ROWS = 512
"""Rows that have one checksum."""

KIND = "specvae candidate pool"
"""The attribute by which pools are recognised."""

DIGEST_SIZE = 16
"""Bytes of a checksum."""

MASS, TEXT = "mass", "text"
"""Names of checksums, beside those of layouts."""

MASS_TYPE = np.dtype("<f8")

Packed = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class StoredLayout:
    """Which fingerprints a pool holds.

    Attributes
    ----------
    name, version, n_bits, probe_sha256
        As of the `specvae.molecules.fingerprint.FingerprintLayout`.
    """

    name: str
    version: int
    n_bits: int
    probe_sha256: str

    @property
    def n_bytes(self) -> int:
        """Length of a packed fingerprint."""
        return (self.n_bits + 7) // 8

    def to_json(self) -> dict[str, Any]:
        """Return the layout as JSON values."""
        return {
            "name": self.name,
            "version": self.version,
            "n_bits": self.n_bits,
            "probe_sha256": self.probe_sha256,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StoredLayout:
        """Return the layout that `to_json` described."""
        return cls(
            str(data["name"]), int(data["version"]), int(data["n_bits"]), str(data["probe_sha256"])
        )


@dataclass(frozen=True, slots=True, eq=False)
class PoolRows:
    """Some rows of a pool.

    Attributes
    ----------
    exact_mass
        In Da, (n,).
    texts
        By column: n texts in UTF-8.
    packed
        By layout: fingerprints, (n, n_bytes).
    """

    exact_mass: NDArray[np.float64]
    texts: Mapping[str, Sequence[bytes]]
    packed: Packed

    def __len__(self) -> int:
        return len(self.exact_mass)

    def select(self, rows: NDArray[np.intp]) -> PoolRows:
        """Return the given rows (n,) in the given order."""
        return PoolRows(
            self.exact_mass[rows],
            {name: [values[row] for row in rows.tolist()] for name, values in self.texts.items()},
            {name: values[rows] for name, values in self.packed.items()},
        )

    @classmethod
    def joined(cls, parts: Sequence[PoolRows]) -> PoolRows:
        """Return the rows of several parts, at least one."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.exact_mass for part in parts]),
            {
                name: [value for part in parts for value in part.texts[name]]
                for name in parts[0].texts
            },
            {name: np.concatenate([p.packed[name] for p in parts]) for name in parts[0].packed},
        )


class Texts(NamedTuple):
    """Texts one after another.

    Attributes
    ----------
    ends
        Where each ends, and in front of them where the first begins, int64 (n + 1,).
    joined
        All of them in UTF-8.
    """

    ends: NDArray[np.int64]
    joined: bytes

    @classmethod
    def of(cls, values: Sequence[bytes]) -> Texts:
        """Return texts, joined."""
        return cls(np.cumsum([0, *map(len, values)], dtype=np.int64), b"".join(values))

    def parts(self, rows: slice) -> tuple[bytes, bytes]:
        """Return the lengths of some of them, four bytes each, and these texts."""
        ends = self.ends[rows.start : rows.stop + 1]
        return np.diff(ends).astype("<u4").tobytes(), self.joined[ends[0] : ends[-1]]

    def values(self, rows: slice) -> list[bytes]:
        """Return some of them."""
        ends = self.ends[rows.start : rows.stop + 1].tolist()
        return [self.joined[a:b] for a, b in pairwise(ends)]

    def decoded(self, rows: slice) -> list[str]:
        """Return some of them as text."""
        ends = self.ends[rows.start : rows.stop + 1]
        text = self.joined[ends[0] : ends[-1]].decode()
        if not text.isascii():
            return [value.decode() for value in self.values(rows)]
        return [text[a:b] for a, b in pairwise((ends - ends[0]).tolist())]


def parts_of_texts(columns: Mapping[str, Texts], rows: slice) -> Iterator[bytes]:
    """Yield what the checksum of some rows of text is of."""
    for name in TEXTS:
        yield from columns[name].parts(rows)


def checksum(parts: Iterable[bytes]) -> bytes:
    """Return the BLAKE2b digest of some rows."""
    return _digest(parts).digest()


def digest_of_whole(
    attributes: Mapping[str, Any], masses: NDArray[np.float64], checksums: Sequence[bytes]
) -> str:
    """Return the digest of a file: of its attributes, masses, float64 (n,), and checksums."""
    described = json.dumps(attributes, sort_keys=True).encode()
    return _digest([described, masses.tobytes(), *checksums]).hexdigest()


def _digest(parts: Iterable[bytes]) -> hashlib.blake2b:
    """Return a digest of some texts, each with its length."""
    found = hashlib.blake2b(digest_size=DIGEST_SIZE)
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found
