"""The figures of `bench retrieval`: by method, as paired differences, as Markdown, as plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from specvae.annotation.evaluation.hits import (
    TruthRank,
    bootstrap_interval,
    expected_hits,
    intervals_of,
    reciprocal_ranks,
    summarise,
    top_k_curve,
)
from specvae.annotation.output.plots import plot_top_k
from specvae.counting import counted
from specvae_bench.markdown import percent, table
from specvae_bench.retrieval.comparison import Comparison
from specvae_bench.retrieval.falloff import falloff_table, plot_falloff
from specvae_bench.retrieval.methods import LAYOUTS

K_MAX = 100
K_PLOT = 20
# Track -> heading of its table.
TRACKS = {
    "mass": "All candidates",
    "formula": "Candidates of the truth's formula only",
}
# Chance and frequencies are there to compare with, not to be beaten.
_CONTROLS = ("random", "blind, ")

Ranks = Mapping[str, Sequence[TruthRank]]


def figures(comparison: Comparison, ranks: Ranks, seed: int) -> dict[str, dict[str, Any]]:
    """Return each method's figures in a track; `seed` is of the intervals."""
    return {
        name: {
            # The controls have rows of their own here.
            **{
                key: value
                for key, value in summarise(of_method, of_method, seed=seed).items()
                if not key.startswith(("random_", "blind_"))
            },
            "seconds": comparison.seconds(name),
            "top_k": top_k_curve(of_method, K_MAX),
        }
        for name, of_method in ranks.items()
    }


def best_peer(methods: Mapping[str, Mapping[str, Any]], peers: Sequence[str]) -> str:
    """Return which of the methods `peers` has the highest hit@1; the first of equal ones.

    A control only if there is nothing else.
    """
    rivals = [name for name in peers if not name.startswith(_CONTROLS)]
    return max(rivals or peers, key=lambda name: float(methods[name]["hit_at_1"]))


def paired(ranks: Ranks, reference: str, seed: int) -> dict[str, Any]:
    """Return each method's figures minus those of a reference on the same queries.

    Parameters
    ----------
    ranks
        Method -> rank of the truth of each query.
    reference
        One of the methods; it has no entry of its own.
    seed
        Of the intervals: 95 %, percentile bootstrap of the differences over molecules.
    """
    measures = {
        "hit_at_1": lambda found: expected_hits(found, 1),
        "hit_at_5": lambda found: expected_hits(found, 5),
        "mrr": reciprocal_ranks,
    }
    molecules = [rank.molecule for rank in ranks[reference]]
    differences: dict[str, dict[str, Any]] = {name: {} for name in ranks if name != reference}
    for measure, values in measures.items():
        base = values(ranks[reference])
        for name, of_method in differences.items():
            gained = values(ranks[name]) - base
            of_method[measure] = float(gained.mean())
            of_method[f"{measure}_ci95"] = list(bootstrap_interval(gained, molecules, seed=seed))
    return {"reference": reference, "differences": differences}


def markdown_tables(result: Mapping[str, Any]) -> str:
    """Return the tables of a result: each track, and hit@1 by likeness to the library.

    Shares are in percent with 95 % intervals.
    """
    tables = [
        _track_table(methods, TRACKS[track], result["paired"][track]["best_peer"])
        for track, methods in result["tracks"].items()
    ]
    by_likeness = result["falloff"]
    tables.append(
        f"**hit@1 by the truth's likeness to the library** ({by_likeness['fingerprint']}), "
        f"{TRACKS['mass'].lower()}.\n\n{falloff_table(by_likeness)}"
    )
    return "\n".join(tables)


def draw(result: Mapping[str, Any], output: Path, title: str) -> None:
    """Write ``topk.png``, ``topk-formula.png`` and ``falloff.png`` to a folder.

    Methods with rows in two fingerprints, and the blind rows, are drawn once.
    """
    for track, name in (("mass", "topk.png"), ("formula", "topk-formula.png")):
        methods = result["tracks"][track]
        longest = max(figures.get("candidates_max", K_PLOT) for figures in methods.values())
        shown = _shown(methods)
        plot_top_k(
            {method: figures["top_k"] for method, figures in shown.items()},
            output / name,
            k_max=max(1, min(K_PLOT, longest)),
            title=f"{title}: {TRACKS[track].lower()}",
            n_queries=next(iter(methods.values()))["n_queries"],
            intervals={method: intervals_of(figures) for method, figures in shown.items()},
        )
    by_likeness = result["falloff"]
    plot_falloff(
        _shown(by_likeness["hit_at_1"]["mass"]),
        by_likeness,
        output / "falloff.png",
        f"{title}: {TRACKS['mass'].lower()}",
    )


def _shown(methods: Mapping[str, Any]) -> dict[str, Any]:
    left_out = (f", {LAYOUTS[0]}", ", blind")
    return {name: found for name, found in methods.items() if not name.endswith(left_out)}


def _track_table(
    methods: Mapping[str, Mapping[str, Any]], heading: str, difference: Mapping[str, Any]
) -> str:
    first = next(iter(methods.values()))
    columns = (
        "method",
        "hit@1 [95 %]",
        "hit@5 [95 %]",
        "hit@20 [95 %]",
        "MRR [95 %]",
        "hit@1, all ties lost to all won",
        "hit@1 minus the peer's [95 %]",
        "seconds",
    )
    caption = (
        f"**{heading}**: {counted(first['n_queries'], 'queries')} of "
        f"{counted(first['n_molecules'], 'compounds')}, "
        f"median {first['candidates_median']:.0f} candidates, truth absent from "
        f"{first['n_truth_absent']:,}. Best peer: {difference['reference']}."
    )
    rows = []
    for name, of_method in methods.items():
        low, high = of_method["mrr_ci95"]
        worst, best = of_method["hit_at_1_worst"], of_method["hit_at_1_best"]
        paired_by = difference["differences"].get(name)
        cells = [
            *(percent(of_method, f"hit_at_{k}") for k in (1, 5, 20)),
            f"{of_method['mrr']:.3f} [{low:.3f}, {high:.3f}]",
            f"{100 * worst:.1f} to {100 * best:.1f}",
            "" if paired_by is None else percent(paired_by, "hit_at_1", "+"),
            f"{of_method['seconds']:.1f}",
        ]
        rows.append((name, *cells))
    return f"{caption}\n\n{table(columns, rows)}"
