"""The device of a model, and options for speed and precision of a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from specvae.errors import ConfigError


def _use_one_thread() -> None:
    """Let a forked process compute with one thread, as OpenMP's threads are not forked with it.

    ``multiprocessing.Pool`` on Linux, before Python 3.14, would wait for these threads for ever.
    """
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_use_one_thread)


def pick_device(name: str) -> torch.device:
    """Return the device that ``auto``, ``cpu`` or ``cuda`` stands for.

    Raises
    ------
    ConfigError
        If it is another word, or a GPU is asked for that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type != "cuda":  # others of torch's may not be there, or compute nothing
            torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, ImportError):
        raise ConfigError(f"device {name!r}: wanted auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: this machine, or this build of torch, has no CUDA GPU")
    if device.type == "cuda" and device.index is not None:
        n_gpus = torch.cuda.device_count()
        if device.index >= n_gpus:
            raise ConfigError(f"device {name!r}: found {n_gpus} CUDA GPUs, counted from 0")
    return device


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed torch's own generators of the CPU and of one device, and of no other GPU."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        default_generator(device).manual_seed(seed)


def default_generator(device: torch.device) -> torch.Generator:
    """Return the generator that torch takes on a GPU where it is given none."""
    current = torch.cuda.current_device()  # there are no generators before something asks for a GPU
    index = current if device.index is None else device.index
    generator: torch.Generator = torch.cuda.default_generators[index]
    return generator


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's own generators within, and leave them to the caller as they were before."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        seed_generators(seed, device)
        yield


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether bfloat16 products run in hardware; emulated ones would only cost time."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and probe is not None and bool(probe())


@dataclass(frozen=True)
class CudaOptions:
    """Options for the speed of a GPU; they have no effect on a CPU.

    Attributes
    ----------
    tf32
        Products of float32 matrices and convolutions with operands of 10 bits (TF32), their sums in
        float32.
    cudnn_benchmark
        Try the algorithms of each convolution once and keep the fastest.
    graphs
        Record a training step once and replay it, which spares launching its kernels one by one.
    """

    tf32: bool = True
    cudnn_benchmark: bool = True
    graphs: bool = True


EXACT = CudaOptions(tf32=False, cudnn_benchmark=False, graphs=False)
"""For comparisons with the CPU."""


@contextmanager
def computing(device: torch.device, options: CudaOptions) -> Iterator[None]:
    """Set torch up as `options` say, if `device` is a GPU, and undo that afterwards."""
    if device.type != "cuda":
        yield
        return
    products = torch.get_float32_matmul_precision()
    cudnn = torch.backends.cudnn
    convolutions, benchmark = cudnn.allow_tf32, cudnn.benchmark
    torch.set_float32_matmul_precision("high" if options.tf32 else "highest")
    cudnn.allow_tf32, cudnn.benchmark = options.tf32, options.cudnn_benchmark
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        cudnn.allow_tf32, cudnn.benchmark = convolutions, benchmark
