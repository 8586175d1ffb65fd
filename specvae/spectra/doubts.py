"""What records say against their own structures."""

from __future__ import annotations

import re
from pathlib import Path

from specvae.spectra.spectrum import Spectrum

# MS-DIAL's names of structures that have the mass of a feature, and not its spectrum.
_SUGGESTION = re.compile(r"\s*(?:w/o MS2|no MS2|low score)\s*:", re.IGNORECASE)
# "DECOY_X", "x decoy 7"; keys "DECOY" and "is_decoy"; "Remark=DECOY" in a comment (SpectraST).
# "X (target-decoy FDR 1%)" was tested beside decoys, and is none.
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
    """Return how MS-DIAL names a structure that its spectrum does not show, None for any other.

    ``no MS2: X`` and ``w/o MS2: X`` have the mass of X alone, ``low score: X`` fell short in its
    comparison with the spectrum of X: no record of these tells what was measured.
    """
    names = (spectrum.name, spectrum.query_id)
    return next((name for name in names if name and _SUGGESTION.match(name)), None)


def decoy_of(spectrum: Spectrum) -> str | None:
    """Return how a record says that it is a decoy, None of any other.

    Libraries for target-decoy search hold spectra that were made up, to be matched by chance
    alone, beside the names and structures of the compounds that they were made from. That a file
    is called after decoys says nothing of its records, which may be targets as well.
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
    """Whether a record says of its own structure that it is tentative.

    As MassBank's remarks do (``CONFIDENCE Tentative identification ... (Level 3)``), or a name, or
    MZmine, which counts the other compounds of the sample that have the mass.
    """
    if spectrum.name and _TENTATIVE_NAME.search(spectrum.name) is not None:
        return True
    return any(
        ("entative" in text and _TENTATIVE_REMARK.search(text) is not None)
        or (_OTHERS_KEY.fullmatch(key.strip()) is not None and _SOME.fullmatch(text.strip()))
        for key, text in spectrum.metadata.items()
    )
