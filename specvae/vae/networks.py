"""Sparse inputs and the networks that read them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F  # noqa: N812 (the customary name)
from torch import Tensor, nn

from specvae.errors import ConfigError
from specvae.settings import Count, Range, Share, require_ranges


@dataclass(frozen=True, slots=True, eq=False)
class SparseRows:
    """Rows with few non-zero columns, in compressed sparse row layout.

    Attributes
    ----------
    offsets
        (n_rows + 1,), int64: row i owns the entries ``offsets[i]:offsets[i + 1]``.
    columns
        (n_entries,), int64 or int32. Entries with the same column in a row are summed.
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

    def dense_rows(self, index: Tensor, n_entries: int) -> Tensor:
        """Return the rows `index` as a dense matrix, (len(index), n_columns).

        Parameters
        ----------
        index
            int64, on the device of the rows; repetitions allowed.
        n_entries
            Entries of these rows together. If it is given, it need not be read from a GPU.
        """
        device = self.values.device
        lengths = self.lengths[index]
        ends = torch.cumsum(lengths, dim=0)
        places = torch.arange(len(index), device=device)
        row = torch.repeat_interleave(places, lengths, output_size=n_entries)
        shift = self.offsets[index] - (ends - lengths)
        entries = shift[row] + torch.arange(n_entries, device=device)
        flat = torch.zeros(
            len(index) * self.n_columns, dtype=self.values.dtype, device=device
        ).index_add_(0, row * self.n_columns + self.columns[entries], self.values[entries])
        return flat.view(len(index), self.n_columns)

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


class SparseLinear(nn.Module):
    """Linear layer on sparse rows: gathers weight rows instead of multiplying all columns.

    Same function as ``nn.Linear`` on the dense input; the weight is stored transposed, (n_columns,
    n_outputs), so that what is gathered is contiguous. Weights start as ``nn.Linear`` would start
    them for an input of `n_filled` columns: only so many of a sparse row's columns add up, and a
    bound by the full width would start with outputs close to zero. 0 is the full width, as
    ``nn.Linear`` itself starts.
    """

    def __init__(self, n_columns: int, n_outputs: int, n_filled: int = 128) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(min(n_columns, n_filled or n_columns))
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
class ConvLayer:
    """One two-dimensional convolution; in a decoder it is a transposed one.

    Attributes
    ----------
    channels
        Output channels.
    kernel, stride, padding
        Height and width of each.
    output_padding
        Rows and columns added to the output (transposed convolutions only).
    bias
        Whether each output channel has one.
    batch_norm
        Batch normalisation after the convolution.
    activation
        Whether the network's activation follows; a decoder's last layer has none.
    """

    channels: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (0, 0)
    output_padding: tuple[int, ...] = (0, 0)
    bias: bool = False
    batch_norm: bool = False
    activation: bool = True

    def __post_init__(self) -> None:
        for name in ("kernel", "stride", "padding", "output_padding"):
            if len(getattr(self, name)) != 2:
                raise ConfigError(
                    f"{name}: wanted height and width, found {list(getattr(self, name))}"
                )
        if min(self.channels, *self.kernel, *self.stride) < 1:
            raise ConfigError(
                f"convolution: channels, kernel and stride must be positive, found "
                f"{self.channels}, {list(self.kernel)} and {list(self.stride)}"
            )
        if min(*self.padding, *self.output_padding) < 0:
            raise ConfigError(
                f"convolution: padding must not be negative, found {list(self.padding)} and "
                f"{list(self.output_padding)} for the output"
            )

    def output_shape(self, shape: tuple[int, ...], transposed: bool) -> tuple[int, ...]:
        """Return (channels, height, width) after this layer on an input of `shape`.

        Raises
        ------
        ConfigError
            If the kernels are larger than the input.
        """
        sizes = []
        for axis, size in enumerate(shape[1:]):
            kernel, stride, padding = self.kernel[axis], self.stride[axis], self.padding[axis]
            if transposed:
                added = self.output_padding[axis]
                sizes.append((size - 1) * stride - 2 * padding + kernel + added)
            else:
                sizes.append((size + 2 * padding - kernel) // stride + 1)
        if min(sizes) < 1:
            raise ConfigError(f"convolutions: nothing is left of an input of {list(shape[1:])}")
        return (self.channels, *sizes)


@dataclass(frozen=True)
class NetworkConfig:
    """Hidden layers of an encoder or decoder.

    An encoder embeds (tokens only), convolves, flattens, and then applies its dense layers; a
    decoder begins with the dense layers, and its last (transposed) convolution is the output,
    unless the likelihood is categorical.

    Attributes
    ----------
    hidden
        Widths of the dense hidden layers, input side first; empty: none.
    batch_norm
        Batch normalisation between each dense layer and its activation.
    activation
        relu, elu, gelu, silu or tanh.
    dropout
        Probability with which each dense hidden unit is dropped in training.
    input_dropout
        Probability with which each input is dropped in training.
    convolutions
        Two-dimensional convolutions, input side first; empty: none.
    shape
        (channels, height, width) that the first convolution reads from its flat input.
    embedding
        Width of the vectors that stand for tokens (encoders of categorical modalities).
    filled_columns
        Columns that a sparse row is expected to fill, by which the first layer's weights start; 0:
        all of them, as torch's own layer.
    """

    hidden: tuple[Count, ...]
    batch_norm: bool = False
    activation: Literal["relu", "elu", "gelu", "silu", "tanh"] = "relu"
    dropout: Share = 0.0
    input_dropout: Share = 0.0
    convolutions: tuple[ConvLayer, ...] = ()
    shape: tuple[int, ...] = ()
    embedding: Annotated[int, Range(0)] = 0
    filled_columns: Annotated[int, Range(0)] = 128

    def __post_init__(self) -> None:
        require_ranges(self)
        if self.convolutions and len(self.shape) != 3:
            raise ConfigError(
                f"shape: convolutions need channels, height and width, found {list(self.shape)}"
            )


class _InputDropout(nn.Module):
    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Input) -> Input:
        if isinstance(x, SparseRows):
            values = F.dropout(x.values, self.probability, self.training)
            return SparseRows(x.offsets, x.columns, values, x.n_columns)
        return F.dropout(x, self.probability, self.training)


def _dense_layers(
    n_inputs: int, config: NetworkConfig, sparse: bool
) -> tuple[list[nn.Module], int]:
    layers: list[nn.Module] = []
    width = n_inputs
    for position, n_outputs in enumerate(config.hidden):
        if sparse and position == 0:
            layers.append(SparseLinear(width, n_outputs, config.filled_columns))
        else:
            layers.append(nn.Linear(width, n_outputs))
        if config.batch_norm:
            layers.append(nn.BatchNorm1d(n_outputs))
        layers.append(_ACTIVATIONS[config.activation]())
        if config.dropout:
            layers.append(nn.Dropout(config.dropout))
        width = n_outputs
    return layers, width


class _PointDeconvolution(nn.ConvTranspose2d):
    """Transposed convolution of a 1 x 1 input, which is a product with the flattened kernel.

    Twice as fast as the general kernels of torch on a CPU.
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return (batch, channels, height, width) of (batch, n_inputs, 1, 1)."""
        flat = x.flatten(1) @ self.weight.flatten(1)
        out = flat.view(len(x), self.out_channels, *self.kernel_size)
        return out if self.bias is None else out + self.bias.view(-1, 1, 1)


def _conv_layers(
    n_inputs: int, config: NetworkConfig, transposed: bool
) -> tuple[list[nn.Module], int]:
    """Return layers from flat rows to flat rows, and the width of their output."""
    if not config.convolutions:
        return [], n_inputs
    if math.prod(config.shape) != n_inputs:
        raise ConfigError(f"shape: {list(config.shape)} does not hold {n_inputs} inputs")
    shape = config.shape
    layers: list[nn.Module] = [nn.Unflatten(1, shape)]
    for conv in config.convolutions:
        before, n_channels = shape, shape[0]
        shape = conv.output_shape(shape, transposed)
        kernel, stride = _pair(conv.kernel), _pair(conv.stride)
        padding, added = _pair(conv.padding), _pair(conv.output_padding)
        if transposed:
            point = before[1:] == (1, 1) and (padding, added) == ((0, 0), (0, 0))
            layers.append(
                (_PointDeconvolution if point else nn.ConvTranspose2d)(
                    n_channels, conv.channels, kernel, stride, padding, added, bias=conv.bias
                )
            )
        else:
            point = False
            layers.append(
                nn.Conv2d(n_channels, conv.channels, kernel, stride, padding, bias=conv.bias)
            )
        if not point:
            # So a GPU need not convert every input and gradient, and a CPU only some.
            layers[-1].to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if conv.batch_norm:
            layers.append(nn.BatchNorm2d(conv.channels))
        if conv.activation:
            layers.append(_ACTIVATIONS[config.activation]())
    layers.append(nn.Flatten())
    return layers, math.prod(shape)


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    height, width = sizes
    return height, width


class Body(nn.Module):
    """Hidden layers of a network, in one sequence over flat rows."""

    def __init__(self, layers: list[nn.Module], n_outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.n_outputs = n_outputs
        # Only batch normalisation combines several rows.
        self.takes_rows_one_by_one = not any(
            isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in self.modules()
        )

    def forward(self, x: Input) -> Tensor:
        """Return (..., batch, n_outputs) of an input (..., batch, n_inputs)."""
        if isinstance(x, SparseRows) or x.dim() == 2:
            out: Tensor = self.layers(x)
            return out
        flat: Tensor = self.layers(x.flatten(0, -2))  # normalisation and convolutions take rows
        return flat.view(*x.shape[:-1], self.n_outputs)


def encoder_body(
    n_inputs: int, config: NetworkConfig, sparse: bool = False, n_classes: int = 0
) -> Body:
    """Return an encoder's hidden layers; ``n_outputs`` is the width of their output.

    Parameters
    ----------
    n_inputs
        Columns of the input.
    config
        Layers and options.
    sparse
        The input arrives as :class:`SparseRows`.
    n_classes
        Number of classes that the inputs name, where they are tokens; 0: they are numbers.

    Raises
    ------
    ConfigError
        If the layers do not fit each other or the kind of input.
    """
    if sparse and (not config.hidden or config.convolutions):
        raise ConfigError("hidden: a network on sparse input begins with a dense hidden layer")
    if bool(config.embedding) != bool(n_classes):
        raise ConfigError(
            f"embedding: tokens need one and numbers none, found {config.embedding} for "
            f"{n_classes} classes"
        )
    layers: list[nn.Module] = []
    if config.input_dropout:
        layers.append(_InputDropout(config.input_dropout))
    width = n_inputs
    if n_classes:
        layers += [nn.Embedding(n_classes, config.embedding), nn.Flatten()]
        width = n_inputs * config.embedding
    convolutions, width = _conv_layers(width, config, transposed=False)
    dense, width = _dense_layers(width, config, sparse)
    return Body(layers + convolutions + dense, width)


def decoder_body(n_latent: int, config: NetworkConfig) -> Body:
    """Return a decoder's layers up to its output layer; see :class:`NetworkConfig`."""
    layers: list[nn.Module] = []
    if config.input_dropout:
        layers.append(_InputDropout(config.input_dropout))
    dense, width = _dense_layers(n_latent, config, sparse=False)
    convolutions, width = _conv_layers(width, config, transposed=True)
    return Body(layers + dense + convolutions, width)
