"""Numbers of things in words: ``1 spectrum``, ``1,234 spectra``."""

from __future__ import annotations

_IRREGULAR = {"spectra": "spectrum", "species": "species", "processes": "process"}


def counted(n: int, plural: str, singular: str | None = None) -> str:
    """Return a number with its noun: ``1 query``, ``1,234 queries``.

    Parameters
    ----------
    n
        How many there are.
    plural
        What they are, the noun last: ``compounds``, ``unreadable records``.
    singular
        What one is, where it is not the plural without its ending: ``query is`` of ``queries are``.
    """
    if n != 1:
        return f"{n:,} {plural}"
    return f"1 {_singular(plural) if singular is None else singular}"


def _singular(plural: str) -> str:
    others, blank, noun = plural.rpartition(" ")
    if noun in _IRREGULAR:
        noun = _IRREGULAR[noun]
    elif noun.endswith("ies"):
        noun = f"{noun.removesuffix('ies')}y"
    else:
        noun = noun.removesuffix("s")
    return f"{others}{blank}{noun}"
