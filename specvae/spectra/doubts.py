"""Statements of records that put their own structures in doubt."""

from __future__ import annotations

import re
from pathlib import Path

from specvae.spectra.spectrum import Spectrum

# MS-DIAL's names of structures that have the mass of a feature, and not its spectrum.
_SUGGESTION = re.compile(r"\s*(?:w/o MS2|no MS2|low score)\s*:", re.IGNORECASE)
# "DECOY_X", "x decoy 7"; keys "DECOY" and "is_decoy"; "Remark=DECOY" in a comment (SpectraST).
# "X (target-decoy FDR 1%)" is no decoy: it was only tested against decoys.
_DECOY = re.compile(
    r"(?<![a-z])(?<!target[\s_/+-])(?<!no[\s_-])decoys?(?![a-z]|[\s_-]?free)", re.IGNORECASE
)
_DECOY_KEY = re.compile(r"(?:is[\s_-]?)?decoy", re.IGNORECASE)
_YES = frozenset({"1", "y", "yes", "t", "true"})
_DECOY_REMARK = re.compile(
    r"(?<![a-z])(?:is[\s_-]?)?decoy\W{0,3}[=:]\W{0,3}(?:1|y|yes|t|true)\b|=\W?decoy(?![a-z-])",
    re.IGNORECASE,
)
_OTHERS_KEY = re.compile(r"other_matched_compounds(?:_n)?", re.IGNORECASE)
_SOME = re.compile(r"0*[1-9]\d*(?:\.0*)?")
_TENTATIVE_NAME = re.compile(r"\(tentative\)|^tentative\b", re.IGNORECASE)
_TENTATIVE_REMARK = re.compile(r"\bconfidence\W+tentative\b", re.IGNORECASE)


def suggestion_of(spectrum: Spectrum) -> str | None:
    """Return MS-DIAL's name of a structure that its spectrum does not support, else None.

    ``no MS2: X`` and ``w/o MS2: X`` have the mass of X alone, ``low score: X`` fell short in its
    comparison with the spectrum of X: such records do not show which compound was measured.
    """
    names = (spectrum.name, spectrum.query_id)
    return next((name for name in names if name and _SUGGESTION.match(name)), None)


def decoy_of(spectrum: Spectrum) -> str | None:
    """Return the words by which a record says that it is a decoy, else None.

    Libraries for target-decoy search hold artificial spectra, which match by chance only, with the
    names and structures of the compounds that they were made from. The name of a file does not
    count, as a file that is named after decoys may hold targets as well.
    """
    file_name = Path(spectrum.path or "").name
    is_of_file = bool(file_name) and spectrum.query_id.startswith(f"{file_name}#")
    for name in (spectrum.name, None if is_of_file else spectrum.query_id):
        if name and _DECOY.search(name) is not None:
            return name
    for key, text in spectrum.metadata.items():
        if _DECOY_KEY.fullmatch(key.strip()) is not None:
            if text.strip().lower() in _YES:
                return f"{key}: {text}"
        elif _DECOY.fullmatch(text.strip()) is not None or (
            "decoy" in text.lower() and _DECOY_REMARK.search(text) is not None
        ):
            return f"{key}: {text}"
    return None


def is_tentative(spectrum: Spectrum) -> bool:
    """Return whether a record says that its own structure is tentative.

    MassBank says so in a remark (``CONFIDENCE Tentative identification ... (Level 3)``), others in
    the name. MZmine states how many other compounds of the sample have the same mass.
    """
    if spectrum.name and _TENTATIVE_NAME.search(spectrum.name) is not None:
        return True
    return any(
        ("entative" in text and _TENTATIVE_REMARK.search(text) is not None)
        or (_OTHERS_KEY.fullmatch(key.strip()) is not None and _SOME.fullmatch(text.strip()))
        for key, text in spectrum.metadata.items()
    )
