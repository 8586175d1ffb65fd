"""`specvae info`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from specvae.cli.console import echo, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.options import INPUT, model_file


@click.command()
@click.argument("model", type=INPUT)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the header as JSON; of compounds (split.csv names them) and of kept columns their "
    "number.",
)
@settings_options
@verbosity
def info(model: Path, as_json: bool) -> None:
    """Tell what a model is, what it was trained on, and what it reached.

    \b
    Example:
      specvae info specvae-model
    """
    from specvae.vae.header import read_header

    path = model_file(model)
    header = read_header(path)
    if as_json:
        if "compounds" in header:
            header["compounds"] = {fold: len(of) for fold, of in header["compounds"].items()}
        if (header.get("bins") or {}).get("context") is not None:
            header["bins"]["context"] = len(header["bins"]["context"])
        if "experts" in header:
            for name in ("first_blocks", "smiles"):
                header["experts"][name] = len(header["experts"][name])
        click.echo(json.dumps(header, indent=2))
        return
    for name, value in _lines(path, header):
        echo(f"{name:<14}{value}")


def _lines(path: Path, header: dict[str, Any]) -> list[tuple[str, str]]:
    config = header.get("config", {})
    provenance = header.get("provenance", {})
    lines = [
        ("file", str(path)),
        ("format", f"{header['format_version']}, written by {header.get('program', 'unknown')}"),
        ("weights", f"sha256 {header['weights_sha256']}"),
    ]
    if not config:
        lines.append(("modalities", ", ".join(m["name"] for m in header["model"]["modalities"])))
        return lines
    kind, preset = config["model"]["kind"], config["preset"]
    objective = ", ".join(f"{name} {value:g}" for name, value in config["objective"].items())
    fingerprint, validation = header["fingerprint"], header["validation"]
    folds = provenance["n_spectra_by_fold"]
    lines += [
        ("model", f"{kind}, preset {preset}, {header['model']['n_latent']} latent dimensions"),
        ("objective", objective),
        ("fingerprint", f"{fingerprint['name']} version {fingerprint['version']}"),
        (
            "library",
            (
                f"{provenance['n_spectra']:,} spectra of {provenance['n_compounds']:,} compounds "
                f"({_counts(provenance['ion_modes'])}; {_counts(provenance['adducts'])})"
            ),
        ),
        (
            "trained on",
            f"{folds['train']:,} spectra of {len(header['compounds']['train']):,} compounds",
        ),
        *(("file read", f"{f['name']}, sha256 {f['sha256']}") for f in provenance["files"]),
        ("skipped", _counts(provenance["skipped"]) or "nothing"),
        ("settings", f"seed {header['seed']}, supervision {config['supervision']:g}"),
        ("best epoch", f"{header['best_epoch']} of {config['optim']['epochs']}"),
    ]
    if validation:
        lines.append(
            (
                "validation",
                (
                    f"hit@1 {validation['hit_at_1']:.1%} among {validation['n_candidates']} "
                    f"structures of like mass (random {validation['random_hit_at_1']:.1%}, blind "
                    f"{validation['blind_hit_at_1']:.1%}); {validation['n_queries']:,} spectra of "
                    f"{validation['n_compounds']:,} compounds"
                ),
            )
        )
    if "experts" in header:
        lines += _evidence_lines(header)
    lines += [
        ("took", ", ".join(f"{step} {s:.0f} s" for step, s in header["seconds"].items())),
        ("versions", ", ".join(f"{k} {v}" for k, v in provenance["versions"].items())),
    ]
    return lines


def _evidence_lines(header: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what candidates are ranked by, and what that was fitted to."""
    evidence, fitted = header["experts"], header.get("calibration")
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in evidence["weights"].items())
    if fitted is None:
        source = "as fitted to compounds of MassBank (train with --structures to fit your own)"
    else:
        source = (
            f"fitted to {fitted['n_queries']:,} spectra of {fitted['n_compounds']:,} validation "
            f"compounds among {fitted['structures']}: hit@1 {fitted['hit_at_1']:.1%}, hit@5 "
            f"{fitted['hit_at_5']:.1%} (in-sample)"
        )
    return [
        ("remembers", f"{len(evidence['first_blocks']):,} compounds"),
        ("ranks by", f"{weights}; {source}"),
    ]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items())
