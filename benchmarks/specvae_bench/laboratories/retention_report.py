"""The work of `bench retention`, with its figures, table and plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.evidence.retention import RetentionIndex
from specvae.annotation.library.compounds import read_excluded
from specvae.annotation.output.plots import label_axes, save_figure
from specvae.cli.console import Console
from specvae.errors import InputError
from specvae.files import sha256_of
from specvae.vae.checkpoint import write_tensors
from specvae_bench.files import digests, made_by
from specvae_bench.laboratories.methods import packed_fingerprints
from specvae_bench.laboratories.records import LABORATORY, read_records
from specvae_bench.laboratories.retention import (
    FEWEST_COMPOUNDS,
    LEAST_CORRELATION,
    STRENGTH,
    STRENGTHS,
    Structures,
    fit_index,
    learn_index,
    left_out_correlations,
    times_of,
)
from specvae_bench.markdown import table


def compute(
    spectra: Sequence[Path], exclude: Sequence[Path], jobs: int | None, console: Console
) -> tuple[RetentionIndex, dict[str, Any]]:
    """Return the index, and what it was fitted to as JSON values.

    Parameters
    ----------
    spectra
        Libraries.
    exclude
        Files of compounds that are not learned from.
    jobs, console
        Processes that compute fingerprints, and where progress is shown.

    Raises
    ------
    InputError
        If a file cannot be used, or no laboratory is left.
    """
    excluded = read_excluded(exclude)
    records = read_records(spectra, LABORATORY, console)
    rows = records.of_others(excluded)
    times = times_of(records, rows)
    if not len(times.seconds):
        raise InputError(
            f"{spectra[0]}: no laboratory with retention times of {FEWEST_COMPOUNDS} compounds"
        )
    packed = packed_fingerprints(records.smiles.tolist(), ANALOGUE_FINGERPRINT, jobs, console)
    structures = Structures(packed, records.formulas.tolist())
    _, laboratories = learn_index(times, structures, STRENGTH)
    used = [each.group for each in laboratories if each.is_used]
    if not used:
        raise InputError(
            f"{spectra[0]}: no laboratory whose retention times an index of the others orders "
            f"(Spearman's correlation of {LEAST_CORRELATION:g})"
        )
    found = times.of(used)
    means = {}
    for n_done, strength in enumerate(STRENGTHS, start=1):
        correlations = left_out_correlations(found, structures, strength, used)
        means[strength] = float(np.nanmean(list(correlations.values())))
        console.progress("choosing the ridge", n_done, len(STRENGTHS))
    chosen = max(means, key=lambda strength: means[strength])
    index = fit_index(found, structures, chosen)
    result = {
        **made_by("retention"),
        "files": digests(spectra),
        "excluded": {
            # By folder too: lists of truths have one name.
            "files": {f"{path.parent.name}/{path.name}": sha256_of(path) for path in exclude},
            "n_compounds": len(excluded),
        },
        "n_times": len(found.seconds),
        "n_compounds": len(np.unique(found.compound)),
        "strength": chosen,
        "mean_correlation": {f"{strength:g}": mean for strength, mean in means.items()},
        "least_correlation": LEAST_CORRELATION,
        "laboratories": [asdict(each) for each in laboratories],
    }
    return index, result


def write_index(index: RetentionIndex, path: Path) -> None:
    """Write an index as `RetentionIndex.load` reads it."""
    arrays = {"bits": index.bits, "composition": index.composition}
    write_tensors(
        path, {name: torch.from_numpy(array).float() for name, array in arrays.items()}, {}
    )


def table_of(result: Mapping[str, Any]) -> str:
    """Return the laboratories as a table in Markdown."""
    return table(
        ("laboratory", "compounds", "median (min)", "Spearman's correlation", "used"),
        (
            (
                each["group"],
                f"{each['n_compounds']:,}",
                f"{each['seconds'] / 60:.1f}",
                f"{each['correlation']:.2f}",
                "yes" if each["is_used"] else "no",
            )
            for each in result["laboratories"]
        ),
    )


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Draw the correlation of each laboratory's times with an index that does not know it."""
    laboratories = sorted(result["laboratories"], key=lambda each: each["correlation"])
    figure = Figure(figsize=(6.4, 1.2 + 0.2 * len(laboratories)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(laboratories))
    axes.barh(
        places,
        [each["correlation"] for each in laboratories],
        color=["#1b6ca8" if each["is_used"] else "#bbbbbb" for each in laboratories],
    )
    axes.axvline(result["least_correlation"], color="0.3", linewidth=0.8, linestyle="--")
    axes.set_yticks(
        places, [f"{each['group']} ({each['n_compounds']:,})" for each in laboratories], fontsize=7
    )
    label_axes(
        axes,
        "Spearman's correlation of time and index",
        "",
        "Retention times of laboratories that the index does not know",
        grid="x",
    )
    save_figure(figure, path)
