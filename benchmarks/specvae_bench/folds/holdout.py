"""`specvae bench holdout`: a fold of a library's compounds as queries with their truth."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.options import INPUT, library_filter_options
from specvae.cli.outputs import require_writable

if TYPE_CHECKING:
    from specvae.spectra.spectrum import Spectrum


@click.command()
@click.option("--spectra", type=INPUT, multiple=True, required=True, help="Library (repeatable).")
@click.option(
    "--share",
    type=click.FloatRange(0.0, 1.0, min_open=True),
    default=0.1,
    show_default=True,
    help="Share of compounds held out.",
)
@click.option(
    "--max-spectra",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Most spectra of one compound.",
)
@library_filter_options
@click.option("--exclude", type=INPUT, multiple=True, help="Compounds left out (repeatable).")
@click.option(
    "--structures",
    type=INPUT,
    default=None,
    help="Also write candidates.csv: the structures of this table within --ppm of each query.",
)
@click.option(
    "--ppm", type=click.FloatRange(min=0.0, min_open=True), default=10.0, show_default=True
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("-o", "--output", type=INPUT, default=Path("holdout"), show_default=True)
@settings_options
@verbosity
def holdout(
    spectra: tuple[Path, ...],
    share: float,
    max_spectra: int,
    ion_mode: str | None,
    adducts: tuple[str, ...],
    instrument_types: tuple[str, ...],
    exclude: tuple[Path, ...],
    structures: Path | None,
    ppm: float,
    seed: int,
    output: Path,
) -> None:
    """Hold a fold of a library's compounds out: queries, their truth, and the fold's digest.

    A compound's fold depends on its InChIKey first block and the seed alone, so the same compounds
    are held out of every library. Writes queries.mgf (no structures in it), truth.csv, which also
    serves 'specvae train --exclude', and holdout.json.

    \b
    Example:
      specvae bench holdout --spectra mona.msp --structures structures.tsv -o fold
      specvae train --spectra mona.msp --exclude fold/truth.csv
      specvae evaluate fold/queries.mgf --candidates fold/candidates.csv --truth fold/truth.csv
    """
    from specvae.annotation.library.compounds import read_excluded
    from specvae.annotation.library.filter import SpectrumFilter, canonical_adducts
    from specvae.annotation.library.folds import fold_of
    from specvae.annotation.library.library import read_many, usable_pairs
    from specvae.errors import InputError
    from specvae.files import atomic_text, sha256_of
    from specvae.report import ReadReport
    from specvae_bench.files import write_mgf, write_result

    require_writable(output / "queries.mgf")
    console = Console()
    report = ReadReport()
    wanted = SpectrumFilter(
        ion_mode=ion_mode,
        adducts=canonical_adducts(adducts),
        instrument_types=instrument_types,
        excluded=read_excluded(exclude),
    )
    held = []
    n_spectra: Counter[str] = Counter()
    for spectrum, molecule in usable_pairs(
        read_many(spectra, report), wanted, report, lambda n: console.progress("reading", n)
    ):
        block = molecule.first_block
        # Not the bare seed: 'train' splits by it, and its folds must not follow this one.
        if fold_of(block, 0.0, share, f"holdout {seed}") == "test":
            held.append((spectrum, block))
            n_spectra[block] += 1
    if not held:
        raise InputError(f"{spectra[0]}: no compound held out ({report.summary()})")
    # A compound measured at many energies gives the spectra spread evenly over its list, so that
    # low and high energies are both among the queries.
    seen: Counter[str] = Counter()
    kept = []
    for spectrum, block in held:
        n, position = n_spectra[block], seen[block]
        seen[block] += 1
        n_kept = min(n, max_spectra)
        if position * n_kept // n != (position - 1) * n_kept // n or position == 0:
            kept.append((spectrum, block))
    ids = Counter(spectrum.query_id for spectrum, _ in kept)
    doubled = [name for name, n in ids.items() if n > 1]
    if doubled:
        raise InputError(f"query_id {doubled[0]!r} stands in several libraries; hold out of one")
    write_mgf((spectrum for spectrum, _ in kept), output / "queries.mgf")
    with atomic_text(output / "truth.csv") as stream:
        stream.write("query_id,inchikey14\n")
        stream.writelines(f"{spectrum.query_id},{block}\n" for spectrum, block in kept)
    sources = list(spectra)
    if structures is not None:
        n_candidates = _write_candidates(
            structures, [spectrum for spectrum, _ in kept], ppm, output / "candidates.csv"
        )
        sources.append(structures)
        console.log(f"{n_candidates:,} candidates within {ppm:g} ppm")
    write_result(
        output / "holdout.json",
        {
            "n_queries": len(kept),
            "n_compounds": len(n_spectra),
            "share": share,
            "seed": seed,
            "max_spectra": max_spectra,
            "files": [{"name": path.name, "sha256": sha256_of(path)} for path in sources],
            "truth_sha256": sha256_of(output / "truth.csv"),
        },
    )
    console.log(report.summary())
    click.echo(f"{len(kept):,} queries of {len(n_spectra):,} compounds in {output}")


def _write_candidates(
    structures: Path, queries: Sequence[Spectrum], ppm: float, output: Path
) -> int:
    """Write query_id, smiles, inchikey of the structures near each query; return how many."""
    from specvae.files import atomic_text
    from specvae.molecules.candidates import read_candidates

    table = read_candidates(structures)
    n_written = 0
    with atomic_text(output) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["query_id", "smiles", "inchikey", "name"])
        for query in queries:
            mass = query.neutral_mass
            if mass is None:
                continue
            found = table.within(mass, ppm).deduplicate()
            writer.writerows(
                (query.query_id, *row)
                for row in zip(found.smiles, found.inchikey, found.name, strict=True)
            )
            n_written += len(found)
    return n_written
