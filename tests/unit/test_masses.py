import re
from pathlib import Path

import numpy as np
import pytest

from specvae import masses
from specvae.masses import (
    ELECTRON_MASS,
    ISOTOPE_MASSES,
    atoms_of_formula,
    deviation_ppm,
    formula_mass,
    hill_formula,
    is_near,
    parse_formula,
    ppm_width,
)


def test_isotope_masses_agree_with_an_independent_table() -> None:
    from pyteomics import mass  # takes most of a second to import

    for element, value in ISOTOPE_MASSES.items():
        if element == "D":
            assert value == pytest.approx(mass.nist_mass["H"][2][0], abs=1e-6)
        else:
            # nist_mass[element][0] is the mass of the most abundant isotope.
            assert value == pytest.approx(mass.nist_mass[element][0][0], abs=2e-5), element


def test_mass_of_glucose_and_of_the_proton() -> None:
    assert formula_mass("C6H12O6") == pytest.approx(180.0633881, abs=1e-6)
    # CODATA 2022 proton mass; the difference is the binding energy of the hydrogen atom.
    assert formula_mass("H") - ELECTRON_MASS == pytest.approx(1.0072764665789, abs=2e-8)


def test_formula_counts_repeated_elements() -> None:
    assert parse_formula("CH3COOH") == {"C": 2, "H": 4, "O": 2}


@pytest.mark.parametrize("text", ["", "c6", "C6(OH)2", "Xx2", "H2O+", "2H", "H0"])
def test_what_is_no_formula_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a molecular formula"):
        parse_formula(text)


def test_atoms_are_counted_beside_what_is_no_formula() -> None:
    assert atoms_of_formula("C5H14NO+") == {"C": 5, "H": 14, "N": 1, "O": 1}
    assert atoms_of_formula("CH3CH2Cl") == {"C": 2, "H": 5, "Cl": 1}
    assert atoms_of_formula("") == {}


def test_hill_order() -> None:
    assert hill_formula({"O": 2, "H": 4, "C": 2}) == "C2H4O2"
    assert hill_formula({"H": 3, "N": 1}) == "H3N"
    assert hill_formula({"Cl": 1, "H": 1}) == "ClH"


def test_each_mass_is_stated_once() -> None:
    """A second electron or hydrogen mass, to other digits, stood in two modules."""
    stated = [
        (path.name, line.strip())
        for path in sorted(Path(masses.__file__).parent.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\b(5\.?485_?7|1\.00_?78|1\.00_?72)", line)
    ]
    assert [name for name, _ in stated] == ["masses.py", "masses.py"], stated


def test_parts_per_million() -> None:
    assert deviation_ppm(200.001, 200.0) == pytest.approx(5.0)
    assert deviation_ppm(199.999, 200.0) == pytest.approx(-5.0)
    assert ppm_width(200.0, 5.0) == ppm_width(-200.0, 5.0) == pytest.approx(0.001)
    assert is_near(200.0009, 200.0, 5.0)
    assert not is_near(200.0011, 200.0, 5.0)
    of_many = np.array([100.0, 200.0, 400.0])
    assert ppm_width(of_many, 10.0).tolist() == [ppm_width(mass, 10.0) for mass in of_many.tolist()]
    assert deviation_ppm(of_many, of_many + 0.001).round(3).tolist() == [-10.0, -5.0, -2.5]


def test_parts_per_million_stand_once() -> None:
    """In three modules an error was computed, and in twelve a window, with other last digits."""
    package = Path(masses.__file__).parent
    stated = {
        path.name
        for path in package.rglob("*.py")
        if re.search(r"ppm.*1e-?6|1e-?6.*(ppm|expected)", path.read_text(encoding="utf-8"))
    }
    assert stated == {"masses.py"}
