"""Tables and figures of finished runs, drawn from their ``result.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from specvae.cli.console import verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Command
from specvae.cli.options import INPUT
from specvae.errors import InputError
from specvae_bench import markdown
from specvae_bench.options import ELSEWHERE, require_own_head

# At full supervision: experiment -> model kind -> figure -> value. MNIST-Split: the paper, table 1.
# The others are those of Shi et al. (arXiv:1911.03393), as the multivae library and the MMVAE
# code's second issue quote them; the paper gives its own in figures only.
PUBLISHED: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "mnist-split": {
        "mmvae": {"both": 0.539, "top": 0.221, "bottom": 0.283},
        "svae": {"both": 0.948, "top": 0.872, "bottom": 0.816},
        "vaevae": {"both": 0.956, "top": 0.887, "bottom": 0.830},
        "vaevae-star": {"both": 0.958, "top": 0.863, "bottom": 0.778},
    },
    "mnist-svhn": {"mmvae": {"svhn->mnist": 0.86, "mnist->svhn": 0.69, "joint": 0.42}},
    "cub-captions": {"mmvae": {"joint": 0.263}},
}


_MOVED = "wanted that file elsewhere"
_TABLE = "table.md"
_PICTURES = ("epochs.png", "supervision.png")
_FIRST_COLUMNS = ("model", "supervision")


@click.command(cls=Command)
@click.argument("folder", type=INPUT)
@settings_options
@verbosity
def report(folder: Path) -> None:
    """Draw the table and the curves of all runs in a folder again, or the tables of bench gpu.

    \b
    Example:
      specvae bench report sweep
    """
    from specvae_bench.gpu.report import HEAD, TABLES, is_gpu_folder, write_tables

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; wanted one with results of a benchmark")
    of_gpu = is_gpu_folder(folder)
    if of_gpu:
        require_own_head(folder / TABLES, HEAD, _MOVED)
    else:
        require_own_report(folder, _MOVED)
    for path in [write_tables(folder)] if of_gpu else write_report(folder):
        click.echo(f"{path}")


def require_own_report(folder: Path, wanted: str = ELSEWHERE) -> None:
    """Raise an InputError if `write_report` would replace a file that it has not written.

    The pictures of an earlier version are known by the table beside them.
    """
    path = folder / _TABLE
    require_own_head(path, r"\A\| {} \| {} \|".format(*_FIRST_COLUMNS), wanted)
    for name in () if path.is_file() and path.stat().st_size else _PICTURES:
        require_own_head(folder / name, "Software\0specvae", wanted)


def write_report(folder: Path) -> list[Path]:
    """Write ``table.md``, ``epochs.png`` and, of several levels, ``supervision.png``.

    Parameters
    ----------
    folder
        Searched for ``result.json``, at any depth.

    Returns
    -------
    list
        What was written.

    Raises
    ------
    InputError
        If there is no result, or results of several experiments.
    """
    from specvae.files import atomic_text
    from specvae_bench.paper.pictures import draw_epochs, draw_supervision
    from specvae_bench.paper.runs import RESULT, read_result

    results = [read_result(path) for path in sorted(folder.rglob(RESULT))]
    if not results:
        raise InputError(f"{folder}: wanted the results of one benchmark, found none")
    require_benchmark(folder, results[0]["benchmark"])
    written = [folder / _TABLE]
    with atomic_text(written[0]) as stream:
        stream.write(table(results))
    figures = list(results[0]["test"])
    labels = _labels(results, ("epochs", "n_pairs"))
    measured = [
        (label, result)
        for label, result in zip(labels, results, strict=True)
        if "measured" in result["epochs"][0]
    ]
    if measured:
        written.append(folder / _PICTURES[0])
        draw_epochs(
            written[-1],
            {
                name: {
                    _curve(label, result): [
                        epoch["measured"].get(name, math.nan) for epoch in result["epochs"]
                    ]
                    for label, result in measured
                }
                for name in results[0]["validation"]
            },
        )
    if len({result["settings"]["supervision"] for result in results}) > 1:
        written.append(folder / _PICTURES[1])
        draw_supervision(written[-1], {name: _by_level(labels, results, name) for name in figures})
    return written


def require_benchmark(folder: Path, name: str) -> None:
    """Raise an InputError if there are results of other benchmarks than `name` in a folder."""
    from specvae_bench.paper.runs import RESULT, read_result

    names = {name, *(read_result(path)["benchmark"] for path in folder.rglob(RESULT))}
    if len(names) > 1:
        raise InputError(
            f"{folder}: wanted the results of one benchmark, found those of "
            f"{', '.join(sorted(names))}"
        )


def _curve(label: str, result: Mapping[str, Any]) -> str:
    settings = result["settings"]
    return f"{label} {settings['supervision']:g} ({settings['seed']})"


def _model(settings: Mapping[str, Any]) -> str:
    kind, trainer = settings["kind"], settings.get("trainer", "specvae")
    return str(kind) if trainer == "specvae" else f"{kind} by {trainer}"


def _labels(results: Sequence[Mapping[str, Any]], shown: Sequence[str] = ()) -> list[str]:
    """Return the model of each result, with the settings in which runs of that model differ.

    Parameters
    ----------
    results
        Of one benchmark.
    shown
        Settings that count beside those that have no column in the table.
    """
    labels = []
    settings = [{**result["settings"], "n_pairs": result["n_pairs"]} for result in results]
    columns = {"kind", "trainer", "supervision", "seed", "epochs", "n_pairs"} - set(shown)
    for own in settings:
        model = _model(own)
        alike = [other for other in settings if _model(other) == model]
        differing = [
            f"{key} {value}"
            for key, value in own.items()
            if key not in columns and any(other.get(key) != value for other in alike)
        ]
        labels.append(", ".join([model, *differing]))
    return labels


def _by_level(
    labels: Sequence[str], results: Sequence[Mapping[str, Any]], name: str
) -> dict[str, dict[float, list[float]]]:
    curves: dict[str, dict[float, list[float]]] = {}
    for label, result in zip(labels, results, strict=True):
        levels = curves.setdefault(label, {})
        levels.setdefault(result["settings"]["supervision"], []).append(result["test"][name])
    return curves


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table: the published number, ours, the difference.

    Runs that differ in nothing but the seed share a row; ours is then the mean, with the standard
    deviation behind it. What has no column and sets runs of a model apart stands behind its name.
    A run that was stopped early says how many of its epochs it has. ``validation`` is of the fold
    that chose the epoch; where that fold has all figures of the test fold, ``both folds`` is of
    their examples together, and the difference is that of ``both folds`` from the paper's. The last
    column has ``both folds`` by oracles in training mode, as in the published code.
    """
    name_of_all = results[0]["benchmark"]
    published = PUBLISHED.get(name_of_all, {})
    source = "" if name_of_all == "mnist-split" else " (Shi et al.)"
    rows: dict[tuple[str, float, str, int], list[Mapping[str, Any]]] = {}
    for label, result in zip(_labels(results), results, strict=True):
        settings = result["settings"]
        key = (label, settings["supervision"], _epochs_of(result), result["n_pairs"])
        rows.setdefault(key, []).append(result)
    columns = (
        *_FIRST_COLUMNS, "examples", "epochs", "seeds", "figure", "paper", "ours",
        "validation", "both folds", "difference", "oracle in training mode",
    )  # fmt: skip
    cells = []
    for (label, level, epochs, n_pairs), repeats in sorted(
        rows.items(), key=lambda row: (row[0][0], -row[0][1])
    ):
        model = _model(repeats[0]["settings"])
        n_seeds = len({result["settings"]["seed"] for result in repeats})
        run = (label, f"{level:g}", f"{n_pairs:,}", epochs, str(n_seeds))
        for name in repeats[0]["test"]:
            test = [float(result["test"][name]) for result in repeats]
            together = [_of_both_folds(result, result, name) for result in repeats]
            in_training = [
                _of_both_folds(result, result.get("oracle_in_training", {}), name)
                for result in repeats
            ]
            paper = published.get(model, {}).get(name) if level == 1.0 else None
            theirs = "" if paper is None else f"{paper:.3f}{source}"
            ours = [value for value in together if value is not None] or test
            difference = "" if paper is None else f"{sum(ours) / len(ours) - paper:+.3f}"
            validation = [result["validation"].get(name) for result in repeats]
            means = (_mean(test), _mean(validation), _mean(together))
            cells.append((*run, name, theirs, *means, difference, _mean(in_training)))
    used = [i for i, name in enumerate(columns) if i < 8 or any(row[i] for row in cells)]
    return markdown.table(
        [columns[i] for i in used], [tuple(row[i] for i in used) for row in cells]
    )


def wide_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table of the test fold's figures, a row for each model and supervision.

    Runs that differ in nothing but the seed share a row: the mean, with the standard deviation
    behind it.
    """
    rows: dict[tuple[str, float, str], list[Mapping[str, Any]]] = {}
    for label, result in zip(_labels(results, ("n_pairs",)), results, strict=True):
        key = (label, result["settings"]["supervision"], _epochs_of(result))
        rows.setdefault(key, []).append(result)
    names = list(results[0]["test"])
    cells = []
    for (label, level, epochs), repeats in sorted(
        rows.items(), key=lambda row: (-row[0][1], row[0][0])
    ):
        means = (_mean([result["test"].get(name) for result in repeats]) for name in names)
        cells.append((label, f"{level:g}", epochs, *means))
    return markdown.table(("model", "supervision", "epochs", *names), cells)


def _of_both_folds(
    result: Mapping[str, Any], figures: Mapping[str, Mapping[str, float]], name: str
) -> float | None:
    """Return a figure of the validation and the test examples together; None: one fold lacks it.

    Figures of draws are of no examples: a validation fold that lacks some of the test's figures has
    no examples either.
    """
    if set(result["validation"]) != set(result["test"]) or not figures:
        return None
    n = {fold: result["data"][fold]["n"] for fold in ("validation", "test")}
    right = sum(n[fold] * float(figures[fold][name]) for fold in n)
    return float(right / sum(n.values()))


def _epochs_of(result: Mapping[str, Any]) -> str:
    """Return how many epochs a run was trained, and of how many if it was stopped."""
    wanted, done = result["settings"]["epochs"], len(result["epochs"])
    return str(wanted) if done >= wanted else f"{done} of {wanted}"


def _mean(values: Sequence[float | None]) -> str:
    """Return the mean of what there is, with the standard deviation of several behind it."""
    known = [float(value) for value in values if value is not None]
    if not known:
        return ""
    mean = sum(known) / len(known)
    spread = (sum((value - mean) ** 2 for value in known) / len(known)) ** 0.5
    return f"{mean:.3f}" + (f" ± {spread:.3f}" if len(known) > 1 else "")
