"""All methods and models on one fold: ranks, figures, paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from specvae.cli.console import Console
from specvae_bench.folds.fold import read_fold
from specvae_bench.folds.options import FoldFiles
from specvae_bench.retrieval.comparison import Comparison
from specvae_bench.retrieval.falloff import falloff, nearest_likeness
from specvae_bench.retrieval.methods import METHODS, Options
from specvae_bench.retrieval.report import TRACKS, best_peer, figures, paired


def compare(
    files: FoldFiles,
    methods: Sequence[str],
    models: Mapping[str, Path],
    options: Options,
    jobs: int | None,
    output: Path,
    console: Console,
) -> dict[str, Any]:
    """Rank the fold's queries by each method and model, in both tracks.

    Parameters
    ----------
    methods
        Names in `METHODS`.
    models
        Name -> checkpoint.
    output
        Where loose files of a contest are merged.

    Raises
    ------
    InputError
        If a file cannot be used, or no query or no library spectrum is left.
    """
    fold = read_fold(files, output, console)
    comparison = Comparison(fold.problems, fold.known, jobs, console)
    comparison.steps["reading the library"] = fold.reading_seconds
    for name in methods:
        METHODS[name].add(comparison, options)
    peers = comparison.methods
    described = {
        name: comparison.add_model(name, path, options.device) for name, path in models.items()
    }
    ranks = {track: comparison.ranks(track) for track in TRACKS}
    tracks = {track: figures(comparison, found, options.seed) for track, found in ranks.items()}
    differences: dict[str, dict[str, Any]] = {}
    for track, found in ranks.items():
        rival = best_peer(tracks[track], peers)
        differences[track] = {"best_peer": paired(found, rival, options.seed)}
        if described:
            differences[track]["first_model"] = paired(found, next(iter(described)), options.seed)
    return {
        **fold.described,
        "methods": list(methods),
        "training_steps": options.steps,
        "models": described,
        "ppm": files.ppm,
        "seed": options.seed,
        "seconds": comparison.steps,
        "tracks": tracks,
        "paired": differences,
        "falloff": falloff(nearest_likeness(fold.problems, fold.known), ranks),
    }
