"""How fast methods fall off with the distance of the truth from all that the library knows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from rdkit.Chem import rdFingerprintGenerator
from rdkit.DataStructs import BulkTanimotoSimilarity, ExplicitBitVect

from specvae.annotation.evaluation.hits import TruthRank, expected_hits
from specvae.annotation.evaluation.reliability import wilson_interval
from specvae.annotation.library.library import Library
from specvae.annotation.output.plots import (
    label_axes,
    label_others,
    method_styles,
    save_figure,
)
from specvae.molecules.molecule import Molecule
from specvae.molecules.quiet import quiet_rdkit
from specvae_bench.markdown import table
from specvae_bench.retrieval.comparison import Problem

# The bins' borders; the first and the last bin are open. A border belongs to the bin above it.
EDGES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.85)
LABELS = (
    f"< {EDGES[0]:g}",
    *(f"{low:g}-{high:g}" for low, high in itertools.pairwise(EDGES)),
    f">= {EDGES[-1]:g}",
)
FINGERPRINT = "Morgan, radius 2, 2048 bits"
_GENERATOR = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)


def nearest_likeness(problems: Sequence[Problem], known: Library) -> NDArray[np.float64]:
    """Return the Tanimoto of each problem's truth to the library compound most like it, (n,).

    By `FINGERPRINT`; not-a-number where the truth is not among the candidates.
    """
    library = [_bits(molecule) for molecule in known.molecules]
    of_truth: dict[str, float] = {}
    for problem in problems:
        if problem.candidates is None or problem.place is None or problem.truth in of_truth:
            continue
        truth = _bits(problem.candidates.molecules[problem.place])
        of_truth[problem.truth] = max(BulkTanimotoSimilarity(truth, library))
    return np.array(
        [np.nan if problem.place is None else of_truth[problem.truth] for problem in problems]
    )


def falloff(
    likeness: NDArray[np.float64], ranks: Mapping[str, Mapping[str, Sequence[TruthRank]]]
) -> dict[str, Any]:
    """Return hit@1 by bins of likeness.

    Parameters
    ----------
    likeness
        As `nearest_likeness` returns it; queries without a truth are in no bin.
    ranks
        Track -> method -> rank of the truth of each query.

    Returns
    -------
    For each bin ``n_queries`` and ``n_molecules``, and under ``hit_at_1`` track -> method -> share
    of hits in each bin, None where the bin is empty.
    """
    # A comparison with not-a-number is false, so what has no likeness is in no bin.
    lows, highs = (-np.inf, *EDGES), (*EDGES, np.inf)
    members = [(likeness >= low) & (likeness < high) for low, high in zip(lows, highs, strict=True)]
    first = next(iter(next(iter(ranks.values())).values()))
    molecules = np.array([rank.molecule for rank in first])
    return {
        "fingerprint": FINGERPRINT,
        "edges": list(EDGES),
        "n_queries": [int(of_bin.sum()) for of_bin in members],
        "n_molecules": [len(set(molecules[of_bin].tolist())) for of_bin in members],
        "hit_at_1": {
            track: {
                name: _by_bin(expected_hits(found, 1), members) for name, found in methods.items()
            }
            for track, methods in ranks.items()
        },
    }


def falloff_table(result: Mapping[str, Any]) -> str:
    """Return a Markdown table of hit@1 by mass in percent, a row a method and a column a bin."""
    rows = [("queries", *(f"{n:,}" for n in result["n_queries"]))]
    for name, shares in result["hit_at_1"]["mass"].items():
        cells = ["" if share is None else f"{100 * share:.1f}" for share in shares]
        rows.append((name, *cells))
    return table(("Tanimoto to the nearest", *LABELS), rows)


def plot_falloff(
    curves: Mapping[str, Sequence[float | None]], result: Mapping[str, Any], path: Path, title: str
) -> None:
    """Draw hit@1 against the bins, with 95 % intervals for as many trials as compounds.

    Parameters
    ----------
    curves
        Method -> share of hits in each bin, None where there is none.
    result
        As `falloff` returns it; the queries in each bin are written below it.
    path
        PNG file, written whole or not at all.
    title
        Heading of the figure.
    """
    figure = Figure(figsize=(8.6, 4.6), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(LABELS))
    n_queries, n_molecules = result["n_queries"], result["n_molecules"]
    shares = {
        name: np.array([np.nan if share is None else share for share in values])
        for name, values in curves.items()
    }
    filled = np.array(n_queries, dtype=np.float64)
    weights = filled / max(filled.sum(), 1.0)
    styles = method_styles(
        {name: float(np.nansum(values * weights)) for name, values in shares.items()}
    )
    n_named = sum(style["zorder"] > 1 for style in styles.values())
    for number, (name, style) in enumerate(styles.items()):
        is_named = style["zorder"] > 1
        beside = places + (0.3 * (number / max(n_named - 1, 1) - 0.5) if is_named else 0.0)
        axes.plot(
            beside, shares[name], label=name if is_named else None,
            marker="o" if is_named else "", ms=4, **style,
        )  # fmt: skip
        for x, share, n in zip(beside, shares[name].tolist(), n_molecules, strict=True):
            if is_named and n and not np.isnan(share):
                axes.vlines(x, *wilson_interval(share, n), color=style["color"], lw=1.0)
    label_others(axes, len(styles) - n_named)
    ticks = [f"{label}\n({n:,})" for label, n in zip(LABELS, n_queries, strict=True)]
    axes.set_xticks(list(places), ticks)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    nearest = "Tanimoto of the truth to the nearest library compound (queries)"
    label_axes(axes, nearest, "truth ranked first", title)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save_figure(figure, path)


def _bits(molecule: Molecule) -> ExplicitBitVect:
    with quiet_rdkit():
        bits: ExplicitBitVect = _GENERATOR.GetFingerprint(molecule.mol)
    return bits


def _by_bin(hits: NDArray[np.float64], members: Sequence[NDArray[np.bool_]]) -> list[float | None]:
    return [float(hits[of_bin].mean()) if of_bin.any() else None for of_bin in members]
