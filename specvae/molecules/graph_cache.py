"""Graphs of molecules kept on disk: fragments of a second run need no molecule of RDKit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rdkit import rdBase

from specvae.molecules.entry_store import EntryStore, default_cache_directory, digest
from specvae.molecules.graph import GRAPH_VERSION
from specvae.molecules.standard import STANDARD_VERSION


class GraphCache:
    """Graphs of molecules by their texts or identities, as `OrderedGraph.to_bytes` writes them.

    Parameters
    ----------
    directory
        Where it lies; None for `default_cache_directory`; see `EntryStore`.
    """

    def __init__(self, directory: Path | None = None) -> None:
        name = f"s{STANDARD_VERSION}-g{GRAPH_VERSION}-rdkit{rdBase.rdkitVersion}"
        folder = directory or default_cache_directory()
        self._store = EntryStore(folder / "graphs" / name, "graphs")

    def lookup(self, identities: Sequence[str | bytes]) -> list[bytes | None]:
        """Return the stored graphs for these texts or identities; None where there is none."""
        found = self._store.lookup(map(digest, identities))
        return [found.get(row) for row in range(len(identities))]

    def put(self, identity: str | bytes, graph: bytes) -> None:
        """Keep a graph."""
        self._store.put(digest(identity), graph)

    def save(self) -> None:
        """Write what was put in, if it is worth a file."""
        self._store.save()
