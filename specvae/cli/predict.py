"""`specvae predict`."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.options import (
    INPUT,
    INPUT_FILE,
    NumberRange,
    assumption_options,
    device_option,
    model_file,
    model_option,
    strict_option,
)
from specvae.cli.outputs import require_outputs, skips_path, text_output, write_skips


@click.command()
@click.argument("queries", type=INPUT_FILE)
@model_option
@assumption_options
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
    min_probability: float,
    output: Path | None,
    strict: bool,
    device: str,
) -> None:
    """Predict the fingerprint bits of each query spectrum.

    Writes a CSV with columns query_id, bit, probability and meaning: a key's name, a SMARTS or an
    atom environment. Bits of one query stand in order of falling probability.

    \b
    Example:
      specvae predict query.mgf --min-probability 0.5 -o bits.csv
    """
    path = model_file(model)
    require_outputs(
        {"QUERIES": queries, "--model": path},
        {"--output": output, "its list of skips": skips_path(output)},
    )

    import numpy as np

    from specvae.annotation.library.query import Assumptions
    from specvae.annotation.ranking.annotator import Annotator
    from specvae.report import ReadReport
    from specvae.spectra.lines import sniff_format
    from specvae.spectra.read import read_spectra

    sniff_format(queries)
    report = ReadReport(strict=strict)
    annotator = Annotator.load(path, device)
    assumed = Assumptions.parse(assume_adduct, assume_ion_mode)
    found = [annotator.settle(spectrum, assumed) for spectrum in read_spectra(queries, report)]
    meanings = [annotator.layout.meaning(bit) for bit in range(annotator.layout.n_bits)]
    with text_output(output) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["query_id", "bit", "probability", "meaning"])
        for start in range(0, len(found), 256):
            chunk = [query.spectrum for query in found[start : start + 256]]
            for spectrum, logits in zip(chunk, annotator.predict(chunk), strict=True):
                probabilities = 1.0 / (1.0 + np.exp(-logits))
                order = np.argsort(-probabilities, kind="stable")
                writer.writerows(
                    (spectrum.query_id, bit, f"{probabilities[bit]:.6f}", meanings[bit])
                    for bit in order.tolist()
                    if probabilities[bit] >= min_probability
                )
    write_skips(output, report)
    console = Console()
    console.log(report.summary())
    for remark, n in Counter(remark for query in found for remark in query.assumed).most_common():
        console.log(f"{remark}: {n:,} of the spectra")
