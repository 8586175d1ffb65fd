"""Pools of candidates, written by this process or a few."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from specvae.molecules.fingerprint import FingerprintLayout
from specvae.molecules.pool_build import build_pool
from specvae.molecules.workers import LocalEngine
from specvae.progress import Progress, Silence
from specvae.report import ReadReport


def write_pool(
    structures: Path | Sequence[Path],
    layouts: FingerprintLayout | Sequence[FingerprintLayout],
    output: Path,
    *,
    append: bool = False,
    n_jobs: int | None = 1,
    progress: Progress | None = None,
    report: ReadReport | None = None,
) -> int:
    """Write a pool of the structures of a file, or of several, and return how many it holds."""
    return build_pool(
        [structures] if isinstance(structures, Path) else list(structures),
        [layouts] if isinstance(layouts, FingerprintLayout) else list(layouts),
        output,
        append=append,
        report=ReadReport() if report is None else report,
        engine=LocalEngine(n_jobs, "compute fingerprints"),
        progress=progress or Silence(),
    )
