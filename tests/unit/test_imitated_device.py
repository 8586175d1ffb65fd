# mypy: disable-error-code="no-untyped-call"
"""Tensors stay on the device that they belong to, and nothing waits for it: without a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import imitated_device
import pandas as pd
import pytest
import torch
from specvae_bench.gpu import equality
from specvae_bench.paper.experiments import Experiment

import specvae
from specvae.vae.config import ObjectiveConfig, OptimConfig
from specvae.vae.data import Rows, TensorSource, TrainingData
from specvae.vae.kinds import MODEL_KINDS
from specvae.vae.model import MultimodalVAE
from specvae.vae.objective import loss
from specvae.vae.state import StateFile
from specvae.vae.training import fit

pytestmark = pytest.mark.skipif(
    not imitated_device.IS_POSSIBLE, reason="this torch has no devices in Python"
)


@pytest.fixture(scope="module")
def process() -> Iterator[ProcessPoolExecutor]:
    context = get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=imitated_device.install) as pool:
        yield pool


def _refused() -> list[str]:
    refused = []
    ours = torch.ones(3, 2, device=imitated_device.NAME)
    attempts: list[Callable[[], object]] = [
        lambda: ours + torch.ones(3, 2),
        lambda: ours.addmm(ours, torch.ones(2, 2)),
        lambda: ours.normal_(generator=torch.Generator()),
        ours.numpy,
    ]
    for attempt in attempts:
        try:
            attempt()
        except (RuntimeError, TypeError) as error:
            refused.append(str(error))
    return refused


def test_what_a_gpu_refuses_is_refused(process: ProcessPoolExecutor) -> None:
    add, product, noise, array = process.submit(_refused).result()
    assert add.startswith("aten.add.Tensor: tensors of two devices: imitated:0 (3, 2), cpu (3, 2)")
    assert product.startswith("aten.addmm.default: tensors of two devices")
    assert noise == "aten.normal_.default: a generator of another device"
    assert array.startswith("a tensor of imitated:0 is no array")


def _waits() -> tuple[float, int]:
    ours = torch.arange(4.0, device=imitated_device.NAME).requires_grad_()
    before = imitated_device.waits.total()
    total = (ours * 2.0).sum()
    total.backward()
    assert imitated_device.waits.total() == before
    value = float(total.detach())
    chosen = ours.detach()[ours.detach() > 1.0].cpu()
    assert chosen.numpy().tolist() == [2.0, 3.0]
    return value, imitated_device.waits.total() - before


def test_waits_are_counted(process: ProcessPoolExecutor) -> None:
    assert process.submit(_waits).result() == (12.0, 3)


def _experiment(name: str) -> Experiment:
    if name == "spectra":
        return equality.spectra_experiment(width=16, bins=300, bits=60)
    return equality.EXPERIMENTS[name]()


def _compare(name: str, kind: str) -> dict[str, float]:
    return equality.compare(_experiment(name), kind, torch.device(imitated_device.NAME))


@pytest.mark.parametrize("kind", list(MODEL_KINDS))
@pytest.mark.parametrize("name", ["spectra", "mnist-split"])
def test_losses_and_gradients_are_the_cpu_s(
    process: ProcessPoolExecutor, name: str, kind: str
) -> None:
    found = process.submit(_compare, name, kind).result()
    assert found["loss"] < 1e-6
    assert found["gradient"] < 1e-4


@pytest.mark.parametrize("kind", ["svae", "vaevae", "mmvae"])
def test_losses_and_gradients_of_sentences_are_the_cpu_s(
    process: ProcessPoolExecutor, kind: str
) -> None:
    assert process.submit(_compare, "cub-captions", kind).result()["gradient"] < 1e-4


def _waits_of_a_step(kind: str) -> dict[str, int]:
    experiment = _experiment("mnist-split")
    device = torch.device(imitated_device.NAME)
    source = TensorSource(equality.random_tables(experiment, 32)).dense(device)
    model = MultimodalVAE(experiment.model_config(kind)).to(device).train()
    config = ObjectiveConfig(MODEL_KINDS[kind].loss, n_samples=MODEL_KINDS[kind].n_samples)
    rows = torch.arange(32)
    paired, unpaired = (source.batch(Rows(x, x.to(device))) for x in rows.split(16))
    imitated_device.waits.clear()
    loss(model, paired, unpaired if MODEL_KINDS[kind].learns_from_unpaired else {}, config)
    loss(model, paired, {}, config).total.backward()
    return dict(imitated_device.waits)


@pytest.mark.parametrize("kind", list(MODEL_KINDS))
def test_a_step_waits_for_nothing(process: ProcessPoolExecutor, kind: str) -> None:
    assert process.submit(_waits_of_a_step, kind).result() == {}


def _trained(folder: Path, device: str) -> tuple[list[float], dict[str, int]]:
    """Train two epochs, stop, and two more; return the losses, and the waits of the latter."""
    experiment = _experiment("spectra")
    tables = equality.random_tables(experiment, 70)
    unpaired = {name: TensorSource({name: table}) for name, table in tables.items()}
    data = TrainingData(TensorSource(tables), unpaired)
    optim = OptimConfig(epochs=4, batch_size=16, learning_rate=1e-3, clip_norm=None)
    state = StateFile(folder / f"{device}.safetensors", every=0)
    objective = ObjectiveConfig()
    epochs = iter(range(9))
    for resume in (False, True):
        torch.manual_seed(0)
        model = MultimodalVAE(experiment.model_config("svae"))
        imitated_device.waits.clear()
        history = fit(
            model,
            data,
            optim,
            objective,
            device=device,
            state=state,
            resume=resume,
            stop=None if resume else lambda: next(epochs) == 1,
        )
    assert len(history.epochs) == 4
    return [epoch.total for epoch in history.epochs], dict(imitated_device.waits)


def test_a_run_goes_as_on_the_cpu_and_hardly_waits(
    process: ProcessPoolExecutor, tmp_path: Path
) -> None:
    ours, waits = process.submit(_trained, tmp_path, imitated_device.NAME).result()
    wanted, _ = process.submit(_trained, tmp_path, "cpu").result()
    assert ours == pytest.approx(wanted, rel=1e-5)
    # What is written to the state has to come back, and each epoch the losses are looked at.
    written = {"checkpoint.py:write_tensors aten._to_copy.default"}
    assert {name: n for name, n in waits.items() if name not in written} == {
        "steps.py:read tolist": 2
    }


def _annotated(model: Path, folder: Path, device: str) -> tuple[pd.DataFrame, int]:
    queries, candidates = folder / "queries.mgf", folder / "candidates.csv"
    before = imitated_device.waits.total()
    table = specvae.load(model, device=device).annotate(queries, candidates, n_jobs=1)
    return table, imitated_device.waits.total() - before


def test_annotations_are_the_cpu_s(
    process: ProcessPoolExecutor, demo_model: Path, few: Path
) -> None:
    ours, waits = process.submit(_annotated, demo_model, few, imitated_device.NAME).result()
    assert len(ours) > 12
    # Latent means and bits come back for all queries together, not for each.
    assert 0 < waits < 12
    theirs, _ = process.submit(_annotated, demo_model, few, "cpu").result()
    pd.testing.assert_frame_equal(ours, theirs)
