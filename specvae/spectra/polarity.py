"""Charge, ion mode and ion species of a record, brought into agreement."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from specvae.spectra.adducts import Adduct, parse_adduct, plain_signs
from specvae.spectra.notes import Note
from specvae.spectra.values import (
    LONGEST_VALUE,
    RejectedRecordError,
    given,
    is_charge_of_two_signs,
    is_open_charge,
    lowest_charge,
    parse_charge,
    parse_ion_mode,
)


class Polarity(NamedTuple):
    """Charge, ion mode and ion species of a record, in agreement."""

    adduct: str | None
    charge: int | None
    ion_mode: str | None
    notes: tuple[str, ...]


@lru_cache(maxsize=4096)
def reconcile_polarity(
    adduct_text: str | None, charge_text: str | None, ion_mode_text: str | None
) -> Polarity:
    """Bring ion species, charge and ion mode of one record into agreement.

    The ion species decides, then the sign of the charge, then the field for the ion mode. What is
    overruled leaves a note. A charge without sign takes the sign of the ion mode, else it is taken
    as positive, with a note. A species that is stated as unknown (``[M+?]+``) tells its charge.

    Raises
    ------
    RejectedRecordError
        If the charge is unreadable.
    """
    notes: list[str] = []
    text = given(adduct_text)
    mode = parse_ion_mode(ion_mode_text) if ion_mode_text else None
    if mode is None and ion_mode_text and given(ion_mode_text) is not None:
        notes.append(Note.MODE_NOT_UNDERSTOOD.about(ion_mode_text))
    charge, signed = parse_charge(charge_text)
    if is_charge_of_two_signs(charge_text):
        notes.append(Note.TWO_SIGNS.about(f"{charge_text}"))
    several = charge_text if charge_text and is_open_charge(charge_text) else None
    if mode is None and charge_text and not charge:
        mode = _mode_of_charge(charge_text)
    text = _with_usual_carrier(text, notes)
    ion = _first_species(text, (_sign_name(charge) if signed else None) or mode, notes)
    if ion is not None and text is not None:
        ion = _of_stated_charge(ion, text, charge, notes)
    if ion is not None:
        # "CHARGE=-" beside a species of the other sign stands for no charge.
        if mode is not None and ion.ion_mode != mode and charge_text != "-":
            notes.append(Note.MODE_OVERRULED_BY_SPECIES.about(f"{mode}, {text}"))
        if charge and (abs(charge) != abs(ion.charge) or (signed and charge != ion.charge)):
            notes.append(Note.CHARGE_OVERRULED_BY_SPECIES.about(f"{charge_text}, {text}"))
        if several is not None:
            notes.append(Note.SEVERAL_CHARGES.about(several))
        return Polarity(ion.name, ion.charge, ion.ion_mode, tuple(notes))
    text, charge, signed = _without_unknown(text, charge, signed, notes)
    if several is not None and not charge:
        charge, signed = _one_of_several(several, mode, notes)
    charge, mode = _without_species(charge, signed, mode, notes)
    return Polarity(text, charge or None, mode, tuple(notes))


def _with_usual_carrier(text: str | None, notes: list[str]) -> str | None:
    """Return a species with protons in the place of an unknown carrier of the charge.

    ``[M-H2O+?]+`` (MZmine) is taken as [M+H-H2O]+, as ``[M+?]+`` is taken as [M+H]+.
    """
    plain = plain_signs(text or "").replace(" ", "")
    found = _UNKNOWN_CARRIER.fullmatch(plain)
    if found is None or (found["before"] == "M" and not found["behind"]):
        return text
    size, sign = found["size"], found["sign"]
    body = f"[{found['before']}{sign}{size}H{found['behind']}]"
    ion = parse_adduct(body)
    if ion is None or ion.charge != int(f"{sign}{size or 1}"):
        return text  # it has another carrier, too
    notes.append(Note.SPECIES_UNKNOWN.about(f"{text}"))
    return f"{body}{size}{sign}"


_UNKNOWN_CARRIER = re.compile(
    r"\[(?P<before>\d?M[^\[\]?]*?)[+-]?\?(?P<behind>[^\[\]?]*)\](?P<size>\d?)(?P<sign>[+-])"
)


def _without_unknown(
    text: str | None, charge: int, signed: bool, notes: list[str]
) -> tuple[str | None, int, bool]:
    """Return no species if it is stated as unknown, and the charge that its text gives."""
    unknown = _UNKNOWN_SPECIES.search(plain_signs(text)) if text is not None else None
    if unknown is None:
        return text, charge, signed
    notes.append(Note.SPECIES_UNKNOWN.about(f"{text}"))
    if unknown["sign"] and not signed:
        size = abs(charge) or int(unknown["size"] or 1)
        charge, signed = (-size if unknown["sign"] == "-" else size), True
    return None, charge, signed


def _one_of_several(text: str, mode: str | None, notes: list[str]) -> tuple[int, bool]:
    """Return the lowest charge of ``2+ and 3+`` and whether it has a sign; 0 if it is unknown.

    Such an ion has not one charge, and two charges are more frequent than three. A line for a whole
    file may have the wrong sign for some of its records.
    """
    lowest = lowest_charge(text)
    if lowest is None or (mode is not None and lowest[1] and _sign_name(lowest[0]) != mode):
        notes.append(Note.SEVERAL_CHARGES.about(text))
        return 0, False
    notes.append(Note.LOWEST_CHARGE.about(text))
    return lowest


def _without_species(
    charge: int, signed: bool, mode: str | None, notes: list[str]
) -> tuple[int, str | None]:
    """Return charge and ion mode of a record that names no ion species that can be read."""
    if signed:
        if mode is not None and mode != _sign_name(charge):
            notes.append(Note.MODE_OVERRULED_BY_CHARGE.about(f"{mode}, {charge:+d}"))
    elif mode is not None:
        charge = -abs(charge) if mode == "negative" else abs(charge)
    elif charge:
        notes.append(Note.CHARGE_TAKEN_AS_POSITIVE.about(str(charge)))
    return charge, _sign_name(charge) or mode


def _first_species(text: str | None, ion_mode: str | None, notes: list[str]) -> Adduct | None:
    """Return the first ion species of a text, None if there is none."""
    if text is None:
        return None
    # MSn records list the species of each stage, as their precursor m/z does.
    plain = _MASS_BEHIND.sub("", plain_signs(text[:LONGEST_VALUE]))
    stages = _BETWEEN_SPECIES.split(plain.rstrip(";,/| "))
    ion = parse_adduct(stages[0], ion_mode)
    is_quotient = ion is not None and stages[1:] == [str(abs(ion.charge))]  # "M+2H/2"
    if ion is not None and len(stages) > 1 and not is_quotient:
        notes.append(Note.FIRST_SPECIES.about(text))
    return ion


def _of_stated_charge(ion: Adduct, text: str, charge: int, notes: list[str]) -> Adduct:
    """Return the ion that fits the record's charge if the named ion has another charge.

    ``[M+2H]+`` beside ``CHARGE=2+`` is [M+2H]2+, as the groups and the field agree. If the record
    states no charge, or the same one, the rare ion is taken as named; without a charge, a note says
    so.
    """
    body = plain_signs(text).strip().partition("]")[0] + "]"
    carried = parse_adduct(body) if body.startswith("[") else None
    if not charge and carried is not None and carried.charge != ion.charge:
        if _OF_CARRIERS.fullmatch(body.replace(" ", "")) is not None:
            notes.append(Note.ODD_CHARGE.about(text))
        return ion
    if (
        carried is None
        or abs(ion.charge) == abs(charge)
        or abs(carried.charge) != abs(charge)
        or carried.ion_mode != ion.ion_mode
    ):
        return ion
    notes.append(Note.SPECIES_CHARGE_OVERRULED.about(f"{text}, {charge:+d}"))
    return carried


# Species that gained only protons and metal ions.
_OF_CARRIERS = re.compile(r"\[\d?M(?:\+\d?(?:H|Na|K|Li|NH4))+\]")
_BETWEEN_SPECIES = re.compile(r"\s*(?:[,;/|]|\bor\b|\band\b|(?<=[\]+-])\s(?=\[))\s*")
# CAMERA's "[M+H]+ 194.08": with the mass of the molecule.
_MASS_BEHIND = re.compile(r"(?<=[\]+-])\s+\d{2,4}(?:\.\d+)?(?=\s|$)")
_UNKNOWN_SPECIES = re.compile(
    r"(?:\?|\bunk(?:nown)?\b)(?:(?:[^\])]*[\])]|[^+-]*?)\s*(?P<size>\d{0,2})(?P<sign>[+-]))?",
    re.IGNORECASE,
)


def _sign_name(charge: int) -> str | None:
    return None if charge == 0 else "positive" if charge > 0 else "negative"


def _mode_of_charge(text: str) -> str | None:
    """Return the ion mode of a charge without a size, ``-0`` (MZmine) or ``negative``."""
    word = plain_signs(text).strip("()[]{}; ")
    if is_open_charge(word):
        return None  # "1+ and 2+": see `_one_of_several`
    if word.strip("+-") == "0":
        return {"+": "positive", "-": "negative"}.get(word.strip("0")[:1])
    return None if any(map(str.isdigit, word)) else parse_ion_mode(word)


def charge_of(beside: str | None, stated: str | None) -> tuple[str | None, tuple[str, ...]]:
    """Return the charge that counts: one beside the precursor m/z overrules a line of its own."""
    if beside is None:
        return stated, ()
    size, signed = parse_charge(beside)
    try:
        other, other_signed = parse_charge(stated)
    except RejectedRecordError:
        other, other_signed = 0, False
    if size == 0 or other in (0, size):
        return (stated if other else beside), ()
    if not (signed and other_signed) and abs(size) == abs(other):
        return (beside if signed else stated), ()
    return beside, (Note.CHARGE_OVERRULED_BY_PRECURSOR.about(f"{stated}, {beside}"),)
