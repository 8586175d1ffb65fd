"""The files of a fold: what a query may know of its record."""

from __future__ import annotations

from pathlib import Path

from specvae_bench.folds.held_out import hold_out, write_fold

from specvae.annotation.library.filter import SpectrumFilter
from specvae.progress import Silence
from specvae.report import ReadReport
from specvae.spectra.read import read_spectra

RECORD = """Name: paracetamol {n}
DB#: P{n}
SMILES: CC(=O)Nc1ccc(O)cc1
PrecursorMZ: 152.0706
Precursor_type: [M+H]+
Ion_mode: P
{time}Num Peaks: 2
110.0600 100
65.0386 20

"""


def test_queries_keep_the_retention_times_that_their_records_state(tmp_path: Path) -> None:
    library = tmp_path / "library.msp"
    times = ("RetentionTime: 2.5 min\n", "")
    library.write_text("".join(RECORD.format(n=n, time=time) for n, time in enumerate(times)))
    report = ReadReport(strict=True)
    held = hold_out([library], SpectrumFilter(), 1.0, 2, 0, report, Silence())
    write_fold(held, tmp_path / "fold", [library], {})
    queries = list(read_spectra(tmp_path / "fold" / "queries.mgf", report))
    assert [(query.query_id, query.retention_time) for query in queries] == [
        ("P0", 150.0),
        ("P1", None),
    ]
    assert all(query.smiles is None for query in queries)
