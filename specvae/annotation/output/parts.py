"""Parts of a run: what a shard found, and how parts are joined.

A part is a file of JSON lines. The first names the run; each of the others has the draft of a
query's answer. The shares of the whole run are estimated when the parts are joined, so that the
parts of a run give the same bytes as the run in one piece.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.defaults import EVIDENCE_KINDS
from specvae.annotation.evidence.items import Analogue
from specvae.annotation.evidence.library_match import LibraryMatch
from specvae.annotation.evidence.list_features import unlisted_match
from specvae.annotation.evidence.retention import Elution
from specvae.annotation.evidence.weighted import Evidence
from specvae.annotation.library.query import MassFit, Query
from specvae.annotation.ranking.present import Draft
from specvae.annotation.ranking.probability import ProbabilityModel
from specvae.annotation.ranking.result import (
    Annotation,
    Cause,
    ListScores,
    Refusal,
    Unranked,
)
from specvae.annotation.ranking.run import Placed
from specvae.annotation.ranking.run_scoring import RunScoring
from specvae.compression import DECOMPRESSION_ERRORS, open_decompressed
from specvae.counting import counted
from specvae.errors import ConfigError, InputError
from specvae.sources import no_such_file
from specvae.spectra.adducts import parse_adduct
from specvae.spectra.spectrum import Spectrum

_KIND = "specvae part"
FORMAT_VERSION = 8
"""Format version of parts; 1 had no nearness to the library, 2 no ions of analogues, 5 no counts of
references, 6 no errors of precursor m/z, 7 no analogues of queries that are not ranked."""
_SPECTRUM = (
    "query_id", "name", "precursor_mz", "adduct", "charge", "ion_mode", "ms_level",
    "collision_energy", "normalized_collision_energy", "retention_time", "path", "line", "ordinal",
)  # fmt: skip
# Fields of a candidate, without those that are computed at the end of a run or written separately.
_ANNOTATION = tuple(
    each.name
    for each in fields(Annotation)
    if each.name not in ("rank", "score", "probability", "terms", "molecule", "match")
)


@dataclass(frozen=True)
class PartHeader:
    """The header of a part: which run it belongs to.

    Attributes
    ----------
    shard, n_shards
        The part's number, from 1, and how many there are.
    run
        What the run was asked for, with digests of what it read: the same in all its parts.
    provenance
        What made the result, as text.
    scoring
        Of the model that ranked.
    calibration_source
        What its probabilities were fitted to.
    """

    shard: int
    n_shards: int
    run: Mapping[str, Any]
    provenance: Mapping[str, str]
    scoring: RunScoring
    calibration_source: str

    def to_json(self) -> dict[str, Any]:
        """Return the header as JSON values."""
        probability, weights = self.scoring.probability, self.scoring.weights
        return {
            "kind": _KIND,
            "format_version": FORMAT_VERSION,
            "shard": self.shard,
            "n_shards": self.n_shards,
            "run": self.run,
            "provenance": self.provenance,
            "weights": None if weights is None else dict(weights),
            "probability": None if probability is None else probability.to_json(),
            "has_both_modes": self.scoring.has_both_modes,
            "calibration_source": self.calibration_source,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PartHeader:
        """Return the header that `to_json` described."""
        probability = data["probability"]
        return cls(
            int(data["shard"]),
            int(data["n_shards"]),
            data["run"],
            data["provenance"],
            RunScoring(
                data["weights"],
                None if probability is None else ProbabilityModel.from_json(probability),
                data["has_both_modes"],
            ),
            data["calibration_source"],
        )


def write_part(placed: Iterable[Placed], stream: TextIO, header: PartHeader) -> None:
    """Write a part, query by query as they are ranked."""
    stream.write(json.dumps(header.to_json()) + "\n")
    n_written = 0
    for place, outcome in placed:
        stream.write(json.dumps({"place": place, **outcome_to_json(outcome)}) + "\n")
        n_written += 1
    # A part that was cut off behind a line must not look whole.
    stream.write(json.dumps({"end": n_written}) + "\n")


def read_parts(paths: Sequence[Path]) -> tuple[PartHeader, list[Draft | Unranked]]:
    """Return the header of a run's parts, and the outcomes of all its queries, in their order.

    Raises
    ------
    InputError
        If a file is no whole part, parts are of different runs, or one is missing or there twice.
    """
    headers: list[PartHeader] = []
    placed: list[Placed] = []
    for path in paths:
        try:
            header, found = _read_part(path)
        except FileNotFoundError:
            raise InputError(f"{path}: {no_such_file(path)}") from None
        except (
            AttributeError,
            ConfigError,
            KeyError,
            OSError,
            TypeError,
            ValueError,
            *DECOMPRESSION_ERRORS,
        ) as error:
            # Where the decoder stopped says nothing to whoever named another file.
            why = "a line is no JSON" if isinstance(error, json.JSONDecodeError) else error
            if isinstance(error, OSError) and error.strerror:
                why = error.strerror
            raise InputError(
                f"{path}: no whole part of a run, wanted what 'specvae annotate --shard' writes "
                f"({why})"
            ) from None
        headers.append(header)
        placed.extend(found)
        _require_same_run(headers[0], header, paths[0], path)
    n_shards = headers[0].n_shards
    numbers = [header.shard for header in headers]
    if sorted(numbers) != list(range(1, n_shards + 1)):
        missing = sorted(set(range(1, n_shards + 1)) - set(numbers))
        twice = sorted({n for n in numbers if numbers.count(n) > 1})
        differences = "; ".join(
            f"{fault}: {', '.join(map(str, which))}"
            for fault, which in (("missing", missing), ("more than once", twice))
            if which
        )
        raise InputError(
            f"{paths[0]}: found {counted(len(numbers), 'parts')} of {n_shards}, wanted each once "
            f"({differences})"
        )
    return headers[0], [outcome for _, outcome in sorted(placed, key=lambda pair: pair[0])]


def _read_part(path: Path) -> tuple[PartHeader, list[Placed]]:
    with open_decompressed(path) as stream:
        lines = iter(stream)
        header = _header(path, json.loads(next(lines, b"null")))
        rows = [json.loads(line) for line in lines]
    if not rows or rows[-1].get("end") != len(rows) - 1:
        raise ValueError("its end is missing")
    return header, [_placed(row, header.scoring.weights) for row in rows[:-1]]


def _require_same_run(first: PartHeader, other: PartHeader, first_path: Path, path: Path) -> None:
    asked = {**other.run, "number of shards": other.n_shards}
    wanted = {**first.run, "number of shards": first.n_shards}
    for key, value in asked.items():
        if wanted.get(key) != value:
            raise InputError(
                f"{path}: {key} is {value!r}, but {wanted.get(key)!r} in {first_path}: "
                "the parts are of different runs"
            )


def _header(path: Path, data: object) -> PartHeader:
    if not isinstance(data, dict) or data.get("kind") != _KIND:
        raise InputError(f"{path}: no part of a run (see specvae annotate --shard)")
    if data["format_version"] != FORMAT_VERSION:
        raise InputError(
            f"{path}: part format {data['format_version']}, but this program merges format "
            f"{FORMAT_VERSION}: annotate the shard again with it"
        )
    return PartHeader.from_json(data)


def _placed(data: dict[str, Any], weights: Mapping[str, float] | None) -> Placed:
    file, feature, within = data["place"]
    return (file, feature, within), outcome_from_json(data, weights)


def outcome_to_json(outcome: Draft | Unranked) -> dict[str, Any]:
    """Return the outcome of a query as JSON values, without data for a report."""
    return _of_draft(outcome) if isinstance(outcome, Draft) else _of_unranked(outcome)


def outcome_from_json(
    data: dict[str, Any], weights: Mapping[str, float] | None
) -> Draft | Unranked:
    """Return the outcome that `outcome_to_json` wrote; `weights` are those of the evidence."""
    return _to_draft(data, weights) if "annotations" in data else _to_unranked(data)


def _of_draft(draft: Draft) -> dict[str, Any]:
    evidence = draft.lists.evidence
    elution = None if evidence is None else evidence.elution
    unlisted = None if evidence is None else unlisted_match(evidence.analogues)
    return {
        "query": _of_query(draft.query),
        "top": draft.top,
        "n_peaks": draft.lists.n_peaks,
        "window_share": draft.lists.window_share,
        "scores": to_base64(draft.lists.scores) if evidence is None else None,
        "raw": None if evidence is None else to_base64(evidence.raw),
        "measured": None if evidence is None else to_base64(evidence.measured.astype(np.uint8)),
        "elsewhere": None if evidence is None else to_base64(evidence.elsewhere.astype(np.uint8)),
        "guessed": (
            None if evidence is None or evidence.guessed is None else to_base64(evidence.guessed)
        ),
        "prior": None if evidence is None or evidence.prior is None else to_base64(evidence.prior),
        "retention_time": None if elution is None else elution.time,
        "retention_index": None if elution is None else to_base64(elution.index),
        "mass_errors": (
            None
            if evidence is None or evidence.mass_errors is None
            else to_base64(evidence.mass_errors)
        ),
        "rows": draft.rows.tolist(),
        "analogues": [asdict(analogue) for analogue in draft.analogues],
        # Probabilities ask for it, and it may be farther down than those that are shown.
        "unlisted": None if unlisted is None else asdict(unlisted),
        "annotations": [
            {
                **{name: getattr(a, name) for name in _ANNOTATION},
                "match": None if a.match is None else asdict(a.match),
            }
            for a in draft.annotations
        ],
    }


def _to_annotation(data: dict[str, Any]) -> Annotation:
    match = data["match"]
    return Annotation(
        **{name: data[name] for name in _ANNOTATION if name != "remarks"},
        rank=0,
        score=0.0,
        remarks=tuple(data["remarks"]),
        match=None if match is None else LibraryMatch(**match),
    )


def _to_draft(data: dict[str, Any], weights: Mapping[str, float] | None) -> Draft:
    analogues = tuple(Analogue(**analogue) for analogue in data["analogues"])
    annotations = tuple(map(_to_annotation, data["annotations"]))
    if data["raw"] is None or weights is None:
        lists = ListScores(
            from_base64(data["scores"], np.float64),
            data["n_peaks"],
            window_share=data["window_share"],
        )
    else:
        raw = from_base64(data["raw"], np.float64).reshape(-1, len(EVIDENCE_KINDS))
        measured = from_base64(data["measured"], np.uint8).astype(np.bool_)
        elsewhere = from_base64(data["elsewhere"], np.uint8).astype(np.bool_)
        prior, index, mass_errors, guessed = (
            None if data[name] is None else from_base64(data[name], np.float64)
            for name in ("prior", "retention_index", "mass_errors", "guessed")
        )
        elution = None if index is None else Elution(data["retention_time"], index)
        unlisted = () if data["unlisted"] is None else (Analogue(**data["unlisted"]),)
        evidence = Evidence(
            raw,
            weights,
            measured,
            analogues=(*analogues, *unlisted),
            prior=prior,
            elution=elution,
            mass_errors=mass_errors,
            elsewhere=elsewhere,
            guessed=guessed,
        )
        lists = ListScores.of(evidence, data["n_peaks"], data["window_share"])
    query = _to_query(data["query"])
    rows = np.array(data["rows"], np.int64)
    return Draft(query, lists, rows, annotations, data["top"], analogues)


def _of_unranked(unranked: Unranked) -> dict[str, Any]:
    return {
        "query": None if unranked.query is None else _of_query(unranked.query),
        "query_id": unranked.query_id,
        "cause": unranked.refusal.cause.name,
        "text": unranked.refusal.text,
        "nearest_ppm": unranked.refusal.nearest_ppm,
        "remarks": list(unranked.remarks),
        "analogues": [asdict(analogue) for analogue in unranked.analogues],
    }


def _to_unranked(data: dict[str, Any]) -> Unranked:
    query = data["query"]
    return Unranked(
        data["query_id"],
        Refusal(Cause[data["cause"]], data["text"], data["nearest_ppm"]),
        None if query is None else _to_query(query),
        tuple(data["remarks"]),
        analogues=tuple(Analogue(**analogue) for analogue in data["analogues"]),
    )


def spectrum_to_json(spectrum: Spectrum) -> dict[str, Any]:
    """Return a spectrum as JSON values."""
    return {
        **{name: getattr(spectrum, name) for name in _SPECTRUM},
        "mz": spectrum.mz.tolist(),
        "intensity": spectrum.intensity.tolist(),
        "notes": list(spectrum.notes),
    }


def spectrum_from_json(data: Mapping[str, Any]) -> Spectrum:
    """Return the spectrum of `spectrum_to_json`."""
    return Spectrum(
        mz=np.array(data["mz"]),
        intensity=np.array(data["intensity"]),
        notes=tuple(data["notes"]),
        **{name: data[name] for name in _SPECTRUM},
    )


def _of_query(query: Query) -> dict[str, Any]:
    return {
        **spectrum_to_json(query.spectrum),
        "ion": None if query.ion is None else query.ion.name,
        "others": [ion.name for ion in query.others],
        "remarks": list(query.remarks),
        "feature_id": query.feature_id,
        "merged": list(query.merged),
        "merged_ordinals": list(query.merged_ordinals),
        "fit": query.fit,
    }


def _to_query(data: dict[str, Any]) -> Query:
    spectrum = spectrum_from_json(data)
    ion = None if data["ion"] is None else parse_adduct(data["ion"], spectrum.ion_mode)
    others = [parse_adduct(name, spectrum.ion_mode) for name in data["others"]]
    return Query(
        spectrum,
        ion=ion,
        ion_mode=spectrum.ion_mode,
        remarks=tuple(data["remarks"]),
        feature_id=data["feature_id"],
        others=tuple(other for other in others if other is not None),
        merged=tuple(data["merged"]),
        fit=None if data["fit"] is None else _fit_of(*data["fit"]),
        merged_ordinals=tuple(data.get("merged_ordinals", ())),
    )


def _fit_of(
    as_ion: bool, as_neutral: bool, as_cation: bool = False, as_others: Sequence[str] = ()
) -> MassFit:
    return MassFit(as_ion, as_neutral, as_cation, tuple(as_others))


def to_base64(array: NDArray[Any]) -> str:
    """Return the numbers of an array as text."""
    little = array.astype(array.dtype.newbyteorder("<"))
    return base64.b64encode(little.tobytes()).decode()


def from_base64(text: str, dtype: type[Any]) -> NDArray[Any]:
    """Return the numbers, (n,), of `packed`."""
    little = np.dtype(dtype).newbyteorder("<")
    return np.frombuffer(base64.b64decode(text), little).astype(dtype)
