import pytest

from specvae.masses import ELECTRON_MASS, formula_mass
from specvae.spectra.adducts import KNOWN_ADDUCTS, Adduct, ion_of_cation, parse_adduct


def read(text: str, ion_mode: str | None = None) -> Adduct:
    ion = parse_adduct(text, ion_mode)
    assert ion is not None, text
    return ion


@pytest.mark.parametrize(
    ("name", "spellings"),
    [
        ("[M+H]+", ["M+H", "[M+H]1+", "[M+H]+1", "(M+H)+", "M+H+", "[M + H]+", "[M+H](1+)"]),
        ("[M+2H]2+", ["[M+2H]++", "M+2H", "[M+2H]+2", "[M+H+H]2+"]),
        ("[M+H-H2O]+", ["[M-H2O+H]+", "M-H2O+H", "[M+H-H2O]", "[M-OH]+"]),
        ("[M+HCOO]-", ["[M+FA-H]-", "[M+HCO2]-", "[M+HCOOH-H]-", "[M-H+CH2O2]-", "M+FA-H"]),
        ("[M+CH3COO]-", ["[M+Hac-H]-", "[M+CH3COOH-H]-", "[M+OAc]-", "M+HAc-H"]),
        ("[M]+", ["[M]+*", "[M]+.", "M+", "[M].+"]),
        ("[M-2H]2-", ["[M-2H]--", "M-2H"]),
        ("[M-H]-", ["M-H", "[M-H]1-", "[M\N{MINUS SIGN}H]\N{MINUS SIGN}"]),
        ("[M+Na-2H]-", ["[M-2H+Na]-", "M+Na-2H"]),
        ("[2M+H]+", ["2M+H", "[2M+H]1+"]),
        ("[M+H+ACN]+", ["M+ACN+H", "[M+C2H3N+H]+"]),
        ("[M+Cl]-", ["M+Cl", "[M+Cl]1-", "[M+Cl35]-", "[M+35Cl]-", "[M+CL]-"]),
        ("[M+K]+", ["[M+K39]+", "[m+k]+"]),
        ("[M+Li]+", ["[M+Li7]+", "[M+LI]+"]),
        ("[M+2D]2+", ["[M+D2]2+"]),
        ("[M+H-H2O]+", ["[m+h-h2o]+", "m+h-h2o"]),
        ("[M+NH4]+", ["[m+nh4]+"]),
        ("[2M+CH3COO]-", ["[2m+ch3coo]-"]),
        ("[M+CO]+", ["[M+CO]+"]),
        ("[M+H]+", ["+H", "H+", "+H+"]),
        ("[M+Na]+", ["+Na", "Na+"]),
        ("[M-H]-", ["-H"]),
        ("[M+Cl]-", ["Cl-", "+Cl"]),
        ("[M+H]+", ["[M+H+", "M+H]+", "[M+H)+", "{M+H}+", "[M+H]+]", "[[M+H]+]", "([M+H]+)"]),
        ("[M+H]+", ['"[M+H]+"', "[M+H]+,", "[M+H]+1.0"]),
        ("[M-H]-", ["[M-H-", "(M-H]-"]),
        ("[M+2H]2+", ["M+2H]2+", "[M+2H++"]),
        ("[M+Ca]2+", ["[M+CA]2+"]),
        ("[M+H+C2H7N]+", ["[M+EtNH2+H]+"]),
        ("[M+Mg]2+", ["M+Mg"]),
        ("[M+Zn-H]+", ["M+Zn-H", "M-H+Zn"]),
    ],
)
def test_spellings_of_one_species_get_one_name(name: str, spellings: list[str]) -> None:
    assert [read(text).name for text in [name, *spellings]] == [name] * (1 + len(spellings))


def test_the_table_covers_both_polarities_and_keeps_its_own_names() -> None:
    assert len(KNOWN_ADDUCTS) >= 25
    assert [read(name).name for name in KNOWN_ADDUCTS] == list(KNOWN_ADDUCTS)
    modes = [read(name).ion_mode for name in KNOWN_ADDUCTS]
    assert modes.count("positive") >= 15
    assert modes.count("negative") >= 10


# m/z of glucose (C6H12O6) ions, by adding up isotope masses and electrons by hand.
@pytest.mark.parametrize(
    ("name", "mz"),
    [
        ("[M+H]+", 181.070665),
        ("[M+Na]+", 203.052609),
        ("[M+NH4]+", 198.097214),
        ("[M-H]-", 179.056112),
        ("[M+Cl]-", 215.032789),
        ("[M+HCOO]-", 225.061591),
        ("[M+2H]2+", 91.038970),
        ("[2M+H]+", 361.134053),
        ("[M]+", 180.062840),
        ("[M]-", 180.063937),
    ],
)
def test_mz_of_glucose_ions(name: str, mz: float) -> None:
    assert read(name).precursor_mz(formula_mass("C6H12O6")) == pytest.approx(mz, abs=2e-6)


@pytest.mark.parametrize("name", KNOWN_ADDUCTS)
def test_neutral_mass_undoes_precursor_mz(name: str) -> None:
    ion = read(name)
    assert ion.neutral_mass(ion.precursor_mz(321.1234)) == pytest.approx(321.1234, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("M+H-H2", "[M-H]+"),
        ("[M-H2+H]", "[M-H]+"),
        ("M+H-Cl2", "[M+H-Cl2]+"),
        ("[M+H-N2]+", "[M+H-N2]+"),
        ("[M-H2]2-", "[M-2H]2-"),
    ],
)
def test_a_molecule_of_one_element_that_is_lost_carries_no_charge(text: str, name: str) -> None:
    assert read(text).name == name


def test_electron_mass_has_the_sign_of_the_charge() -> None:
    gap = read("[M]-").precursor_mz(100.0) - read("[M]+").precursor_mz(100.0)
    assert gap == pytest.approx(2 * ELECTRON_MASS, abs=1e-12)


def test_species_beyond_the_table_are_read_and_ordered() -> None:
    ion = read("[M-C6H10O5+H]+")
    assert ion.name == "[M+H-C6H10O5]+"
    assert ion.mass_shift == pytest.approx(
        formula_mass("H") - formula_mass("C6H10O5") - ELECTRON_MASS, abs=1e-9
    )


def test_a_charge_that_the_text_leaves_open_comes_from_the_ion_mode() -> None:
    assert parse_adduct("M") is None
    assert read("M", "positive").name == "[M]+"
    assert read("[M]", "negative").name == "[M]-"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "foo",
        "[MCl37+H]",
        "[M+Cl37]-",
        "[M+C13+H]+",
        "[M+Li6]+",
        "H-",
        "Na",
        "NA+",
        "1+",
        "m",
        "[M+H]+-",
        "[M+Xx]+",
        "M+1",
        "[M+H]0+",
        "[0M+H]+",
        "+",
        "[]+",
        "M+H0",
        "[M+",
        "[M+2H2+",
        "[M+C2+",
        f"[M+{'C(' * 18}C{')9' * 18}]+",  # nested: 9 to the power of 18 atoms
    ],
)
def test_what_is_no_ion_species_gives_none(text: str) -> None:
    assert parse_adduct(text) is None


@pytest.mark.parametrize(
    ("text", "metal"),
    [
        ("[M+Na]+", ("Na", 1)),
        ("M+Na", ("Na", 1)),
        ("[2M+K]+", ("K", 1)),
        ("[M+Na+ACN]+", ("Na", 1)),
        ("[M+H+Na]2+", ("Na", 1)),
        ("[M+2Na-H]+", ("Na", 2)),
        ("[M-H+2Na]+", ("Na", 2)),
        ("[M+Na-2H]-", ("Na", 1)),
        ("[M+Ag]+", ("Ag", 1)),
        ("[M+H]+", ("", 0)),
        ("[M+NH4]+", ("", 0)),
        ("[M]+", ("", 0)),
        # Which of two kinds a fragment keeps is not looked into.
        ("[M+Na+K]2+", ("", 0)),
        # What is lost or bound is no ion of a metal.
        ("[M-Na]-", ("", 0)),
        ("[M+NaCl+H]+", ("", 0)),
    ],
)
def test_metals_that_fragments_may_keep(text: str, metal: tuple[str, int]) -> None:
    adduct = parse_adduct(text)
    assert adduct is not None
    assert adduct.metal == metal


@pytest.mark.parametrize(
    ("charge", "of_molecule", "name"),
    [
        (1, 1, "[M]+"),
        (2, 1, "[M+H]2+"),
        (3, 1, "[M+2H]3+"),
        (-1, 1, "[M-2H]-"),
        (2, 2, "[M]2+"),
        (1, 2, "[M-H]+"),
        (-2, 1, "[M-3H]2-"),
    ],
)
def test_ions_that_molecules_with_charges_make_by_protons(
    charge: int, of_molecule: int, name: str
) -> None:
    assert ion_of_cation(charge, of_molecule).name == name
