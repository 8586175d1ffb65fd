"""Pictures of the benchmarks: reconstructions, samples with their classes, supervision curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from specvae.files import atomic_path

_SAMPLES_IN_A_ROW = 6
_GAP = 0.05  # inches around an image


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes over all of it, in inches from the upper left.

    Axes of their own for each image would take most of the time of a short run.
    """
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_autoscale_on(False)
    axes.set(xlim=(0.0, width), ylim=(height, 0.0))
    return figure, axes


def _show(axes: Axes, image: Tensor, left: float, top: float, size: float) -> None:
    """Draw one image (channels, height, width) in [0, 1] within a square of `size` inches."""
    pixels = image.cpu().clamp(0.0, 1.0).permute(1, 2, 0).numpy()
    height, width = pixels.shape[:2]
    scale = (size - 2 * _GAP) / max(height, width)
    x, y = left + (size - scale * width) / 2, top + (size - scale * height) / 2
    axes.imshow(
        pixels[:, :, 0] if pixels.shape[2] == 1 else pixels,
        cmap="gray",
        vmin=0.0,
        vmax=1.0,
        extent=(x, x + scale * width, y + scale * height, y),
        aspect="auto",
    )


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(
            temporary,
            dpi=120,
            bbox_inches="tight",
            format="png",
            metadata={"Software": "specvae"},
        )


def draw_reconstructions(path: Path, rows: Mapping[str, Tensor]) -> None:
    """Draw rows of images, one column for each example (figure 4 of the paper).

    Parameters
    ----------
    path
        A .png to write.
    rows
        By label: (n_examples, channels, height, width) in [0, 1]; sizes may differ between rows.
    """
    n_columns = len(next(iter(rows.values())))
    size, margin = 0.7, 1.2
    figure, axes = _canvas(size * n_columns + margin, size * len(rows))
    for row, (label, images) in enumerate(rows.items()):
        for column, image in enumerate(images):
            _show(axes, image, margin + size * column, size * row, size)
        axes.text(margin - _GAP, size * (row + 0.5), label, ha="right", va="center", fontsize=8)
    _save(figure, path)


def draw_digits(path: Path, images: Sequence[Tensor], classes: Sequence[Sequence[str]]) -> None:
    """Draw samples with the oracle's class beside each (figure 3 of the paper).

    Parameters
    ----------
    path
        A .png to write.
    images
        By modality: (n_samples, channels, height, width) in [0, 1].
    classes
        By modality: what the oracle calls each sample.
    """
    n_modalities, n_samples = len(images), len(images[0])
    n_rows = -(-n_samples // _SAMPLES_IN_A_ROW)
    size, step = 0.9, 1.1
    figure, axes = _canvas(step * _SAMPLES_IN_A_ROW * n_modalities, size * n_rows)
    for number in range(n_samples):
        row, column = divmod(number, _SAMPLES_IN_A_ROW)
        for m in range(n_modalities):
            left, top = step * (column * n_modalities + m), size * row
            _show(axes, images[m][number], left, top, size)
            axes.text(left + size, top + size / 2, classes[m][number], va="center", fontsize=10)
    _save(figure, path)


def draw_with_texts(path: Path, blocks: Mapping[str, tuple[Tensor, Sequence[str]]]) -> None:
    """Draw images with a sentence beside each, those of one example under each other.

    Parameters
    ----------
    path
        A .png to write.
    blocks
        By label: images (n_examples, channels, height, width) in [0, 1], and their sentences.
    """
    n_examples = len(next(iter(blocks.values()))[0])
    size, gap, margin = 0.4, 0.15, 1.0
    block = size * len(blocks) + gap
    figure, axes = _canvas(margin + 5.5, block * n_examples)
    for number in range(n_examples):
        for row, (label, (images, texts)) in enumerate(blocks.items()):
            top = block * number + size * row
            _show(axes, images[number], margin, top, size)
            axes.text(margin - _GAP, top + size / 2, label, ha="right", va="center", fontsize=7)
            axes.text(margin + size + _GAP, top + size / 2, texts[number], va="center", fontsize=7)
    _save(figure, path)


def draw_captions(path: Path, lines: Mapping[str, Sequence[str]]) -> None:
    """Draw texts under each other, one block for each example.

    Parameters
    ----------
    path
        A .png to write.
    lines
        By label: one text for each example.
    """
    n_examples = len(next(iter(lines.values())))
    figure = Figure(figsize=(10.0, 0.22 * n_examples * (len(lines) + 1)))
    axes = figure.subplots()
    axes.set_axis_off()
    text = "\n\n".join(
        "\n".join(f"{label}: {texts[number]}" for label, texts in lines.items())
        for number in range(n_examples)
    )
    # No mathematics: a caption may hold dollar signs.
    axes.text(0.0, 1.0, text, va="top", fontsize=8, family="monospace", parse_math=False)
    _save(figure, path)


def _panels(n_panels: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many pairs of axes, at most four in a row."""
    n_columns = min(4, n_panels)
    n_rows = -(-n_panels // n_columns)
    figure = Figure(figsize=(4.2 * n_columns, 3.6 * n_rows), layout="constrained")
    grid = [axes for row in figure.subplots(n_rows, n_columns, squeeze=False) for axes in row]
    for axes in grid[n_panels:]:
        axes.set_axis_off()
    return figure, grid[:n_panels]


def draw_supervision(
    path: Path, curves: Mapping[str, Mapping[str, Mapping[float, Sequence[float]]]]
) -> None:
    """Draw figures against the share of pairs, one panel for each (figure 6 of the paper).

    Parameters
    ----------
    path
        A .png to write.
    curves
        Figure -> model kind -> supervision level -> its values, one for each seed.
    """
    figure, panels = _panels(len(curves))
    for axes, (name, by_kind) in zip(panels, curves.items(), strict=True):
        for kind, levels in by_kind.items():
            x = sorted(levels)
            mean = [float(np.mean(levels[level])) for level in x]
            spread = [float(np.std(levels[level])) for level in x]
            axes.errorbar(x, mean, yerr=spread, marker="o", markersize=3, capsize=2, label=kind)
        axes.set_xscale("log")
        axes.set_xlabel("supervision (share of pairs)")
        axes.set_title(name, fontsize=10)
        axes.grid(visible=True, alpha=0.3)
    panels[0].set_ylabel("on the test fold")
    panels[-1].legend(fontsize=8)
    _save(figure, path)


def draw_epochs(path: Path, curves: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Draw validation figures against epochs, one panel for each.

    Parameters
    ----------
    path
        A .png to write.
    curves
        Figure -> label of the run -> value after each epoch, the first epoch first.
    """
    figure, panels = _panels(len(curves))
    for axes, (name, runs) in zip(panels, curves.items(), strict=True):
        for label, values in runs.items():
            axes.plot(range(1, len(values) + 1), values, marker=".", label=label)
        axes.set_xlabel("epoch")
        axes.set_title(name, fontsize=10)
        axes.grid(visible=True, alpha=0.3)
    panels[-1].legend(fontsize=8)
    _save(figure, path)
