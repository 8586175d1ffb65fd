"""Collision energies, as files write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from specvae.spectra.values import LONGEST_VALUE, NUMBER


class CollisionEnergy(NamedTuple):
    """A collision energy, as far as it can be read from its text.

    Parameters
    ----------
    ev
        Energy in eV.
    nce
        Normalised energy in percent of the instrument's scale.
    text
        The record's own words.
    """

    ev: float | None
    nce: float | None
    text: str


_NUMBERS = re.compile(NUMBER)
_EV = re.compile(rf"({NUMBER})\s*(?:eV|V)\b", re.IGNORECASE)
_NCE = re.compile(
    rf"({NUMBER})\s*\(?\s*(?:%|NCE)|NCE\W*({NUMBER})(?![\d.]|\s*e?V\b)", re.IGNORECASE
)
_EV_AND_NCE = (  # "CE 20 NCE 35"
    re.compile(rf"(?<![A-Za-z])CE\W*({NUMBER})", re.IGNORECASE),
    re.compile(rf"NCE\W*({NUMBER})", re.IGNORECASE),
)
_NCE_WORDS = re.compile(r"%|nce|nominal|normali[sz]ed", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d\s*-\s*\d+\.)")
_ENERGY_WORDS = re.compile(
    r"ramp(?:ed)?|from|to|stepped|steps?|resonant|relative|nominal|normali[sz]ed|collision|energy"
    r"|nce|ce|hcd|cid|(?:ft|it)-ms(?: ii)?|argon|(?:electron[- ]?)?volts?|kev|kv|ev|v",
    re.IGNORECASE,
)
_ENERGY_KEY = re.compile(r"\b(n?ce|(?:collision )?energy)\s*=", re.IGNORECASE)
_CFM_LEVEL = re.compile(r"energy([012])", re.IGNORECASE)
_CFM_ENERGIES = (10.0, 20.0, 40.0)  # eV, of the three spectra that CFM-ID predicts of a compound
_SPREAD = re.compile(rf"\s*(?:\u00b1|\+/?-|[,;]?\s*CES\W*)\s*(?:{NUMBER})", re.IGNORECASE)
_STEPPED_NCE = re.compile(r"\b(?:S-?NCE|N\(S\)CE)", re.IGNORECASE)
_DOTS = re.compile(r"\s*(?:\.{2,}|\u2026)\s*")
_WITH_REMARK = re.compile(r"([^()]*)\(([^()]*)\)")
_OTHER_FRAME = re.compile(r"c\W?o\W?m|cent", re.IGNORECASE)  # of the centre of mass
_COMMA_INSIDE = re.compile(r"^\D*\d+,\d+\D*$")
_KILO = re.compile(r"\d\s*ke?V\b", re.IGNORECASE)
_ONE_LISTED = r"(?:\d+(?:\.\d+)?)(?:\s*(?:e?V|%|NCE))?"
_LISTED = re.compile(
    rf"(?:[NH]?CE|HCD|CID)?\W*{_ONE_LISTED}(?:(?:\s*[,;/]\s*|\s+){_ONE_LISTED})+\W*", re.IGNORECASE
)
# Where no unit is stated: on the scale of HCD, in steps of whatever it is, or stages of MSn.
_OPEN_SCALE = re.compile(r"/|hcd|step", re.IGNORECASE)
_HIGHEST_ENERGY = 1e6  # eV
_HIGHEST_NCE = 1e3  # percent; "sNCE203040" is of three numbers


def _mean(numbers: Iterable[str], highest: float = _HIGHEST_ENERGY) -> float | None:
    values = [float(number) for number in numbers]
    mean = sum(values) / len(values) if values else float("inf")
    return mean if mean < highest else None


@lru_cache(maxsize=4096)
def parse_collision_energy(text: str) -> CollisionEnergy:
    """Read a collision energy, in eV or normalised.

    Volts are taken as eV, kV and keV as thousands of them; ``%``, ``NCE``, ``(nominal)`` and
    ``normalized`` mark normalised energies; a bare number is eV. Ramps and lists give the mean of
    their numbers, and ``35 +/- 15`` gives its middle. What is ambiguous gives neither value and
    stays as text: alternatives (``15 or 30``), formulas in m/z, activation amplitudes below 1
    (``0.70``), slash lists of MSn stages, bare numbers with ``HCD`` or in steps
    (``25,60,100 (stepped)``), whose scale differs between instruments, a ramp beside another energy
    (``Ramp 17.2-25.8 eV 30 eV``), and ``35,5``, which may be a decimal comma. ``energy0`` to
    ``energy2`` are those of CFM-ID.
    """
    words = text[:LONGEST_VALUE].strip().strip('"')
    # "42% (nominal) with stepped collision energies 30% and 55%": the first is their mean.
    body = _DECIMAL_COMMA.sub(".", words.partition(" with ")[0].partition(" by Ar")[0])
    if (level := _CFM_LEVEL.fullmatch(body.strip())) is not None:
        return CollisionEnergy(_CFM_ENERGIES[int(level[1])], None, text)
    body = _STEPPED_NCE.sub("NCE", _DOTS.sub("-", body))
    body = _ENERGY_KEY.sub(r"\1 ", _SPREAD.sub("", body))
    body = _without_remark(body)
    numbers = _NUMBERS.findall(body)
    unknown = CollisionEnergy(None, None, text)
    # Lists of energies rise: "20,40" is one.
    if not numbers or (_COMMA_INSIDE.search(body) and float(numbers[0]) > float(numbers[1])):
        return unknown
    has_ev = _EV.search(body) is not None
    has_nce = _NCE_WORDS.search(body) is not None
    if has_ev and has_nce:
        nce = [a or b for a, b in _NCE.findall(body)]
        return CollisionEnergy(_mean(_EV.findall(body)), _mean(nce, _HIGHEST_NCE), text)
    in_ev, in_nce = (pattern.search(body) for pattern in _EV_AND_NCE)
    if len(numbers) == 2 and in_ev is not None and in_nce is not None:
        return CollisionEnergy(_mean([in_ev[1]]), _mean([in_nce[1]], _HIGHEST_NCE), text)
    leftover = _NUMBERS.sub(" ", _ENERGY_WORDS.sub(" ", body))
    if any(c.isalpha() or c in "=<" for c in leftover):
        return unknown
    if has_nce:
        return CollisionEnergy(None, _mean(numbers, _HIGHEST_NCE), text)
    if _KILO.search(body):
        return CollisionEnergy(_mean(str(1000 * float(n)) for n in numbers), None, text)
    if _is_unclear(body, numbers, has_ev):
        return unknown
    return CollisionEnergy(_mean(numbers), None, text)


def _is_unclear(body: str, numbers: Sequence[str], has_ev: bool) -> bool:
    if len(numbers) > 2 and "ramp" in body.lower():
        return True  # "Ramp 17.2-25.8 eV 30 eV": the ramp, or the other
    if has_ev:
        return False
    if _OPEN_SCALE.search(body) is not None or float(numbers[0]) < 1:
        return True
    return len(numbers) > 1 and re.search(r"[-,;]|to|ramp", body, re.IGNORECASE) is None


def _without_remark(body: str) -> str:
    """Return the energy of ``35% (z=2)`` and ``65 HCD (NCE 20-30-40%)``: the part with its scale.

    Where both parts or neither say what scale they are of, all is returned.
    """
    if (found := _WITH_REMARK.fullmatch(body.strip())) is None or _OTHER_FRAME.search(found[2]):
        return body
    stated, remark = found[1], found[2]
    if _NUMBERS.search(stated) is None:
        return body
    if not _has_scale(remark):
        return stated if _has_scale(stated) else body
    return remark if _NUMBERS.search(remark) and not _has_scale(stated) else body


def _has_scale(text: str) -> bool:
    return _EV.search(text) is not None or _NCE_WORDS.search(text) is not None


def parse_normalized_energy(text: str) -> CollisionEnergy:
    """Read a collision energy whose key says that it is normalised."""
    return parse_collision_energy(text if _NCE_WORDS.search(text) else f"{text} NCE")


def is_of_a_list(energy: CollisionEnergy) -> bool:
    """Return whether an energy is the mean of several that are listed, not called steps or a ramp.

    The spectrum may be of several that were joined, or of one of them.
    """
    if (energy.ev is None) == (energy.nce is None):
        return False
    text = energy.text[:LONGEST_VALUE].strip()
    is_list = _LISTED.fullmatch(text) is not None
    return is_list and len(set(map(float, _NUMBERS.findall(text)))) > 1
