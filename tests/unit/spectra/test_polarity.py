import pytest

from specvae.spectra.adducts import default_adduct
from specvae.spectra.polarity import charge_of, reconcile_polarity


@pytest.mark.parametrize(
    ("adduct", "charge", "mode", "expected", "n_notes"),
    [
        ("M+H", "1+", "Positive", ("[M+H]+", 1, "positive"), 0),
        ("[M-H]-", "1+", None, ("[M-H]-", -1, "negative"), 1),
        ("[M-H]-", "1", None, ("[M-H]-", -1, "negative"), 0),
        ("[M+2H]2+", "1+", "P", ("[M+2H]2+", 2, "positive"), 1),
        (None, "1+", "negative", (None, 1, "positive"), 1),
        (None, "1", "negative", (None, -1, "negative"), 0),
        (None, None, "-", (None, None, "negative"), 0),
        (None, "2-", None, (None, -2, "negative"), 0),
        (None, "1", None, (None, 1, "positive"), 1),
        (None, "0", "n/a", (None, None, None), 0),
        (None, "1+ and 2+", None, (None, 1, "positive"), 1),
        (None, "1-, 2-", None, (None, -1, "negative"), 1),
        (None, "1+ or 1-", None, (None, None, None), 1),
        (None, "2+ and 3+", None, (None, 2, "positive"), 1),
        (None, "3+ and 2+", "P", (None, 2, "positive"), 1),
        (None, "2 and 3", "N", (None, -2, "negative"), 1),
        (None, "2+, 3+ and 4+", None, (None, 2, "positive"), 1),
        # A line for the whole file, whose records state their ion mode.
        (None, "2+ and 3+", "negative", (None, None, "negative"), 1),
        (None, "2+ or more", "positive", (None, None, "positive"), 1),
        ("[M+3H]3+", "2+ and 3+", None, ("[M+3H]3+", 3, "positive"), 1),
        ("M", None, "N", ("[M]-", -1, "negative"), 0),
        ("[MCl37+H]", "1+", "Positive", ("[MCl37+H]", 1, "positive"), 0),
        ("[M+CH3COO]-/[M-CH3]-", None, "N", ("[M+CH3COO]-", -1, "negative"), 1),
    ],
)
def test_species_then_ion_mode_then_charge_decide(
    adduct: str | None,
    charge: str | None,
    mode: str | None,
    expected: tuple[str | None, int | None, str | None],
    n_notes: int,
) -> None:
    polarity = reconcile_polarity(adduct, charge, mode)
    assert polarity[:3] == expected
    assert len(polarity.notes) == n_notes


@pytest.mark.parametrize("charge", ["2+ and 3+", "2+ 3+", "+2 +3", "2 3"])
def test_several_charges_are_not_taken_for_one(charge: str) -> None:
    """An ion of two or three charges was taken for [M+H]+ where the ion mode was stated."""
    polarity = reconcile_polarity(None, charge, "positive")
    assert polarity.notes == (f"several charges stated, the lowest taken ({charge})",)
    ion = default_adduct(polarity.ion_mode, polarity.charge)
    assert ion is not None
    assert ion.name == "[M+2H]2+"


def test_species_overrules_the_ion_mode() -> None:
    polarity = reconcile_polarity("[M+H]+", "1+", "negative")
    assert polarity[:3] == ("[M+H]+", 1, "positive")
    assert polarity.notes == ("ion mode overruled by ion species (negative, [M+H]+)",)


@pytest.mark.parametrize("text", ["[M+H]+ [M+Na]+", "[M+H]+ or [M+Na]+", "[M+H]<sup>+</sup>/M+Na"])
def test_of_several_ion_species_the_first_is_taken(text: str) -> None:
    polarity = reconcile_polarity(text, None, None)
    assert (polarity.adduct, polarity.charge) == ("[M+H]+", 1)
    assert polarity.notes == (f"first of several ion species taken ({text})",)


@pytest.mark.parametrize(
    ("species", "charge", "name", "n_notes"),
    [
        ("[M+2H]+", "2+", "[M+2H]2+", 1),
        ("[M+2H]+", "2", "[M+2H]2+", 1),
        ("[M-2H]-", "2-", "[M-2H]2-", 1),
        ("[M+H+Na]+", "2+", "[M+H+Na]2+", 1),
        ("[M+H]2+", "1+", "[M+H]+", 1),
        # Rare ions, which nothing contradicts.
        ("[M+2H]+", "1+", "[M+2H]+", 0),
        ("[M-2H]-", None, "[M-2H]-", 0),
        # Neither the groups nor the sign of the record's charge say so.
        ("[M+2H]+", "3+", "[M+2H]+", 1),
        ("[M+H]+", "2+", "[M+H]+", 1),
    ],
)
def test_groups_and_charge_overrule_the_charge_behind_a_species(
    species: str, charge: str | None, name: str, n_notes: int
) -> None:
    polarity = reconcile_polarity(species, charge, None)
    assert polarity.adduct == name
    assert len(polarity.notes) == n_notes


@pytest.mark.parametrize("text", ["[M+H]+;", "M+H,", "[M+H]+ 194.08", "[M+H]+ 194"])
def test_what_stands_behind_one_ion_species_is_no_other(text: str) -> None:
    assert reconcile_polarity(text, None, None) == ("[M+H]+", 1, "positive", ())


def test_a_quotient_is_one_ion_species() -> None:
    assert reconcile_polarity("M+2H/2", None, None) == ("[M+2H]2+", 2, "positive", ())


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("-0", "negative"),
        ("0-", "negative"),
        ("+0", "positive"),
        ("0", None),
        ("neg", "negative"),
        ("positive", "positive"),
        ("?", None),
        ("NA+", None),
        ("None+", None),
        ("n/a-", None),
    ],
)
def test_a_charge_without_size_may_tell_the_ion_mode(text: str, mode: str | None) -> None:
    assert reconcile_polarity(None, text, None)[1:] == (None, mode, ())
    # The field for the ion mode says it outright.
    assert reconcile_polarity(None, text, "positive").ion_mode == "positive"


@pytest.mark.parametrize(
    ("adduct", "charge", "mode", "expected"),
    [
        ("[M+?]+", None, None, (1, "positive")),
        ("[M+?]-", None, None, (-1, "negative")),
        ("[M + ?]2+", None, None, (2, "positive")),
        ("[M+?]\u207b", "1", None, (-1, "negative")),
        ("[M+?]+", "1-", None, (-1, "negative")),
        ("[M+?]", "1+", None, (1, "positive")),
        ("[M+Na+?]+", None, None, (1, "positive")),
        ("[M+?-X]+", None, None, (1, "positive")),
        ("?", None, "positive", (None, "positive")),
        ("[Unk]+", None, None, (1, "positive")),
    ],
)
def test_an_unknown_species_is_as_none_stated(
    adduct: str, charge: str | None, mode: str | None, expected: tuple[int | None, str]
) -> None:
    polarity = reconcile_polarity(adduct, charge, mode)
    assert polarity[:3] == (None, *expected)
    assert f"ion species stated as unknown ({adduct})" in polarity.notes


def test_an_ion_mode_that_is_not_understood_is_said_and_the_charge_counts() -> None:
    polarity = reconcile_polarity(None, "1-", "photoionization")
    assert polarity[:3] == (None, -1, "negative")
    assert polarity.notes == ("ion mode not understood (photoionization)",)
    assert reconcile_polarity(None, "1-", "N.A.").notes == ()


def test_a_stated_charge_overrules_the_ion_mode() -> None:
    polarity = reconcile_polarity(None, "1-", "positive")
    assert polarity[:3] == (None, -1, "negative")
    assert polarity.notes == ("ion mode overruled by charge (positive, -1)",)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[M-H2O+?]+", "[M+H-H2O]+"),
        ("[M+?-H2O]+", "[M+H-H2O]+"),
        ("[M-H2O-?]-", "[M-H-H2O]-"),
        ("[2M+?]+", "[2M+H]+"),
        ("[M-H2O+?]2+", "[M+2H-H2O]2+"),
    ],
)
def test_losses_and_multiples_of_a_species_with_an_unknown_carrier(text: str, name: str) -> None:
    """MZmine writes such; they were taken for [M+H]+, or for a negative ion."""
    found = reconcile_polarity(text, None, None)
    assert found.adduct == name
    assert found.notes == (f"ion species stated as unknown ({text})",)


@pytest.mark.parametrize(
    ("adduct", "charge", "found"),
    [
        ("[M+2H]+", "2+", ("[M+2H]2+", 2)),
        ("[M+2H]1+", "2", ("[M+2H]2+", 2)),
        ("[M+H]2+", "1+", ("[M+H]+", 1)),
        ("[M-2H]-", "2-", ("[M-2H]2-", -2)),
    ],
)
def test_groups_and_charge_of_a_record_overrule_the_charge_behind_the_species(
    adduct: str, charge: str, found: tuple[str, int]
) -> None:
    polarity = reconcile_polarity(adduct, charge, None)
    assert polarity[:2] == found
    said = f"{adduct}, {found[1]:+d}"
    assert polarity.notes == (
        f"charge behind the ion species overruled by the record's own ({said})",
    )


@pytest.mark.parametrize(
    ("adduct", "charge"),
    [("[M+2H]+", "1+"), ("[M+2H]+", None), ("[M+H]+", "2+"), ("[M-2H]-", "3-")],
)
def test_a_species_that_the_charge_does_not_speak_against_stays(
    adduct: str, charge: str | None
) -> None:
    assert reconcile_polarity(adduct, charge, None).adduct == adduct


@pytest.mark.parametrize(
    ("beside", "stated", "charge", "is_said"),
    [
        (None, "2+", "2+", False),
        ("2+", None, "2+", False),
        ("2+", "??", "2+", False),
        ("2+", "2+", "2+", False),
        ("0", "2+", "2+", False),
        ("2", "2-", "2-", False),
        ("2-", "2", "2-", False),
        ("2+", "1+", "2+", True),
        ("2+", "2-", "2+", True),
    ],
)
def test_the_charge_beside_the_precursor_goes_before_its_own_line(
    beside: str | None, stated: str | None, charge: str, is_said: bool
) -> None:
    said = (f"charge overruled by the precursor's own ({stated}, {beside})",) if is_said else ()
    assert charge_of(beside, stated) == (charge, said)
