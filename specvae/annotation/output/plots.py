"""Figures as PNG files: a training run, hit rates against k, probabilities that come true."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from specvae.files import atomic_path

# Okabe and Ito's colours, which colour-blind readers can tell apart (DOI 10.1038/nmeth.1618).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f")
_PART = "part/"
_MOST_LARGE_LABELS = 6
_MOST_LABELS_INSIDE = 10


def plot_training(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the loss, its parts and the validation metric per epoch.

    Parameters
    ----------
    history
        One flat record per epoch: ``epoch``, ``loss`` (nats), ``validation`` (share of validation
        queries, or None in epochs without validation), and the loss's parts as ``part/NAME``
        (nats). A part may be missing in some records.
    path
        PNG file, written whole or not at all.
    """
    epochs = [int(record["epoch"]) for record in history]
    names = sorted({key for record in history for key in record if key.startswith(_PART)})
    validation = [
        (epoch, float(record["validation"]))
        for epoch, record in zip(epochs, history, strict=True)
        if record.get("validation") is not None
    ]
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    marker = "o" if len(epochs) < 2 else ""
    for i, (name, colour) in enumerate(zip(names, _cycle(len(names)), strict=True)):
        values = [float(record.get(name, math.nan)) for record in history]
        left.plot(
            epochs, values, _style(i), color=colour, lw=1.4, marker=marker, label=name[len(_PART) :]
        )
    losses = [float(record["loss"]) for record in history]
    left.plot(epochs, losses, color="black", lw=2, marker=marker, label="loss")
    label_axes(left, "epoch", "mean per record (nats)", "Training loss and its parts")
    if epochs:
        # The parts differ by orders of magnitude: a spectrum has thousands of bins to explain.
        left.set_yscale("symlog", linthresh=1.0)
        figure.legend(
            *left.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside right upper"
        )
    if validation:
        best_epoch, best = max(validation, key=lambda pair: pair[1])
        right.plot(*zip(*validation, strict=True), color=_COLOURS[0], lw=2, marker="o", ms=3)
        right.axvline(best_epoch, color="0.6", lw=1, ls=":", zorder=0)
        right.annotate(
            f"best: {best:.3f} in epoch {best_epoch}",
            (0.98, 0.04),
            xycoords="axes fraction",
            ha="right",
        )
    else:
        right.annotate("not validated", (0.5, 0.5), xycoords="axes fraction", ha="center")
    label_axes(right, "epoch", "validation metric (higher is better)", "Validation retrieval")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    save_png(figure, path)


def plot_top_k(
    curves: Mapping[str, Sequence[float]],
    path: Path,
    *,
    k_max: int,
    title: str,
    n_queries: int,
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
) -> None:
    """Draw the share of queries whose truth is among the first k candidates, for k = 1 … `k_max`.

    Parameters
    ----------
    curves
        By method, shares in [0, 1] for k = 1, 2, …; at least `k_max` values, more are not drawn.
    path
        PNG file, written whole or not at all.
    k_max
        Largest k.
    title
        Heading of the figure.
    n_queries
        Number of queries that the shares refer to, for the axis label.
    bands
        By method, lower and upper ends of an interval, as long as its curve.

    Raises
    ------
    ValueError
        If a curve or a band has fewer than `k_max` values, or a band has no curve.
    """
    crowded = len(curves) > _MOST_LABELS_INSIDE
    figure = Figure(figsize=(9.4 if crowded else 6.4, 4.6), layout="constrained")
    axes = figure.subplots()
    ks = range(1, k_max + 1)
    colours = dict(zip(curves, _cycle(len(curves)), strict=True))
    marker = "o" if k_max == 1 else ""
    for name, (low, high) in (bands or {}).items():
        if name not in curves:
            raise ValueError(f"band {name!r} has no curve")
        axes.fill_between(
            ks, _first(low, k_max), _first(high, k_max), color=colours[name], alpha=0.15, lw=0
        )
    for i, (name, shares) in enumerate(curves.items()):
        label = f"{name} ({shares[0]:.1%} at k = 1)"
        axes.plot(
            ks, _first(shares, k_max), _style(i),
            color=colours[name], lw=2, marker=marker, label=label,
        )  # fmt: skip
    axes.set_ylim(0, 1)
    axes.set_xlim(1, max(2, k_max))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    # The first tick stands at 1, not at 0: there is no top-0.
    axes.set_xticks(
        [
            1,
            *(
                tick
                for tick in MaxNLocator(6, steps=[1, 2, 5, 10], integer=True).tick_values(1, k_max)
                if 1 < tick <= k_max
            ),
        ]
    )
    queries = "query" if n_queries == 1 else "queries"
    label_axes(axes, "k", f"truth in the top k (share of {n_queries:,} {queries})", title)
    if curves:
        small = 8 if len(curves) > _MOST_LARGE_LABELS else None
        if crowded:
            axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=small)
        else:
            axes.legend(frameon=False, loc="lower right", fontsize=small)
    save_png(figure, path)


def line_style(i: int) -> dict[str, Any]:
    """Return colour and dashes of the line number `i` of a figure, as matplotlib names them."""
    return {"color": _COLOURS[i % len(_COLOURS)], "linestyle": _style(i)}


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file, whole or not at all."""
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def plot_reliability(
    bins: Sequence[tuple[float, float]],
    error: float,
    curves: Mapping[str, NDArray[np.float64]],
    path: Path,
    *,
    title: str,
) -> None:
    """Draw how often the best candidates' probabilities come true, and risk against coverage.

    Parameters
    ----------
    bins
        Mean probability and share right of queries of like probability.
    error
        Expected calibration error.
    curves
        ``coverage``, ``risk`` and ``promised``: the share of queries kept, the surest first, the
        share of wrong ones among them, and what the probabilities promise of it; float64
        (n_queries,) each, one query at least.
    path
        PNG file, written whole or not at all.
    title
        Heading of the figure.
    """
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="0.6", lw=1, ls=":")
    left.plot(*zip(*bins, strict=True), "o-", color=_COLOURS[0], lw=2, ms=5)
    coverage = curves["coverage"]
    n_queries = len(coverage)
    queries = "query" if n_queries == 1 else "queries"
    label_axes(left, "mean probability", "share right", f"{title}: calibration error {error:.3f}")
    marker = "o" if n_queries == 1 else ""
    right.plot(coverage, curves["risk"], color=_COLOURS[0], lw=2, marker=marker, label="found")
    right.plot(
        coverage,
        curves["promised"],
        color=_COLOURS[1],
        lw=1.5,
        ls="--",
        marker=marker,
        label="promised",
    )
    label_axes(right, f"share kept, surest first (of {n_queries:,} {queries})", "share wrong", "")
    right.legend(frameon=False, loc="upper left")
    for axes in (left, right):
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
    save_png(figure, path)


def _first(values: Sequence[float], n: int) -> list[float]:
    if len(values) < n:
        raise ValueError(f"{len(values)} values, wanted at least {n}")
    return [float(value) for value in values[:n]]


def _cycle(n: int) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(n)]


def _style(i: int) -> str:
    """Return the style of line `i`: lines of the same colour have different ones."""
    return ("-", "--", ":")[i // len(_COLOURS) % 3]


def label_axes(axes: Axes, x: str, y: str, title: str, grid: Literal["x", "y"] = "y") -> None:
    """Give axes their texts, and the frame and grid of all plots."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="0.9", lw=0.8)
    axes.set_axisbelow(True)
