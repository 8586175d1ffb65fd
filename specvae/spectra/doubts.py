"""What records say against their own structures."""

from __future__ import annotations

import re

from specvae.spectra.spectrum import Spectrum

# MS-DIAL's names of structures that have the mass of a feature, and not its spectrum.
_SUGGESTION = re.compile(r"\s*(?:w/o MS2|no MS2|low score)\s*:", re.IGNORECASE)
_TENTATIVE_NAME = re.compile(r"\(tentative\)|^tentative\b", re.IGNORECASE)
_TENTATIVE_REMARK = re.compile(r"\bconfidence\W+tentative\b", re.IGNORECASE)


def suggestion_of(spectrum: Spectrum) -> str | None:
    """Return how MS-DIAL names a structure that its spectrum does not show, None for any other.

    ``no MS2: X`` and ``w/o MS2: X`` have the mass of X alone, ``low score: X`` fell short in its
    comparison with the spectrum of X: no record of these tells what was measured.
    """
    names = (spectrum.name, spectrum.query_id)
    return next((name for name in names if name and _SUGGESTION.match(name)), None)


def is_tentative(spectrum: Spectrum) -> bool:
    """Whether a record says of its own structure that it is tentative.

    As MassBank's remarks do (``CONFIDENCE Tentative identification ... (Level 3)``), or a name.
    """
    if spectrum.name and _TENTATIVE_NAME.search(spectrum.name) is not None:
        return True
    return any(
        _TENTATIVE_REMARK.search(text) is not None
        for text in spectrum.metadata.values()
        if "entative" in text
    )
