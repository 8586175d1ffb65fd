"""Sparse inputs and the networks that read them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 (the customary name)
from torch import Tensor, nn

from specvae.errors import ConfigError


@dataclass(frozen=True, slots=True, eq=False)
class SparseRows:
    """Rows with few non-zero columns, in compressed sparse row layout.

    Attributes
    ----------
    offsets
        (n_rows + 1,), int64: row i owns the entries ``offsets[i]:offsets[i + 1]``.
    columns
        (n_entries,), int64 or int32. A column that stands twice in a row is summed.
    values
        (n_entries,), float32.
    n_columns
        Width of the dense matrix.
    """

    offsets: Tensor
    columns: Tensor
    values: Tensor
    n_columns: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """Number of entries of each row, (n_rows,), int64."""
        return self.offsets[1:] - self.offsets[:-1]

    def rows(self, index: Tensor) -> SparseRows:
        """Return the rows `index` (int64, repetitions allowed) in that order."""
        lengths = self.lengths[index]
        offsets = _offsets(lengths)
        shift = torch.repeat_interleave(self.offsets[index] - offsets[:-1], lengths)
        entries = shift + torch.arange(len(shift), device=shift.device)
        return SparseRows(offsets, self.columns[entries], self.values[entries], self.n_columns)

    def first_columns(self, n_columns: int) -> SparseRows:
        """Return the same rows without the entries beyond the first `n_columns`."""
        if n_columns == self.n_columns:
            return self
        kept = self.columns < n_columns
        before = torch.zeros(len(kept) + 1, dtype=torch.int64, device=kept.device)
        torch.cumsum(kept, dim=0, out=before[1:])
        return SparseRows(before[self.offsets], self.columns[kept], self.values[kept], n_columns)

    def squared_norm(self) -> Tensor:
        """Return the sum of squares of each row, (n_rows,); no column may stand twice in a row."""
        return torch.zeros(
            len(self), dtype=self.values.dtype, device=self.values.device
        ).index_add_(0, self._row_numbers(), self.values.square())

    def to_dense(self, n_columns: int | None = None) -> Tensor:
        """Return the first `n_columns` columns (default all), (n_rows, n_columns)."""
        part = self.first_columns(self.n_columns if n_columns is None else n_columns)
        dense = torch.zeros(
            (len(self), part.n_columns), dtype=self.values.dtype, device=self.values.device
        )
        where = (part._row_numbers(), part.columns.long())
        return dense.index_put_(where, part.values, accumulate=True)

    def to(self, device: torch.device | str) -> SparseRows:
        """Return the rows on `device`."""
        return SparseRows(
            self.offsets.to(device, non_blocking=True),
            self.columns.to(device, non_blocking=True),
            self.values.to(device, non_blocking=True),
            self.n_columns,
        )

    def _row_numbers(self) -> Tensor:
        numbers = torch.arange(len(self), device=self.offsets.device)
        return torch.repeat_interleave(numbers, self.lengths, output_size=len(self.columns))


Input = Tensor | SparseRows


def _offsets(lengths: Tensor) -> Tensor:
    offsets = torch.zeros(len(lengths) + 1, dtype=torch.int64, device=lengths.device)
    torch.cumsum(lengths, dim=0, out=offsets[1:])
    return offsets


def gather_rows(x: SparseRows, weight: Tensor) -> Tensor:
    """Return ``x.to_dense() @ weight`` by summing the weight rows that `x` names.

    Parameters
    ----------
    x
        (n_rows, n_columns), sparse.
    weight
        (n_columns, n_outputs).

    Returns
    -------
    Tensor
        (n_rows, n_outputs); zeros for an empty row.
    """
    return F.embedding_bag(
        x.columns.to(x.offsets.dtype),
        weight,
        x.offsets,
        mode="sum",
        per_sample_weights=x.values.to(weight.dtype),
        include_last_offset=True,
    )


# About what a binned spectrum fills.
_FILLED_COLUMNS = 128


class SparseLinear(nn.Module):
    """Linear layer on sparse rows: gathers weight rows instead of multiplying all columns.

    Same function as ``nn.Linear`` on the dense input; the weight is stored transposed, (n_columns,
    n_outputs), so that what is gathered is contiguous. Weights start as ``nn.Linear`` would start
    them for an input of `_FILLED_COLUMNS`: only so many of a sparse row's columns add up, and a
    bound by the full width would start with outputs close to zero.
    """

    def __init__(self, n_columns: int, n_outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(min(n_columns, _FILLED_COLUMNS))
        self.weight = nn.Parameter(torch.empty(n_columns, n_outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_outputs).uniform_(-bound, bound))

    def forward(self, x: Input) -> Tensor:
        """Return (batch, n_outputs) of sparse or dense rows (batch, n_columns)."""
        if isinstance(x, SparseRows):
            return gather_rows(x, self.weight) + self.bias
        return x @ self.weight + self.bias


_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


@dataclass(frozen=True)
class NetworkConfig:
    """Hidden layers of an encoder or decoder.

    Attributes
    ----------
    hidden
        Widths of the hidden layers, input side first; empty: none.
    batch_norm
        Batch normalisation between each linear layer and its activation.
    activation
        relu, elu, gelu, silu or tanh.
    dropout
        Probability with which each hidden unit is dropped in training.
    input_dropout
        Probability with which each input is dropped in training.
    kind
        Family of the network.
    """

    hidden: tuple[int, ...]
    batch_norm: bool = False
    activation: Literal["relu", "elu", "gelu", "silu", "tanh"] = "relu"
    dropout: float = 0.0
    input_dropout: float = 0.0
    kind: Literal["mlp"] = "mlp"

    def __post_init__(self) -> None:
        if any(width < 1 for width in self.hidden):
            raise ConfigError(f"hidden: widths must be positive, found {list(self.hidden)}")
        for name in ("dropout", "input_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name}: must lie in [0, 1), found {getattr(self, name)}")


class _InputDropout(nn.Module):
    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Input) -> Input:
        if isinstance(x, SparseRows):
            values = F.dropout(x.values, self.probability, self.training)
            return SparseRows(x.offsets, x.columns, values, x.n_columns)
        return F.dropout(x, self.probability, self.training)


class MLP(nn.Module):
    """Hidden layers: linear, batch normalisation, activation, dropout, for each width.

    Parameters
    ----------
    n_inputs
        Columns of the input.
    config
        Widths and options.
    sparse
        The input arrives as :class:`SparseRows`.
    """

    def __init__(self, n_inputs: int, config: NetworkConfig, sparse: bool = False) -> None:
        super().__init__()
        if sparse and not config.hidden:
            raise ConfigError("hidden: a network on sparse input needs at least one hidden layer")
        layers: list[nn.Module] = []
        if config.input_dropout:
            layers.append(_InputDropout(config.input_dropout))
        width = n_inputs
        for position, n_outputs in enumerate(config.hidden):
            layer = SparseLinear if sparse and position == 0 else nn.Linear
            layers.append(layer(width, n_outputs))
            if config.batch_norm:
                layers.append(nn.BatchNorm1d(n_outputs))
            layers.append(_ACTIVATIONS[config.activation]())
            if config.dropout:
                layers.append(nn.Dropout(config.dropout))
            width = n_outputs
        self.layers = nn.Sequential(*layers)
        self.n_outputs = width

    def forward(self, x: Input) -> Tensor:
        """Return (..., batch, n_outputs) of an input (..., batch, n_inputs)."""
        if isinstance(x, SparseRows) or x.dim() == 2:
            out: Tensor = self.layers(x)
            return out
        flat: Tensor = self.layers(x.flatten(0, -2))  # batch normalisation takes two dimensions
        return flat.view(*x.shape[:-1], self.n_outputs)


def build_body(n_inputs: int, config: NetworkConfig, sparse: bool = False) -> MLP:
    """Return the hidden layers that `config` describes; ``n_outputs`` is their last width."""
    return MLP(n_inputs, config, sparse)
