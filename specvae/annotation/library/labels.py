"""The names of library spectra, as a library keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class SpectrumLabel(NamedTuple):
    """Names of a library spectrum, its ion and its compound; empty where unknown.

    `origin` is `PREDICTED` for a spectrum that was computed, and `TENTATIVE` for one whose record
    calls its structure tentative.
    """

    query_id: str
    adduct: str
    name: str = ""
    origin: str = ""


PREDICTED = "predicted"
"""Origin of computed spectra; a match with one identifies no compound at level 2a."""

TENTATIVE = "tentative"
"""Origin of spectra of a tentative structure; a match with one identifies no compound either."""


def text_of(labels: Sequence[SpectrumLabel]) -> NDArray[np.uint8]:
    """Return labels as UTF-8 text, uint8 (n_bytes,), a line each, as a file stores them.

    A label without a name has two parts, as all had before names were stored. A label of a measured
    spectrum has at most three.
    """
    parts = (label if label.origin else label[: 3 if label.name else 2] for label in labels)
    lines = ("\t".join(" ".join(part.split()) for part in label) for label in parts)
    return np.frombuffer("\n".join(lines).encode("utf-8", "replace"), np.uint8).copy()


def labels_of(text: NDArray[np.uint8]) -> list[SpectrumLabel]:
    """Return the labels that `text_of` wrote."""
    lines = text.tobytes().decode("utf-8").split("\n")
    parts = ([*line.split("\t"), "", "", ""][:4] for line in lines)
    return [SpectrumLabel(*part) for part in parts]
