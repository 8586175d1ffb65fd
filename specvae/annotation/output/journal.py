"""A file of the outcomes of a run so far, from which a stopped run continues.

The file has JSON lines. The first names the run; each of the others has the outcome of a feature,
written when it was ranked. The shares that depend on all queries are not in it, so that an
interruption does not change a byte of the result.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from rdkit import Chem

from specvae.annotation.output.parts import (
    FORMAT_VERSION,
    from_base64,
    outcome_from_json,
    outcome_to_json,
    spectrum_from_json,
    spectrum_to_json,
    to_base64,
)
from specvae.annotation.ranking.explain import Explainer
from specvae.annotation.ranking.present import Draft
from specvae.annotation.ranking.result import Unranked
from specvae.errors import InputError
from specvae.files import naming_full_disk
from specvae.interruption import undisturbed
from specvae.molecules.molecule import Molecule

_KIND = "specvae unfinished run"


class RunJournal:
    """A file that keeps what was ranked.

    Parameters
    ----------
    path
        The file; it is made if it is missing, and removed at the end if it keeps nothing.
    run
        What the run was asked for, with digests of what it reads, as JSON values.
    weights
        Of the kinds of evidence of the model; None where it ranks by the fingerprint alone.

    Attributes
    ----------
    kept
        The outcomes that an earlier run kept, by the numbers of the file and of the feature.
    n_kept
        How many features are kept so far.

    Raises
    ------
    InputError
        If the file is of another run, or something else.
    """

    def __init__(
        self, path: Path, run: Mapping[str, Any], weights: Mapping[str, float] | None
    ) -> None:
        self._path = path
        self._weights = weights
        self.kept: dict[tuple[int, int], list[Draft | Unranked]] = {}
        head = json.loads(json.dumps({"kind": _KIND, "format": FORMAT_VERSION, **run}))
        n_bytes = self._read(path, head) if path.exists() else 0
        self.n_kept = len(self.kept)
        self._stream = path.open("r+b" if n_bytes else "wb")
        # A feature whose line was cut off is ranked again.
        self._stream.truncate(n_bytes)
        self._stream.seek(n_bytes)
        if not n_bytes:
            self._write(head)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):  # there is still no room for what was not written
            self._stream.close()
        if not self.n_kept:  # a run with other options would be refused for nothing
            with undisturbed():
                self._path.unlink(missing_ok=True)

    def add(self, file: int, feature: int, found: Sequence[Draft | Unranked]) -> None:
        """Write the outcomes of one feature to the file, so that they outlive the process."""
        outcomes = [{**outcome_to_json(one), **_of_explainer(one)} for one in found]
        self._write({"place": [file, feature], "outcomes": outcomes})
        self.n_kept += 1

    def _write(self, values: Mapping[str, Any]) -> None:
        with naming_full_disk(self._path):
            self._stream.write(json.dumps(values).encode() + b"\n")
            self._stream.flush()

    def _read(self, path: Path, head: Mapping[str, Any]) -> int:
        """Fill `kept`; return the length of the complete lines."""
        n_bytes = 0
        with path.open("rb") as stream:
            for number, line in enumerate(stream):
                values: Any = None
                with suppress(ValueError):
                    values = json.loads(line)
                if number == 0:
                    if _is_beginning(line):
                        return 0
                    _require_same(path, values, head)
                elif not line.endswith(b"\n") or not isinstance(values, dict):
                    break
                else:
                    file, feature = values["place"]
                    self.kept[file, feature] = [self._outcome(one) for one in values["outcomes"]]
                n_bytes += len(line)
        return n_bytes

    def _outcome(self, data: dict[str, Any]) -> Draft | Unranked:
        outcome = outcome_from_json(data, self._weights)
        if isinstance(outcome, Unranked) or "explainer" not in data:
            return outcome
        kept = data["explainer"]
        molecules = [_molecule(text) for text in kept["molecules"]]
        return replace(
            outcome,
            annotations=tuple(
                replace(annotation, molecule=molecule)
                for annotation, molecule in zip(outcome.annotations, molecules, strict=True)
            ),
            explainer=Explainer(
                from_base64(kept["logits"], np.float32),
                from_base64(kept["packed"], np.uint8).reshape(len(molecules), -1),
                tuple(map(spectrum_from_json, kept.get("spectra", ()))),
            ),
        )


def _is_beginning(line: bytes) -> bool:
    """Return whether a line is the first one of a run that was ended, or had no room, within it."""
    own = json.dumps({"kind": _KIND}).removesuffix("}").encode()
    return not line.endswith(b"\n") and (line.startswith(own) or own.startswith(line))


def _require_same(path: Path, found: object, wanted: Mapping[str, Any]) -> None:
    if not isinstance(found, dict) or found.get("kind") != _KIND:
        raise InputError(f"{path}: is no unfinished run; remove it, or name another --output")
    if found.get("format") != wanted["format"]:
        raise InputError(
            f"{path}: was left by another version of this program (format {found.get('format', 0)} "
            f"of unfinished runs, this one's is {wanted['format']}): go on with that version, or "
            "remove the file to begin anew"
        )
    for key in {**wanted, **found}:
        if found.get(key) != wanted.get(key):
            raise InputError(
                f"{path}: was left by a run in which {key} is {found.get(key)!r}, but it is "
                f"{wanted.get(key)!r} in this one; remove the file to begin anew"
            )


def _of_explainer(outcome: Draft | Unranked) -> dict[str, Any]:
    """Return what a report needs beside the outcome itself."""
    if isinstance(outcome, Unranked) or outcome.explainer is None:
        return {}
    molecules = [
        None if a.molecule is None else base64.b64encode(a.molecule.mol.ToBinary()).decode()
        for a in outcome.annotations
    ]
    explainer = outcome.explainer
    kept = {"logits": to_base64(explainer.logits), "packed": to_base64(explainer.packed)}
    spectra = [spectrum_to_json(spectrum) for spectrum in explainer.spectra]
    return {"explainer": {**kept, "molecules": molecules, "spectra": spectra}}


def _molecule(text: str | None) -> Molecule | None:
    return None if text is None else Molecule(Chem.Mol(base64.b64decode(text)))  # type: ignore[call-overload]
