"""Ion species: ``[M+H]+`` and its many spellings, with their mass and charge.

An adduct is n_m molecules M plus or minus groups of atoms, with a charge z:

    precursor m/z = (n_m * M + shift) / abs(z),    shift = mass of the groups - z * electron mass

Spellings are read by a small grammar rather than looked up: ``M+H``, ``[M+H]1+``, ``[M+2H]++``,
``[M+FA-H]-``. Two spellings of the same thing (same n_m, same net atoms, same charge) get the same
name. Radical marks (``[M]+*``) are dropped: they change neither mass nor charge.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from specvae.masses import (
    ELECTRON_MASS,
    ISOTOPE_MASSES,
    composition_mass,
    hill_formula,
    parse_formula,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_Mass = TypeVar("_Mass", float, "NDArray[np.float64]")


@dataclass(frozen=True, slots=True)
class Adduct:
    """How a neutral molecule became the ion that was measured.

    Parameters
    ----------
    name
        Canonical spelling, such as ``[M+H]+``.
    n_m
        Number of molecules in the ion.
    charge
        Signed number of elementary charges, never 0.
    mass_shift
        Mass in Da that the ion has beyond its `n_m` molecules, electrons included.
    """

    name: str
    n_m: int
    charge: int
    mass_shift: float

    @property
    def ion_mode(self) -> str:
        """``positive`` or ``negative``."""
        return "positive" if self.charge > 0 else "negative"

    @property
    def metal(self) -> tuple[str, int]:
        """Symbol and number of the metal atoms that the ion gained, which fragments may keep.

        ``("Na", 2)`` for ``[M+2Na-H]+``; ``("", 0)`` without metal atoms, or with several metals.
        """
        found = _METAL.findall(self.name)
        return (found[0][1], int(found[0][0] or 1)) if len(found) == 1 else ("", 0)

    def neutral_mass(self, precursor_mz: float) -> float:
        """Return the mass in Da of the neutral molecule whose ion has this m/z (Th)."""
        return (precursor_mz * abs(self.charge) - self.mass_shift) / self.n_m

    def precursor_mz(self, neutral_mass: _Mass) -> _Mass:
        """Return the m/z (Th) of the ion of a neutral molecule of this mass (Da), or of several."""
        return (self.n_m * neutral_mass + self.mass_shift) / abs(self.charge)


KNOWN_ADDUCTS: tuple[str, ...] = (
    "[M+H]+",
    "[M+Na]+",
    "[M+K]+",
    "[M+Li]+",
    "[M+NH4]+",
    "[M]+",
    "[M-H]+",
    "[M+H-H2O]+",
    "[M+H-2H2O]+",
    "[M+H-3H2O]+",
    "[M+H-NH3]+",
    "[M+2Na-H]+",
    "[M+2K-H]+",
    "[M+H+CH3OH]+",
    "[M+H+ACN]+",
    "[M+Na+ACN]+",
    "[M+2H]2+",
    "[M+3H]3+",
    "[M+4H]4+",
    "[M+H+Na]2+",
    "[M+H+K]2+",
    "[M+H+NH4]2+",
    "[M+2Na]2+",
    "[2M+H]+",
    "[2M+Na]+",
    "[2M+K]+",
    "[2M+NH4]+",
    "[3M+H]+",
    "[M-H]-",
    "[M]-",
    "[M-2H]2-",
    "[M-3H]3-",
    "[M-H-H2O]-",
    "[M-H-CO2]-",
    "[M-H-NH3]-",
    "[M-CH3]-",
    "[M+Cl]-",
    "[M+Br]-",
    "[M+HCOO]-",
    "[M+CH3COO]-",
    "[M+CF3COO]-",
    "[M+NO3]-",
    "[M+Na-2H]-",
    "[M+K-2H]-",
    "[2M-H]-",
    "[2M+HCOO]-",
    "[2M+CH3COO]-",
    "[2M+Na-2H]-",
    "[3M-H]-",
)
"""Common ion species by their canonical names; others are read as well."""

# Names of reagents that are not formulas, in lower case.
_ALIASES: Mapping[str, str] = {
    "fa": "CH2O2",
    "form": "CH2O2",
    "hac": "C2H4O2",
    "hoac": "C2H4O2",
    "acoh": "C2H4O2",
    "oac": "C2H3O2",
    "aco": "C2H3O2",
    "acn": "C2H3N",
    "mecn": "C2H3N",
    "meoh": "CH4O",
    "etoh": "C2H6O",
    "ipa": "C3H8O",
    "iproh": "C3H8O",
    "isoprop": "C3H8O",
    "dmso": "C2H6OS",
    "tfa": "C2HF3O2",
    "formate": "CHO2",
    "acetate": "C2H3O2",
    "me": "CH3",
    "hex": "C6H10O5",
    "etnh2": "C2H7N",
    "et3n": "C6H15N",
    "dmf": "C3H7NO",
    "ca": "Ca",  # calcium, where a program made all letters large
    "h20": "H2O",  # with a zero, as a much copied table of ion species has it: "M-H20-H"
}

# Group names by Hill formula where the Hill formula is not what a chemist writes.
_GROUP_NAMES: Mapping[str, str] = {
    "CHO2": "HCOO",
    "CH2O2": "HCOOH",
    "C2H3O2": "CH3COO",
    "C2H4O2": "CH3COOH",
    "C2F3O2": "CF3COO",
    "C2HF3O2": "TFA",
    "C2H3N": "ACN",
    "CH4O": "CH3OH",
    "C2H6OS": "DMSO",
    "H3N": "NH3",
    "H4N": "NH4",
    "ClH": "HCl",
    "FH": "HF",
}

# The charge that a group carries when it is added, by Hill formula.
_GROUP_CHARGES: Mapping[str, int] = {
    **dict.fromkeys(("H", "D", "Li", "Na", "K", "Rb", "Cs", "Ag", "H4N", "CH3"), 1),
    **dict.fromkeys(("Ca", "Mg", "Zn", "Cu"), 2),
    **dict.fromkeys(("F", "Cl", "Br", "I", "HO", "CHO2", "C2H3O2", "C2F3O2", "NO3"), -1),
}

# Acids that are added as their anions: [M+FA]- is what others write as [M+HCOO]-.
_ACIDS = frozenset({"CH2O2", "C2H4O2", "C2HF3O2"})

_SPECIES = re.compile(r"(\d*)M((?:[+-]\d*[A-Za-z][A-Za-z0-9]*)*)")
_GROUP = re.compile(r"([+-])(\d*)([A-Za-z][A-Za-z0-9]*)")
_BRACKETED = re.compile(r"\[([^\[\]]+)\](.*)|\(([^\[\]]+)\)([^()]*)")
_CHARGE = re.compile(r"(\d*)([+-]+)(\d*)")
_PARENTHESES = re.compile(r"(\d*)\(([A-Za-z][A-Za-z0-9]*)\)(\d*)")
# Brackets within a formula: "Si(CH3)3", "(CH3)3SiOH".
_WITHIN = re.compile(
    r"(?:(?<=[A-Za-z])|(?<=[A-Za-z]\d))(?<!M)\(([A-Za-z][A-Za-z0-9]*)\)(\d?)"
    r"|\(([A-Za-z][A-Za-z0-9]*)\)(\d?)(?=[A-Za-z(])"
)
_TIMES_BEHIND = re.compile(r"([+-])([A-Z][A-Za-z0-9]*)\s*[*\N{MULTIPLICATION SIGN}]\s*(\d)(?!\w)")
_INNER_SPECIES = re.compile(r"^\((M[^()]*)\)")  # MassBank's "[(M+NH3)+H]+"
_OXIDATION_STATE = re.compile(r"(?<=[a-z])\((?:I{1,3}|IV|V)\)")  # of a metal: Fe(III)
# "Fe3+" in "[M+Fe3+-2H+]+", and the charge of the whole in "M+Ca2+": the number counts charges.
_METALS = "Mg|Ca|Sr|Ba|Al|Cr|Mn|Fe|Co|Ni|Cu|Zn|Ga|Pd|Cd|Hg|Pb"
_METAL_ION = re.compile(rf"\+(\d?)({_METALS})([2-4])\+(?=[-+\])])")
_CHARGE_OF_METAL = re.compile(rf"(\d*M(?:[+-]\w+)*\+(?:{_METALS}))([2-4]\+)")
# "M+2H2+": as many charges as protons, and no molecules of hydrogen.
_CHARGE_OF_GROUPS = re.compile(r"(\[)?(\d*M(?:[+-]\w+)*[+-]([2-9])(?:H|Li|Na|K))(\3[+-])(?(1)\])")
_CHARGE_APART = re.compile(r"([^\[\]()]*M[^\[\]()]*\w)\s+(\d?[+-])")  # "M+2H 2+"
_DECIMAL_COUNT = re.compile(r"\d\.\d")
_CHARGE_BEHIND = re.compile(r"\[?([^\[\]()]+)\]?[\[(](\d{0,2}[+-]|[+-]\d{1,2})[\])]")
_ELECTRON = re.compile(r"([+-])(\d*)e-?(?![A-Za-z])")
_LOSS_BEHIND = re.compile(r"([\[(])(.*?)([\])])([+-]?\d*[+-]?)[\[(]([+-]\d*[A-Z]\w*)[\])]")
_MARKED_GROUP = re.compile(r"(?<=\w)[+-](?=[+-])")
_MARKED_END = re.compile(r"(?<=\w)[+-]+$")
_JOINED_GROUP = re.compile(r"^(\d*)M(H|Li|Na|K|NH4)(\d?)(?=[+-]|$)")
_BARE_GROUP = re.compile(
    r"([+-])(\d?(?:H|Na|K|Li|NH4|Cl|Br|HCOO|CH3COO))[+-]?|(H|Na|K|Li|NH4)\+|(Cl|Br|HCOO|CH3COO)-"
)
_BARE_GROUPS = re.compile(r"(?:[+-]\d?(?:CH3COO|HCOO|H2O|CO2|NH4|NH3|ACN|FA|Na|Li|Cl|Br|H|K|e))+")
_NUMBER_BEHIND = re.compile(r"([A-Z][a-z]?)(\d+)")  # an element, and how many or which isotope
# Molecules of one element, which carry no charge: "M+H-H2" has lost one, and no two protons.
_MOLECULES = frozenset({"H2", "N2", "O2", "F2", "Cl2", "Br2", "I2"})
_MOST_OF_A_GROUP = 9  # except protons: "+13C" is a label and not 13 atoms
_METAL = re.compile(r"\+(\d*)(Li|Na|K|Rb|Cs|Ag)(?=[-+\]])")  # in canonical names
_LIGHT_LITHIUM = (6, "Li")  # the only other isotope whose mass number could be read as a count
_LONG_NUMBER = re.compile(r"\d{4}")
_LONGEST = 80  # characters of an ion species
_DROPPED_MARKS = str.maketrans(dict.fromkeys(" \t*^.'\N{BULLET}\N{MIDDLE DOT}\N{DOT OPERATOR}"))
_DASHES = str.maketrans(
    dict.fromkeys(
        "\N{MINUS SIGN}\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{FIGURE DASH}\N{EN DASH}\N{EM DASH}", "-"
    )
)
_TAGS = re.compile(r"</?su[bp]>", re.IGNORECASE)


def plain_signs(text: str) -> str:
    """Return text with digits and signs of ASCII for superscripts, subscripts and dashes.

    HTML tags such as ``<sup>`` and characters without width are dropped.
    """
    if "<" in text:
        text = _TAGS.sub("", text)
    if text.isascii():
        return text
    plain = unicodedata.normalize("NFKC", text).translate(_DASHES)
    return "".join(c for c in plain if unicodedata.category(c) != "Cf")


def _parse_charge(text: str) -> int | None:
    """Return the signed charge of ``+``, ``2-``, ``+2`` or ``++``; None if it is none of them."""
    match = _CHARGE.fullmatch(text)
    if match is None:
        return None
    before, signs, after = match.groups()
    if len(set(signs)) > 1 or (before and after) or (len(signs) > 1 and (before or after)):
        return None
    size = int(before or after) if before or after else len(signs)
    return (size if signs[0] == "+" else -size) or None


def _parse_groups(text: str) -> list[tuple[int, str]] | None:
    """Return (signed count, Hill formula) for each group of ``+2H-H2O``."""
    groups: list[tuple[int, str]] = []
    for sign, count, token in _GROUP.findall(text):
        token = _ALIASES.get(token.lower(), token)
        behind = None if count or token in _MOLECULES else _NUMBER_BEHIND.fullmatch(token)
        if behind is not None:
            token, count = behind.groups()  # "Cl35" is "35Cl"
        try:
            formula = hill_formula(parse_formula(token))
        except ValueError:
            return None
        size = int(count or 1)
        if formula not in ("H", "D") and size == round(ISOTOPE_MASSES.get(formula, 0.0)):
            size = 1  # "+7Li" and "+35Cl" name the most abundant isotope, which is meant anyway
        elif (size > _MOST_OF_A_GROUP and formula != "H") or (size, formula) == _LIGHT_LITHIUM:
            return None
        groups.append(((-1 if sign == "-" else 1) * size, formula))
    return groups


def _group_order(item: tuple[str, int]) -> tuple[bool, bool, str]:
    """Order of groups within a name: gains before losses, charge carriers first."""
    formula, count = item
    return count < 0, formula not in _GROUP_CHARGES, formula


def _spell(n_m: int, groups: list[tuple[int, str]], charge: int) -> str:
    counts: dict[str, int] = {}
    for count, formula in groups:
        counts[formula] = counts.get(formula, 0) + count
    body = "".join(
        f"{'+' if n > 0 else '-'}{abs(n) if abs(n) > 1 else ''}{_GROUP_NAMES.get(f, f)}"
        for f, n in sorted(counts.items(), key=_group_order)
        if n
    )
    size = str(abs(charge)) if abs(charge) > 1 else ""
    return f"[{n_m if n_m > 1 else ''}M{body}]{size}{'+' if charge > 0 else '-'}"


@lru_cache(maxsize=4096)
def default_adduct(ion_mode: str | None, charge: int | None = None) -> Adduct | None:
    """Return the species that is assumed if a record names none; None without an ion mode.

    It is [M+H]+ or [M-H]-, or has as many protons as the record states charges.
    """
    if ion_mode not in ("positive", "negative"):
        return None
    sign = "+" if ion_mode == "positive" else "-"
    n = max(abs(charge or 1), 1)
    return parse_adduct(f"[M{sign}{n if n > 1 else ''}H]{n if n > 1 else ''}{sign}")


@lru_cache(maxsize=64)
def ion_of_cation(charge: int, of_molecule: int) -> Adduct:
    """Return the ion of a given charge that a cation forms by gaining or losing protons.

    For a cation of one charge it is [M]+, [M+H]2+ or [M-2H]-, for one of two [M]2+ or [M-H]+.
    """
    n = charge - of_molecule
    protons = "" if n == 0 else f"{'+' if n > 0 else '-'}{abs(n) if abs(n) > 1 else ''}H"
    size = "" if abs(charge) == 1 else f"{abs(charge)}"
    ion = parse_adduct(f"[M{protons}]{size}{'+' if charge > 0 else '-'}")
    assert ion is not None
    return ion


def parse_adduct(text: str, ion_mode: str | None = None) -> Adduct | None:
    """Read an ion species in any of its spellings.

    Parameters
    ----------
    text
        Such as ``[M+H]+``, ``M+H``, ``[M+H]1+``, ``[M-H2O+H]+`` or ``M+FA-H``.
    ion_mode
        ``positive`` or ``negative``: decides the sign of a species whose own text does not,
        such as ``M``.

    Returns
    -------
    Adduct or None
        None if the text is no ion species, for instance if it names an isotope (``[MCl37+H]``).
    """
    plain = _TIMES_BEHIND.sub(r"\1\3\2", plain_signs(text))  # "-H2O*2"
    plain = _DECIMAL_CHARGE.sub("", plain)
    if len(plain) > _LONGEST or _LONG_NUMBER.search(plain) or _DECIMAL_COUNT.search(plain):
        return None
    text = _usual_case(_with_its_brackets(_with_its_charge(plain)))
    text, n_charges = _without_charges_of_metals(text)
    if (bare := _BARE_GROUP.fullmatch(text)) is not None:  # "+H", "Na+", "Cl-": no molecule
        text = f"M{bare[1] or '+'}{bare[2] or bare[3] or bare[4]}"
    elif _BARE_GROUPS.fullmatch(text) is not None:  # UNIFI's "-H2O+H"
        text = f"M{text}"
    text = _LOSS_BEHIND.sub(r"\1\2\5\3\4", text)  # MassHunter's "(M+H)+[-H2O]"
    if (behind := _CHARGE_BEHIND.fullmatch(text)) is not None:  # mummichog's "M+H[1+]"
        text = f"[{behind[1]}]{behind[2]}"
    body, suffix, inner = _parts(text)
    body = _INNER_SPECIES.sub(r"\1", _OXIDATION_STATE.sub("", body))
    # Each level of brackets may repeat what is within nine times.
    while len(body) <= _LONGEST and (opened := _WITHIN.sub(_repeated, body)) != body:
        body = opened
    body, n_electrons = _without_electrons(_PARENTHESES.sub(_opened, body))
    match = _SPECIES.fullmatch(body)
    groups = _parse_groups(match.group(2)) if match else None
    if match is None or groups is None:
        return None
    n_m = int(match.group(1) or 1)
    if suffix.strip("()"):
        charge = _parse_charge(suffix.strip("()"))
    else:
        charge = _counted_charge(groups, n_charges - n_electrons) or _parse_charge(inner)
        charge = charge or {"positive": 1, "negative": -1}.get(ion_mode or "", 0)
    if not charge or not n_m:
        return None
    if charge == -1 and _charge_of(groups) == 0 and any(f in _ACIDS for n, f in groups if n > 0):
        groups.append((-1, "H"))
    return _make(n_m, groups, charge)


# Of "[M+H]+1.0": a point is a radical mark otherwise.
_DECIMAL_CHARGE = re.compile(r"(?<=\d)\.0+(?=[+-]?$)")
_INSIDE = r"(\d?M[^\[\](){}]*)"
_MISTYPED = (
    re.compile(rf"[\[({{]{_INSIDE}[\])}}]([\d+-]*)"),  # "[M+H)+", "{M+H}+"
    re.compile(rf"\[?\[{_INSIDE}\]([\d+-]+)\]"),  # "[M+H]+]", "[[M+H]+]"
    re.compile(rf"{_INSIDE}[\])]([\d+-]*)"),  # "M+H]+"
    # "[M+H+": a number before the last signs might count atoms.
    re.compile(r"[\[(](\d?M(?:[+-]\d*[A-Z]\w*)+(?<!\d))([+-]{1,2})"),
)


def _with_its_charge(text: str) -> str:
    """Return an ion species without blanks and radical marks, its charge behind brackets.

    So it is where blanks tell which sign is the charge, or the number before it does.
    """
    apart = _CHARGE_APART.fullmatch(text.strip())
    text = (f"[{apart[1]}]{apart[2]}" if apart else text).translate(_DROPPED_MARKS)
    if (found := _CHARGE_OF_METAL.fullmatch(text)) is not None:
        return f"[{found[1]}]{found[2]}"
    if (found := _CHARGE_OF_GROUPS.fullmatch(text)) is not None:
        return f"[{found[2]}]{found[4]}"
    return text


def _without_charges_of_metals(text: str) -> tuple[str, int]:
    """Return an ion species without the charges of its metal ions: how many more they are.

    More than `_GROUP_CHARGES` says, which counts where the whole states no charge.
    """
    n_more = 0
    for count, metal, charge in _METAL_ION.findall(text):
        n_more += int(count or 1) * (int(charge) - _GROUP_CHARGES.get(metal, 0))
    return _METAL_ION.sub(r"+\1\2", text), n_more


def _with_its_brackets(text: str) -> str:
    """Return an ion species without typing errors in its brackets, and without quotes."""
    text = text.strip("\"',;")
    if text.startswith("([") and text.endswith(")"):
        text = text[1:-1]
    if text.count("[") == text.count("]") == 1 or not any(c in text for c in "[](){}"):
        return text
    for form in _MISTYPED:
        if (found := form.fullmatch(text)) is not None:
            return f"[{found[1]}]{found[2]}"
    return text


def _usual_case(text: str) -> str:
    """Return an ion species in its usual case if a program wrote all letters small or large.

    ``[m+na]+`` and ``[M+NA]+`` are [M+Na]+; texts that hold anything else stay as they are.
    """
    if _OF_COMMON_GROUPS.fullmatch(text) is None:
        return text
    return _ANY_GROUP.sub(lambda found: _COMMON_GROUPS[found[0].lower()], text)


_COMMON_GROUPS = {
    group.lower(): group
    for group in (
        *("CH3COO", "HCOO", "H2O", "CO2", "NH4", "NH3", "ACN"),  # the longer ones first
        *("Na", "Li", "Cl", "Br", "H", "K", "M"),
    )
}
_ANY_GROUP = re.compile("|".join(_COMMON_GROUPS), re.IGNORECASE)
_OF_COMMON_GROUPS = re.compile(
    rf"[\[(]?\d?M(?:[+-]\d?(?:{_ANY_GROUP.pattern}))+(?:[\])][\d+-]*)?", re.IGNORECASE
)


def _parts(text: str) -> tuple[str, str, str]:
    """Return the groups of an ion species, its charge, and the charge inside its brackets."""
    bracketed = _BRACKETED.fullmatch(text)
    body, suffix = text, ""
    if bracketed is not None:
        body, suffix = (part for part in bracketed.groups() if part is not None)
    # "M+H+", "[M+Na+]+": signs behind a group are charges of it, or of the whole.
    end = _MARKED_END.search(body)
    body, inner = (body[: end.start()], end.group()) if end is not None else (body, "")
    if not bracketed:
        suffix = inner
    body = _MARKED_GROUP.sub("", body)
    if body.startswith("Cat"):  # NIST's name for a molecule that is a cation
        body = f"M{body[3:]}"
    if "-" not in suffix + inner:
        body = _JOINED_GROUP.sub(_taken_apart, body)
    return body, suffix, inner


def _counted_charge(groups: list[tuple[int, str]], n_more: int) -> int:
    """Return the charge that groups and `n_more` give, 0 if a metal may have several."""
    is_sure = n_more or all(f in _GROUP_CHARGES or f not in _METALS.split("|") for _, f in groups)
    return _charge_of(groups) + n_more if is_sure else 0


def _charge_of(groups: list[tuple[int, str]]) -> int:
    return sum(count * _GROUP_CHARGES.get(formula, 0) for count, formula in groups)


def _taken_apart(match: re.Match[str]) -> str:
    """Return ``M+2H`` for ``MH2``."""
    n_m, group, count = match.groups()
    return f"{n_m}M+{count}{group}"


def _opened(match: re.Match[str]) -> str:
    """Return ``2NH4`` for ``2(NH4)`` and ``(NH4)2``."""
    before, group, after = match.groups()
    return match.group() if before and after else f"{before or after}{group}"


def _repeated(match: re.Match[str]) -> str:
    """Return a part of a formula, repeated as often as its count says."""
    group, count = match[1] or match[3], match[2] or match[4]
    return group * int(count or 1)


def _without_electrons(body: str) -> tuple[str, int]:
    """Return a species without its electrons, and how many it gains: -1 for ``M-e``.

    Electrons have no atoms, and the charge of the ion includes them.
    """
    n_electrons = 0
    for sign, count in _ELECTRON.findall(body):
        n_electrons += (1 if sign == "+" else -1) * int(count or 1)
    return _ELECTRON.sub("", body), n_electrons


def _make(n_m: int, groups: list[tuple[int, str]], charge: int) -> Adduct:
    net = _net(groups)
    name = _known_names().get((n_m, net, charge)) or _spell(n_m, groups, charge)
    return Adduct(name, n_m, charge, composition_mass(dict(net)) - charge * ELECTRON_MASS)


def _net(groups: list[tuple[int, str]]) -> frozenset[tuple[str, int]]:
    atoms: dict[str, int] = {}
    for count, formula in groups:
        for element, n in parse_formula(formula).items():
            atoms[element] = atoms.get(element, 0) + count * n
    return frozenset((element, n) for element, n in atoms.items() if n)


@lru_cache(maxsize=1)
def _known_names() -> dict[tuple[int, frozenset[tuple[str, int]], int], str]:
    """Canonical names by their meaning."""
    names: dict[tuple[int, frozenset[tuple[str, int]], int], str] = {}
    for name in KNOWN_ADDUCTS:
        inner, suffix = name[1:].split("]")
        match = _SPECIES.fullmatch(inner)
        charge = _parse_charge(suffix)
        groups = _parse_groups(match.group(2)) if match else None
        if match is None or charge is None or groups is None:
            raise ValueError(f"{name!r} in the table of adducts is no ion species")
        names[int(match.group(1) or 1), _net(groups), charge] = name
    return names
