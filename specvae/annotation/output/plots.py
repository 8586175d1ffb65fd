"""Figures: a training run, hit rates against k, reliability of probabilities.

PNG, or PDF or SVG by the suffix of the file; nothing in them depends on the time or the place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
    StrMethodFormatter,
)
from numpy.typing import NDArray

from specvae.counting import counted
from specvae.files import atomic_path

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f")
"""Okabe and Ito's, which colour-blind readers can tell apart (doi:10.1038/nmeth.1618)."""

_PART = "part/"
_DPI = 300  # as journals require for line figures
_METADATA = {  # without a date: the same figure is the same file
    "png": {"Software": "specvae"},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None},
}
_MOST_COLOURED = 6  # black is for controls
_MOST_LARGE_LABELS = 6
_LONGEST_LINEAR = 20  # k from 1 to more stands on a logarithmic axis
_PANELS_IN_A_ROW = 4
_CONTROLS = {"random": "--", "blind": ":"}  # methods that look at no spectrum, and their dashes


def plot_training(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the loss, each of its parts and the validation metric per epoch, a panel each.

    The parts differ by orders of magnitude, since a spectrum has thousands of bins to explain, and
    change by a small share of that: each has a scale of its own.

    Parameters
    ----------
    history
        One flat record per epoch: ``epoch``, ``loss`` (nats), ``validation`` (mean reciprocal rank,
        or None in epochs without validation), and the loss's parts as ``part/NAME`` (nats). A part
        may be missing in some records.
    path
        PNG file (PDF or SVG by its suffix), written whole or not at all.
    """
    epochs = [int(record["epoch"]) for record in history]
    names = sorted({key for record in history for key in record if key.startswith(_PART)})
    panels = ["loss", *names, "validation"]
    n_columns = min(_PANELS_IN_A_ROW, len(panels))
    n_rows = -(-len(panels) // n_columns)
    figure = Figure(figsize=(3.0 * n_columns, 2.1 * n_rows + 0.3), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    values = {
        name: np.array([_number(record.get(name)) for record in history], dtype=np.float64)
        for name in panels
    }
    validated = values["validation"]
    has_best = bool(np.isfinite(validated).any())
    best = int(np.nanargmax(validated)) if has_best else None
    for axes, name in zip(grid, panels, strict=False):
        seen = np.isfinite(values[name])
        is_part, is_loss = name.startswith(_PART), name == "loss"
        axes.plot(
            np.array(epochs)[seen], values[name][seen], lw=1.6,
            color="black" if is_loss else COLOURS[0] if is_part else COLOURS[2],
            marker="o" if seen.sum() < 2 or not (is_part or is_loss) else "", ms=3,
        )  # fmt: skip
        title = name.removeprefix(_PART) if is_part else "loss" if is_loss else "validation MRR"
        label_axes(axes, "", "", title, size=9)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axes.tick_params(labelsize=8)
        if best is not None:
            axes.axvline(epochs[best], color="0.6", lw=1, ls=":", zorder=0)
    for axes in grid[len(panels) :]:
        axes.remove()
    text = "not validated"
    if best is not None:
        text = f"best: {validated[best]:.3f} in epoch {epochs[best]}"
    place = (0.97, 0.06) if has_best else (0.5, 0.5)
    grid[len(panels) - 1].annotate(
        text, place, xycoords="axes fraction", ha="right" if has_best else "center", fontsize=8
    )
    figure.supxlabel("epoch", fontsize=10)
    figure.supylabel("loss and its parts: mean per record (nats)", fontsize=10)
    save_figure(figure, path)


def plot_top_k(
    curves: Mapping[str, Sequence[float]],
    path: Path,
    *,
    k_max: int,
    title: str,
    n_queries: int,
    intervals: Mapping[str, Mapping[int, tuple[float, float]]] | None = None,
) -> None:
    """Draw the share of queries whose truth is among the first k candidates, for k = 1 … `k_max`.

    Of many methods the best are in colour, the controls ``random`` and ``blind`` in black, and the
    others thin and grey. The axis of k is logarithmic where it is long.

    Parameters
    ----------
    curves
        By method, shares in [0, 1] for k = 1, 2, …; at least `k_max` values, more are not drawn.
    path
        PNG file (PDF or SVG by its suffix), written whole or not at all.
    k_max
        Largest k: no more than the longest list has candidates, as nothing changes beyond.
    title
        Heading of the figure.
    n_queries
        Number of queries that the shares refer to, for the axis label.
    intervals
        By method, ends of the 95 % interval by k: a band if every k has one, else a bar at each.

    Raises
    ------
    ValueError
        If a curve has fewer than `k_max` values, or an interval has no curve.
    """
    for name in intervals or {}:
        if name not in curves:
            raise ValueError(f"interval {name!r} has no curve")
    ks = np.arange(1, k_max + 1)
    drawn = {name: _first(shares, k_max) for name, shares in curves.items()}
    styles = method_styles({name: shares[0] for name, shares in drawn.items()})
    n_named = sum(style["zorder"] > 1 for style in styles.values())
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.subplots()
    for number, (name, style) in enumerate(styles.items()):
        label = f"{name} ({drawn[name][0]:.1%} at k = 1)" if style["zorder"] > 1 else None
        axes.plot(ks, drawn[name], marker="o" if k_max == 1 else "", label=label, **style)
        if label is not None and name in (intervals or {}):
            ends = {k: end for k, end in (intervals or {})[name].items() if k <= k_max}
            place = number / (n_named - 1) - 0.5 if n_named > 1 else 0.0
            _intervals(axes, drawn[name], ends, style["color"], place)
    label_others(axes, len(styles) - n_named)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _k_axis(axes, k_max)
    queries = counted(n_queries, "queries")
    label_axes(axes, "k", f"truth in the top k (share of {queries})", title)
    if curves:
        small = 8 if n_named > _MOST_LARGE_LABELS else None
        axes.legend(frameon=False, loc="lower right", fontsize=small)
    save_figure(figure, path)


def _intervals(
    axes: Axes,
    shares: Sequence[float],
    ends: Mapping[int, tuple[float, float]],
    colour: str,
    place: float,
) -> None:
    """Draw intervals of a curve: a band, or bars at some k, beside those of other curves."""
    ks = np.array(sorted(ends))
    if not len(ks):
        return
    low, high = np.array([ends[int(k)] for k in ks]).T
    if len(ks) == len(shares):
        axes.fill_between(ks, low, high, color=colour, alpha=0.18, lw=0, zorder=1)
        return
    is_long = len(shares) > _LONGEST_LINEAR
    beside = ks * 1.06**place if is_long else ks + 0.3 * place
    axes.vlines(beside, low, high, color=colour, lw=1.0, zorder=3)


def _k_axis(axes: Axes, k_max: int) -> None:
    """Set the ticks of k; the first stands at 1, as there is no top 0, and the last at `k_max`."""
    if k_max > _LONGEST_LINEAR:
        axes.set_xscale("log")
        steps = [m * 10**n for n in range(1 + int(math.log10(k_max))) for m in (1, 2, 5)]
        ticks = [k for k in steps if k < 0.8 * k_max]
    else:
        found = MaxNLocator(6, steps=[1, 2, 5, 10], integer=True).tick_values(1, k_max)
        ticks = [1, *(int(k) for k in found if 1 < k < k_max)] if k_max > 1 else []
    axes.set_xlim(*((0.93, 1.05 * k_max) if k_max > _LONGEST_LINEAR else (0.6, k_max + 0.4)))
    axes.xaxis.set_major_locator(FixedLocator([*ticks, k_max]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def method_styles(shares: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Return how the curves of methods are drawn, in the order in which a legend names them.

    Parameters
    ----------
    shares
        Of each method, a share of right answers. The controls `random` and `blind` are black; of
        the others the best are in colours, which go by the order of `shares`, and the rest thin and
        grey, below all others (``zorder`` 1).
    """
    ranked = sorted(shares, key=lambda name: -shares[name])
    best = [name for name in ranked if name not in _CONTROLS][:_MOST_COLOURED]
    colours = dict(zip((name for name in shares if name in best), COLOURS, strict=False))
    styles: dict[str, dict[str, Any]] = {}
    for name in ranked:
        if name in _CONTROLS:
            styles[name] = {"color": "black", "ls": _CONTROLS[name], "lw": 1.2, "zorder": 2}
        elif name in best:
            styles[name] = {"color": colours[name], "lw": 1.8, "zorder": 2}
    rest = {
        name: {"color": "0.75", "lw": 0.8, "zorder": 1} for name in shares if name not in styles
    }
    return {**styles, **rest}


def label_others(axes: Axes, n: int) -> None:
    """Say in the legend how many methods are drawn in grey."""
    if n:
        axes.plot([], [], color="0.75", lw=0.8, label=counted(n, "more methods"))


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file, or PDF or SVG by its suffix, whole or not at all."""
    FigureCanvasAgg(figure)
    suffix = path.suffix[1:].lower()
    kind = suffix if suffix in _METADATA else "png"
    rules: Any = {"svg.hashsalt": "specvae", "svg.fonttype": "none", "pdf.fonttype": 42}
    with atomic_path(path) as temporary, mpl.rc_context(rules):
        figure.savefig(temporary, dpi=_DPI, format=kind, metadata=_METADATA[kind])


def plot_reliability(
    figures: Mapping[str, Any],
    curves: Mapping[str, Sequence[float] | NDArray[np.float64]],
    path: Path,
    *,
    title: str,
    probabilities: NDArray[np.float64] | None = None,
) -> None:
    """Draw a reliability diagram of the best candidates' probabilities, and risk against coverage.

    Parameters
    ----------
    figures
        As an evaluation has them: ``ece``, ``n_with_probability``, and under ``reliability`` for
        each bin of queries of like probability ``n_queries``, ``probability``, ``right`` and
        ``right_ci95``.
    curves
        ``coverage``, ``risk`` and ``promised``: the share of queries kept, the surest first, the
        share of wrong ones among them, and what the probabilities promise of it; (n,) each.
    path
        PNG file (PDF or SVG by its suffix), written whole or not at all.
    title
        Heading of the figure.
    probabilities
        Of the best candidates, (n_queries,), counted below the diagram; None leaves that out.
    """
    figure = Figure(figsize=(9.6, 4.8), layout="constrained")
    places, ratios = [["bins", "risk"]], [1]
    if probabilities is not None:
        places, ratios = [*places, ["counts", "risk"]], [4, 1]
    panels = figure.subplot_mosaic(places, height_ratios=ratios)  # type: ignore[arg-type]
    left, right = panels["bins"], panels["risk"]
    bins = figures["reliability"]
    p, share = (np.array([b[name] for b in bins]) for name in ("probability", "right"))
    low, high = np.array([b["right_ci95"] for b in bins]).T
    n_queries = int(figures["n_with_probability"])
    queries = counted(n_queries, "queries")
    left.plot([0, 1], [0, 1], color="0.6", lw=1, ls=":")
    left.vlines(p, low, high, color=COLOURS[0], lw=1.2, clip_on=False)
    left.plot(p, share, "o", color=COLOURS[0], ms=5, clip_on=False, zorder=3)
    sizes = sorted({b["n_queries"] for b in bins})
    size = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    left.annotate(
        f"{queries}, {size} a point\nbars: 95 % intervals",
        (0.03, 0.97), xycoords="axes fraction", va="top", fontsize=9,
    )  # fmt: skip
    heading = f"{title}: calibration error {figures['ece']:.3f}"
    below = "" if probabilities is not None else "probability of the first candidate"
    label_axes(left, below, "share right", heading)
    if probabilities is not None:
        counts = panels["counts"]
        counts.hist(
            probabilities, bins=np.linspace(0.0, 1.0, 21).tolist(), color=COLOURS[0], alpha=0.6
        )
        counts.set_xlim(0, 1)
        counts.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        counts.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        label_axes(counts, "probability of the first candidate", "queries", "")
    coverage = curves["coverage"]
    marker = "o" if len(coverage) == 1 else ""
    right.plot(coverage, curves["risk"], color=COLOURS[0], lw=1.8, marker=marker, label="found")
    right.plot(
        coverage, curves["promised"], color=COLOURS[1], lw=1.5, ls="--", marker=marker,
        label="promised",
    )  # fmt: skip
    label_axes(right, f"share kept, surest first (of {queries})", "share wrong", "")
    right.legend(frameon=False, loc="upper left")
    for axes in (left, right):
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
    save_figure(figure, path)


def _first(values: Sequence[float], n: int) -> list[float]:
    if len(values) < n:
        raise ValueError(f"{len(values)} values, wanted at least {n}")
    return [float(value) for value in values[:n]]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def label_axes(
    axes: Axes, x: str, y: str, title: str, grid: Literal["x", "y"] = "y", size: float = 11
) -> None:
    """Give axes their texts, and the frame and grid of all plots."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, loc="left", fontsize=size)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="0.9", lw=0.8)
    axes.set_axisbelow(True)
