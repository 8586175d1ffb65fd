"""What a run says of itself, as lines for the user, sorted by what they are for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

_HEADING = "worth a look:"
_CALLING = ("note: ", "warning: ")  # how lines begin that ask for something


@dataclass(frozen=True)
class Told:
    """Lines for the user.

    Attributes
    ----------
    read
        What was read, left out and assumed.
    found
        How many queries were ranked, why others were not, and how many answers may be right.
    advice
        What may be wrong, and what would help: all that asks the user to do something.
    details
        How the probabilities came about, for those who look closer.
    """

    read: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    details: tuple[str, ...] = ()

    @classmethod
    def of_notes(cls, notes: Iterable[str]) -> Told:
        """Return notes on what was read; those that begin as notes or warnings are advice."""
        notes = tuple(notes)
        calling = tuple(note for note in notes if note.startswith(_CALLING))
        return cls(read=tuple(note for note in notes if note not in calling), advice=calling)

    def __add__(self, other: Told) -> Told:
        """Return the lines of both, kind by kind."""
        return Told(
            (*self.read, *other.read),
            (*self.found, *other.found),
            (*self.advice, *other.advice),
            (*self.details, *other.details),
        )

    def each(self, changed: Callable[[str], str]) -> Told:
        """Return the lines, each as a function returns it."""
        kinds = (self.read, self.found, self.advice, self.details)
        return Told(*(tuple(map(changed, lines)) for lines in kinds))

    @property
    def lines(self) -> list[str]:
        """All lines."""
        return [*self.read, *self.found, *self.advice, *self.details]

    def shown(self, *, with_details: bool = False) -> Iterator[str]:
        """Yield all lines, details only if they are wanted; what asks for something comes last."""
        yield from (*self.read, *self.found)
        if with_details:
            yield from self.details
        if self.advice:
            yield _HEADING
        for line in self.advice:
            yield f"- {line}"
