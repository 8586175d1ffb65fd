"""`specvae info`."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specvae.cli.console import echo, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Command
from specvae.cli.options import INPUT, model_file
from specvae.counting import counted

if TYPE_CHECKING:
    from specvae.annotation.library.header import (
        AnnotatorHeader,
        CalibrationFigures,
        FileRead,
        StoredEvidence,
    )
    from specvae.vae.header import Header

_OF_MEMORY = ("first_blocks", "smiles")
# Long lists are cut, so that all fits on one screen; --json has the rest.
_MOST_COUNTS = 5
_MOST_FILES = 3
_DIGITS = 12
_NAMES = 15  # columns
_NO_BREAK = 1_000_000  # columns


@click.command(cls=Command)
@click.argument("model", type=INPUT)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the header as JSON, with counts in place of the lists of compounds (see split.csv) "
    "and of kept columns.",
)
@settings_options
@verbosity
def info(model: Path, as_json: bool) -> None:
    """Show what a model is, what it was trained on, and its figures.

    \b
    Example:
      specvae info specvae-model
    """
    from specvae.vae.header import read_header

    path = model_file(model)
    header = read_header(path)
    if as_json:
        click.echo(json.dumps(_shortened(header.to_json()), indent=2))
        return
    if "config" not in header.others:
        lines = _model_lines(path, header)
    else:
        from specvae.annotation.library.header import AnnotatorHeader

        lines = _annotator_lines(path, AnnotatorHeader.of_model(header, path))
    for line in _laid_out(lines):
        echo(line)
    echo("all settings, digests and counts: specvae info --json")


def _laid_out(lines: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield names and values as lines, wrapped between words to the width of the terminal."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    width = max(40, shutil.get_terminal_size().columns) if is_terminal else _NO_BREAK
    for name, value in lines:
        yield from textwrap.wrap(
            f"{name:<{_NAMES}}{value}",
            width,
            subsequent_indent=" " * _NAMES,
            break_long_words=False,
            break_on_hyphens=False,
        )


def _shortened(header: dict[str, Any]) -> dict[str, Any]:
    """Return a header with numbers of compounds and columns instead of long lists."""
    long = {"compounds": ("train", "val"), "bins": ("context",), "experts": _OF_MEMORY}
    for part, keys in long.items():
        values = header.get(part)
        if isinstance(values, dict):
            lists = {key: values[key] for key in keys if isinstance(values.get(key), list)}
            header[part] = values | {key: len(items) for key, items in lists.items()}
    return header


def _model_lines(path: Path, header: Header) -> list[tuple[str, str]]:
    modalities = header.model.get("modalities")
    names = [m.get("name") for m in modalities] if isinstance(modalities, list) else []
    return [*_first_lines(path, header), ("modalities", ", ".join(map(str, names)))]


def _first_lines(path: Path, header: Header) -> list[tuple[str, str]]:
    return [
        ("file", str(path)),
        ("format", f"{header.format_version}, written by {header.program or 'unknown'}"),
        ("weights", f"sha256 {header.weights_sha256}"),
    ]


def _annotator_lines(path: Path, header: AnnotatorHeader) -> list[tuple[str, str]]:
    config, provenance, fingerprint = header.config, header.provenance, header.fingerprint
    n_latent = header.model.get("n_latent", "?")
    lines = [
        *_first_lines(path, header),
        ("model", f"{config.model.kind}, preset {config.preset}, {n_latent} latent dimensions"),
        ("objective", ", ".join(f"{name} {_text(v)}" for name, v in config.objective.items())),
        ("fingerprint", f"{fingerprint.name} version {fingerprint.version}"),
        (
            "library",
            (
                f"{counted(provenance.n_spectra, 'spectra')} of "
                f"{counted(provenance.n_compounds, 'compounds')} "
                f"({_counts(provenance.ion_modes)}; {_counts(provenance.adducts)})"
            ),
        ),
        ("trained on", header.trained_on),
        *_files(provenance.files),
        ("licences", _counts(provenance.licences) or "not recorded"),
        ("skipped", _counts(provenance.skipped) or "nothing"),
        ("settings", f"seed {header.seed}, supervision {config.supervision:g}"),
        ("best epoch", f"{header.best_epoch} of {config.optim.epochs}"),
    ]
    if (found := header.validation) is not None:
        lines.append(
            (
                "validation",
                (
                    f"{found}; {counted(found.n_queries, 'spectra')} of "
                    f"{counted(found.n_compounds, 'compounds')}"
                ),
            )
        )
    if header.evidence is not None:
        lines += _evidence_lines(header.evidence, header.calibration)
    lines += [
        ("took", ", ".join(f"{step} {s:.0f} s" for step, s in header.seconds.items())),
        ("versions", ", ".join(f"{k} {v}" for k, v in provenance.versions.items())),
    ]
    return lines


def _evidence_lines(
    evidence: StoredEvidence, fitted: CalibrationFigures | None
) -> list[tuple[str, str]]:
    """Return the evidence by which candidates are ranked, and what it was fitted to."""
    from specvae.annotation.evidence.defaults import defaults, is_outdated

    outdated = is_outdated(evidence)
    used = defaults().weights if outdated else evidence.weights
    weights = ", ".join(f"{name} {weight:.3g}" for name, weight in used.items())
    if fitted is not None and outdated:
        owner = "the shipped calibration"
        basis = (
            "this model's own was fitted to evidence as it was computed before (train it anew for "
            "one of its own)"
        )
    elif fitted is None:
        owner = "the shipped calibration, fitted to other models"
        basis = (
            "[M+H]+ spectra of MassBank only (train with --structures to fit this model's own to "
            "your adducts)"
        )
    else:
        owner = "this model's own calibration"
        basis = (
            f"fitted to {counted(fitted.n_queries, 'spectra')} of "
            f"{counted(fitted.n_compounds, 'validation compounds')} among {fitted.structures}: "
            f"hit@1 {fitted.hit_at_1:.1%}, hit@5 "
            f"{fitted.hit_at_5:.1%} (in-sample)"
        )
    return [
        ("remembers", counted(len(evidence.first_blocks), "compounds")),
        ("ranks by", f"{weights} (weights of the evidence; 'specvae docs method')"),
        ("probabilities", f"by {owner}; {basis}"),
    ]


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _files(files: Sequence[FileRead]) -> Iterator[tuple[str, str]]:
    for file in files[:_MOST_FILES]:
        yield "file read", f"{file.name}, sha256 {file.sha256[:_DIGITS]}..."
    if len(files) > _MOST_FILES:
        yield "", f"and {len(files) - _MOST_FILES:,} more"


def _counts(counts: Mapping[str, int]) -> str:
    listed = sorted(counts.items(), key=lambda pair: -pair[1])
    # One more is named in the room that "1 other" would take.
    n_shown = _MOST_COUNTS + (len(listed) == _MOST_COUNTS + 1)
    shown = [f"{name} {n:,}" for name, n in listed[:n_shown]]
    if rest := listed[n_shown:]:
        shown.append(f"{len(rest):,} others {sum(n for _, n in rest):,}")
    return ", ".join(shown)
