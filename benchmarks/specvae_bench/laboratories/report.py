"""Figures of `bench laboratories`: by kind of query and by laboratory, as tables and as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from specvae.annotation.evaluation.hits import TruthRank, expected_hits, summarise
from specvae.annotation.output.plots import label_axes, save_figure
from specvae_bench.laboratories.reliability import Promises
from specvae_bench.markdown import percent, table

_COLOURS = ("#1b6ca8", "#8fbcdb", "#d1495b", "#7a7a7a")


class Run(NamedTuple):
    """Queries that were ranked together.

    Parameters
    ----------
    groups
        Laboratory of each query.
    ranks
        Method -> where the truth of each query stands.
    promises
        Method that gives probabilities -> kind of lists (`LISTS`) -> what they promise.
    """

    groups: list[str]
    ranks: dict[str, list[TruthRank]]
    promises: dict[str, dict[str, Promises]]


def figures(runs: Mapping[str, Run], seed: int) -> dict[str, dict[str, Any]]:
    """Return the figures of all groups together and of each, by kind of query and method.

    Parameters
    ----------
    runs
        By kind of query.
    seed
        Of the intervals.

    Returns
    -------
    Kind -> ``all`` -> method -> figures as of `summarise`, ``groups`` -> group -> method ->
    shares of hits, and ``probabilities`` -> method -> lists -> figures as of `Promises.figures`.
    """
    result: dict[str, dict[str, Any]] = {}
    for kind, run in runs.items():
        rows = {
            group: [n for n, found in enumerate(run.groups) if found == group]
            for group in dict.fromkeys(run.groups)
        }
        result[kind] = {
            "all": {method: without_controls(found, seed) for method, found in run.ranks.items()},
            "groups": {
                group: {
                    method: _short([found[n] for n in members])
                    for method, found in run.ranks.items()
                }
                for group, members in rows.items()
            },
            "probabilities": {
                method: {lists: promises.figures() for lists, promises in by_lists.items()}
                for method, by_lists in run.promises.items()
            },
        }
    return result


def markdown_tables(result: Mapping[str, Any]) -> str:
    """Return hit@1 and hit@5 by kind, and hit@1 by laboratory, in percent with 95 % intervals."""
    kinds = result["kinds"]
    methods = list(next(iter(kinds.values()))["all"])
    heads = [f"{kind} ({_first(figures['all'])['n_queries']:,})" for kind, figures in kinds.items()]
    by_kind = table(
        ("hit@1 / hit@5", *heads),
        (
            (method, *(_cell(figures["all"][method]) for figures in kinds.values()))
            for method in methods
        ),
    )
    groups = list(dict.fromkeys(group for figures in kinds.values() for group in figures["groups"]))
    by_group = table(
        (f"hit@1, {' / '.join(kinds)}", *groups),
        (
            (
                method,
                *(
                    " / ".join(
                        _share(figures["groups"].get(group), method) for figures in kinds.values()
                    )
                    for group in groups
                ),
            )
            for method in methods
        ),
    )
    return f"{by_kind}\n{by_group}\n{probability_table(result)}"


def probability_table(result: Mapping[str, Any]) -> str:
    """Return the expected calibration error by kind of query and of lists."""
    kinds = result["kinds"]
    methods = next(iter(kinds.values()))["probabilities"]
    return table(
        ("expected calibration error (promised / right, %)", *kinds),
        (
            (
                f"{method}, {lists}",
                *(_promised(figures["probabilities"][method][lists]) for figures in kinds.values()),
            )
            for method, by_lists in methods.items()
            for lists in by_lists
        ),
    )


def list_table(lists: Mapping[str, Any]) -> str:
    """Return tables of hits by length of list, in percent, one for each library; see --lists."""
    written = []
    for library, by_length in lists["libraries"].items():
        rows = []
        for method in next(iter(by_length.values())):
            cells = [
                f"{100 * of_all[method]['hit_at_1']:.1f} / {100 * of_all[method]['hit_at_5']:.1f}"
                for of_all in by_length.values()
            ]
            rows.append((method, *cells))
        written.append(table((f"{lists['name']}, {library}, hit@1 / hit@5", *by_length), rows))
    if "rescored" in lists:  # results of before have none
        written.append(rescored_table(lists))
    return "\n".join(written)


def rescored_table(lists: Mapping[str, Any]) -> str:
    """Return hits where the fragments of the best N by other evidence alone are compared."""
    rows = []
    for library, by_number in lists["rescored"].items():
        for method in next(iter(by_number.values())):
            found = [of_all[method] for of_all in by_number.values()]
            cells = [_hits(each) for each in (*found, lists["libraries"][library]["all"][method])]
            rows.append((f"{library}: {method}", *cells))
    numbers = next(iter(lists["rescored"].values()))
    return table((f"{lists['name']}, fragments of the best; hit@1 / 5 / 20", *numbers, "all"), rows)


def _hits(figures: Mapping[str, Any]) -> str:
    return " / ".join(f"{100 * figures[f'hit_at_{k}']:.1f}" for k in (1, 5, 20))


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Draw hit@1 of each method by kind of query, with 95 % intervals."""
    kinds = result["kinds"]
    methods = list(next(iter(kinds.values()))["all"])
    figure = Figure(figsize=(8.6, 0.8 + 0.62 * len(methods)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(kinds)
    places = np.arange(len(methods))
    for i, (kind, figures) in enumerate(kinds.items()):
        values = np.array([figures["all"][method]["hit_at_1"] for method in methods])
        ends = np.array([figures["all"][method]["hit_at_1_ci95"] for method in methods])
        axes.barh(
            places + (i - (len(kinds) - 1) / 2) * height,
            values,
            height,
            xerr=np.clip([values - ends[:, 0], ends[:, 1] - values], 0.0, None),
            label=f"{kind} ({_first(figures['all'])['n_queries']:,})",
            color=_COLOURS[i % len(_COLOURS)],
            error_kw={"lw": 0.8, "ecolor": "0.3"},
        )
    axes.set_yticks(places, methods)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    title = "Queries of one laboratory, library of all others"
    label_axes(axes, "truth ranked first", "", title, grid="x")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save_figure(figure, path)


def without_controls(ranks: Sequence[TruthRank], seed: int) -> dict[str, Any]:
    """Return the figures of a method; the controls are methods of their own here."""
    return {
        name: value
        for name, value in summarise(ranks, ranks, seed=seed).items()
        if not name.startswith(("random_", "blind_"))
    }


def _short(ranks: Sequence[TruthRank]) -> dict[str, float | int]:
    return {
        "n_queries": len(ranks),
        "n_truth_absent": sum(not rank.is_found for rank in ranks),
        **{f"hit_at_{k}": float(expected_hits(ranks, k).mean()) for k in (1, 5, 20)},
    }


def _first(methods: Mapping[str, Any]) -> Any:  # noqa: ANN401
    return next(iter(methods.values()))


def _cell(of_method: Mapping[str, Any]) -> str:
    return f"{percent(of_method, 'hit_at_1')} / {100 * of_method['hit_at_5']:.1f}"


def _promised(figures: Mapping[str, Any]) -> str:
    promised, right = 100 * figures["mean_probability"], 100 * figures["hit_at_1"]
    return f"{figures['ece']:.3f} ({promised:.0f} / {right:.0f})"


def _share(methods: Mapping[str, Any] | None, method: str) -> str:
    return "-" if methods is None else f"{100 * methods[method]['hit_at_1']:.0f}"
