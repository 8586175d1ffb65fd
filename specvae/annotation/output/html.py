"""The report: one self-contained HTML file that explains each query's ranking."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem.Draw import rdMolDraw2D

from specvae.annotation.evidence.analogues import RememberedPeaks
from specvae.annotation.evidence.items import Analogue, BitEvidence, PeakEvidence
from specvae.annotation.library.query import Query
from specvae.annotation.output.cells import status_of
from specvae.annotation.ranking.result import Annotation, Answer, QueryResult, Unranked
from specvae.files import atomic_text
from specvae.spectra.spectrum import Spectrum

# What keeps the report of many queries a file that a browser opens: about 10 kB for a drawing.
N_DRAWN = 5  # structures drawn for one query,
N_DRAWN_IN_ALL = 2_500  # fewer if that makes more than this in the whole report, but one at least
N_LISTED = 25  # candidates listed for one query
N_DETAILED = 2_500  # queries with a section of their own; the others stand in the overview only
N_STICKS = 200  # peaks drawn for one spectrum, the most intense ones
N_LABELS = 8  # peaks labelled with their m/z


def write_report(
    results: Sequence[QueryResult],
    path: Path,
    *,
    title: str,
    provenance: Mapping[str, str],
    summary: Sequence[str] = (),
) -> None:
    """Write the report; it needs no network, no script and no other file to be read.

    Parameters
    ----------
    results
        One entry per query, in the order of the file.
    path
        Written whole or not at all.
    title
        Heading of the report.
    provenance
        What made the result (model, digests, options), listed at the end.
    summary
        What is to be known of all queries together, a sentence each: why some are not ranked, and
        what is expected of the probabilities.
    """
    with atomic_text(path) as stream:
        stream.writelines(_document(results, title, provenance, summary))


def _document(
    results: Sequence[QueryResult],
    title: str,
    provenance: Mapping[str, str],
    summary: Sequence[str],
) -> Iterator[str]:
    n_drawn = max(1, min(N_DRAWN, N_DRAWN_IN_ALL // max(1, len(results))))
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<header><h1 id="top">{escape(title)}</h1>\n{_totals(results)}\n</header>\n<main>\n'
    )
    yield "".join(f'<p class="totals">{escape(line)}</p>\n' for line in summary)
    yield _reading_notes(results)
    yield from _overview(results)
    for number, result in enumerate(results[:N_DETAILED], start=1):
        yield _section(result, number, n_drawn)
    if len(results) > N_DETAILED:
        yield (
            f'<p class="note">Only the first {N_DETAILED:,} queries have a section of their own; '
            "the table of results has all of them.</p>\n"
        )
    yield f"</main>\n{_footer(provenance)}\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"


def _totals(results: Sequence[QueryResult]) -> str:
    n_candidates = [r.n_candidates for r in results if isinstance(r, Answer)]
    n_ranked = len(n_candidates)
    facts = [f"{_counted(len(results), 'query', 'queries')}", f"{n_ranked:,} ranked"]
    if n_ranked < len(results):
        facts.append(f"{len(results) - n_ranked:,} not ranked")
    if n_candidates:
        facts.append(f"median {float(np.median(n_candidates)):,.0f} candidates a query")
    return f'<p class="totals">{" · ".join(facts)}</p>'


def _reading_notes(results: Sequence[QueryResult]) -> str:
    calibrated = any(
        isinstance(r, Answer) and r.annotations[0].probability is not None for r in results
    )
    scale = (
        "The score (nats, natural logarithms; higher is better) weighs all that speaks for a "
        "candidate: its fingerprint under the prediction from the spectrum and, unless the model "
        "ranks by that alone, the likeness to compounds of the library with like spectra, the "
        "fragments that it can break into, and its own spectra in the library. "
    )
    scale += (
        "The column “probability” is the calibrated chance that a candidate is the right one; the "
        "score itself is not a probability."
        if calibrated
        else "<strong>Scores are not probabilities</strong>: this model is not calibrated, so a "
        "large gap says that the model prefers a candidate, not how often such a candidate is "
        "right. Scores of different queries cannot be compared."
    )
    return (
        f'<div class="note"><p>{scale}</p>\n<p>Candidates of equal score share the worst rank of '
        "their group: two that tie for the first place both have rank 2. Candidates that differ in "
        "stereochemistry only count as one. The right structure is ranked only if it is among the "
        "candidates.</p></div>\n"
    )


_NOTHING = "\N{EN DASH}"


# --- Overview -------------------------------------------------------------------------------------


def _overview(results: Sequence[QueryResult]) -> Iterator[str]:
    yield (
        '<section aria-labelledby="overview"><h2 id="overview">Overview</h2>\n'
        '<p class="filter" hidden><label>Filter <input type="search" id="filter" '
        'placeholder="query, name, InChIKey or status"></label> <span id="shown"></span></p>\n'
        '<div class="scroll"><table id="queries"><thead><tr><th>Query</th>'
        '<th>Best candidate</th><th class="number" data-number>Gap to the second (nats)</th>'
        '<th class="number" data-number>Candidates</th><th>Status</th></tr></thead>\n<tbody>\n'
    )
    for number, result in enumerate(results, start=1):
        name = escape(result.query_id)
        link = f'<a href="#q{number}">{name}</a>' if number <= N_DETAILED else name
        yield (
            f'<tr><td class="id">{link}</td><td>{_identity(result)}</td>'
            f'<td class="number">{_gap(result)}</td>'
            f'<td class="number">{result.n_candidates:,}</td><td>{_status(result)}</td></tr>\n'
        )
    yield "</tbody></table></div></section>\n"


def _identity(result: QueryResult) -> str:
    if isinstance(result, Unranked):
        return _NOTHING
    annotation = result.annotations[0]
    key = f'<span class="key">{escape(annotation.inchikey)}</span>' if annotation.inchikey else ""
    name = escape(annotation.name) or ("" if key else f"<code>{escape(annotation.smiles)}</code>")
    return f"{name}<br>{key}" if name and key else name + key


def _gap(result: QueryResult) -> str:
    if isinstance(result, Unranked) or len(result.annotations) < 2:
        return _NOTHING
    scores = [annotation.score for annotation in result.annotations[:2]]
    return "tie" if scores[0] == scores[1] else f"{scores[0] - scores[1]:.2f}"


def _status(result: QueryResult) -> str:
    kind = "bad" if isinstance(result, Unranked) else "fair" if result.remarks else "good"
    return f'<span class="status {kind}">{escape(status_of(result))}</span>'


def _counted(n: int, singular: str, plural: str) -> str:
    return f"{n:,} {singular if n == 1 else plural}"


# --- One query ------------------------------------------------------------------------------------


def _section(result: QueryResult, number: int, n_drawn: int) -> str:
    kind = "query" if isinstance(result, Answer) else "query unranked"
    facts = [
        *(_ion(result.query) if result.query is not None else ()),
        *(_acquisition(result.query.spectrum) if result.query is not None else ()),
        _counted(result.n_candidates, "candidate", "candidates"),
    ]
    heading = (
        f'<section class="{kind}" id="q{number}"><h2>{escape(result.query_id)} '
        f'{_status(result)}<a class="up" href="#top" aria-label="back to the overview">↑</a></h2>\n'
        f'<p class="facts">{" · ".join(facts)}</p>\n'
    )
    parts = [heading]
    if result.query is not None:
        parts.append(_spectrum_svg(result.query.spectrum))
    if isinstance(result, Answer):
        parts.append(_candidates(result, n_drawn))
        parts.append(_library_match(result))
    if result.analogues:
        parts.append(_analogues(result.analogues, are_drawn=n_drawn == N_DRAWN))
    if isinstance(result, Answer) and result.peaks:
        parts.append(_peaks(result.peaks))
    if isinstance(result, Answer) and result.bits:
        parts.append(_bits(result.bits))
    parts.append("</section>\n")
    return "".join(parts)


def _ion(query: Query) -> list[str]:
    facts = []
    if query.precursor_mz is not None:
        facts.append(f"precursor m/z {query.precursor_mz:.4f}")
    if query.adduct:
        facts.append(escape(query.adduct))
    return facts


def _acquisition(spectrum: Spectrum) -> list[str]:
    facts = []
    if spectrum.name and spectrum.name != spectrum.query_id:
        facts.append(escape(spectrum.name))
    if spectrum.collision_energy is not None:
        facts.append(f"{spectrum.collision_energy:g} eV")
    if spectrum.retention_time is not None:
        facts.append(f"{spectrum.retention_time:.1f} s")
    facts.append(_counted(spectrum.n_peaks, "peak", "peaks"))
    return facts


def _candidates(answer: Answer, n_drawn: int) -> str:
    annotations = answer.annotations
    best_score = annotations[0].score
    n_best = sum(a.score == best_score for a in annotations)
    parts = []
    if n_best > 1:
        parts.append(
            f'<p class="tie">{n_best} candidates tie for the first place: the model cannot tell '
            "them apart.</p>\n"
        )
    parts.append('<ol class="candidates">\n')
    for position, annotation in enumerate(annotations[:N_LISTED]):
        parts.append(_candidate(annotation, best_score, is_drawn=position < n_drawn))
    parts.append("</ol>\n")
    n_below = answer.n_candidates - min(len(annotations), N_LISTED)
    if n_below > 0:
        below = _counted(n_below, "candidate ranks", "candidates rank")
        parts.append(f'<p class="more">{below} below these.</p>\n')
    return "".join(parts)


def _candidate(annotation: Annotation, best_score: float, *, is_drawn: bool) -> str:
    drawing = _structure_svg(annotation.smiles) if is_drawn else None
    if drawing is not None:
        picture = f'<div class="structure">{drawing}</div>'
    else:
        picture = f'<code class="structure smiles">{escape(annotation.smiles)}</code>'
    figures = [
        ("score", _signed(annotation.score)),
        ("to the best", _signed(annotation.score - best_score)),
        ("level", annotation.level),
    ]
    if annotation.match is not None:
        figures.append(("library cosine", f"{annotation.match.cosine:.2f}"))
    if annotation.probability is not None:
        figures.append(("probability", f"{annotation.probability:.1%}"))
    terms = "".join(f"<div><dt>{term}</dt><dd>{value}</dd></div>" for term, value in figures)
    name = escape(annotation.name) or '<span class="key unnamed">no name</span>'
    return (
        f'<li><span class="rank">{annotation.rank}</span>{picture}'
        f'<div class="identity"><div class="name">{name}</div>'
        f'<div class="key">{escape(annotation.inchikey)}</div></div>'
        f"<dl>{terms}</dl></li>\n"
    )


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}") if value else "0"


def _library_match(answer: Answer) -> str:
    """Draw the query against the spectrum that the library has of the best candidate."""
    match, remembered = answer.annotations[0].match, answer.remembered
    if match is None or remembered is None:
        return ""
    facts = [
        escape(match.query_id) or "name not kept by this model",
        *([escape(match.adduct)] if match.adduct else []),
        f"cosine {match.cosine:.2f}",
        _counted(match.n_shared, "shared peak", "shared peaks"),
        f"level {match.level}",
    ]
    return (
        "<h3>The query and the best candidate's own spectrum in the library</h3>\n"
        f'<p class="facts">{" · ".join(facts)}</p>\n'
        f"{_mirror_svg(answer.query.spectrum, remembered)}"
    )


def _analogues(analogues: Sequence[Analogue], *, are_drawn: bool) -> str:
    items = []
    for analogue in analogues:
        drawing = _structure_svg(analogue.smiles) if are_drawn else None
        picture = (
            f'<div class="structure">{drawing}</div>'
            if drawing is not None
            else f'<code class="structure smiles">{escape(analogue.smiles)}</code>'
        )
        items.append(
            f'<li>{picture}<div class="key">{escape(analogue.first_block)}</div>'
            f"<div>cosine {analogue.cosine:.2f}</div></li>\n"
        )
    return (
        "<h3>Compounds of the library with like spectra</h3>\n"
        f'<ul class="analogues">\n{"".join(items)}</ul>\n'
    )


def _peaks(peaks: Sequence[PeakEvidence]) -> str:
    rows = "".join(
        f'<tr><td class="number">{peak.mz:.4f}</td>'
        f'<td class="number">{peak.relative_intensity:.1%}</td><td>{escape(peak.formula)}</td>'
        f'<td class="number">{_signed(peak.error_ppm)}</td>'
        f'<td class="number">{_signed(peak.gain)}</td></tr>\n'
        for peak in peaks
    )
    return (
        '<h3>Peaks that are fragments of the best candidate</h3>\n<div class="scroll">'
        '<table class="evidence"><thead><tr><th class="number">m/z</th>'
        '<th class="number">Height</th><th>Likeliest ion</th><th class="number">Error, ppm</th>'
        f'<th class="number">Gain, nats</th></tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n'
    )


def _bits(bits: Sequence[BitEvidence]) -> str:
    rows = []
    for bit in bits:
        supports = (bit.probability >= 0.5) == bit.present
        rows.append(
            f'<tr><td class="meaning">{escape(bit.meaning)} <span class="bit">bit {bit.bit}</span>'
            f'</td><td class="number"><span class="bar" style="--p:{bit.probability:.3f}"></span>'
            f"{bit.probability:.0%}</td><td>{'present' if bit.present else 'absent'}</td>"
            f'<td class="{"for" if supports else "against"}">'
            f"{'for' if supports else 'against'}</td></tr>\n"
        )
    return (
        '<h3>What speaks loudest for or against the best candidate</h3>\n<div class="scroll">'
        '<table class="evidence"><thead><tr><th>Substructure</th>'
        '<th class="number">Predicted probability</th><th>In the best candidate</th>'
        f"<th>Speaks</th></tr></thead>\n<tbody>\n{''.join(rows)}</tbody></table></div>\n"
    )


def _footer(provenance: Mapping[str, str]) -> str:
    rows = "".join(
        f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>\n" for key, value in provenance.items()
    )
    return f"<footer><h2>How this was made</h2>\n<dl>\n{rows}</dl></footer>" if rows else ""


# --- Pictures -------------------------------------------------------------------------------------

_WIDTH, _HEIGHT = 720, 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 32, 38  # margins around the axes


def _spectrum_svg(spectrum: Spectrum) -> str:
    """Draw sticks of the relative intensity (%), m/z labels and the precursor's place."""
    mz, height = spectrum.mz, 100 * spectrum.relative_intensity
    precursor_mz = spectrum.precursor_mz
    order = np.argsort(-height, kind="stable")[:N_STICKS]
    low, high, step = _axis(mz, precursor_mz)

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / 100 * (_HEIGHT - _TOP - _BOTTOM)

    floor = y(0)
    head = (
        f'<svg class="spectrum" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="spectrum of {escape(spectrum.query_id)}, {len(mz)} peaks">'
    )
    parts = [head]
    parts.extend(
        f'<path class="grid" d="M{_LEFT} {y(tick):.1f}H{_WIDTH - _RIGHT}"/>'
        f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick}</text>'
        for tick in (0, 50, 100)
    )
    parts.extend(
        f'<path class="axis" d="M{x(value):.1f} {floor:.1f}v4"/>'
        f'<text x="{x(value):.1f}" y="{floor + 17:.1f}" text-anchor="middle">{value:g}</text>'
        for value in np.arange(np.ceil(low / step) * step, high + step / 100, step)
    )
    if precursor_mz is not None:
        parts.append(
            f'<path class="precursor" d="M{x(precursor_mz):.1f} {_TOP - 18}V{floor:.1f}"/>'
            f'<path class="marker" d="M{x(precursor_mz) - 5:.1f} {_TOP - 26}h10l-5 7z"/>'
        )
    sticks = "".join(f"M{x(mz[i]):.1f} {floor:.1f}V{y(height[i]):.1f}" for i in order)
    parts.append(f'<path class="axis" d="M{_LEFT} {floor:.1f}H{_WIDTH - _RIGHT}"/>')
    parts.append(f'<path class="stick" d="{sticks}"/>')
    parts.extend(
        f'<text class="peak" x="{left + _LABEL_WIDTH / 2:.1f}" y="{base:.1f}" '
        f'text-anchor="middle">{mz[i]:.4f}</text>'
        for i, left, base in _place_labels([(i, x(mz[i]), y(height[i])) for i in order])
    )
    parts.append(
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 5}" text-anchor="end">m/z (Th)</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 5}">relative intensity (%)'
        f"{' · ▾ precursor' if precursor_mz is not None else ''}</text></svg>\n"
    )
    return "".join(parts)


def _mirror_svg(spectrum: Spectrum, remembered: RememberedPeaks) -> str:
    """Draw the query's sticks upwards and the remembered ones downwards, relative to either's best.

    The library's peaks are remembered by bins; the legend says how wide these are.
    """
    low, high, step = _axis(np.concatenate([spectrum.mz, remembered.mz]), spectrum.precursor_mz)
    middle = (_HEIGHT - _BOTTOM + _TOP) / 2
    half = (_HEIGHT - _TOP - _BOTTOM) / 2

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def sticks(mz: np.ndarray, relative: np.ndarray, sign: int) -> str:
        order = np.argsort(-relative, kind="stable")[:N_STICKS]
        return "".join(
            f"M{x(mz[i]):.1f} {middle:.1f}V{middle - sign * half * relative[i]:.1f}" for i in order
        )

    floor = _HEIGHT - _BOTTOM
    ours = sticks(spectrum.mz, spectrum.relative_intensity, 1)
    theirs = sticks(remembered.mz, remembered.relative_intensity, -1)
    ticks = "".join(
        f'<path class="axis" d="M{x(value):.1f} {floor}v4"/>'
        f'<text x="{x(value):.1f}" y="{floor + 17}" text-anchor="middle">{value:g}</text>'
        for value in np.arange(np.ceil(low / step) * step, high + step / 100, step)
    )
    return (
        f'<svg class="spectrum mirror" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(spectrum.query_id)} above, library spectrum below">{ticks}'
        f'<path class="axis" d="M{_LEFT} {middle:.1f}H{_WIDTH - _RIGHT}"/>'
        f'<path class="stick" d="{ours}"/>'
        f'<path class="stick below" d="{theirs}"/>'
        f'<text x="{_LEFT}" y="{_TOP - 6}">query</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 5}">library, peaks in bins of {remembered.bin_width:g} Th'
        f'</text><text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 5}" text-anchor="end">m/z (Th)</text>'
        "</svg>\n"
    )


def _axis(mz: np.ndarray, precursor_mz: float | None) -> tuple[float, float, float]:
    """Return the ends of the m/z axis (Th) and the distance of its ticks."""
    values = [*mz.tolist(), *([] if precursor_mz is None else [precursor_mz])]
    low, high = (min(values), max(values)) if values else (0.0, 100.0)
    margin = max(10.0, 0.04 * (high - low))
    low, high = max(0.0, low - margin), high + margin
    step = next((s for s in (10, 20, 50, 100, 200, 500) if (high - low) / s <= 10), 1000)
    return low, high, float(step)


_LABEL_WIDTH, _LABEL_HEIGHT = 56, 13


def _place_labels(peaks: Sequence[tuple[int, float, float]]) -> Iterator[tuple[int, float, float]]:
    """Place labels above the strongest peaks, leaving out those that would cover another one."""
    taken: list[tuple[float, float]] = []
    for index, x, y in peaks:
        left = min(max(x - _LABEL_WIDTH / 2, _LEFT), _WIDTH - _RIGHT - _LABEL_WIDTH)
        base = y - 4
        if any(abs(left - a) < _LABEL_WIDTH and abs(base - b) < _LABEL_HEIGHT for a, b in taken):
            continue
        taken.append((left, base))
        yield index, left, base
        if len(taken) == N_LABELS:
            return


@lru_cache(maxsize=4096)
def _structure_svg(smiles: str) -> str | None:
    """Draw a structure, or return None if the text cannot be drawn."""
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles) if smiles else None
        if molecule is None or not molecule.GetNumAtoms():
            return None
        drawer = rdMolDraw2D.MolDraw2DSVG(220, 130)
        options = drawer.drawOptions()
        options.clearBackground = False  # type: ignore[assignment]
        options.bondLineWidth = 1.4  # type: ignore[assignment]
        options.padding = 0.04  # type: ignore[assignment]
        options.fixedBondLength = 28  # type: ignore[assignment]
        rdMolDraw2D.PrepareAndDrawMolecule(drawer, molecule)
        drawer.FinishDrawing()
        text = drawer.GetDrawingText()
    return _slim(text, smiles)


def _slim(svg: str, label: str) -> str:
    """Keep the shapes of RDKit's drawing; drop its prologue, classes and surplus digits."""
    body = svg[svg.index("<!-- END OF HEADER -->") + len("<!-- END OF HEADER -->") :]
    body = re.sub(r"\sclass='[^']*'", "", body)
    body = re.sub(r"\d+\.\d+(?=[ ,'])", lambda m: f"{float(m[0]):.1f}".removesuffix(".0"), body)
    body = re.sub(r"style='([^']*)'", _slim_style, body)
    body = re.sub(r"\s*\n\s*", "", body)
    return (
        f'<svg viewBox="0 0 220 130" role="img" aria-label="{escape(label)}" fill="none" '
        f'stroke-width="1.4" stroke-linecap="round">{body}'
    )


def _slim_style(match: re.Match[str]) -> str:
    values = dict(part.split(":", 1) for part in match[1].split(";") if ":" in part)
    # Lines and wedges need their colours; all else is inherited from the drawing's root.
    kept = {key: values[key] for key in ("fill", "stroke") if values.get(key, "none") != "none"}
    return " ".join(f"{key}='{value.strip()}'" for key, value in kept.items())


_STYLE = """
:root{--bg:#fbfbfa;--card:#fff;--ink:#1d2329;--soft:#5d6873;--line:#dfe3e7;--accent:#0b63a5;
--stick:#23527c;--good:#1f7a3d;--fair:#8a5a00;--bad:#a32626;--tile:#fff}
@media (prefers-color-scheme:dark){:root{--bg:#14181c;--card:#1c2228;--ink:#e4e8ec;--soft:#9aa6b2;
--line:#333c45;--accent:#7db9ec;--stick:#8fc1ee;--good:#6fcf8f;--fair:#e0b050;--bad:#f08a8a;
--tile:#f4f4f2}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:60rem;padding:1rem;background:var(--bg);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
h1{font-size:1.7rem;line-height:1.2;margin:.6rem 0 .2rem}
h2{font-size:1.2rem;margin:.2rem 0;overflow-wrap:anywhere}
h3{font-size:.95rem;margin:1.2rem 0 .3rem}
a{color:var(--accent)}
.totals,.facts,.more{color:var(--soft);margin:.2rem 0 .8rem}
.note{border-left:3px solid var(--accent);padding:.1rem 0 .1rem .9rem;margin:1rem 0;
font-size:.92rem}
.note p{margin:.4rem 0}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem .35rem 0;
border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:600;white-space:nowrap}
#overview~* .id{overflow-wrap:anywhere;min-width:7rem}
.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
td.number,th.number{padding-right:1.2rem}
.key{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.78rem;
color:var(--soft);overflow-wrap:anywhere}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.78rem;
overflow-wrap:anywhere}
.status{display:inline-block;font-size:.78rem;font-weight:600;padding:0 .5rem;border-radius:1rem;
border:1px solid currentColor;vertical-align:middle}
.good{color:var(--good)}.fair{color:var(--fair)}.bad{color:var(--bad)}
.query{background:var(--card);border:1px solid var(--line);border-radius:.6rem;
padding:1rem 1.1rem;margin:1.4rem 0}
.up{float:right;text-decoration:none;padding:0 .4rem}
.tie{color:var(--fair);font-weight:600;margin:.3rem 0}
.spectrum{display:block;width:100%;height:auto;font:11px system-ui,sans-serif}
.spectrum text{fill:var(--soft)}
.spectrum .peak{fill:var(--ink);font-weight:600;paint-order:stroke;stroke:var(--card);
stroke-width:3px}
.spectrum path{fill:none}
.grid{stroke:var(--line);stroke-width:.7}
.axis{stroke:var(--soft)}
.stick{stroke:var(--stick);stroke-width:1.6}.below{stroke:var(--good)}
.precursor{stroke:var(--fair);stroke-dasharray:3 4;opacity:.6}
.spectrum .marker{fill:var(--fair)}
.candidates{list-style:none;margin:.6rem 0 0;padding:0}
.candidates li{display:grid;grid-template-columns:2.4rem 12rem minmax(0,1fr) auto;gap:.2rem 1rem;
align-items:center;border-top:1px solid var(--line);padding:.5rem 0}
.rank{font-size:1.25rem;font-weight:700;text-align:center;font-variant-numeric:tabular-nums}
.structure svg{display:block;width:100%;height:auto;background:var(--tile);border-radius:.4rem}
.name{font-weight:600;overflow-wrap:anywhere}
.unnamed{font-weight:400}
.analogues{list-style:none;display:flex;flex-wrap:wrap;gap:1.2rem;margin:.6rem 0 0;padding:0}
.analogues li{width:12rem}
.candidates dl{display:flex;gap:1.1rem;margin:0;text-align:right}
dt{color:var(--soft);font-size:.75rem}
dd{margin:0;font-variant-numeric:tabular-nums}
.meaning{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.78rem;
overflow-wrap:anywhere}
.bit{color:var(--soft);white-space:nowrap}
.bar{display:inline-block;width:4rem;height:.5rem;margin-right:.5rem;border-radius:.25rem;
background:linear-gradient(to right,var(--accent) calc(var(--p)*100%),var(--line) 0)}
.for{color:var(--good)}.against{color:var(--bad)}
.filter input{font:inherit;padding:.25rem .5rem;border:1px solid var(--line);border-radius:.4rem;
background:var(--card);color:inherit;width:min(22rem,100%)}
th[role=button]{cursor:pointer}
th[aria-sort=ascending]::after{content:" ▴"}th[aria-sort=descending]::after{content:" ▾"}
footer{color:var(--soft);font-size:.85rem;margin-top:2rem;border-top:1px solid var(--line)}
footer dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.1rem 1rem}
footer dt{font-size:inherit}footer dd{overflow-wrap:anywhere}
@media (max-width:40rem){
body{padding:.6rem}
.query{padding:.8rem .7rem}
.candidates li{grid-template-columns:2rem minmax(0,1fr)}
.candidates .structure{grid-column:2;max-width:16rem}
.candidates .identity,.candidates dl{grid-column:2;text-align:left}
footer dl{grid-template-columns:1fr}footer dd{margin-bottom:.4rem}
.spectrum{font-size:16px}.spectrum .peak{font-size:13px}
th{white-space:normal}td.number,th.number{padding-right:.6rem}
#queries{font-size:.82rem}#queries .key{font-size:.68rem}
}
@media print{
:root{--bg:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#bbb;--accent:#000;--stick:#000;
--good:#000;--fair:#000;--bad:#000;--tile:#fff}
body{max-width:none;padding:0;font-size:10pt}
.up,.filter{display:none}
.query{border:0;padding:0;break-before:page}
.query.unranked{break-before:auto;break-inside:avoid}
.candidates li,.evidence tr,.spectrum{break-inside:avoid}
.bar{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
"""

_SCRIPT = """
(function(){
var table=document.getElementById("queries"),body=table.tBodies[0],
rows=Array.prototype.slice.call(body.rows),box=document.getElementById("filter"),
shown=document.getElementById("shown");
box.closest("p").hidden=false;
box.addEventListener("input",function(){
var text=box.value.toLowerCase(),n=0;
rows.forEach(function(row){
row.hidden=row.textContent.toLowerCase().indexOf(text)<0;n+=row.hidden?0:1;});
shown.textContent=text?n+" of "+rows.length:"";});
Array.prototype.forEach.call(table.tHead.rows[0].cells,function(head,column){
head.setAttribute("role","button");head.tabIndex=0;
function key(row){var text=row.cells[column].textContent;
if(!head.hasAttribute("data-number"))return text.toLowerCase();
var value=text==="tie"?0:parseFloat(text.replace(/,/g,""));return isNaN(value)?-1:value;}
function sort(){
var down=head.getAttribute("aria-sort")==="ascending";
Array.prototype.forEach.call(table.tHead.rows[0].cells,function(h){h.removeAttribute("aria-sort");});
head.setAttribute("aria-sort",down?"descending":"ascending");
rows.slice().sort(function(a,b){var x=key(a),y=key(b),c=x<y?-1:x>y?1:0;return down?-c:c;})
.forEach(function(row){body.appendChild(row);});}
head.addEventListener("click",sort);
head.addEventListener("keydown",function(e){
if(e.key==="Enter"||e.key===" "){e.preventDefault();sort();}});
});})();
"""
