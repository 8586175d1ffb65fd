"""A small run of ranking that is divided into parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from annotation_examples import ASPIRIN, CAFFEINE, spectrum_of, tiny_annotator

from specvae.annotation.evidence.analogues import ANALOGUE_BINS
from specvae.annotation.evidence.checkpoint import to_companions
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.library.library import Library
from specvae.annotation.ranking.probability import default_probability
from specvae.molecules.fingerprint import fingerprints, get_layout
from specvae.report import ReadReport
from specvae.vae.checkpoint import save_checkpoint

STRUCTURES = (
    CAFFEINE,
    ASPIRIN,
    "Cn1c2nc[nH]c2c(=O)n(C)c1=O",
    "Cn1cnc2c1c(=O)[nH]c(=O)n2C",
    "Cn1cnc2c1c(=O)n(C)c(=O)[nH]2",
    "COc1ccc(C(=O)O)cc1C=O",
)


def write_run(folder: Path) -> Path:
    """Write a calibrated model that has a library, queries, candidates and counts of references.

    Returns the folder.
    """
    tiny = tiny_annotator()
    known = [
        spectrum_of(CAFFEINE, 110.0713, 138.0662, 195.0877),
        spectrum_of(STRUCTURES[2], 69.0447, 96.0556, 124.0505),
        spectrum_of(ASPIRIN, 121.0284, 163.039),
    ]
    library = Library.from_spectra(known, tiny.bins, ReadReport(), peaks=ANALOGUE_BINS)
    packed = fingerprints(library.molecules, get_layout(ANALOGUE_FINGERPRINT), n_jobs=1)
    pool = EvidencePool.from_library(library, np.arange(len(library)), packed)
    stored, companions = to_companions(pool)
    header = replace(
        tiny.header,
        evidence=stored,
        program="specvae",
        probability=default_probability().to_json(),
    )
    save_checkpoint(folder / "m.safetensors", tiny.model, header, companions)
    rows = "".join(f"{smiles},id{n},a|b {n}\n" for n, smiles in enumerate(STRUCTURES))
    (folder / "c.csv").write_text(f"smiles,id,name\n{rows}", encoding="utf-8")
    counts = "".join(f"{smiles},{10**n}\n" for n, smiles in enumerate(STRUCTURES))
    (folder / "counts.csv").write_text(f"smiles,references\n{counts}", encoding="utf-8")
    rng = np.random.default_rng(3)
    records = []
    for n in range(11):
        mz = (195.0877, 181.0720, 181.0495, 500.0)[n % 4]
        peaks = "\n".join(f"{p:.4f} {h:.1f}" for p, h in _peaks(rng))
        records.append(
            f"BEGIN IONS\nFEATURE_ID={n // 2 if n < 6 else 7}\nPEPMASS={mz}\nADDUCT=[M+H]+\n"
            f"RTINSECONDS={n}\nNAME=name {n}\nCOLLISION_ENERGY={20 + n} {('eV', 'NCE')[n % 2]}\n"
            f"{peaks}\nEND IONS\n"
        )
    records.insert(4, "BEGIN IONS\nTITLE=bad\nPEPMASS=x\n50 1\nEND IONS\n")
    (folder / "q.mgf").write_text("\n".join(records), encoding="utf-8")
    return folder


def _peaks(rng: np.random.Generator) -> list[tuple[float, float]]:
    known = np.array([69.0447, 96.0556, 110.0713, 121.0284, 124.0505, 138.0662, 163.039])
    mz = np.sort(rng.choice(known, 3, replace=False))
    return list(zip(mz.tolist(), rng.uniform(1.0, 100.0, 3).tolist(), strict=True))
