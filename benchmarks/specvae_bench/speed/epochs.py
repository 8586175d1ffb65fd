"""Time per epoch of our training loop and of multivae's, on one thread, in turns."""

from __future__ import annotations

import contextlib
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from specvae.vae.config import Modality, ModelConfig, ObjectiveConfig, OptimConfig
from specvae.vae.data import TensorSource, TrainingData
from specvae.vae.kinds import MODEL_KINDS
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import NetworkConfig
from specvae.vae.training import fit
from specvae_bench.paper.images import halves, unit_floats
from specvae_bench.paper.multivae_peer import Loop, peer_epoch_seconds, peer_model

_HIDDEN, _N_LATENT = 400, 64
_LEARNING_RATE = 2e-4
# Label -> kind, samples of z. The rest is measured without a peer.
_WITH_PEER = {
    "jmvae": ("jmvae", 1),
    "mvae": ("mvae", 1),
    "mmvae-iwae-1": ("mmvae-iwae", 1),
    "mmvae-dreg-10": ("mmvae", 10),
}
_WITHOUT_PEER = {"svae": ("svae", 1), "svae-star": ("svae-star", 1), "vaevae": ("vaevae", 1)}
_REFERENCE = "jmvae"
_LOOPS: dict[str, Loop] = {"multivae_trainer": "trainer", "multivae_loop": "raw"}


def epoch_speed(
    repeats: int, pixels: Tensor | None = None, *, n_pairs: int = 10_000, batch_size: int = 100
) -> dict[str, Any]:
    """Measure seconds per epoch on pairs of upper and lower halves of digits.

    Networks 392-400-64 (encoders) and 64-400-392 (decoders), Bernoulli likelihoods, Adam, one
    thread. Ours is :func:`~specvae.vae.training.fit`; multivae's are its BaseTrainer and its
    objective in a raw loop, around the same networks. Each round lets all run one epoch in turn;
    one round before the first is not counted. What is measured is processor time: on one thread it
    is the time on a machine with nothing else to do.

    Parameters
    ----------
    repeats
        Rounds.
    pixels
        Grey levels of digits, (n, 28, 28) or (n, 1, 28, 28), uint8; the first `n_pairs` are taken,
        again from the start where there are fewer. None: random numbers.
    n_pairs, batch_size
        Of an epoch, of a step.

    Returns
    -------
    dict
        The set-up and by case, where multivae is installed and has the kind: ``specvae_seconds``,
        ``specvae_bf16_seconds`` (products of matrices in bfloat16), ``multivae_trainer_seconds``,
        ``multivae_loop_seconds``, medians, and ``..._over_specvae``, the median over the rounds of
        their ratios. ``svae``, ``svae-star`` and ``vaevae``, which it lacks, also draw as many
        unpaired halves; they are related to multivae's JMVAE in a raw loop
        (``over_multivae_jmvae_loop``).
    """
    top, bottom = _halves(pixels, n_pairs)
    x = {"top": top, "bottom": bottom}
    with _one_thread():
        tasks: dict[tuple[str, str], Callable[[], float]] = {}
        for label, (kind, n_samples) in (_WITH_PEER | _WITHOUT_PEER).items():
            model, objective = _model(kind, n_samples)
            unpaired = label in _WITHOUT_PEER
            for name, amp in (("specvae", False), ("specvae_bf16", True)):
                optim = OptimConfig(1, batch_size, _LEARNING_RATE, amp=amp)
                tasks[label, name] = _ours(copy.deepcopy(model), objective, x, optim, unpaired)
            if label in _WITH_PEER and find_spec("multivae") is not None:
                optim = OptimConfig(1, batch_size, _LEARNING_RATE)
                for name, loop in _LOOPS.items():
                    tasks[label, name] = _theirs(copy.deepcopy(model), objective, x, optim, loop)
        rounds = _rounds(tasks, repeats)
    figures: dict[str, Any] = {
        "pairs": n_pairs,
        "batch_size": batch_size,
        "networks": f"392-{_HIDDEN}-{_N_LATENT}",
        "threads": 1,
        "rounds": repeats,
        "data": "random" if pixels is None else "given images",
    }
    for label in _WITH_PEER | _WITHOUT_PEER:
        figures[label] = _summary(label, rounds)
    return figures


def _halves(pixels: Tensor | None, n_pairs: int) -> tuple[Tensor, Tensor]:
    if pixels is None:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (n_pairs, 28, 28), generator=generator, dtype=torch.uint8)
    rows = torch.arange(n_pairs) % len(pixels)
    top, bottom = halves(pixels.view(-1, 1, 28, 28)[rows])
    return unit_floats(top), unit_floats(bottom)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _model(kind: str, n_samples: int) -> tuple[MultimodalVAE, ObjectiveConfig]:
    member = MODEL_KINDS[kind]
    layers = NetworkConfig(hidden=(_HIDDEN,))
    modalities = tuple(Modality(name, 392, layers, layers) for name in ("top", "bottom"))
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = MultimodalVAE(ModelConfig(modalities, _N_LATENT, posterior=member.posterior))
    return model, ObjectiveConfig(member.loss, n_samples=n_samples)


def _ours(
    model: MultimodalVAE,
    objective: ObjectiveConfig,
    x: dict[str, Tensor],
    optim: OptimConfig,
    unpaired: bool,
) -> Callable[[], float]:
    pairs = TensorSource(x)
    data = TrainingData(pairs, dict.fromkeys(x, pairs) if unpaired else {})

    def run() -> float:
        start = time.process_time()
        fit(model, data, optim, objective)
        return time.process_time() - start

    return run


def _theirs(
    model: MultimodalVAE,
    objective: ObjectiveConfig,
    x: dict[str, Tensor],
    optim: OptimConfig,
    loop: Loop,
) -> Callable[[], float]:
    peer = peer_model(model, objective)
    return lambda: peer_epoch_seconds(peer, x, optim, loop)[0]


def _rounds(
    tasks: dict[tuple[str, str], Callable[[], float]], repeats: int
) -> list[dict[tuple[str, str], float]]:
    for task in tasks.values():
        task()
    return [{key: task() for key, task in tasks.items()} for _ in range(repeats)]


def _summary(label: str, rounds: list[dict[tuple[str, str], float]]) -> dict[str, float]:
    seconds = {
        name: [one[case, name] for one in rounds] for case, name in rounds[0] if case == label
    }
    figures = {
        f"{name}_seconds": statistics.median(durations) for name, durations in seconds.items()
    }

    def ratio(above: list[float], below: list[float]) -> float:
        return statistics.median(a / b for a, b in zip(above, below, strict=True))

    for name, durations in seconds.items():
        if name != "specvae":
            figures[f"{name}_over_specvae"] = ratio(durations, seconds["specvae"])
    reference = (_REFERENCE, "multivae_loop")
    if label in _WITHOUT_PEER and reference in rounds[0]:
        loop = [one[reference] for one in rounds]
        figures["over_multivae_jmvae_loop"] = ratio(seconds["specvae"], loop)
    return figures
