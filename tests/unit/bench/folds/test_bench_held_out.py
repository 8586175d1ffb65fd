"""The files of a fold: what a query may know of its record."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner
from specvae_bench.folds.held_out import hold_out, write_fold
from specvae_bench.folds.holdout import holdout

from specvae.annotation.library.compounds import read_truth
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


def test_a_name_with_a_comma_is_one_identifier(tmp_path: Path) -> None:
    library = tmp_path / "library.msp"
    record = RECORD.format(n=1, time="").replace("DB#: P1\n", "")
    library.write_text(record.replace("paracetamol 1", 'N-(4-hydroxy, "para")acetamide'))
    held = hold_out([library], SpectrumFilter(), 1.0, 2, 0, ReadReport(), Silence())
    write_fold(held, tmp_path, [library], {})
    truth = read_truth(tmp_path / "truth.csv")
    assert truth == {'N-(4-hydroxy, "para")acetamide': "RZVAJINKPMORJF"}
    (query,) = read_spectra(tmp_path / "queries.mgf", ReadReport(strict=True))
    assert query.query_id in truth


def test_a_fold_without_structures_keeps_no_candidates_of_the_fold_before(tmp_path: Path) -> None:
    library, structures = tmp_path / "library.msp", tmp_path / "structures.smi"
    library.write_text("".join(RECORD.format(n=n, time="") for n in range(2)))
    structures.write_text("CC(=O)Nc1ccc(O)cc1 paracetamol\n")
    options = ["--spectra", str(library), "--share", "1", "-o", str(tmp_path / "fold")]
    CliRunner().invoke(holdout, [*options, "--structures", str(structures)], catch_exceptions=False)
    listed, record = tmp_path / "fold" / "candidates.csv", tmp_path / "fold" / "holdout.json"
    assert len(listed.read_text().splitlines()) == 3
    assert json.loads(record.read_text())["ppm"] == 10.0
    CliRunner().invoke(holdout, [*options, "--adduct", "M+H"], catch_exceptions=False)
    assert not listed.exists()
    found = json.loads(record.read_text())
    assert (found["ppm"], found["adducts"], found["ion_mode"]) == (None, ["[M+H]+"], None)
