"""The trainings of `bench supervision`; imports little, as ``--help`` lists them."""

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
_MOST_CHECKS = 5


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
        Unpaired examples that are learned from: ``none``; the ``spectra`` of the other pairs;
        ``molecules``, structures without spectra; or ``both``.
    """

    learner: str
    level: float
    unpaired: str

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.learner}-{self.level!r}-{self.unpaired}"

    @property
    def has_spectra(self) -> bool:
        """Whether it learns from spectra without their structures."""
        return self.unpaired in ("spectra", "both")

    @property
    def has_molecules(self) -> bool:
        """Whether it learns from structures without spectra."""
        return self.unpaired in ("molecules", "both")


def planned(learners: Sequence[str], levels: Iterable[float], unpaired: Iterable[str]) -> list[Run]:
    """Return all combinations that differ, the highest levels first.

    The plain network learns from pairs alone. At full supervision there are no other pairs whose
    spectra could be learned from: ``both`` is ``molecules``, and ``spectra`` is ``none``.
    """
    asked = set(unpaired)
    runs = (
        Run(learner, level, "molecules" if level == 1.0 and added == "both" else added)
        for level, added, learner in itertools.product(
            sorted(set(levels), reverse=True), [u for u in UNPAIRED if u in asked], learners
        )
    )
    return [
        run
        for run in dict.fromkeys(runs)
        if (run.learner != PLAIN or run.unpaired == "none")
        and (run.level < 1.0 or run.unpaired != "spectra")
    ]


def n_checks(steps: int) -> int:
    """Return how often a training is validated: at most five times, in equal parts of its steps."""
    return next(n for n in range(_MOST_CHECKS, 0, -1) if steps % n == 0)


def listing() -> str:
    """Return a line for each learner."""
    width = max(map(len, LEARNERS))
    return "\n".join(f"  {name:<{width}}  {about}" for name, about in LEARNERS.items())
