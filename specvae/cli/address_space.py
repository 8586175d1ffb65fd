"""Whether a process may address as much memory as libraries take when they are loaded.

Clusters limit it (``ulimit -v``, ``h_vmem``). Where it gets too little, OpenBLAS tries for ever,
and torch ends the process by an abort.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping

from specvae.counting import counted
from specvae.errors import SpecvaeError

_MB = 1_000_000
# Measured with two threads. These commands load no torch; others none of either.
_WITHOUT_TORCH, _WITH_TORCH = 280, 950
_OF_A_THREAD = 80
_LIGHT = frozenset({"docs", "doctor", "download", "info"})
_TABLES = frozenset({"check", "fingerprint", "pool"})
_NUMBERS_OF_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")


def require_address_space(command: str, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse to run a command whose libraries could not be loaded.

    Parameters
    ----------
    command
        The first word behind ``specvae``.
    environment
        May state numbers of threads.

    Raises
    ------
    SpecvaeError
        If the system limits the memory that a process may address to too little.
    """
    limit = _limit()
    if limit is None or command in _LIGHT:
        return
    n_threads = _n_threads(environment)
    wanted = _WITHOUT_TORCH if command in _TABLES else _WITH_TORCH
    wanted += _OF_A_THREAD * n_threads
    try:
        mmap.mmap(-1, wanted * _MB).close()
    except OSError:
        raise SpecvaeError(
            f"not enough memory: a process may address {limit // _MB:,} MB here (ulimit -v), and "
            f"with {counted(n_threads, 'threads')} 'specvae {command}' takes {wanted:,} MB beside "
            "what it has; allow more, or set OMP_NUM_THREADS to fewer"
        ) from None


def _limit() -> int | None:
    """Return how many bytes the process may address, None where that is not limited."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if most == resource.RLIM_INFINITY else most


def _n_threads(environment: Mapping[str, str]) -> int:
    stated = (environment.get(name, "") for name in _NUMBERS_OF_THREADS)
    return next(
        (int(text) for text in stated if text.isdecimal() and int(text)), os.cpu_count() or 1
    )
