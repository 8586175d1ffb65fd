"""Pattern lists of the installed scikit-fingerprints, read without importing it.

``import skfp.fingerprints`` takes seconds and loads torch if that is installed; the lists are plain
data files of that package, which are read from its folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

from specvae.errors import SpecvaeError


def _data_file(relative: str) -> Path:
    package = find_spec("skfp")
    if package is None or not package.submodule_search_locations:
        raise SpecvaeError("the package scikit-fingerprints is not installed")
    path = Path(package.submodule_search_locations[0]) / "fingerprints" / relative
    if not path.is_file():
        raise SpecvaeError(
            f"the installed scikit-fingerprints has no file fingerprints/{relative}: "
            "version 2.1 is known to have it"
        )
    return path


def laggner_patterns() -> list[tuple[str, str]]:
    """Return name and SMARTS of the 307 groups; the salt, two components, has no SMARTS.

    Source: SMARTS_InteLigand.txt by C. Laggner (LGPL), part of OpenBabel and scikit-fingerprints.

    Raises
    ------
    SpecvaeError
        If the file that is installed has a line of another kind.
    """
    lines = _data_file("data/SMARTS_InteLigand.txt").read_text(encoding="utf-8").splitlines()
    patterns = []
    for line in lines:
        if line.strip() and not line.startswith("#"):
            # One line lacks the space after the colon; another has its colon inside the SMARTS.
            match = re.fullmatch(r"(\S+):\s+(\S+)\s*|([^\s:]+):(\S+)\s*|(\S+)\s+(\S+)\s*", line)
            if match is None:
                raise SpecvaeError(f"unexpected line in SMARTS_InteLigand.txt: {line!r}")
            name, smarts = (group for group in match.groups() if group is not None)
            patterns.append((name, "" if ")." in smarts else smarts))
    return patterns


def pubchem_names() -> list[str]:
    """Return what the 881 bits ask for: counts in words, then SMARTS.

    Source: the PubChem Substructure Fingerprint specification, as scikit-fingerprints words it.

    Raises
    ------
    SpecvaeError
        If scikit-fingerprints has no such file.
    """
    # A module of plain lists, run on its own, so that its package stays out.
    spec = spec_from_file_location("_pubchem_features", _data_file("pubchem/features.py"))
    if spec is None or spec.loader is None:
        raise SpecvaeError("the installed scikit-fingerprints has no readable PubChem features")
    features = module_from_spec(spec)
    spec.loader.exec_module(features)
    return [
        *features.ELEMENTS_BINARY_VARIANT,
        *features.RING_FEATURES_BINARY_VARIANT,
        *features.SIMPLE_ATOM_PAIRS,
        *features.SIMPLE_ATOM_NEIGHBORHOODS,
        *features.DETAILED_ATOM_NEIGHBORHOODS,
        *features.SIMPLE_SMARTS_PATTERNS,
        *features.COMPLEX_SMARTS_PATTERNS,
    ]


def klekota_roth_patterns() -> list[str]:
    """Return the 4,860 SMARTS of Klekota and Roth (doi:10.1093/bioinformatics/btn479)."""
    document = json.loads(_data_file("klekota_roth/tree_data.json").read_text(encoding="utf-8"))
    found = dict(_terminal_nodes(document["tree"]))
    return [found[bit] for bit in range(document["n_terminal_nodes"])]


def _terminal_nodes(node: dict[str, object]) -> Iterator[tuple[int, str]]:
    if node.get("is_terminal"):
        yield int(str(node["feature_bit"])), str(node["smarts"])
    children = node.get("children")
    for child in children if isinstance(children, list) else []:
        yield from _terminal_nodes(child)
