"""`specvae predict`."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Command
from specvae.cli.options import (
    INPUT,
    INPUT_FILE,
    NumberRange,
    assumption_options,
    device_option,
    library_options,
    model_file,
    model_option,
    strict_option,
)
from specvae.cli.outputs import (
    Paths,
    log_remarks,
    require_paths,
    skips_path,
    suffix_format,
    text_output,
    write_skips,
)

if TYPE_CHECKING:
    from specvae.annotation.ranking.annotator import Annotator
    from specvae.spectra.spectrum import Spectrum

_COLUMNS = (
    "query_id", "bit", "probability", "meaning", "library_match", "library_cosine", "library_bit",
    "log_odds",
)  # fmt: skip
_CHUNK = 256


@click.command(cls=Command)
@click.argument("queries", type=INPUT_FILE)
@model_option
@assumption_options
@library_options
@click.option(
    "--min-probability",
    type=NumberRange(0.0, 1.0),
    default=0.0,
    show_default=True,
    help="Leave out bits that are less likely.",
)
@click.option("-o", "--output", type=INPUT, default=None, help="Where to write.  [default: stdout]")
@strict_option
@device_option
@settings_options
@verbosity
def predict(
    queries: Path,
    model: Path,
    assume_adduct: str | None,
    assume_ion_mode: str | None,
    library: tuple[Path, ...],
    no_library: bool,
    min_probability: float,
    output: Path | None,
    strict: bool,
    device: str,
) -> None:
    """Predict the fingerprint bits of each query spectrum.

    Writes a CSV with columns query_id, bit, probability and meaning (a key's name, a SMARTS or an
    atom environment). The bits of a query are sorted by falling probability. Further columns name
    the library spectrum of the same ion mode that is most similar to the query, at any mass, with
    its cosine, and say whether its compound has the bit (1 or 0). The last, log_odds, tells
    probabilities close to 0 and 1 apart: ln(p / (1 - p)), in nats.

    \b
    Example:
      specvae predict query.mgf --min-probability 0.5 -o bits.csv
    """
    path = model_file(model)
    inputs: Paths = {"QUERIES": queries, "--model": path, "--library": library}
    require_paths(
        inputs,
        {"--output": output, "its list of skips": skips_path(output)},
    )
    suffix_format(output, ("csv",))

    from specvae.annotation.library.query import Assumptions
    from specvae.annotation.ranking.annotator import Annotator
    from specvae.annotation.ranking.run_library import with_library
    from specvae.errors import InputError
    from specvae.report import ReadReport
    from specvae.spectra.lines import sniff_format
    from specvae.spectra.read import read_spectra

    sniff_format(queries)
    console, report, of_library = Console(), ReadReport(strict=strict), ReadReport(strict=strict)
    annotator, notes = with_library(
        Annotator.load(path, device), library, of_library, use_own=not no_library, progress=console
    )
    assumed = Assumptions.parse(assume_adduct, assume_ion_mode)
    found = [annotator.assign_ion(spectrum, assumed) for spectrum in read_spectra(queries, report)]
    if not found:
        write_skips(output, report, of_library)
        raise InputError(f"{queries}: nothing to predict ({report.nothing_read()})")
    with text_output(output) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        spectra = [query.spectrum for query in found]
        for start in range(0, len(spectra), _CHUNK):
            chunk = spectra[start : start + _CHUNK]
            writer.writerows(_rows(annotator, chunk, min_probability))
    write_skips(output, report, of_library)
    for line in (*notes, report.summary()):
        console.log(line)
    log_remarks(console, found)


def _rows(
    annotator: Annotator, spectra: Sequence[Spectrum], least: float
) -> Iterator[tuple[object, ...]]:
    """Yield the rows of some queries, each query's by falling probability."""
    import numpy as np

    from specvae.annotation.evidence.odds import logistic
    from specvae.annotation.ranking.run_library import nearest_in_library

    meanings = [annotator.layout.meaning(bit) for bit in range(annotator.layout.n_bits)]
    for spectrum, logits, nearest in zip(
        spectra, annotator.predict(spectra), nearest_in_library(annotator, spectra), strict=True
    ):
        probabilities = logistic(logits)
        match = ("", "") if nearest is None else (nearest.query_id, f"{nearest.cosine:.6f}")
        for bit in np.argsort(-probabilities, kind="stable").tolist():
            if probabilities[bit] < least:
                break
            has = "" if nearest is None else int(nearest.bits[bit])
            yield (
                spectrum.query_id, bit, f"{probabilities[bit]:.6f}", meanings[bit], *match, has,
                f"{logits[bit]:.6f}",
            )  # fmt: skip
