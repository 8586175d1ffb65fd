"""How many queries were ranked, and why the others were not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from specvae.annotation.ranking.result import Answer, Cause, Ranked, Unranked

Counted = TypeVar("Counted", Ranked | Unranked, Answer | Unranked)


@dataclass(slots=True)
class Tally:
    """How many queries were ranked, and why the others were not.

    Attributes
    ----------
    n_queries, n_ranked
        Records of the file, those that could not be read included, and ranked ones among them.
    causes
        Queries that were not ranked by cause.
    reasons
        The same in words: `Refusal.counted_as`.
    remarks
        Ranked queries by what was assumed of them; the notes of the reader are counted by a
        `ReadReport`.
    """

    n_queries: int = 0
    n_ranked: int = 0
    causes: Counter[Cause] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)

    def counting(self, outcomes: Iterable[Counted]) -> Iterator[Counted]:
        """Yield the outcomes as they come, each counted."""
        for outcome in outcomes:
            self.n_queries += 1
            if isinstance(outcome, Unranked):
                self.causes[outcome.refusal.cause] += 1
                self.reasons[outcome.refusal.counted_as] += 1
            else:
                self.n_ranked += 1
                self.remarks.update(outcome.query.assumed)
            yield outcome

    def __str__(self) -> str:
        counted = f"{self.n_ranked:,} of {self.n_queries:,} queries ranked"
        reasons = (f"{n:,} {reason}" for reason, n in self.reasons.most_common())
        return "; ".join((counted, *reasons))
