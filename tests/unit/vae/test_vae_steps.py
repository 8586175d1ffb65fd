# mypy: disable-error-code="no-untyped-call"
"""Steps that never ask a GPU: sums on the device and dense batches."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from specvae_bench.paper.experiments import mnist_split_3
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from vae_examples import random_rows, small_batch, small_model, small_source

from specvae.errors import TrainingError
from specvae.vae.adam import AdamW
from specvae.vae.config import ObjectiveConfig, OptimConfig
from specvae.vae.data import PAIRED, PackedBits, Rows, Table, TensorSource, TrainingData, draws
from specvae.vae.device import EXACT, CudaOptions, computing
from specvae.vae.kinds import MODEL_KINDS
from specvae.vae.model import MultimodalVAE
from specvae.vae.objective import loss
from specvae.vae.state import StateFile
from specvae.vae.steps import Step, Tally, draw, is_recordable
from specvae.vae.training import fit

CPU = torch.device("cpu")


def numbers(*values: float) -> list[torch.Tensor]:
    return [torch.tensor(value) for value in values]


def test_a_tally_sums_what_it_is_given() -> None:
    tally = Tally(CPU)
    for _ in range(2):  # a second epoch begins at nothing
        tally.reset()
        tally.add(["total", "a", "gradient"], numbers(3.0, 1.0, 5.0))
        tally.add(["total", "b", "gradient"], numbers(4.0, 2.0, 6.0))  # parts may differ
        assert tally.read(1) == {"total": 7.0, "a": 1.0, "gradient": 11.0, "b": 2.0}


def test_a_tally_that_is_read_late_names_the_first_bad_step() -> None:
    tally = Tally(CPU)
    tally.add(["total", "a", "gradient"], numbers(1.0, 1.0, 1.0))
    tally.add(["total", "a", "gradient"], numbers(math.inf, -math.inf, math.nan))
    tally.add(["total", "a", "gradient"], numbers(math.nan, math.nan, math.nan))
    with pytest.raises(TrainingError, match=r"^epoch 3, step 2: the loss .*: a is -inf$"):
        tally.read(3)
    tally.reset()
    tally.add(["total", "a", "gradient"], numbers(1.0, 1.0, math.inf))
    with pytest.raises(TrainingError, match="epoch 4, step 1: the gradient is no longer finite"):
        tally.read(4)


def test_a_bad_loss_is_found_though_it_is_looked_for_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = small_batch(20)
    batch["b"][:, 2] = math.nan
    read = Tally.read
    looks = iter(range(100))

    def late(self: Tally, epoch: int) -> dict[str, float]:
        return {} if next(looks) < 3 else read(self, epoch)

    monkeypatch.setattr(Tally, "read", late)
    optim = OptimConfig(epochs=2, batch_size=5, learning_rate=1e-3)
    with pytest.raises(TrainingError, match="epoch 1, step 1: the loss is no longer finite"):
        fit(small_model(), TrainingData(TensorSource(batch)), optim, ObjectiveConfig())


def test_dense_rows_are_the_rows() -> None:
    rows = random_rows(12, 30)
    index = torch.tensor([3, 0, 11, 3, 5])
    n_entries = int(rows.lengths[index].sum())
    found = rows.dense_rows(index, n_entries)
    assert torch.equal(found, rows.rows(index).to_dense())
    assert torch.equal(rows.dense_rows(index[:0], 0), torch.zeros(0, 30))


def test_a_dense_source_gives_the_batches_of_its_source() -> None:
    bits = PackedBits(torch.randint(0, 256, (4, 2), dtype=torch.uint8), 13)
    tables: dict[str, Table] = {"s": random_rows(12, 30), "f": bits}
    index = {"f": torch.randint(4, (12,))}
    source = TensorSource(tables, index)
    dense = source.dense(CPU)
    rows = torch.tensor([7, 7, 1])
    wanted, found = source.batch(rows), dense.batch(Rows(rows, rows))
    assert torch.equal(found["s"], wanted["s"].to_dense())
    assert torch.equal(found["f"], wanted["f"])  # type: ignore[arg-type]
    assert (len(dense), dense.is_fixed) == (12, False)
    plain = TensorSource({"f": bits}, index).dense(CPU)
    assert (len(plain), plain.is_fixed) == (12, True)
    assert isinstance(draw(plain, Rows(rows, rows), CPU), Rows)  # the step draws it itself
    assert not isinstance(draw(dense, Rows(rows, rows), CPU), Rows)


def test_draws_are_the_same_here_and_there() -> None:
    drawn = draws(small_source(10), 4, torch.Generator().manual_seed(1), CPU)
    batches = [next(drawn) for _ in range(3)]
    assert sorted(torch.cat([rows.on_cpu for rows in batches]).tolist()) == list(range(10))
    assert all(torch.equal(rows.on_cpu, rows.on_device) for rows in batches)
    assert [len(rows) for rows in batches] == [4, 3, 3]


def test_a_step_that_draws_its_batch_does_what_one_does_that_is_given_it() -> None:
    weights = []
    for by_rows in (False, True):
        model, source = small_model(), small_source(8)
        optimizer = AdamW(model.parameters(), 0.01, weight_decay=0.01)
        noise = torch.Generator().manual_seed(2)
        sources = {PAIRED: source.dense(CPU)}
        step = Step(model, optimizer, sources, ObjectiveConfig(), noise, 1.0, False, Tally(CPU))
        rows = torch.tensor([1, 4, 6])
        step({PAIRED: Rows(rows, rows) if by_rows else source.batch(rows)}, 1.0)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def test_what_can_be_recorded() -> None:
    sources = {PAIRED: small_source().dense(CPU)}
    assert is_recordable(sources, ObjectiveConfig(), 3)
    assert is_recordable(sources, ObjectiveConfig("mvae"), 2)
    assert not is_recordable(sources, ObjectiveConfig("mvae"), 3)  # draws subsets on the CPU
    assert not is_recordable({PAIRED: small_source()}, ObjectiveConfig(), 2)


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: object) -> None:
    from pathlib import Path

    state = StateFile(Path(str(tmp_path)) / "state.safetensors")
    optim = OptimConfig(epochs=3, batch_size=8, learning_rate=0.01)
    data = TrainingData(small_source(20))
    whole, resumed = small_model(), small_model()
    fit(whole, data, optim, ObjectiveConfig())
    asked = iter([False, True])
    stopped = fit(
        small_model(), data, optim, ObjectiveConfig(), state=state, stop=lambda: next(asked)
    )
    assert len(stopped.epochs) == 2
    history = fit(resumed, data, optim, ObjectiveConfig(), state=state, resume=True)
    assert len(history.epochs) == 3
    for ours, theirs in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_settings_of_a_gpu_are_undone_and_a_cpu_has_none() -> None:
    def read() -> tuple[object, ...]:
        cudnn = torch.backends.cudnn
        return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark

    before = read()
    for options, wanted in (
        (CudaOptions(), ("high", True, True)),
        (EXACT, ("highest", False, False)),
    ):
        with computing(torch.device("cuda"), options):
            assert read() == wanted
        assert read() == before
        with computing(CPU, options):
            assert read() == before


class OnDevice(TorchDispatchMode):
    """Collects the operations that touch a tensor of the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.elsewhere: list[str] = []

    def __torch_dispatch__(
        self,
        function: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        out = function(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)]
        self.elsewhere += [str(function) for x in tensors if x.device.type == "cpu"]
        return out


# MVAE draws its subsets of three on the CPU: see `is_recordable`.
@pytest.mark.parametrize("kind", sorted(set(MODEL_KINDS) - {"mvae"}))
def test_a_step_takes_nothing_from_the_cpu_once_it_was_made(kind: str) -> None:
    """A recorded step cannot."""
    model = MultimodalVAE(mnist_split_3().model_config(kind)).to("meta").train()
    objective = ObjectiveConfig(
        MODEL_KINDS[kind].loss,
        n_samples=MODEL_KINDS[kind].n_samples,
        path_weights={"top->middle": 0.5},
    )
    pairs = {name: torch.rand(3, 252, device="meta") for name in model.config.names}
    unpaired = pairs if MODEL_KINDS[kind].learns_from_unpaired else {}
    loss(model, pairs, unpaired, objective, beta=0.5)
    with OnDevice() as mode:
        loss(model, pairs, unpaired, objective, beta=0.5).total.backward()
    assert mode.elsewhere == []
