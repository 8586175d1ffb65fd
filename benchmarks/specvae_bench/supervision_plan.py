"""Which trainings `bench supervision` makes; light, so that ``--help`` can list them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PLAIN = "plain-network"
# Name -> what it is, for ``--help``.
LEARNERS = {
    "svae": "the paper's SVAE: its objective; inputs, networks, weights of preset small",
    "svae-star": "the same with VAEVAE's objective",
    "vaevae": "the paper's VAEVAE, likewise",
    "vaevae-star": "VAEVAE with SVAE's objective",
    "ours": "preset small: svae, and a term for the path that annotation uses",
    PLAIN: "two hidden layers, BCE on the bits; pairs only",
}
UNPAIRED = ("none", "spectra", "molecules", "both")
LEVELS = (1.0, 0.3, 0.1, 0.03, 0.01)


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes
    ----------
    learner
        One of `LEARNERS`.
    level
        Share of the pairs that keep their structure.
    unpaired
        What else is learned from: ``none``; the ``spectra`` of the other pairs; ``molecules``,
        structures without spectra; or ``both``.
    """

    learner: str
    level: float
    unpaired: str

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.learner}-{self.level:g}-{self.unpaired}"

    @property
    def has_spectra(self) -> bool:
        """Whether it learns from spectra without their structures."""
        return self.unpaired in ("spectra", "both")

    @property
    def has_molecules(self) -> bool:
        """Whether it learns from structures without spectra."""
        return self.unpaired in ("molecules", "both")


def planned(learners: Sequence[str], levels: Iterable[float], unpaired: Iterable[str]) -> list[Run]:
    """Return all combinations that differ, the cheapest to compare first.

    A learner of pairs has no other, and at full supervision there are no other pairs whose spectra
    could be learned from.
    """
    runs = [
        Run(learner, level, what)
        for level, what, learner in itertools.product(
            sorted(set(levels), reverse=True), [u for u in UNPAIRED if u in set(unpaired)], learners
        )
    ]
    return [
        run
        for run in runs
        if (run.learner != PLAIN or run.unpaired == "none")
        and (run.level < 1.0 or run.unpaired != "spectra")
    ]


def listing() -> str:
    """Return a line for each learner."""
    width = max(map(len, LEARNERS))
    return "\n".join(f"  {name:<{width}}  {about}" for name, about in LEARNERS.items())
