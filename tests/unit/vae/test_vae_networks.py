# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import pytest
import torch
from vae_examples import random_rows

from specvae.errors import ConfigError
from specvae.vae.networks import (
    ConvLayer,
    NetworkConfig,
    SparseLinear,
    SparseRows,
    decoder_body,
    encoder_body,
)


def test_rows_are_gathered_in_order_with_repetitions() -> None:
    x = random_rows(8, 11)
    index = torch.tensor([3, 0, 3, 7, 1])
    part = x.rows(index)
    assert len(part) == 5
    assert torch.equal(part.to_dense(), x.to_dense()[index])
    assert len(x.rows(torch.tensor([], dtype=torch.int64))) == 0


def test_first_columns_drop_the_rest() -> None:
    x = random_rows(8, 11)
    part = x.first_columns(4)
    assert part.n_columns == 4
    assert int(part.columns.max()) < 4
    assert torch.equal(part.to_dense(), x.to_dense()[:, :4])
    assert torch.equal(x.to_dense(4), x.to_dense()[:, :4])


def test_to_dense_sums_repeated_columns() -> None:
    x = SparseRows(torch.tensor([0, 3]), torch.tensor([1, 1, 0]), torch.tensor([1.0, 2.0, 5.0]), 3)
    assert x.to_dense().tolist() == [[5.0, 3.0, 0.0]]


def test_squared_norms_of_the_rows() -> None:
    x = random_rows(8, 11)
    torch.testing.assert_close(x.squared_norm(), x.to_dense().square().sum(1))


@pytest.mark.parametrize("column_dtype", [torch.int64, torch.int32])
def test_sparse_linear_equals_the_dense_layer_with_gradients(column_dtype: torch.dtype) -> None:
    x = random_rows(40, 300)
    x = SparseRows(x.offsets, x.columns.to(column_dtype), x.values, x.n_columns)
    sparse = SparseLinear(300, 16)
    dense = torch.nn.Linear(300, 16)
    with torch.no_grad():
        dense.weight.copy_(sparse.weight.T)
        dense.bias.copy_(sparse.bias)
    ours, reference = sparse(x), dense(x.to_dense())
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=0)
    torch.testing.assert_close(sparse(x.to_dense()), reference, atol=1e-5, rtol=0)
    assert torch.equal(ours[0], sparse.bias)  # an empty row
    upstream = torch.randn_like(ours)
    ours.backward(upstream)
    reference.backward(upstream)
    assert sparse.weight.grad is not None
    assert dense.weight.grad is not None
    torch.testing.assert_close(sparse.weight.grad.T, dense.weight.grad, atol=1e-5, rtol=0)
    torch.testing.assert_close(sparse.bias.grad, dense.bias.grad, atol=1e-5, rtol=0)


def test_sparse_linear_starts_for_the_columns_that_are_filled() -> None:
    torch.manual_seed(0)
    narrow, wide = SparseLinear(100, 500), SparseLinear(30_000, 50)
    dense = torch.nn.Linear(100, 500)
    assert narrow.weight.std().item() == pytest.approx(dense.weight.std().item(), rel=0.02)
    # However wide the layer, 128 filled columns give outputs of the same size.
    x = torch.zeros(40, 30_000)
    for row in x:
        row[torch.randperm(30_000)[:128]] = 1.0
    assert wide(x).std().item() == pytest.approx(3**-0.5, rel=0.1)
    # Unless it is asked to start as torch's layer does.
    like_torch = SparseLinear(30_000, 50, n_filled=0)
    assert like_torch.weight.abs().max().item() == pytest.approx(30_000**-0.5, rel=1e-3)
    body = encoder_body(30_000, NetworkConfig((5,), filled_columns=0), sparse=True)
    assert next(body.parameters()).abs().max().item() < 1.001 * 30_000**-0.5


def test_batch_normalisation_takes_samples_and_batch_as_one_dimension() -> None:
    network = encoder_body(4, NetworkConfig((5, 3), batch_norm=True, activation="elu"))
    z = torch.randn(2, 6, 4)
    assert network(z).shape == (2, 6, 3)
    torch.testing.assert_close(network(z).flatten(0, 1), network(z.flatten(0, 1)))


def test_dropout_acts_in_training_only_and_on_sparse_inputs() -> None:
    x = random_rows(30, 20)
    network = encoder_body(20, NetworkConfig((8,), input_dropout=0.5, dropout=0.5), sparse=True)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))
    torch.testing.assert_close(network(x), network(x.to_dense()), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": (0,)}, r"hidden\[0\]: found 0, wanted 1 or more"),
        ({"hidden": (3,), "dropout": 1.0}, "dropout"),
        ({"hidden": (3,), "convolutions": (ConvLayer(4, (2, 2)),)}, "channels, height and width"),
        ({"hidden": (3,), "embedding": -1}, "embedding"),
    ],
)
def test_senseless_networks_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NetworkConfig(**options)  # type: ignore[arg-type]


def test_sparse_input_needs_a_hidden_layer() -> None:
    with pytest.raises(ConfigError, match="hidden layer"):
        encoder_body(4, NetworkConfig(()), sparse=True)


def test_convolutions_are_those_of_torch_between_flat_rows() -> None:
    config = NetworkConfig(
        (9,),
        convolutions=(
            ConvLayer(4, (4, 3), (2, 1), (1, 1), bias=True),
            ConvLayer(5, (3, 4), batch_norm=True, activation=False),
        ),
        shape=(2, 8, 6),
        activation="elu",
    )
    network = encoder_body(2 * 8 * 6, config).eval()
    x = torch.randn(3, 96)
    first, second = (part for part in network.layers if isinstance(part, torch.nn.Conv2d))
    (norm,) = (part for part in network.layers if isinstance(part, torch.nn.BatchNorm2d))
    (linear,) = (part for part in network.layers if isinstance(part, torch.nn.Linear))
    assert second.bias is None
    hidden = torch.nn.functional.conv2d(
        x.view(3, 2, 8, 6), first.weight, first.bias, stride=(2, 1), padding=(1, 1)
    )
    assert hidden.shape == (3, 4, 4, 6)
    hidden = norm(torch.nn.functional.conv2d(torch.nn.functional.elu(hidden), second.weight))
    assert hidden.shape == (3, 5, 2, 3)
    expected = torch.nn.functional.elu(linear(hidden.flatten(1)))
    torch.testing.assert_close(network(x), expected)
    assert network.n_outputs == 9


def test_transposed_convolutions_end_a_decoder() -> None:
    config = NetworkConfig(
        (12,),
        convolutions=(
            ConvLayer(4, (2, 5), (2, 2)),
            ConvLayer(1, (2, 4), (2, 2), (0, 1), output_padding=(1, 0), activation=False),
        ),
        shape=(6, 1, 2),
    )
    network = decoder_body(3, config)
    # (1 - 1) * 2 + 2 = 2 by (2 - 1) * 2 + 5 = 7; then 2 + 2 + 1 = 5 by 12 - 2 + 4 = 14
    assert network.n_outputs == 5 * 14
    z = torch.randn(2, 3, 3)  # two samples of three codes
    out = network(z)
    assert out.shape == (2, 3, 70)
    first, second = (part for part in network.layers if isinstance(part, torch.nn.ConvTranspose2d))
    dense = torch.relu(network.layers[0](z.flatten(0, 1))).view(6, 6, 1, 2)
    hidden = torch.relu(torch.nn.functional.conv_transpose2d(dense, first.weight, stride=(2, 2)))
    assert hidden.shape == (6, 4, 2, 7)
    expected = torch.nn.functional.conv_transpose2d(
        hidden, second.weight, stride=(2, 2), padding=(0, 1), output_padding=(1, 0)
    )
    torch.testing.assert_close(out, expected.view(2, 3, 70))
    assert bool((out < 0).any())  # no activation at the end


def test_tokens_are_embedded_and_flattened() -> None:
    network = encoder_body(5, NetworkConfig((4,), embedding=3), n_classes=7)
    x = torch.randint(0, 7, (6, 5))
    table = network.layers[0]
    assert isinstance(table, torch.nn.Embedding)
    expected = torch.relu(network.layers[2](table.weight[x].reshape(6, 15)))
    torch.testing.assert_close(network(x), expected)
    image = NetworkConfig((4,), embedding=3, convolutions=(ConvLayer(2, (2, 2)),), shape=(1, 5, 3))
    assert encoder_body(5, image, n_classes=7)(x).shape == (6, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": (3,)}, r"kernel: wanted height and width, found \[3\]"),
        ({"stride": (1, 1, 1)}, "stride: wanted height and width"),
        ({"channels": 0}, "must be positive, found 0,"),
        ({"kernel": (0, 2)}, "must be positive"),
        ({"stride": (0, 2)}, "must be positive"),
        ({"padding": (0, -1)}, "must not be negative"),
        ({"output_padding": (-1, 0)}, "must not be negative"),
    ],
)
def test_senseless_convolutions_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ConvLayer(**{"channels": 2, "kernel": (2, 2), **options})  # type: ignore[arg-type]


def test_networks_that_do_not_fit_their_input_are_named() -> None:
    conv = NetworkConfig((), convolutions=(ConvLayer(2, (4, 4)),), shape=(1, 5, 5))
    with pytest.raises(ConfigError, match=r"shape: \[1, 5, 5\] does not hold 24 inputs"):
        encoder_body(24, conv)
    with pytest.raises(ConfigError, match="dense hidden layer"):
        encoder_body(25, NetworkConfig((3,), convolutions=conv.convolutions, shape=(1, 5, 5)), True)
    small = NetworkConfig((), convolutions=(ConvLayer(2, (4, 4)),), shape=(1, 3, 5))
    with pytest.raises(ConfigError, match=r"nothing is left of an input of \[3, 5\]"):
        encoder_body(15, small)
    with pytest.raises(ConfigError, match="tokens need one and numbers none, found 0 for 7"):
        encoder_body(5, NetworkConfig((3,)), n_classes=7)
    with pytest.raises(ConfigError, match="found 3 for 0 classes"):
        encoder_body(5, NetworkConfig((3,), embedding=3))
