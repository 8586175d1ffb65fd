"""Write what `specvae demo` ships: a small model, queries, candidates and the truth.

Everything comes from the simulated data of ``make_demo.py``. The queries are those of
``demo/queries.mgf``, whose compounds the library does not have, and some of the library's own
spectra of an energy that the model is not shown: it knows their compounds by other spectra.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

import specvae
from specvae.annotation.evidence import weighted
from specvae.annotation.training import calibrate
from specvae.vae.checkpoint import load_checkpoint, load_companions, save_checkpoint

HERE = Path(__file__).resolve().parent
DEMO = HERE / "demo"
SHIPPED = HERE.parent / "specvae" / "demo"

MODEL = "model.safetensors.gz"

N_KNOWN = 12
KNOWN_ENERGY = 20  # eV; the model learns from the spectra of 10 and 40 eV
MAX_BYTES = 2_000_000  # of the model, packed

SETTINGS = {
    "seed": 1,
    "inputs.fine_bin_width": 0.0,
    "model.n_latent": 32,
    "model.share_body": True,
    "model.spectrum_encoder": [24],
    "model.spectrum_decoder": [8],
    "model.fingerprint_encoder": [32],
    "model.fingerprint_decoder": [32],
    "optim.batch_size": 64,
    "optim.learning_rate": 0.002,
}
EPOCHS = 20
# Simulated spectra are nothing but fragments, so that the fit gives the predicted fingerprint no
# weight at all. A demo is to show every kind of evidence.
LEAST_WEIGHT = 0.1


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=SHIPPED)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    library, known = split_library((DEMO / "library.msp").read_text(encoding="utf-8"))
    write_queries(known, options.output)
    shutil.copy(DEMO / "candidates.csv", options.output)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "demo-library.msp"
        path.write_text("\n\n".join(library) + "\n\n", encoding="utf-8")
        with patch.object(calibrate, "fit_weights", fit_weights):
            specvae.train(
                path,
                Path(folder) / "model",
                settings={**SETTINGS, "optim.epochs": options.epochs},
                structures=DEMO / "candidates.csv",
                device="cpu",
            )
        pack(Path(folder) / "model" / "model.safetensors", options.output / MODEL)


def fit_weights(
    evidence: Sequence[weighted.Evidence], truth: Sequence[int], shares: NDArray[np.float64]
) -> dict[str, float]:
    """Return fitted weights, none below `LEAST_WEIGHT`; probabilities are fitted to these."""
    fitted = weighted.fit_weights(evidence, truth, shares)
    return {kind: max(weight, LEAST_WEIGHT) for kind, weight in fitted.items()}


def pack(path: Path, packed: Path) -> None:
    """Write a model in few bytes: its weights to three digits, compressed.

    Half the bytes of a weight are noise of the training, which does not compress.
    """
    model, header = load_checkpoint(path)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    rounded = path.with_name("rounded.safetensors")
    save_checkpoint(rounded, model, header, load_companions(path))
    packed.write_bytes(gzip.compress(rounded.read_bytes(), mtime=0))
    n_bytes = packed.stat().st_size
    if n_bytes > MAX_BYTES:
        raise SystemExit(f"{packed}: {n_bytes:,} bytes, wanted {MAX_BYTES:,} or fewer")


def split_library(text: str) -> tuple[list[str], list[str]]:
    """Return the records that are learned from, and those that become queries."""
    records = [record for record in text.split("\n\n") if record.strip()]
    compounds = list(dict.fromkeys(map(first_block, records)))
    chosen = set(compounds[:: len(compounds) // N_KNOWN][:N_KNOWN])
    energy = f"Collision_energy: {KNOWN_ENERGY} eV"
    known = [record for record in records if first_block(record) in chosen and energy in record]
    return [record for record in records if energy not in record], known


def first_block(record: str) -> str:
    """Return the InChIKey's first block of an MSP record."""
    return field(record, "InChIKey")[:14]


def field(record: str, name: str) -> str:
    """Return a field of an MSP record."""
    found = re.search(rf"^{name}: (.*)$", record, re.M)
    if found is None:
        raise SystemExit(f"a record has no {name}:\n{record[:200]}")
    return found[1]


def write_queries(known: Sequence[str], output: Path) -> None:
    """Write queries and truth: those of unknown compounds, then records of known ones."""
    queries = (DEMO / "queries.mgf").read_text(encoding="utf-8").rstrip("\n")
    with (DEMO / "truth.csv").open(encoding="utf-8", newline="") as stream:
        truth = [(row["query_id"], row["inchikey14"]) for row in csv.DictReader(stream)]
    blocks = [queries]
    for number, record in enumerate(known, start=1):
        name = f"known-{number:02}"
        peaks = record.partition("Num Peaks: ")[2].partition("\n")[2].strip()
        blocks.append(
            f"BEGIN IONS\nTITLE={name}\nPEPMASS={field(record, 'PrecursorMZ')}\nCHARGE=1+\n"
            f"ADDUCT=[M+H]+\nIONMODE=Positive\nMSLEVEL=2\nCOLLISION_ENERGY={KNOWN_ENERGY} eV\n"
            f"COMMENT=simulated by data/make_demo.py, not measured\n{peaks}\nEND IONS"
        )
        truth.append((name, first_block(record)))
    text = "\n\n".join(blocks) + "\n"
    (output / "queries.mgf").write_text(text, encoding="utf-8")
    with (output / "truth.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([("query_id", "inchikey14"), *truth])


if __name__ == "__main__":
    main()
