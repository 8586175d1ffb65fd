"""The same numbers on a GPU as on the CPU: losses, gradients, recorded steps, resumed runs."""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from specvae.vae.config import Modality, ModelConfig, ObjectiveConfig, OptimConfig
from specvae.vae.data import TensorSource, TrainingData
from specvae.vae.device import EXACT, CudaOptions, computing
from specvae.vae.evaluation import LossParts
from specvae.vae.kinds import MODEL_KINDS
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import NetworkConfig, SparseRows
from specvae.vae.objective import loss
from specvae.vae.state import StateFile
from specvae.vae.training import fit
from specvae_bench.paper import experiments
from specvae_bench.paper.captions import N_TOKENS
from specvae_bench.paper.experiments import Experiment

_BATCH = 16
_N_WORDS = 60
_BINS, _BITS = 11_000, 2149
_STEPS = 12


@contextmanager
def notes() -> Iterator[list[str]]:
    """Yield what training logs about recorded steps while the block runs."""
    found: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    logger, keeper = logging.getLogger("specvae.vae.steps"), Keeper()
    level = logger.level
    logger.addHandler(keeper)
    logger.setLevel(logging.DEBUG)
    try:
        yield found
    finally:
        logger.removeHandler(keeper)
        logger.setLevel(level)


def spectra_experiment(width: int = 256, bins: int = _BINS, bits: int = _BITS) -> Experiment:
    """Return a small experiment of the spectra's shapes: sparse bins and fingerprints."""
    layers = NetworkConfig((width, width), batch_norm=True)
    return Experiment(
        "spectra",
        (
            Modality("spectrum", bins, layers, layers, likelihood="gaussian", sparse=True),
            Modality("fingerprint", bits, layers, layers),
        ),
        n_latent=min(32, width),
        batch_size=_BATCH,
        epochs=2,
        learning_rate=1e-4,
        joint_hidden=width,
    )


EXPERIMENTS: Mapping[str, Callable[[], Experiment]] = {
    "spectra": spectra_experiment,
    "mnist-split": experiments.mnist_split,
    "mnist-split-3": experiments.mnist_split_3,
    "mnist-svhn": experiments.mnist_svhn,
    "cub-captions": lambda: experiments.cub_captions(_N_WORDS),
}


def random_tables(experiment: Experiment, n: int) -> dict[str, Tensor | SparseRows]:
    """Return `n` examples of random numbers of the kinds that the modalities take."""
    generator = torch.Generator().manual_seed(0)
    tables: dict[str, Tensor | SparseRows] = {}
    for modality in experiment.modalities:
        n_columns = modality.n_features
        if modality.sparse:
            lengths = torch.randint(5, min(80, n_columns), (n,), generator=generator)
            columns = [torch.randperm(n_columns, generator=generator)[:k] for k in lengths.tolist()]
            offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
            values = torch.rand(int(lengths.sum()), generator=generator)
            tables[modality.name] = SparseRows(offsets, torch.cat(columns), values, n_columns)
        elif modality.likelihood == "categorical":
            shape = (n, N_TOKENS)
            tables[modality.name] = torch.randint(0, _N_WORDS, shape, generator=generator)
        elif modality.name == "fingerprint":
            tables[modality.name] = (torch.rand(n, n_columns, generator=generator) > 0.8).float()
        else:
            tables[modality.name] = torch.rand(n, n_columns, generator=generator)
    return tables


def compare(experiment: Experiment, kind: str, device: torch.device) -> dict[str, float]:
    """Compare losses and gradients of one batch with the CPU's, from the same noise.

    Returns
    -------
    dict
        ``loss`` and ``parts``: the largest relative differences; ``gradient``: of all gradients
        together, |ours - theirs| / |theirs|; ``worst_gradient``: the largest of single parameters,
        of those with at least a millionth of the whole norm. ``tf32_...`` and ``bf16_...``: the
        same with faster arithmetic.
    """
    config, objective = _configs(experiment, kind)
    torch.manual_seed(0)
    here = MultimodalVAE(config)
    tables = random_tables(experiment, 2 * _BATCH)
    source = TensorSource(tables)
    rows, others = torch.arange(_BATCH), torch.arange(_BATCH, 2 * _BATCH)
    paired = source.batch(rows)
    unpaired = source.batch(others) if MODEL_KINDS[kind].learns_from_unpaired else {}
    wanted, gradients = _evaluated(here, paired, unpaired, objective, amp=False)
    figures: dict[str, float] = {}
    modes = {"": (EXACT, False)}
    if device.type == "cuda":
        modes |= {"tf32_": (CudaOptions(), False), "bf16_": (CudaOptions(), True)}
    for mode, (options, amp) in modes.items():
        there = copy.deepcopy(here).to(device)
        moved = source.dense(device)
        with computing(device, options):
            found, theirs = _evaluated(
                there,
                moved.batch(_rows(rows, device)),
                moved.batch(_rows(others, device)) if unpaired else {},
                objective,
                amp=amp,
            )
        figures |= {
            f"{mode}{name}": value
            for name, value in _differences(wanted, gradients, found, theirs).items()
        }
    return figures


def _rows(rows: Tensor, device: torch.device) -> Any:  # noqa: ANN401
    from specvae.vae.data import Rows

    return Rows(rows, rows.to(device))


def _configs(experiment: Experiment, kind: str) -> tuple[ModelConfig, ObjectiveConfig]:
    config = experiment.model_config(kind)
    objective = ObjectiveConfig(
        loss=MODEL_KINDS[kind].loss,
        modality_weights=experiment.modality_weights,
        n_samples=min(2, MODEL_KINDS[kind].n_samples),
    )
    return config, objective


def _evaluated(
    model: MultimodalVAE,
    paired: Mapping[str, Any],
    unpaired: Mapping[str, Any],
    objective: ObjectiveConfig,
    *,
    amp: bool,
) -> tuple[LossParts, dict[str, Tensor]]:
    model.train()
    noise = torch.Generator().manual_seed(1)  # on the CPU: the same on every device
    device = next(model.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=amp):
        terms = loss(model, paired, unpaired, objective, generator=noise)
    terms.total.backward()  # type: ignore[no-untyped-call]
    return terms, {
        name: parameter.grad.double().cpu()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def _differences(
    wanted: LossParts,
    gradients: Mapping[str, Tensor],
    found: LossParts,
    theirs: Mapping[str, Tensor],
) -> dict[str, float]:
    def relative(ours: Tensor, other: Tensor) -> float:
        a, b = float(ours.detach()), float(other.detach())
        return abs(a - b) / max(abs(a), 1e-6)

    if gradients.keys() != theirs.keys():
        raise AssertionError("other parameters have gradients on the GPU than on the CPU")
    squares = {name: float(each.square().sum()) for name, each in gradients.items()}
    errors = {name: float((theirs[name] - each).square().sum()) for name, each in gradients.items()}
    total = sum(squares.values())
    large = [name for name, square in squares.items() if square > 1e-12 * total]
    return {
        "loss": relative(wanted.total, found.total),
        "parts": max(relative(part, found.parts[name]) for name, part in wanted.parts.items()),
        "gradient": (sum(errors.values()) / total) ** 0.5,
        "worst_gradient": max((errors[name] / squares[name]) ** 0.5 for name in large),
    }


def compare_runs(experiment: Experiment, kind: str, device: torch.device) -> dict[str, Any]:
    """Compare short trainings: recorded steps with plain ones, a resumed run with a whole one.

    Returns
    -------
    dict
        ``recorded``: relative distance of the weights after two epochs with recorded steps from
        those without; ``repeated``: of two runs without, what the device's own disorder makes;
        ``resumed``: of a run that was resumed from one that was not; ``moved``: how far the run
        moved the weights at all; ``bf16``: its loss in bfloat16 relative to float32; ``notes``:
        what was logged.
    """
    config, objective = _configs(experiment, kind)
    tables = random_tables(experiment, _STEPS * _BATCH + 5)
    pairs = TensorSource(tables)
    unpaired = {name: TensorSource({name: table}) for name, table in tables.items()}
    data = TrainingData(pairs, unpaired if MODEL_KINDS[kind].learns_from_unpaired else {})
    optim = OptimConfig(epochs=2, batch_size=_BATCH, learning_rate=1e-3, clip_norm=1e4)
    torch.manual_seed(0)
    begun = MultimodalVAE(config)

    def trained(options: CudaOptions, **flags: Any) -> tuple[dict[str, Tensor], float]:  # noqa: ANN401
        model = copy.deepcopy(begun)
        how = replace(optim, amp=flags.pop("amp", False))
        history = fit(model, data, how, objective, device=device, cuda=options, **flags)
        return {n: t.double().cpu() for n, t in model.state_dict().items()}, history.epochs[
            -1
        ].total

    plain = replace(EXACT, graphs=False)
    with notes() as logged:
        recorded, total = trained(replace(EXACT, graphs=True))
        whole, _ = trained(plain)
        again, _ = trained(plain)
        with tempfile.TemporaryDirectory() as folder:
            state = StateFile(Path(folder) / "state.safetensors", every=0)
            count = iter(range(10))
            trained(replace(EXACT, graphs=True), state=state, stop=lambda: next(count) == 0)
            resumed, _ = trained(replace(EXACT, graphs=True), state=state, resume=True)
        _, half = trained(CudaOptions(), amp=True)
    first = {n: t.double() for n, t in begun.state_dict().items()}
    return {
        "recorded": _distance(recorded, whole),
        "repeated": _distance(again, whole),
        "resumed": _distance(resumed, whole),
        "moved": _distance(first, whole),
        "bf16": abs(half - total) / abs(total),
        "notes": sorted(set(logged)),
    }


def _distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    above = sum(float((a[name] - b[name]).square().sum()) for name in b)
    below = sum(float(each.square().sum()) for each in b.values())
    return float((above / below) ** 0.5)
