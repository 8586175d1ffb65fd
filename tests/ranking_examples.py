"""Small files of queries and candidates, and how they are ranked, for tests of ranking."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from annotation_examples import ASPIRIN, CAFFEINE

from specvae.annotation.library.query import Assumptions
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.candidates import CandidateSource
from specvae.annotation.ranking.queries import QueryFilter, read_queries
from specvae.annotation.ranking.rank import rank_spectra
from specvae.annotation.ranking.result import Ranked, Unranked
from specvae.molecules.fingerprint import get_layout
from specvae.report import ReadReport
from specvae.spectra.spectrum import Spectrum

QUERY = Spectrum(
    mz=np.array([110.0713, 138.0662]),
    intensity=np.array([10.0, 100.0]),
    query_id="q",
    precursor_mz=195.0877,
    adduct="[M+H]+",
    ion_mode="positive",
)


def table(path: Path, text: str) -> CandidateSource:
    """Return the source of a table of this text."""
    path.write_text(text, encoding="utf-8")
    return CandidateSource(path, get_layout("morgan4096"), 10.0, ReadReport())


def by_mass(tmp_path: Path) -> CandidateSource:
    """Return caffeine in two spellings, theobromine and aspirin, to be found by mass."""
    return table(
        tmp_path / "mass.csv",
        f"smiles,name\n{CAFFEINE},caffeine\n{ASPIRIN},aspirin\n"
        "CN1C=NC2=C1C(=O)N(C)C(=O)N2C,caffeine again\nCn1cnc2n(C)c(=O)[nH]c(=O)c12,theobromine\n",
    )


def mgf(path: Path, *records: str) -> Path:
    """Write records without their first and last line."""
    path.write_text(
        "".join(f"BEGIN IONS\n{record}\nEND IONS\n\n" for record in records), encoding="utf-8"
    )
    return path


def ranked(
    annotator: Annotator,
    queries: Path,
    source: CandidateSource,
    wanted: QueryFilter | None = None,
    assumed: Assumptions | None = None,
) -> list[Ranked | Unranked]:
    """Return what becomes of each query of a file."""
    records = read_queries(queries, ReadReport(), partial(annotator.assign_ion, assumed=assumed))
    return list(rank_spectra(annotator, records, source, wanted or QueryFilter(), n_jobs=1))


def said(outcome: Ranked | Unranked) -> str:
    """Return what the status will say."""
    if isinstance(outcome, Unranked):
        return "; ".join((str(outcome.refusal), *outcome.remarks))
    return "; ".join(("ok", *outcome.query.remarks))
