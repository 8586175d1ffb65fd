"""The provenance of a result: digests of the files that were read, options, versions, date."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from specvae import __version__
from specvae.annotation.ranking.options import RunOptions
from specvae.files import atomic_text, json_ready, sha256_of
from specvae.sources import name_of_source
from specvae.vae.header import Header

_LIBRARIES = ("numpy", "rdkit", "scikit-fingerprints", "torch")


def provenance(
    options: RunOptions,
    header: Header,
    *,
    queries: Path | Sequence[Path] | None,
    model: Path,
    **asked: object,
) -> dict[str, Any]:
    """Return everything that the result of a ranking run depends on, as JSON values.

    Parameters
    ----------
    options
        Of the run.
    header
        Of the model.
    queries
        The file of spectra, or several; None if they are in memory.
    model
        The model's file.
    asked
        Further options by name, such as ``top``.
    """
    return {
        **_here_and_now(),
        "inputs": {
            "queries": (
                None
                if queries is None
                else _file(queries)
                if isinstance(queries, Path)
                else [_file(path) for path in queries]
            ),
            "candidates": _file(options.candidates),
            "library": [_file(path) for path in options.library],
            "exclude": [_file(path) for path in options.exclude],
            **({} if options.counts is None else {"counts": _file(options.counts)}),
            "model": {
                "path": str(model),
                "weights_sha256": header.weights_sha256,
                "program": header.program,
            },
        },
        "options": {**options.asked(), **asked},
    }


def provenance_of_parts(parts: Sequence[Path], run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the provenance of a run in parts; `run` is the entry of that name in their headers."""
    return {
        **_here_and_now(),
        "inputs": {"parts": [_file(path) for path in parts]},
        "options": dict(run),
    }


def described(made_by: Mapping[str, Any]) -> dict[str, str]:
    """Return the entries of `provenance` as text for a reader, by name."""
    inputs = made_by["inputs"]
    model, queries = inputs["model"], inputs["queries"]
    files = {
        "queries": queries if isinstance(queries, list) else [queries] if queries else [],
        "candidates": [inputs["candidates"]],
        "library": inputs["library"],
        "exclude": inputs["exclude"],
        "counts": [inputs["counts"]] if "counts" in inputs else [],
    }
    lines = {
        name: "; ".join(f"{file['path']}, SHA-256 {file['sha256']}" for file in listed)
        for name, listed in files.items()
        if listed
    }
    lines["model"] = f"{model['path']}, SHA-256 of its weights {model['weights_sha256']}"
    lines["model trained by"] = model["program"] or "a version that did not say"
    lines["ranked by"] = f"{made_by['program']}; " + ", ".join(
        f"{name} {number}" for name, number in made_by["versions"].items()
    )
    lines["options"] = _as_given(made_by["options"])
    lines["date"] = made_by["date"]
    return lines


def _as_given(options: Mapping[str, Any]) -> str:
    """Return options with their values, then the names of the options that were not given."""
    given = {name: value for name, value in options.items() if value not in (None, [], ())}
    shown = ", ".join(f"{name} {_worded(value)}" for name, value in given.items())
    others = ", ".join(name for name in options if name not in given)
    return f"{shown}; not given: {others}" if others else shown


def _worded(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def write_provenance(
    path: Path,
    made_by: Mapping[str, Any],
    outputs: Mapping[str, Path | None],
    summary: Sequence[str],
) -> None:
    """Write the provenance as JSON, with the outputs' digests and the summary of the run.

    Parameters
    ----------
    path
        Written whole or not at all.
    made_by
        What `provenance` returned.
    outputs
        By what they are; None for one that was not asked for.
    summary
        Lines for the user.
    """
    # stdout and devices have no digest: reading them would consume what was written.
    written = {
        name: _file(file) if file.is_file() else {"path": str(file)}
        for name, file in outputs.items()
        if file is not None
    }
    content = {**made_by, "outputs": written, "summary": list(summary)}
    with atomic_text(path) as stream:
        json.dump(json_ready(content), stream, indent=2, ensure_ascii=False)
        stream.write("\n")


def _file(path: Path) -> dict[str, str]:
    return {"path": name_of_source(path), "sha256": sha256_of(path)}


def _here_and_now() -> dict[str, Any]:
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return {
        "program": f"specvae {__version__}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": found,
    }
