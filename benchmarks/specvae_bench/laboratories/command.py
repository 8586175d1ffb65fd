"""`specvae bench laboratories`: known and unknown compounds, each laboratory against all others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Command
from specvae.cli.options import INPUT, WholeRange, device_option, jobs_option
from specvae_bench.options import (
    library_option,
    model_files,
    models_option,
    output_option,
    ppm_option,
    require_own_head,
    require_results,
    require_results_folder,
    seed_option,
    structures_option,
)

FILES = ("laboratories.json", "table.md", "laboratories.png", "truth.csv")
LIST_FILES = ("queries.mgf", "truth.csv", "candidates.csv", "candidates.csv.gz")
FIT_FILES = ("evidence.json", "probability.json")
_FIRST_KEYS = ("weights", "feature_names")  # of these


@click.command(cls=Command)
@library_option
@structures_option("Table of structures that candidates are taken from (repeatable).")
@click.option(
    "--by",
    default="laboratory",
    show_default=True,
    metavar="FIELD",
    help="Field that folds are made by: the laboratory in the accession, an attribute of a "
    "spectrum such as instrument_type, or a field of the file.",
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME",
    help="Value of that field whose spectra are queries (repeatable).  [default: Athens_Univ, "
    "Eawag, LCSB, EPA, Washington_State_Univ]",
)
@click.option(
    "--adduct",
    "adducts",
    multiple=True,
    help="Adduct of the queries (repeatable).  [default: [M+H]+]",
)
@click.option(
    "--instrument-type",
    "instruments",
    multiple=True,
    help="Instrument type of the queries (repeatable).  [default: *QTOF*, *ITFT*, *QFT*]",
)
@click.option(
    "--queries",
    "n_each",
    type=WholeRange(min=1),
    default=100,
    show_default=True,
    help="Largest number of queries of each kind and group.",
)
@click.option(
    "--exclude",
    type=INPUT,
    multiple=True,
    help="Compounds that are no queries, such as those of sets that figures are reported of "
    "(repeatable). The library keeps their spectra.",
)
@models_option("Trained model (repeatable).")
@click.option(
    "--lists",
    type=INPUT,
    default=None,
    help="Folder with queries.mgf, truth.csv and candidates.csv(.gz): long lists, ranked with the "
    "whole library, without the queries' own records, without their laboratories, and without "
    "their compounds.",
)
@click.option(
    "--fragment-score",
    type=INPUT,
    default=None,
    metavar="FILE",
    help="Weights of the fragment score, from 'bench fragments': say, of one that has not seen the "
    "compounds of the queries.  [default: those that come with the program]",
)
@click.option(
    "--fit",
    "is_fit",
    is_flag=True,
    help="Fit weights of evidence (with one --model the fingerprint's too) and probabilities to "
    "the laboratories for fitting: writes evidence.json and probability.json.",
)
@click.option(
    "--fit-short-lists",
    "short_lists",
    type=INPUT,
    default=None,
    metavar="FOLDER",
    help="Fit whether lists of few candidates hold the right one to queries.mgf, truth.csv and "
    "candidates.csv(.gz) of compounds that nothing was fitted to, and to known compounds of the "
    "laboratories for fitting: writes probability.json.",
)
@ppm_option
@seed_option("Seed of the choice of queries and of intervals.")
@jobs_option
@output_option("laboratories", "Folder for figures and plots.")
@device_option
@settings_options
@verbosity
def laboratories(
    spectra: tuple[Path, ...],
    structures: tuple[Path, ...],
    by: str,
    groups: tuple[str, ...],
    adducts: tuple[str, ...],
    instruments: tuple[str, ...],
    n_each: int,
    exclude: tuple[Path, ...],
    models: tuple[Path, ...],
    lists: Path | None,
    fragment_score: Path | None,
    is_fit: bool,
    short_lists: Path | None,
    ppm: float,
    seed: int,
    jobs: int | None,
    output: Path,
    device: str,
) -> None:
    """Rank each laboratory's spectra with the library of all others.

    The queries are one spectrum for each compound. There are three kinds of compounds: those that
    the library has spectra of, with the same adduct and ion mode; those that it has only with
    another adduct or ion mode; and those that nobody else measured. A fourth set mixes known and
    unknown compounds half and half. Weights of evidence are fitted to the laboratories BAFG, RIKEN,
    UFZ, BGC_Munich and HBM4EU; the figures are of other laboratories.

    Writes laboratories.json, table.md, laboratories.png, and truth.csv with the compounds of the
    queries, which 'specvae train --exclude' reads too. Files that were read are kept in the cache.

    \b
    Example:
      specvae bench laboratories --spectra massbank.msp --structures structures.tsv -o labs
    """
    if is_fit and (lists is not None or len(models) > 1):
        raise click.UsageError("--fit takes no --lists, and one --model at most")
    if short_lists is not None and (is_fit or lists is not None or models):
        raise click.UsageError("--fit-short-lists takes no --fit, no --lists and no --model")
    listed = [folder / name for folder in (lists, short_lists) if folder for name in LIST_FILES]
    reads = (*listed, *exclude, *([fragment_score] if fragment_score else []))
    if is_fit or short_lists is not None:
        fitted = list(zip(FIT_FILES, _FIRST_KEYS, strict=True))[0 if is_fit else 1 :]
        require_results(*(output / name for name, _ in fitted), reads=reads)
        for name, key in fitted:
            require_own_head(output / name, rf'\A\{{\s*"{key}"')
    else:
        require_results_folder(output, FILES, reads)
    paths = model_files(models)

    import json

    from specvae.annotation.evidence.fragment_score import SCORERS_FILE
    from specvae.annotation.library.compounds import read_excluded
    from specvae.annotation.library.filter import canonical_adducts
    from specvae.files import atomic_text
    from specvae_bench.files import write_result, write_tables, write_truth
    from specvae_bench.laboratories.comparison import Plan, compare
    from specvae_bench.laboratories.fit import fit
    from specvae_bench.laboratories.folds import ADDUCTS, INSTRUMENTS, default_groups
    from specvae_bench.laboratories.report import draw, list_table, markdown_tables
    from specvae_bench.laboratories.short_lists import fit_short_lists

    plan = Plan(
        spectra=spectra,
        structures=structures,
        by=by,
        groups=tuple(dict.fromkeys(groups))
        or default_groups(by, is_fit or short_lists is not None),
        adducts=tuple(sorted(canonical_adducts(adducts))) or ADDUCTS,
        instruments=instruments or INSTRUMENTS,
        n_each=n_each,
        ppm=ppm,
        seed=seed,
        excluded=read_excluded(exclude),
        fragment_score=fragment_score or SCORERS_FILE,
    )
    contents: dict[str, Any] = {}
    if is_fit:
        contents = fit(plan, next(iter(paths.values()), None), jobs, device, Console())
    elif short_lists is not None:
        model = fit_short_lists(plan, short_lists, jobs, Console())
        contents = {"probability.json": model.to_json()}
    for name, content in contents.items():
        with atomic_text(output / name) as stream:
            json.dump(content, stream, indent=2)
            stream.write("\n")
    if contents:
        return
    result, truths = compare(plan, paths, lists, jobs, device, Console())
    write_truth(truths, output / "truth.csv")
    write_result(output / "laboratories.json", result)
    draw(result, output / "laboratories.png")
    table = markdown_tables(result)
    if "lists" in result:
        table += "\n" + list_table(result["lists"])
    write_tables(output, table)
