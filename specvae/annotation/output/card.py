"""The model card: a description that accompanies a model when it is shared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from specvae.annotation.library.header import NO_LICENCE, AnnotatorHeader, FileRead
from specvae.counting import counted
from specvae.settings import to_json

_UNKNOWN = (
    "The model does not say under which licences its data are: it was trained by an older specvae. "
    "Look them up before you give it away."
)


def model_card(header: AnnotatorHeader, name: str, licence: str | None) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    header
        The model's header.
    name
        The model's name, which is the folder that it is unpacked into.
    licence
        The licence of the model; None if none is stated.
    """
    return "\n".join(_lines(header, name, licence)) + "\n"


def licence_remarks(header: AnnotatorHeader) -> list[str]:
    """Return warnings for users who share the model, a sentence each."""
    licences = header.provenance.licences
    if not licences:
        return [_UNKNOWN]
    remarks = []
    if unsaid := licences.get(NO_LICENCE):
        spectra = counted(unsaid, "spectra state", "spectrum states")
        remarks.append(f"{spectra} no licence: ask where the library comes from.")
    if restricted := [text for text in licences if _forbids(text)]:
        remarks.append(
            f"{', '.join(restricted)}: such data may not be used commercially, or not in works "
            "that are derived from them; a model remembers spectra, so that this may be one."
        )
    return remarks


def _forbids(licence: str) -> bool:
    words = licence.upper().replace("-", " ").split()
    return "NC" in words or "ND" in words or "NONCOMMERCIAL" in words


def _lines(header: AnnotatorHeader, name: str, licence: str | None) -> Iterator[str]:
    config, provenance, fingerprint = header.config, header.provenance, header.fingerprint
    yield f"# {name}"
    yield ""
    yield (
        "A model of specvae, which ranks candidate structures for tandem mass spectra. "
        f"Kind {config.model.kind}, preset {config.preset}; it predicts the fingerprint "
        f"{fingerprint.name} (version {fingerprint.version})."
    )
    yield ""
    yield f"    specvae annotate query.mgf --candidates cands.csv --model {name}"
    yield ""
    yield from _table(
        "|",
        {
            "licence of the model": licence or "not stated by whoever packed it",
            "digest of the weights": f"sha256 {header.weights_sha256}",
            "written by": header.program or "unknown",
            "seed": header.seed,
            **dict(provenance.versions),
        },
    )
    yield from ("", "## Data", "")
    yield (
        f"{counted(provenance.n_spectra, 'spectra')} of "
        f"{counted(provenance.n_compounds, 'compounds')}. "
        f"The networks were trained on {header.trained_on}."
    )
    if header.evidence is not None:
        yield (
            "The model remembers the spectra and structures of "
            f"{counted(len(header.evidence.smiles), 'compounds')}: whoever has the file can read "
            "them."
        )
    yield ""
    yield from _table("file", {file.name: _digest(file) for file in provenance.files})
    for heading, counts in (
        ("licence stated by records", provenance.licences),
        ("ion mode", provenance.ion_modes),
        ("adduct", provenance.adducts),
    ):
        if counts:
            yield ""
            yield from _table(heading, {key: counted(n, "spectra") for key, n in counts.items()})
    for remark in licence_remarks(header):
        yield from ("", f"**{remark}**")
    yield from ("", "## Figures", "")
    yield from _figures(header)
    yield from ("", "## Settings", "", "```json")
    yield json.dumps(to_json(config), indent=2)
    yield "```"


def _digest(file: FileRead) -> str:
    return f"sha256 {file.sha256}"


def _table(heading: str, cells: Mapping[str, object]) -> Iterator[str]:
    yield "| | |" if heading == "|" else f"| {_cell(heading)} | |"
    yield "|---|---|"
    yield from (f"| {_cell(key)} | {_cell(value)} |" for key, value in cells.items())


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def _figures(header: AnnotatorHeader) -> Iterator[str]:
    found, fitted = header.validation, header.calibration
    if found is None and fitted is None:
        yield "None: no compounds were held out."
    if found is not None:
        yield (
            f"- Validation, which chose the epoch: hit@1 {found.hit_at_1:.1%} of "
            f"{counted(found.n_queries, 'spectra')} of {counted(found.n_compounds, 'compounds')} "
            f"among {counted(found.n_candidates, 'structures')} of like mass, by the predicted "
            f"fingerprint alone (at random {found.random_hit_at_1:.1%}, without a spectrum "
            f"{found.blind_hit_at_1:.1%})."
        )
    if fitted is not None:
        yield (
            f"- Weights and probabilities were fitted to {counted(fitted.n_queries, 'spectra')} of "
            f"{fitted.n_compounds:,} of these compounds among {fitted.structures or 'structures'} "
            f"within {fitted.ppm:g} ppm: hit@1 {fitted.hit_at_1:.1%}, hit@5 {fitted.hit_at_5:.1%} "
            "of the very same (in-sample)."
        )
    if header.evidence is not None:
        weights = ", ".join(f"{kind} {w:.3g}" for kind, w in header.evidence.weights.items())
        yield f"- Weights of evidence: {weights}."
