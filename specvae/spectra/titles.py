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
    r"(?:\s*\((\d+\.\d+)(?:-\d+\.\d+)?[ ,]?(?:min|\d+ scans))?"
)
_OF_THERMO = re.compile(r"\b(?:FT|IT|TQ|SQ|TOF|AST)MS\s+(?:\{[^}]*\}\s+)?([+-])\s+[cp]\s")


def words_of_title(text: str) -> TitleWords | None:
    """Return the fields of a title of an instrument's program, None for any other title.

    The titles of Agilent, Bruker and Thermo are known.
    """
    plain = plain_signs(text[:LONGEST_VALUE])
    if (found := _OF_BRUKER.search(plain)) is not None:
        return TitleWords("negative" if found[1] == "-" else "positive", found[2], found[3])
    if (found := _OF_AGILENT.search(plain)) is not None:
        return TitleWords("negative" if found[1] == "-" else "positive", None, found[2])
    if (found := _OF_THERMO.search(plain)) is not None:
        return TitleWords("negative" if found[1] == "-" else "positive")
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
_LEVEL_OF_LIBRARY = re.compile(r";\s*MS([1-9])\s*(?:;|$)")  # "Rutin; LC-ESI-ITFT; MS3; CE 35"


def level_of_title(text: str) -> int | None:
    """Return the MS level that a title states, None if it states none.

    Titles of MassBank and its kin, and those of Agilent's, Bruker's and Thermo's programs are
    known.
    """
    if "MS" not in text and "Scan" not in text:
        return None
    plain = plain_signs(text[:LONGEST_VALUE])
    for pattern in (_LEVEL_OF_LIBRARY, _LEVEL_OF_THERMO):
        if (found := pattern.search(plain)) is not None:
            return int(found[found.re.groups] or 1)
    if _SCAN_OF_AGILENT.search(plain) is not None:
        return 1
    if (found := _LEVEL_OF_BRUKER.search(plain)) is None:
        return None
    stage, chain = found.groups()
    if chain is None:  # a time stands there
        return 1 if stage is None else int(stage) if stage != "n" else None
    if "->" in chain:
        return 2 + chain.count("->")
    return int(stage) if stage is not None and stage != "n" else None
