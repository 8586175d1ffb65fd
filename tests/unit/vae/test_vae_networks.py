# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import pytest
import torch
from vae_examples import random_rows

from specvae.errors import ConfigError
from specvae.vae.networks import NetworkConfig, SparseLinear, SparseRows, encoder_body


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
    [({"hidden": (0,)}, "positive"), ({"hidden": (3,), "dropout": 1.0}, "dropout")],
)
def test_senseless_networks_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NetworkConfig(**options)  # type: ignore[arg-type]


def test_sparse_input_needs_a_hidden_layer() -> None:
    with pytest.raises(ConfigError, match="hidden layer"):
        encoder_body(4, NetworkConfig(()), sparse=True)
