import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from specvae.annotation.evidence.analogues import RememberedPeaks
from specvae.annotation.evidence.items import Analogue, BitEvidence, PeakEvidence
from specvae.annotation.evidence.library_match import LibraryMatch
from specvae.annotation.library.query import Query
from specvae.annotation.output import html
from specvae.annotation.output.html import write_report
from specvae.annotation.ranking.result import (
    Annotation,
    Answer,
    Cause,
    QueryResult,
    Refusal,
    Unranked,
)
from specvae.spectra.spectrum import Spectrum

CAFFEINE = "Cn1c(=O)c2c(ncn2C)n(C)c1=O"
VOID = {"meta", "input", "br", "path", "ellipse", "rect"}


class Page(HTMLParser):
    """Text and tags of a page; every tag must be closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(source)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.stack or self.stack[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def count(self, tag: str, **attributes: str) -> int:
        return sum(
            name == tag and all(found.get(key) == value for key, value in attributes.items())
            for name, found in self.tags
        )


def spectrum(query_id: str, n_peaks: int = 4) -> Spectrum:
    return Spectrum(
        mz=np.linspace(60.01, 195.0877, n_peaks),
        intensity=np.linspace(1.0, 100.0, n_peaks),
        query_id=query_id,
        precursor_mz=195.0877,
        adduct="[M+H]+",
        collision_energy=35.0,
        retention_time=61.25,
    )


def result(
    query_id: str = "q1",
    scores: tuple[float, ...] = (-1.0, -3.5),
    *,
    smiles: str = CAFFEINE,
    name: str = "caffeine",
    probability: float | None = None,
    bits: tuple[BitEvidence, ...] = (),
    n_candidates: int | None = None,
) -> Answer:
    key = "RYYVLZVUVIJVGH-UHFFFAOYSA-N"
    rows = tuple(
        Annotation(sum(other >= score for other in scores), smiles, key, name, score, probability)
        for score in scores
    )
    query = Query.settle(spectrum(query_id))
    return Answer(query, rows, n_candidates or len(scores), bits)


def unranked(query_id: str, status: str) -> Unranked:
    return Unranked(query_id, Refusal(Cause.NO_PRECURSOR, status))


def source(results: Sequence[QueryResult], tmp_path: Path, **provenance: str) -> str:
    path = tmp_path / "report.html"
    write_report(results, path, title="Annotation of a <file>", provenance=provenance)
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


def test_a_query_is_told_with_spectrum_candidates_and_evidence(tmp_path: Path) -> None:
    bits = (
        BitEvidence(12, "[#6]=[#8]", 0.98, True),
        BitEvidence(40, "thiophene", 0.85, False),
        BitEvidence(41, "bromine", 0.01, False),
    )
    page = Page(source([result(bits=bits)], tmp_path, model="model.safetensors"))
    for words in (
        "Annotation of a <file>",
        "1 query · 1 ranked",
        "precursor m/z 195.0877 · [M+H]+ · 35 eV · 61.2 s · 4 peaks · 2 candidates",
        "caffeine",
        "RYYVLZVUVIJVGH-UHFFFAOYSA-N",
        "[#6]=[#8] bit 12",
        "195.0877",
        "model.safetensors",
    ):
        assert words in page.text
    # A set bit that is there and an unset one that is not speak for it; a missing one against.
    verdicts = re.findall(r"(present|absent) *(for|against)", page.text)
    assert verdicts == [("present", "for"), ("absent", "against"), ("absent", "for")]
    assert page.count("svg", **{"class": "spectrum"}) == 1
    assert page.count("svg", **{"aria-label": CAFFEINE}) == 2


def test_analogues_and_explained_peaks_are_shown(tmp_path: Path) -> None:
    told = replace(
        result(),
        analogues=(Analogue("YAPQBXQYLJRXSA", "Cn1cnc2c1c(=O)[nH]c(=O)n2C", 0.83),),
        peaks=(PeakEvidence(138.0662, 1.0, "C6H8N3O+", -1.25, 3.4),),
    )
    page = Page(source([told], tmp_path))
    for words in ("YAPQBXQYLJRXSA", "cosine 0.83", "138.0662", "C6H8N3O+", "\N{MINUS SIGN}1.25"):
        assert words in page.text
    assert page.count("svg", **{"aria-label": "Cn1cnc2c1c(=O)[nH]c(=O)n2C"}) == 1


def test_the_query_is_drawn_against_the_spectrum_of_the_library(tmp_path: Path) -> None:
    match = LibraryMatch("MSBNK-<1>", "[M+H]+", 0.912, 7, is_clear=True, row=3)
    plain = result()
    rows = (replace(plain.annotations[0], match=match), *plain.annotations[1:])
    peaks = RememberedPeaks(np.array([110.07, 138.07]), np.array([0.2, 1.0]), 0.02)
    page = Page(source([replace(plain, annotations=rows, remembered=peaks)], tmp_path))
    assert "MSBNK-<1> · [M+H]+ · cosine 0.91 · 7 shared peaks · level 2a" in page.text
    assert "library, peaks in bins of 0.02 Th" in page.text
    assert page.count("svg", **{"class": "spectrum mirror"}) == 1


def test_the_overview_links_to_every_query_and_tells_the_gap(tmp_path: Path) -> None:
    results: list[QueryResult] = [
        result("a"),
        result("b", (-2.0, -2.0, -4.0)),
        unranked("c", "no precursor m/z"),
    ]
    text = source(results, tmp_path)
    page = Page(text)
    for number in (1, 2, 3):
        assert page.count("a", href=f"#q{number}") == 1
        assert page.count("section", id=f"q{number}") == 1
    body = text[text.index("<tbody>") : text.index("</tbody>")]
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in body.split("</tr>")[:3]]
    assert "2.50" in rows[0]
    assert "tie" in rows[1]
    assert rows[2] == ["c", "\N{EN DASH}", "\N{EN DASH}", "0", "no", "precursor", "m/z"]
    assert "2 candidates tie for the first place" in page.text


def test_what_is_known_of_all_queries_is_said_at_the_top(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    lines = ["1 of 2 queries ranked; 1 no <precursor> m/z", "probabilities: by another model's"]
    write_report([result()], path, title="t", provenance={}, summary=lines)
    page = Page(path.read_text(encoding="utf-8"))
    for line in lines:
        assert line in page.text
    assert page.text.index(lines[0]) < page.text.index("Overview")


def test_scores_are_said_to_be_no_probabilities_until_they_are_calibrated(tmp_path: Path) -> None:
    plain = Page(source([result()], tmp_path)).text
    assert "Scores are not probabilities" in plain
    assert "this model is not calibrated" in plain
    assert "nats" in plain
    assert "Candidates of equal score share the worst rank" in plain
    calibrated = Page(source([result(probability=0.815)], tmp_path)).text
    assert "calibrated chance" in calibrated
    assert "this model is not calibrated" not in calibrated
    assert "81.5%" in calibrated


@pytest.mark.parametrize("nasty", ["<script>alert(1)</script>", '"><img src=x>', "a & b < c"])
def test_everything_that_a_file_can_name_is_escaped(tmp_path: Path, nasty: str) -> None:
    bits = (BitEvidence(1, nasty, 0.9, True),)
    results: list[QueryResult] = [
        result(nasty, name=nasty, smiles=nasty, bits=bits),
        unranked(nasty, nasty),
    ]
    path = tmp_path / "report.html"
    write_report(results, path, title=nasty, provenance={nasty: nasty})
    page = Page(path.read_text(encoding="utf-8"))
    assert page.count("script") == 1
    assert page.count("img") == 0
    assert page.text.count(" ".join(nasty.split())) >= 8


def test_nothing_is_loaded_from_elsewhere_and_the_page_works_without_script(tmp_path: Path) -> None:
    text = source([result()], tmp_path)
    page = Page(text)
    assert all("src" not in found for _, found in page.tags)
    assert all((found.get("href") or "#").startswith("#") for _, found in page.tags)
    assert "url(" not in text
    assert "@import" not in text
    # The filter does nothing without the script, so the script is what shows it.
    assert ("p", {"class": "filter", "hidden": None}) in page.tags


def test_a_structure_that_cannot_be_drawn_is_shown_as_text(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page = Page(source([result(smiles="C1CC(")], tmp_path))
    assert page.count("code", **{"class": "structure smiles"}) == 2
    assert "C1CC(" in page.text
    assert capfd.readouterr().err == ""


def test_only_the_first_candidates_are_drawn_and_listed(tmp_path: Path) -> None:
    scores = tuple(float(-i) for i in range(40))
    page = Page(source([result(scores=scores, n_candidates=90)], tmp_path))
    assert page.count("svg", **{"aria-label": CAFFEINE}) == html.N_DRAWN
    assert page.count("li") == html.N_LISTED
    assert "65 candidates rank below these" in page.text


def test_a_spectrum_shows_its_strongest_peaks_and_labels_that_do_not_overlap(
    tmp_path: Path,
) -> None:
    one = replace(result("q"), query=Query.settle(spectrum("q", n_peaks=1000)))
    text = source([one], tmp_path)
    sticks = re.search(r'class="stick" d="([^"]*)"', text)
    assert sticks is not None
    assert sticks[1].count("M") == html.N_STICKS
    labels = [
        (float(x), float(y)) for x, y in re.findall(r'class="peak" x="([\d.]+)" y="([\d.]+)"', text)
    ]
    assert 1 < len(labels) <= html.N_LABELS
    for i, (x, y) in enumerate(labels):
        assert all(abs(x - a) >= 56 or abs(y - b) >= 13 for a, b in labels[:i])


def test_a_thousand_queries_make_a_usable_file(tmp_path: Path) -> None:
    scores = tuple(float(-i) for i in range(12))
    bits = tuple(BitEvidence(i, "an atom environment of some length", 0.9, True) for i in range(8))
    results = [result(f"query {i}", scores, bits=bits) for i in range(1000)]
    path = tmp_path / "report.html"
    write_report(results, path, title="many", provenance={})
    text = path.read_text(encoding="utf-8")
    assert len(text) < 50_000_000
    assert text.count('class="structure"') <= html.N_DRAWN_IN_ALL
    assert text.count('<section class="query"') == 1000


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    broken = replace(result(), annotations=())  # an answer has one row at least
    with pytest.raises(IndexError):
        write_report([result(), broken], tmp_path / "report.html", title="", provenance={})
    assert list(tmp_path.iterdir()) == []


def test_no_queries_make_a_page_too(tmp_path: Path) -> None:
    assert "0 queries" in Page(source([], tmp_path)).text
