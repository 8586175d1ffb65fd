"""Training data: tables of rows, sources that draw batches of them, and streams."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from specvae.errors import ConfigError
from specvae.vae.checkpoint import tensor_bytes
from specvae.vae.networks import Input, SparseRows

PAIRED = "paired"


@dataclass(frozen=True, slots=True, eq=False)
class PackedBits:
    """Rows of bits, eight to a byte, the lowest bit first.

    Attributes
    ----------
    table
        (n_rows, ceil(n_bits / 8)), uint8.
    n_bits
        Bits of a row.
    """

    table: Tensor
    n_bits: int

    def __len__(self) -> int:
        return len(self.table)

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows `index` as float32 zeros and ones, (len(index), n_bits)."""
        shifts = torch.arange(8, dtype=torch.uint8, device=self.table.device)
        bits = (self.table[index].unsqueeze(-1) >> shifts) & 1
        return bits.flatten(1)[:, : self.n_bits].float()

    def to(self, device: torch.device | str) -> PackedBits:
        """Return the table on `device`."""
        return PackedBits(self.table.to(device), self.n_bits)


@dataclass(frozen=True, slots=True, eq=False)
class GreyLevels:
    """Rows of grey or colour levels in one byte each; 255 stands for 1.

    Attributes
    ----------
    table
        (n_rows, n_columns), uint8.
    """

    table: Tensor

    def __len__(self) -> int:
        return len(self.table)

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows `index` as float32 in [0, 1], (len(index), n_columns)."""
        return self.table[index].float().div_(255.0)

    def to(self, device: torch.device | str) -> GreyLevels:
        """Return the table on `device`."""
        return GreyLevels(self.table.to(device))


UnpairedPool = Literal["all", "rest", "none"]
Table = Tensor | SparseRows | PackedBits | GreyLevels


class BatchSource(Protocol):
    """Examples that a stream draws its batches from."""

    @property
    def weights(self) -> Tensor | None:
        """How often each example is drawn, (n_examples,); None: each once in a pass."""
        ...

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def batch(self, rows: Tensor) -> Mapping[str, Input]:
        """Return the examples `rows` (int64), by modality: (len(rows), columns)."""
        ...

    def sha256(self) -> str:
        """Return a digest of the data: training resumes only on the same."""
        ...


class TensorSource:
    """Examples held as tensors.

    Parameters
    ----------
    tables
        By modality: rows of features, dense, sparse or packed bits.
    index
        By modality: (n_examples,), int64, which row of the table each example has, so that for
        instance all spectra of a compound share one fingerprint. A modality that is left out has
        one row for each example.
    weights
        (n_examples,), positive: examples are drawn in proportion to them, with replacement, as
        many in a pass as there are examples. None: each once in a pass.

    Raises
    ------
    ConfigError
        If the modalities have different numbers of examples or an index points beyond its table.
    """

    def __init__(
        self,
        tables: Mapping[str, Table],
        index: Mapping[str, Tensor] | None = None,
        weights: Tensor | None = None,
    ) -> None:
        self._tables = dict(tables)
        self._index = dict(index or {})
        lengths = {}
        for name, table in self._tables.items():
            rows = self._index.get(name)
            lengths[name] = len(table) if rows is None else len(rows)
            if (
                rows is not None
                and len(rows)
                and not 0 <= int(rows.min()) <= int(rows.max()) < len(table)
            ):
                raise ConfigError(f"index of {name}: points outside its {len(table)} rows")
        if len(set(lengths.values())) != 1:
            raise ConfigError(f"modalities have different numbers of examples: {lengths}")
        self._length = next(iter(lengths.values()))
        if weights is not None and (
            weights.shape != (self._length,) or not bool((weights > 0).all())
        ):
            raise ConfigError(f"weights: wanted {self._length} positive numbers")
        self.weights = weights

    def __len__(self) -> int:
        return self._length

    def batch(self, rows: Tensor) -> dict[str, Input]:
        """Return the examples `rows` (int64), by modality: (len(rows), columns)."""
        batch: dict[str, Input] = {}
        for name, table in self._tables.items():
            chosen = self._index[name][rows] if name in self._index else rows
            batch[name] = table[chosen] if isinstance(table, Tensor) else table.rows(chosen)
        return batch

    def sha256(self) -> str:
        """Return a digest of tables and indices."""
        digest = hashlib.sha256()
        for name, table in sorted(self._tables.items()):
            tensors: tuple[Tensor, ...]
            if isinstance(table, SparseRows):
                digest.update(f"{name} sparse {table.n_columns}\n".encode())
                tensors = (table.offsets, table.columns, table.values)
            elif isinstance(table, PackedBits):
                digest.update(f"{name} bits {table.n_bits}\n".encode())
                tensors = (table.table,)
            elif isinstance(table, GreyLevels):
                digest.update(f"{name} levels {tuple(table.table.shape)}\n".encode())
                tensors = (table.table,)
            else:
                digest.update(f"{name} dense {tuple(table.shape)}\n".encode())
                tensors = (table,)
            for tensor in tensors:
                digest.update(tensor_bytes(tensor))
        for name, rows in sorted(self._index.items()):
            digest.update(f"{name} index\n".encode())
            digest.update(tensor_bytes(rows))
        if self.weights is not None:
            digest.update(b"weights\n")
            digest.update(tensor_bytes(self.weights))
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> TensorSource:
        """Return the source with all tensors on `device`."""
        tables: dict[str, Table] = {n: table.to(device) for n, table in self._tables.items()}
        index = {name: rows.to(device) for name, rows in self._index.items()}
        return TensorSource(tables, index, self.weights)

    def dense(self, device: torch.device | str) -> DenseSource:
        """Return the source with all tensors on `device`, for batches that are dense there."""
        lengths = {}
        for name, table in self._tables.items():
            if isinstance(table, SparseRows):
                rows = self._index.get(name)
                lengths[name] = table.lengths if rows is None else table.lengths[rows]
        moved = self.to(device)
        return DenseSource(moved._tables, moved._index, lengths, self.weights)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Numbers of examples that make a batch, here and on the device that trains.

    Attributes
    ----------
    on_cpu
        (n,), int64, on the CPU.
    on_device
        The same on the device.
    """

    on_cpu: Tensor
    on_device: Tensor

    def __len__(self) -> int:
        return len(self.on_cpu)


class DenseSource:
    """Examples on a GPU; drawing a batch of them never makes the CPU wait.

    Sparse rows come out dense: on a GPU a product with a dense batch costs less than gathering the
    rows of a wide weight, and its shapes do not depend on the data. The number of entries of a
    batch is computed from lengths on the CPU, so that no value must be read from the GPU.

    Parameters
    ----------
    tables, index
        As of :class:`TensorSource`, on the GPU.
    lengths
        By sparse modality: entries of each example, (n_examples,), int64, on the CPU.
    weights
        As of :class:`TensorSource`.
    """

    def __init__(
        self,
        tables: Mapping[str, Table],
        index: Mapping[str, Tensor],
        lengths: Mapping[str, Tensor],
        weights: Tensor | None,
    ) -> None:
        self._tables, self._index, self._lengths = dict(tables), dict(index), dict(lengths)
        name, table = next(iter(self._tables.items()))
        self._length = len(self._index.get(name, table))
        self.weights = weights

    def __len__(self) -> int:
        return self._length

    @property
    def is_fixed(self) -> bool:
        """Whether batches of one size are drawn by the same operations, from rows on the GPU."""
        return not self._lengths

    def batch(self, rows: Rows) -> dict[str, Tensor]:
        """Return the examples `rows`, by modality: (len(rows), columns) each, dense."""
        batch: dict[str, Tensor] = {}
        for name, table in self._tables.items():
            chosen = self._index[name][rows.on_device] if name in self._index else rows.on_device
            if isinstance(table, SparseRows):
                n_entries = int(self._lengths[name][rows.on_cpu].sum())
                batch[name] = table.dense_rows(chosen, n_entries)
            else:
                batch[name] = table[chosen] if isinstance(table, Tensor) else table.rows(chosen)
        return batch


@dataclass(frozen=True)
class TrainingData:
    """The streams of training data.

    Attributes
    ----------
    paired
        Examples with all modalities; None or empty: none.
    unpaired
        By modality: examples whose batches hold that modality (others are ignored).
    """

    paired: BatchSource | None
    unpaired: Mapping[str, BatchSource] = field(default_factory=dict)

    @classmethod
    def from_pairs(
        cls,
        tables: Mapping[str, Table],
        index: Mapping[str, Tensor] | None = None,
        *,
        supervision: float = 1.0,
        unpaired: UnpairedPool = "all",
        seed: int = 0,
    ) -> TrainingData:
        """Keep some of fully observed examples paired and stream the others apart.

        Parameters
        ----------
        tables, index
            As in :class:`TensorSource`.
        supervision
            Share of the examples that stay paired, above 0 and at most 1; at least one does.
        unpaired
            What the unpaired streams draw from: ``all`` examples, the paired ones included, as the
            published research code does; only the ``rest``; or ``none``.
        seed
            Of the choice.

        Raises
        ------
        ConfigError
            If the supervision is out of range or the tables do not fit each other.
        """
        if not 0.0 < supervision <= 1.0:
            raise ConfigError(f"supervision: wanted above 0 and at most 1, found {supervision}")
        n_examples = len(TensorSource(tables, index))
        order = torch.randperm(n_examples, generator=torch.Generator().manual_seed(seed))
        n_paired = max(1, round(supervision * n_examples))

        def source(names: Collection[str], rows: Tensor) -> TensorSource:
            chosen = {n: rows if index is None or n not in index else index[n][rows] for n in names}
            return TensorSource({name: tables[name] for name in names}, chosen)

        paired = source(tables, order[:n_paired].sort().values)
        if unpaired == "none":
            return cls(paired)
        rest = torch.arange(n_examples) if unpaired == "all" else order[n_paired:].sort().values
        return cls(paired, {name: source([name], rest) for name in tables})

    def streams(self) -> dict[str, BatchSource]:
        """Return the non-empty sources by stream: ``paired`` and ``unpaired-NAME``."""
        streams = {} if self.paired is None else {PAIRED: self.paired}
        streams |= {f"unpaired-{name}": source for name, source in self.unpaired.items()}
        return {name: source for name, source in streams.items() if len(source)}


def draws(
    source: BatchSource | DenseSource,
    batch_size: int,
    generator: torch.Generator,
    device: torch.device,
) -> Iterator[Rows]:
    """Yield shuffled rows without end, reshuffled (or drawn anew by weight) after each pass.

    A pass is cut into equal batches, not into full ones and a rest: no example weighs more than
    another, and no batch of one row reaches a batch normalisation. The order of a pass goes to the
    device at once.
    """
    n_rows = len(source)
    while True:
        if source.weights is None:
            order = torch.randperm(n_rows, generator=generator)
        else:
            order = torch.multinomial(source.weights, n_rows, True, generator=generator)
        n_batches = math.ceil(n_rows / batch_size)
        there = order.to(device)
        yield from map(Rows, order.tensor_split(n_batches), there.tensor_split(n_batches))
