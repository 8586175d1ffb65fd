"""Files that the benchmarks write: queries as MGF, results as JSON, and their tables."""

from __future__ import annotations

import csv
import json
import platform
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from specvae import __version__
from specvae.files import atomic_text, json_ready, sha256_of
from specvae.spectra.spectrum import Spectrum
from specvae_bench.markdown import in_columns

_TABLES = "table.md"
_LIBRARIES = ("gensim", "matchms", "multivae", "numpy", "rdkit", "scikit-fingerprints", "torch")


def write_mgf(spectra: Iterable[Spectrum], path: Path) -> None:
    """Write spectra without their structures: what a query file may know."""
    with atomic_text(path) as stream:
        for spectrum in spectra:
            fields = {
                "TITLE": spectrum.query_id,
                "PEPMASS": spectrum.precursor_mz,
                "CHARGE": f"{abs(spectrum.charge)}{'+' if spectrum.charge > 0 else '-'}"
                if spectrum.charge
                else None,
                "IONMODE": spectrum.ion_mode,
                "ADDUCT": spectrum.adduct,
                "COLLISION_ENERGY": spectrum.collision_energy_text,
                "INSTRUMENT_TYPE": spectrum.instrument_type,
                "MSLEVEL": spectrum.ms_level,
                "RTINSECONDS": spectrum.retention_time,
            }
            stream.write("BEGIN IONS\n")
            stream.writelines(f"{key}={v}\n" for key, v in fields.items() if v is not None)
            stream.writelines(
                f"{mz!r} {intensity!r}\n"
                for mz, intensity in zip(
                    spectrum.mz.tolist(), spectrum.intensity.tolist(), strict=True
                )
            )
            stream.write("END IONS\n\n")


def write_truth(rows: Iterable[tuple[str, str]], path: Path) -> None:
    """Write identifiers of queries, and first blocks of their truths, as `read_truth` reads them.

    A record that has no other identifier has its name: ``2,4-dinitrophenol``.
    """
    with atomic_text(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("query_id", "inchikey14"))
        writer.writerows(rows)


def digests(paths: Iterable[Path]) -> list[dict[str, str]]:
    """Return name and SHA-256 of files, as results have them: two folders may have one name."""
    return [{"name": path.name, "sha256": sha256_of(path)} for path in paths]


def made_by(command: str) -> dict[str, str]:
    """Return what a result begins with: the subcommand of ``specvae bench``, and the date."""
    return {"command": f"specvae bench {command}", "date": time.strftime("%Y-%m-%d")}


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as JSON, with the versions of what computed it."""
    versions = {"python": platform.python_version(), "specvae": __version__}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except ModuleNotFoundError:
            continue
    with atomic_text(path) as stream:
        json.dump(json_ready({**result, "versions": versions}), stream, indent=2, allow_nan=False)
        stream.write("\n")


def write_tables(folder: Path, text: str) -> None:
    """Write tables in Markdown as ``table.md``, and print them; on a terminal, to be read there."""
    with atomic_text(folder / _TABLES) as stream:
        stream.write(text)
    if sys.stdout is not None and sys.stdout.isatty():
        text = in_columns(text, shutil.get_terminal_size().columns, _TABLES)
    click.echo(text, nl=False)
