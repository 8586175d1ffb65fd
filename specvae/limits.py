"""How large a line, a record, a table and a structure may be.

A file of a few megabytes can unpack to one that never ends, and a structure of a few kilobytes can
take minutes and gigabytes. What is beyond a limit is skipped or refused, and the message names the
limit. Limits hold for a process and those that it starts: they stand in the environment variable
``SPECVAE_LIMITS`` (``record_peaks=2000000,structure_atoms=2000``), which ``--limit`` sets for one
command.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from specvae.errors import ConfigError
from specvae.settings import Range, override, parse_assignments

VARIABLE = "SPECVAE_LIMITS"

_Limit = Annotated[int, Range(1, 10**15)]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits by name.

    Parameters
    ----------
    line_bytes
        Longest line of a file of spectra; beyond it the file is refused.
    record_bytes
        Longest stretch of a file of spectra without the end of a record; likewise.
    record_peaks, record_fields
        Most peaks of a record, and lines before them; beyond them the record is skipped.
    table_line
        Longest line, in characters, of a table of structures or truths; beyond it the file is
        refused.
    table_gap
        Most empty lines in a row of such a table; likewise.
    table_rows
        Most structures of a table of candidates, which is held in memory; likewise.
    skipped
        Most records or rows that are skipped of what a command reads; beyond it the command ends.
    structure_characters, structure_atoms, structure_components
        Longest SMILES or InChI, most heavy atoms, and most components (those of salts and
        mixtures); beyond them the row is skipped.
    """

    line_bytes: _Limit = 1 << 22
    record_bytes: _Limit = 1 << 25
    record_peaks: _Limit = 1_000_000
    record_fields: _Limit = 10_000
    table_line: _Limit = 10_000_000
    table_gap: _Limit = 1_000_000
    table_rows: _Limit = 5_000_000
    skipped: _Limit = 1_000_000
    structure_characters: _Limit = 10_000
    structure_atoms: _Limit = 1_000
    structure_components: _Limit = 100


def limits() -> Limits:
    """Return the limits that hold.

    Raises
    ------
    ConfigError
        If the environment names a limit that does not exist, or no positive whole number.
    """
    text = os.environ.get(VARIABLE, "")
    try:
        return _parsed(text)
    except ConfigError as error:
        raise ConfigError(f"{VARIABLE}={text}: {error}") from None


@lru_cache(maxsize=64)
def _parsed(text: str) -> Limits:
    return override(Limits(), parse_assignments(filter(None, text.split(",")), "--limit"))


@contextmanager
def changed_limits(assignments: Iterable[str]) -> Iterator[None]:
    """Let other limits hold inside, each given as ``name=value``.

    Raises
    ------
    ConfigError
        If a limit does not exist, or a value is no positive whole number.
    """
    before = os.environ.get(VARIABLE)
    text = ",".join([*([before] if before else []), *assignments])
    _parsed(text)
    os.environ[VARIABLE] = text
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
