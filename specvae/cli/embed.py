"""`specvae embed`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Command
from specvae.cli.options import (
    INPUT,
    INPUT_FILE,
    INPUT_TABLE,
    device_option,
    model_file,
    model_option,
    strict_option,
)
from specvae.cli.outputs import (
    log_remarks,
    require_paths,
    skips_path,
    suffix_format,
    write_skips,
)
from specvae.counting import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@click.command(cls=Command)
@click.argument("queries", type=INPUT_FILE, required=False)
@click.option(
    "--molecules",
    type=INPUT_TABLE,
    default=None,
    help="Embed the molecules of this .smi, .csv or .tsv instead of spectra.",
)
@model_option
@click.option(
    "-o",
    "--output",
    type=INPUT,
    default=Path("latent.h5"),
    show_default=True,
    help="HDF5, or Parquet if the name ends in .parquet.",
)
@strict_option
@device_option
@settings_options
@verbosity
def embed(
    queries: Path | None,
    molecules: Path | None,
    model: Path,
    output: Path,
    strict: bool,
    device: str,
) -> None:
    """Write latent means: one vector per spectrum or molecule.

    HDF5 holds the data sets id (n) and latent (n, n_latent); Parquet a column id and one column
    per latent dimension. Spectra and molecules share the latent space.

    \b
    Example:
      specvae embed query.mgf -o latent.parquet
      specvae embed --molecules candidates.smi -o molecules.h5
    """
    if (queries is None) == (molecules is None):
        raise click.UsageError("name either a file of spectra or --molecules")
    path = model_file(model)
    inputs = {"QUERIES": queries, "--molecules": molecules, "--model": path}
    require_paths(
        inputs,
        {"--output": output, "its list of skips": skips_path(output)},
    )
    kind = suffix_format(output, ("h5", "hdf5", "parquet"))

    from specvae.annotation.ranking.annotator import Annotator
    from specvae.errors import InputError
    from specvae.molecules.fingerprint import FingerprintCache, fingerprints
    from specvae.molecules.structures import read_molecules
    from specvae.report import ReadReport
    from specvae.spectra.read import read_spectra

    console, report = Console(), ReadReport(strict=strict)
    annotator = Annotator.load(path, device)
    with_ions = []
    if queries is not None:
        with_ions = [annotator.assign_ion(spectrum) for spectrum in read_spectra(queries, report)]
        ids = [query.query_id for query in with_ions]
        latent = annotator.embed([query.spectrum for query in with_ions])
    else:
        assert molecules is not None
        found = list(read_molecules(molecules, report))
        ids = [name for name, _ in found]
        packed = fingerprints(
            [molecule for _, molecule in found], annotator.layout, FingerprintCache()
        )
        latent = annotator.embed_fingerprints(packed)
    if not ids:
        raise InputError(f"{queries or molecules}: nothing to embed ({report.summary()})")
    _write(output, kind, ids, latent)
    write_skips(output, report)
    noun = "spectra" if molecules is None else "molecules"
    console.log(f"{report.summary(noun)}; {counted(len(ids), 'vectors')} in {output}")
    log_remarks(console, with_ions)


def _write(path: Path, kind: str, ids: list[str], latent: NDArray[np.float32]) -> None:
    from specvae.files import atomic_path

    with atomic_path(path) as temporary:
        if kind == "parquet":
            import pandas as pd

            table = pd.DataFrame(latent, columns=[f"z{i}" for i in range(latent.shape[1])])
            table.insert(0, "id", ids)
            table.to_parquet(temporary, index=False)
        else:
            import h5py

            from specvae.molecules.hdf5 import written_hdf5

            with written_hdf5(temporary) as file:
                file.create_dataset("id", data=ids, dtype=h5py.string_dtype())
                file.create_dataset("latent", data=latent)
