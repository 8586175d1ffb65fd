"""Markdown tables of what `bench gpu` measured, from the files that are there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from specvae.errors import InputError
from specvae.files import atomic_text
from specvae_bench.markdown import table

TABLES = "tables.md"
HEAD = r"\A\*\*[^*\n]+\*\* \([^\n]*\d{4}-\d\d-\d\d\)\n"
"""How that file begins."""

_DIGITS = ("mnist-split", "mnist-split-rest", "supervision", "supervision-pairs", "mnist-split-3")
_STAND_INS = ("mnist-colour", "mnist-captions")
# A file supervision.json is of `bench supervision` too.
_MARKS = (
    "equality", "speed", "annotate", "spectra-svae", "spectra-vaevae",
    *(name for name in _DIGITS if name != "supervision"), *_STAND_INS,
)  # fmt: skip


def is_gpu_folder(folder: Path) -> bool:
    """Whether a folder holds results of ``bench gpu``."""
    return any(_read(folder / f"{name}.json") for name in _MARKS)


def write_tables(folder: Path) -> Path:
    """Write ``tables.md`` of the steps of ``bench gpu``, as far as they went."""
    parts = []
    for name, title, make in (
        ("equality", "The same numbers as on the CPU", _equality),
        ("speed", "A training step of the paper's networks on spectra", _speed),
        ("annotate", "Annotation by fingerprint", _annotate),
    ):
        if found := _read(folder / f"{name}.json"):
            parts.append(_section(title, found, make(found)))
    spectra = {
        path.stem.removeprefix("spectra-"): _read(path)
        for path in sorted(folder.glob("spectra-*.json"))
    }
    if runs := {name: found for name, found in spectra.items() if found.get("epochs")}:
        parts.append(_section("Training on spectra", next(iter(runs.values())), _spectra(runs)))
    for name in _DIGITS:
        found = _read(folder / f"{name}.json")
        if found.get("runs"):
            parts.append(_section(name, found, _digits(found)))
    for name in _STAND_INS:
        found = _read(folder / f"{name}.json")
        if found.get("runs"):
            parts.append(_section(name, found, _coherence(found)))
    path = folder / TABLES
    with atomic_text(path) as stream:
        stream.write("\n".join(parts))
    return path


def _read(path: Path) -> dict[str, Any]:
    """Return the result of a step; nothing if it is another's: `bench speed` has a speed.json."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None
    is_own = isinstance(found, dict) and isinstance(found.get("device"), dict) and "date" in found
    return found if is_own else {}


def _section(title: str, found: Mapping[str, Any], tables: str) -> str:
    return f"**{title}** ({found['device']['name']}, {found['date']})\n\n{tables}"


def _table(header: str, rows: Iterable[Iterable[str]]) -> str:
    return table(header.split(", "), rows)


def _equality(found: Mapping[str, Any]) -> str:
    """Return the largest differences of each experiment over the model kinds."""
    batches: dict[str, list[Mapping[str, float]]] = {}
    for label, figures in found.get("batches", {}).items():
        batches.setdefault(label.partition("/")[0], []).append(figures)
    names = ("loss", "gradient", "tf32_loss", "tf32_gradient", "bf16_loss", "bf16_gradient")
    rows = [
        [
            experiment,
            str(len(kinds)),
            *(
                f"{max(figures[name] for figures in kinds):.0e}" if name in kinds[0] else ""
                for name in names
            ),
        ]
        for experiment, kinds in batches.items()
    ]
    header = "shapes, kinds, loss, gradients, loss in TF32, gradients, loss in bfloat16, gradients"
    runs = [
        [label, *(f"{figures[key]:.0e}" for key in ("recorded", "repeated", "resumed", "moved"))]
        for label, figures in found.get("runs", {}).items()
    ]
    short = _table("short run, recorded, the same again, resumed, moved in all", runs)
    return f"{_table(header, rows)}\n{short}"


def _speed(found: Mapping[str, Any]) -> str:
    rows = [
        [
            label,
            f"{1000 * figures['seconds_per_step']:.1f}",
            f"{figures['seconds_per_epoch']:.2f}",
            f"{figures['flop_per_second'] / 1e12:.0f}",
            f"{figures['peak_memory_gib']:.1f}" if "peak_memory_gib" in figures else "",
        ]
        for label, figures in found.get("figures", {}).items()
    ]
    return _table("kind and arithmetic, ms a step, s an epoch, TFLOP/s, GiB at most", rows)


def _annotate(found: Mapping[str, Any]) -> str:
    rows = [
        [
            mode,
            f"{figures['queries']:,}",
            str(figures["candidates_each"]),
            f"{figures['seconds']:.2f}",
        ]
        for mode in ("float32", "tf32")
        if (figures := found.get(mode))
    ]
    return _table("arithmetic, queries, candidates each, seconds", rows)


def _spectra(runs: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, found in runs.items():
        epochs = found["epochs"]
        best = max(epochs, key=lambda epoch: float(epoch["validation"]))
        seconds = sum(epoch["seconds"] for epoch in epochs)
        bits = best["parts"]["reconstruction/fingerprint"]
        ends = (str(best["epoch"]), f"{best['validation']:.3f}", f"{bits:.1f}")
        rows.append([name, str(len(epochs)), f"{seconds:.0f}", *ends])
    header = "kind, epochs, seconds, best epoch, validation MRR, reconstruction of bits (nats)"
    return _table(header, rows)


def _digits(found: Mapping[str, Any]) -> str:
    """Return accuracies on both halves of the test images and on all of them."""
    rows = []
    for label, figures in found["runs"].items():
        if "test" not in figures:
            continue
        run = label.removesuffix("/seed-0")
        epochs = f"{figures['epoch']} of {figures['wanted']}"
        adapting = figures.get("oracle_in_training")
        for name, second in figures["test"].items():
            first = figures["validation"][name]
            values = [first, second, (first + second) / 2]
            if adapting is not None:
                values.append((adapting["validation"][name] + adapting["test"][name]) / 2)
            texts = [f"{value:.3f}" for value in values]
            rows.append([run, epochs, name, *texts, *[""] * (4 - len(texts))])
    ends = "images 0-4999, images 5000-9999, all"
    return table([*f"run, epochs, given, {ends}".split(", "), "all, oracle in training mode"], rows)


def _coherence(found: Mapping[str, Any]) -> str:
    """Return what is coherent in draws and across modalities, of the runs that have ended."""
    ended = {label: run for label, run in found["runs"].items() if "test" in run}
    names = list(dict.fromkeys(name for run in ended.values() for name in run["test"]))
    rows = [
        [
            label.removesuffix("/seed-0"),
            f"{run['epoch']} of {run['wanted']}",
            *(f"{run['test'][name]:.3f}" for name in names),
        ]
        for label, run in ended.items()
    ]
    return table(["run", "epochs", *names], rows)
