"""The committed demo data hold what data/README.md says, and the script makes them."""

from __future__ import annotations

import csv
import math
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from specvae.molecules.molecule import parse_molecule
from specvae.report import ReadReport
from specvae.spectra.read import read_spectra
from specvae.spectra.spectrum import Spectrum

DATA = Path(__file__).resolve().parents[2] / "data"
DEMO = DATA / "demo"
PPM = 10.0


def read_strictly(name: str) -> list[Spectrum]:
    return list(read_spectra(DEMO / name, ReadReport(strict=True)))


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def library() -> list[Spectrum]:
    return read_strictly("library.msp")


@pytest.fixture(scope="module")
def queries() -> list[Spectrum]:
    return read_strictly("queries.mgf")


@pytest.fixture(scope="module")
def truth() -> dict[str, str]:
    return {row["query_id"]: row["inchikey14"] for row in read_rows(DEMO / "truth.csv")}


@pytest.fixture(scope="module")
def candidates() -> list[tuple[float, str]]:
    """Exact mass and first block of each candidate."""
    molecules = [parse_molecule(smiles=row["smiles"]) for row in read_rows(DEMO / "candidates.csv")]
    return [(molecule.exact_mass, molecule.first_block) for molecule in molecules]


def test_molecule_list_is_sound() -> None:
    lines = (DATA / "demo_molecules.smi").read_text(encoding="utf-8").splitlines()
    entries = [line.split(maxsplit=1) for line in lines if not line.startswith("#")]
    molecules = [parse_molecule(smiles=smiles) for smiles, _ in entries]
    assert len({name for _, name in entries}) == len(entries) == 875
    assert len({molecule.first_block for molecule in molecules}) == 875
    assert all(80 <= molecule.exact_mass <= 1000 for molecule in molecules)


def test_library_spectra_fit_their_structures(library: list[Spectrum]) -> None:
    assert {spectrum.collision_energy for spectrum in library} == {10.0, 20.0, 40.0}
    for spectrum in library[::5]:
        molecule = parse_molecule(smiles=spectrum.smiles)
        assert spectrum.adduct == "[M+H]+"
        assert spectrum.ion_mode == "positive"
        assert spectrum.neutral_mass == pytest.approx(molecule.exact_mass, abs=2e-4)
        assert spectrum.first_block == molecule.first_block
        assert spectrum.mz[-1] <= (spectrum.precursor_mz or math.nan) * (1 + PPM * 1e-6)


def test_files_say_that_they_are_simulated(
    library: list[Spectrum], queries: list[Spectrum]
) -> None:
    assert all("simulated" in (spectrum.instrument_type or "") for spectrum in library)
    n_records = {"library.msp": len(library), "queries.mgf": len(queries)}
    for name, n in n_records.items():
        text = (DEMO / name).read_text(encoding="utf-8")
        assert text.count("simulated by data/make_demo.py, not measured") == n
    assert "simulated" in (DATA / "README.md").read_text(encoding="utf-8")


def test_no_query_compound_is_in_the_library(
    library: list[Spectrum], truth: dict[str, str]
) -> None:
    assert {spectrum.first_block for spectrum in library} & set(truth.values()) == set()


def test_every_query_has_a_truth_among_several_candidates(
    queries: list[Spectrum], truth: dict[str, str], candidates: list[tuple[float, str]]
) -> None:
    assert [query.query_id for query in queries] == list(truth)
    assert len(queries) >= 30
    sizes = []
    for query in queries:
        mass = query.neutral_mass
        assert mass is not None
        blocks = [block for other, block in candidates if abs(other - mass) <= PPM * 1e-6 * mass]
        assert truth[query.query_id] in blocks
        sizes.append(len(blocks))
    assert statistics.median(sizes) >= 5


def test_candidates_go_by_mass_and_are_distinct(candidates: list[tuple[float, str]]) -> None:
    header = (DEMO / "candidates.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "smiles,name,id"
    assert len({block for _, block in candidates}) == len(candidates)


def test_demo_data_stay_small() -> None:
    assert sum(path.stat().st_size for path in DEMO.iterdir()) < 2_000_000


def test_script_repeats_itself_and_follows_the_seed(tmp_path: Path) -> None:
    lines = (DATA / "demo_molecules.smi").read_text(encoding="utf-8").splitlines()
    few = tmp_path / "few.smi"
    few.write_text("\n".join(lines[:60]), encoding="utf-8")

    def make(out: str, seed: int) -> dict[str, bytes]:
        script = [sys.executable, str(DATA / "make_demo.py"), "--molecules", str(few)]
        subprocess.run(
            [*script, "-o", str(tmp_path / out), "--seed", str(seed)],
            check=True,
            capture_output=True,
        )
        return {path.name: path.read_bytes() for path in (tmp_path / out).iterdir()}

    first = make("a", 1)
    assert set(first) == {"library.msp", "queries.mgf", "candidates.csv", "truth.csv"}
    assert make("b", 1) == first
    assert make("c", 2)["truth.csv"] != first["truth.csv"]
