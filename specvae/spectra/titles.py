"""Titles of spectra, as instruments' programs and libraries write them."""

from __future__ import annotations

import re
from typing import NamedTuple

from specvae.spectra.adducts import plain_signs
from specvae.spectra.values import LONGEST_VALUE


class TitleWords(NamedTuple):
    """The fields that a title of an instrument's program states.

    Parameters
    ----------
    ion_mode
        ``positive`` or ``negative``.
    charge
        As found, None if it is not there.
    minutes
        Retention time in minutes, as found.
    """

    ion_mode: str
    charge: str | None = None
    minutes: str | None = None


# "Cmpd 1, -MS2(193.0726, 2-), 20.0eV, 5.2 min" (Bruker), and "FTMS + p ESI Full ms2" (Thermo).
_OF_BRUKER = re.compile(
    r"(?:^|[\s,])([+-])(?:Auto)?MS(?:n|[2-9])?\((?:[A-Za-z]+ )?\d+(?:\.\d+)?"
    r"(?:\s*->\s*\d+(?:\.\d+)?)*(?:,\s*(\d{1,2}[+-]))?\)"
    r"(?:.*?[\s,](\d+\.\d+)(?:-\d+\.\d+)?\s?min\b)?"
)
# "+ESI Product Ion (5.201 min) Frag=175.0V CID@20.0 (195.0877[z=1] -> **)" (Agilent).
_OF_AGILENT = re.compile(
    r"(?:^|[\s:])([+-])\s?(?:ESI|APCI|APPI|MMI)\s+Product Ion\b"
    r"(?:\s*\((?:rt: )?(\d+\.\d+)(?:-\d+\.\d+)?[ ,]?(?:min|\d+ scans))?"
    r"(?:.*?\[z=(\d{1,2})\])?"
)
# "2: TOF MSMS 195.09ES+", "Daughters of 195ES-" (Waters).
_OF_WATERS = re.compile(
    r"\b(TOF MS|TOF MSMS|Daughters of)\s+(?:\d+(?:\.\d+)?\s?)?(?:ES|AP|ASAP|LD)([+-])"
)
# "+TOF MS^2 (50 - 1000)", "-EPI (353.09) CE (-35)" (Sciex).
_OF_SCIEX = re.compile(
    r"(?:^|[\s,:])([+-])\s?(TOF MS(?!\w)(?:\^[2-9]|/MS)?|TOF Product\b|EPI\b|MS[23] \(\d)"
)
_OF_THERMO = re.compile(r"\b(?:FT|IT|TQ|SQ|TOF|AST)MS\s+(?:\{[^}]*\}\s+)?([+-])\s+[cp]\s")


_WORDS = ("MS", "Product", "EPI", "Daughters")  # one is in each of them


def words_of_title(text: str) -> TitleWords | None:
    """Return the fields of a title of an instrument's program, None for any other title.

    The titles of Agilent, Bruker, Sciex, Thermo and Waters are known.
    """
    if not any(word in text for word in _WORDS):
        return None
    plain = plain_signs(text[:LONGEST_VALUE])
    if (found := _OF_BRUKER.search(plain)) is not None:
        return TitleWords("negative" if found[1] == "-" else "positive", found[2], found[3])
    if (found := _OF_AGILENT.search(plain)) is not None:
        charge = None if found[3] is None else f"{found[3]}{found[1]}"
        return TitleWords("negative" if found[1] == "-" else "positive", charge, found[2])
    for pattern, group in ((_OF_THERMO, 1), (_OF_WATERS, 2), (_OF_SCIEX, 1)):
        if (found := pattern.search(plain)) is not None:
            return TitleWords("negative" if found[group] == "-" else "positive")
    return None


# Stages of a chain, "+MSn(433.1->271.1)"; a survey scan has none, "+MS, 5.2-5.4min #312".
_LEVEL_OF_BRUKER = re.compile(
    r"(?:^|[\s,])[+-](?:Auto)?MS(n|[2-9])?"
    r"(?:\((?:[A-Za-z]+ )?\d+(?:\.\d+)?((?:\s*->\s*\d+(?:\.\d+)?)*)"
    r"|,\s\d+\.\d+(?:-\d+\.\d+)?\s?min\b)"
)
_SCAN_OF_AGILENT = re.compile(r"(?:^|[\s:])[+-]\s?(?:ESI|APCI|APPI|MMI)\s+(?:TOF\s+)?Scan\b")
_LEVEL_OF_THERMO = re.compile(
    _OF_THERMO.pattern + r"[^@]*?\b(?:Full|SIM|Z)(?:\s+lock)?\s+ms([2-9]|(?=\s+\[))"
)
# "Rutin; LC-ESI-ITFT; MS3; CE 35", and "msLevel 1; retentionTime 121.25" of MSnbase.
_LEVEL_OF_LIBRARY = re.compile(r";\s*MS([1-9])\s*(?:;|$)")
_LEVEL_OF_MSNBASE = re.compile(r"^msLevel ([1-9]);")


def level_of_title(text: str) -> int | None:
    """Return the MS level that a title states, None if it states none.

    Titles of MassBank and its kin, of MSnbase, and those of the programs of Agilent, Bruker, Sciex,
    Thermo and Waters are known.
    """
    if not any(word in text for word in (*_WORDS, "Scan", "msLevel")):
        return None
    plain = plain_signs(text[:LONGEST_VALUE])
    for pattern in (_LEVEL_OF_LIBRARY, _LEVEL_OF_MSNBASE, _LEVEL_OF_THERMO):
        if (found := pattern.search(plain)) is not None:
            return int(found[found.re.groups] or 1)
    if _SCAN_OF_AGILENT.search(plain) is not None:
        return 1
    if (found := _OF_WATERS.search(plain)) is not None:
        return None if found[1] == "TOF MS" else 2  # of MSE, too
    if (found := _OF_SCIEX.search(plain)) is not None:
        return 1 if found[2] == "TOF MS" else 3 if "3" in found[2] else 2
    if (found := _LEVEL_OF_BRUKER.search(plain)) is None:
        return None
    stage, chain = found.groups()
    if chain is None:  # a time stands there
        return 1 if stage is None else int(stage) if stage != "n" else None
    if "->" in chain:
        return 2 + chain.count("->")
    return int(stage) if stage is not None and stage != "n" else None
