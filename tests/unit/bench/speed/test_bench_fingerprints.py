from pathlib import Path

import pytest
from specvae_bench.speed.fingerprints import drawn, layout_speed, made_up

from specvae.errors import InputError
from specvae.molecules.molecule import Molecule

SMILES = ["CC(=O)Nc1ccc(O)cc1", "CN1C=NC2=C1C(=O)N(C)C(=O)N2C", "OCC1OC(O)C(O)C(O)C1O"]


def test_made_up_molecules_are_many_and_various() -> None:
    molecules = made_up(300)
    assert len({molecule.smiles for molecule in molecules}) == 300
    assert [m.smiles for m in made_up(20)] == [m.smiles for m in molecules[:20]]
    elements = {atom.GetSymbol() for m in molecules for atom in m.mol.GetAtoms()}
    assert elements >= {"C", "N", "O", "S", "P", "F", "Cl", "Br", "I", "Si", "B"}
    sizes = [molecule.mol.GetNumAtoms() for molecule in molecules]
    assert min(sizes) < 8 < 30 < max(sizes)
    assert max(molecule.mol.GetRingInfo().NumRings() for molecule in molecules) > 4


def test_rows_are_drawn_by_a_seed_and_those_without_a_structure_counted(tmp_path: Path) -> None:
    table = tmp_path / "structures.csv"
    table.write_text("name,smiles\n" + "".join(f"x,{'C' * n}O\n" for n in range(1, 40)) + "y,C(\n")
    molecules, n_skipped = drawn(table, 10)
    assert len(molecules) + n_skipped == 10
    assert [m.smiles for m in drawn(table, 10)[0]] == [m.smiles for m in molecules]
    assert [m.smiles for m in drawn(table, 10, seed=1)[0]] != [m.smiles for m in molecules]
    every, n_skipped = drawn(table)
    assert (len(every), n_skipped) == (39, 1)
    table.write_text("smiles\nC(\n")
    with pytest.raises(InputError, match="no row has a structure"):
        drawn(table)


def test_bits_are_compared_with_those_of_the_peer() -> None:
    figures = layout_speed([Molecule.parse(smiles) for smiles in SMILES], 2)
    assert (figures["n_structures"], figures["rounds"]) == (3, 2)
    # The kept bits of each block, and of PubChem's those that are no counts.
    cells = {name: found["cells"] // 3 for name, found in figures["bits"].items()}
    assert cells["laggner"] == 130
    assert cells["klekota_roth"] == 1334
    assert cells["pubchem"] + cells["pubchem_counts"] == 507
    assert cells["maccs"] == 138
    differ = {name: found["differ"] for name, found in figures["bits"].items()}
    assert differ.pop("pubchem_counts") > 0
    assert differ == {"laggner": 0, "pubchem": 0, "klekota_roth": 0, "maccs": 0}
    for name in ("svae2149", "mixed2149", "morgan4096"):
        assert figures[f"{name}_per_second"] == pytest.approx(1e3 / figures[f"{name}_ms"])
    peer = figures["scikit_fingerprints"]
    assert peer["together_ms"] > max(peer[f"{name}_ms"] for name in differ)
    assert figures["scikit_fingerprints_over_svae2149"] > 0
