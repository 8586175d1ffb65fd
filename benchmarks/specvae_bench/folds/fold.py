"""A fold to rank on and the library to learn from: what the comparisons of methods begin with."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from specvae.annotation.library.compounds import read_excluded, read_truth
from specvae.annotation.library.filter import SpectrumFilter, canonical_adducts
from specvae.annotation.library.library import Library
from specvae.annotation.library.pairs import read_pairs
from specvae.annotation.ranking.queries import QueryFilter
from specvae.cli.console import Console
from specvae.compression import open_decompressed
from specvae.errors import InputError
from specvae.report import ReadReport
from specvae_bench.files import digests
from specvae_bench.folds.contest import Challenges, prepare
from specvae_bench.folds.options import FoldFiles
from specvae_bench.retrieval.comparison import Problem, read_problems


@dataclass(frozen=True, eq=False)
class Fold:
    """A fold and the library without its compounds.

    Attributes
    ----------
    problems
        The queries that have a truth and pass the filter, with their candidates.
    known
        The library's spectra.
    wanted
        What passed into the library, and what was excluded from it.
    described
        ``fold`` and ``library`` of a result.
    reading_seconds
        What it took to read the library.
    """

    problems: list[Problem]
    known: Library
    wanted: SpectrumFilter
    described: dict[str, dict[str, Any]]
    reading_seconds: float


def read_fold(files: FoldFiles, output: Path, console: Console) -> Fold:
    """Read a fold and its library; loose files of a contest are merged into `output`.

    Raises
    ------
    InputError
        If a file cannot be used, or no query or no library spectrum is left.
    """
    challenges = prepare(files.data, output, console.log)
    truth = read_truth(challenges.truth)
    asked = QueryFilter.of(files.ion_mode, files.adducts)
    problems, missing = read_problems(challenges, truth, asked, files.ppm, console)
    if not problems:
        raise InputError(
            f"{challenges.queries}: no query is left that has a truth in {challenges.truth}"
        )
    wanted = SpectrumFilter(
        ion_mode=files.ion_mode,
        adducts=canonical_adducts(files.adducts),
        instrument_types=files.instrument_types,
        excluded=read_excluded(files.exclude) | set(truth.values()),
    )
    report = ReadReport()
    start = time.perf_counter()
    pairs = read_pairs(files.spectra, wanted, report, console)
    known = Library.from_pairs(pairs, keep_records=True)
    console.log(f"library: {report.summary()}")
    if not len(known):
        raise InputError(f"{files.spectra[0]}: no library spectrum is left ({report.summary()})")
    seconds = time.perf_counter() - start
    described = {
        "fold": _described_fold(challenges, len(problems), len(missing)),
        "library": {
            "files": digests(files.spectra),
            "excluded": digests(files.exclude),
            "ion_mode": files.ion_mode,
            "adducts": sorted(wanted.adducts),
            "instrument_types": list(files.instrument_types),
            "n_spectra": len(known),
            "n_compounds": len(known.molecules),
            "skipped": {str(reason): n for reason, n in report.counts.items()},
        },
    }
    return Fold(problems, known, wanted, described, round(seconds, 2))


def _described_fold(challenges: Challenges, n_queries: int, n_missing: int) -> dict[str, Any]:
    return {
        "sha256": fold_digest((challenges.truth, challenges.candidates)),
        "files": challenges.digests(),
        "n_queries": n_queries,
        "n_truth_without_query": n_missing,
    }


def fold_digest(paths: Iterable[Path]) -> str:
    """Return the SHA-256 of files' contents one after the other, compressed or not."""
    digest = hashlib.sha256()
    for path in paths:
        with open_decompressed(path) as stream:
            for chunk in iter(partial(stream.read, 1 << 20), b""):
                digest.update(chunk)
    return digest.hexdigest()
