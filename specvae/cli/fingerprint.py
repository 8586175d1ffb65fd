"""`specvae fingerprint`."""

from __future__ import annotations

import csv
from pathlib import Path

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Command
from specvae.cli.options import INPUT, INPUT_TABLE, jobs_option, strict_option
from specvae.cli.outputs import (
    require_paths,
    skips_path,
    suffix_format,
    text_output,
    write_skips,
)
from specvae.counting import counted


@click.command(cls=Command)
@click.argument("molecules", type=INPUT_TABLE)
@click.option(
    "--fingerprint",
    "layout_name",
    metavar="LAYOUT",
    default="mixed2149",
    show_default=True,
    help="svae2149, morgan4096 or mixed2149.",
)
@click.option(
    "-o",
    "--output",
    type=INPUT,
    default=None,
    help="HDF5 (packed) if the name ends in .h5, else CSV.  [default: CSV on stdout]",
)
@jobs_option
@strict_option
@settings_options
@verbosity
def fingerprint(
    molecules: Path, layout_name: str, output: Path | None, jobs: int | None, strict: bool
) -> None:
    """Compute fingerprints of molecules.

    MOLECULES is a .smi (SMILES, then a name), .csv or .tsv (column smiles or inchi), also .gz, .bz2
    or .xz. The CSV has columns id, smiles, inchikey and fingerprint (a 0 or 1 for each bit); HDF5
    holds the data sets id, smiles, inchikey and fingerprint (n, n_bytes), eight bits to a byte,
    the lowest first, and the layout's name and version as attributes.

    \b
    Example:
      specvae fingerprint molecules.smi --fingerprint svae2149 -o molecules.h5
    """
    require_paths(
        {"MOLECULES": molecules},
        {"--output": output, "its list of skips": skips_path(output)},
    )
    kind = suffix_format(output, ("csv", "h5", "hdf5"))

    from specvae.errors import InputError
    from specvae.files import atomic_path
    from specvae.molecules.fingerprint import cached_fingerprints, get_layout, unpack
    from specvae.molecules.structures import read_molecules
    from specvae.report import ReadReport

    console = Console()
    layout = get_layout(layout_name)
    report = ReadReport(strict=strict)
    found = list(read_molecules(molecules, report))
    if not found:
        raise InputError(f"{molecules}: no usable molecule ({report.nothing_read('molecules')})")
    packed = cached_fingerprints([molecule for _, molecule in found], layout, jobs, console)
    if output is not None and kind != "csv":
        import h5py

        from specvae.molecules.hdf5 import written_hdf5

        with atomic_path(output) as temporary, written_hdf5(temporary) as file:
            text = h5py.string_dtype()
            file.create_dataset("id", data=[name for name, _ in found], dtype=text)
            file.create_dataset("smiles", data=[m.smiles for _, m in found], dtype=text)
            file.create_dataset("inchikey", data=[m.inchikey for _, m in found], dtype=text)
            file.create_dataset("fingerprint", data=packed)
            file.attrs.update(
                layout=layout.name, layout_version=layout.version, n_bits=layout.n_bits
            )
    else:
        with text_output(output) as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["id", "smiles", "inchikey", "fingerprint"])
            for (name, molecule), row in zip(found, packed, strict=True):
                bits = unpack(row[None], layout.n_bits)[0]
                writer.writerow([name, molecule.smiles, molecule.inchikey, "".join(map(str, bits))])
    write_skips(output, report)
    console.log(f"{counted(len(found), 'fingerprints')}, {report.summary('molecules')}")
