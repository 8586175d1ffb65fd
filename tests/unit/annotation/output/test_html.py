import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_examples import NASTY, explained, result, spectrum, unranked

from specvae.annotation.evidence.analogues import RememberedPeaks
from specvae.annotation.evidence.library_match import LibraryMatch
from specvae.annotation.library.query import Assumptions, Query
from specvae.annotation.output import html
from specvae.annotation.output.html import write_report
from specvae.annotation.ranking.in_list import keep_probable
from specvae.annotation.ranking.result import (
    Annotation,
    Answer,
    QueryResult,
)
from specvae.annotation.ranking.told import Told
from specvae.molecules.molecule import Molecule
from specvae.spectra.adducts import parse_adduct

VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """Text and tags of a page, and its JSON; every tag must be closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.json: dict[str, Any] = {}
        self.feed(source)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.stack.pop() == tag
        self.words.append(" " if tag in ("td", "th") else "")

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] == "script":
            _, attributes = self.tags[-1]
            if attributes.get("type") == "application/json":
                self.json[str(attributes["id"])] = json.loads(data)
        elif not self.stack or self.stack[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def count(self, tag: str, **attributes: str) -> int:
        return sum(
            name == tag and all(found.get(key) == value for key, value in attributes.items())
            for name, found in self.tags
        )


def source(results: Sequence[QueryResult], tmp_path: Path, **provenance: str) -> str:
    path = tmp_path / "report.html"
    write_report(results, path, title="Annotation of a <file>", provenance=provenance)
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


def rows_of(text: str) -> list[str]:
    """Return the rows of the overview as words."""
    return [
        " ".join(unescape(re.sub(r"<[^>]+>", " ", row)).split())
        for row in re.findall(r"<tbody id=.*?</tbody>", text, re.DOTALL)
    ]


def of_two(answer: Answer, first: Annotation, second: Annotation) -> Answer:
    """Return an answer that was explained, with these two candidates."""
    assert answer.explanation is not None
    explanation = replace(answer.explanation, second=second)
    return replace(answer, annotations=(first, second), explanation=explanation)


def test_an_opened_query_says_why_its_first_candidate_is_first(tmp_path: Path) -> None:
    shown = Page(source([explained()], tmp_path)).json["d1"]
    assert shown["facts"] == ["precursor m/z 195.0877", "[M+H]+", "35 eV", "61.2 s", "4 peaks",
                              "2 candidates"]  # fmt: skip
    assert shown["why"] == (
        "Ahead of theophylline by 5.51 nats: own library spectra +4.00, fragments +2.00, similar "
        "compounds of the library \N{MINUS SIGN}0.50. Without effect: predicted fingerprint, "
        "nearness to the library."
    )
    assert [(name, say) for name, _, _, say in shown["terms"]] == [
        ("predicted fingerprint", False),
        ("similar compounds of the library", True),
        ("fragments", True),
        ("own library spectra", True),
        ("nearness to the library", False),
    ]
    assert [row[1] for row in shown["first"]["peaks"]] == ["C2H3N+", "C3H5N+"]
    assert [row[1] for row in shown["second"]["peaks"]] == ["C2H3N+", "C4H5N+"]
    library = shown["library"]
    assert (library["own"], library["name"], library["id"]) == (True, "caffeine", "MSBNK-<1>")
    assert library["height"] == [20.0, 100.0]
    (bit,) = shown["bits"]
    assert (bit["fragment"], bit["gain"], bit["first"]) == ("CN", 1.2, True)


def test_an_explained_peak_that_may_be_an_isotope_says_so(tmp_path: Path) -> None:
    answer = explained()
    assert answer.explanation is not None
    mz = answer.query.spectrum.mz
    lighter = float(mz[0])
    measured = replace(
        answer.query.spectrum,
        mz=np.array([lighter, lighter + 1.00335]),
        intensity=np.array([100.0, 5.0]),
    )
    peaks = tuple(
        replace(answer.explanation.peaks[0], mz=float(at), formula=formula)
        for at, formula in zip(measured.mz, ("C2H3N+", "C2H4N+"), strict=True)
    )
    explanation = replace(answer.explanation, peaks=peaks, second_peaks=())
    query = Query.assign_ion(measured)
    page = Page(source([replace(answer, query=query, explanation=explanation)], tmp_path))
    said = [row[1] for row in page.json["d1"]["first"]["peaks"]]
    assert said == [
        "C2H3N+",
        f"C2H4N+ or \N{SUPERSCRIPT ONE}\N{SUPERSCRIPT THREE}C of {lighter:.4f}",
    ]


def test_without_fragments_the_term_is_how_readily_a_candidate_stays_whole(tmp_path: Path) -> None:
    answer = explained()
    whole = replace(
        answer.query.spectrum,
        mz=np.array([answer.query.spectrum.precursor_mz]),
        intensity=np.array([1.0]),
    )
    shown = Page(source([replace(answer, query=Query.assign_ion(whole))], tmp_path)).json["d1"]
    names = [name for name, *_ in shown["terms"]]
    assert "how readily it stays whole" in names
    assert "fragments" not in names
    assert "how readily it stays whole +2.00" in shown["why"]


@pytest.mark.parametrize(("cosine", "is_said"), [(0.05, True), (0.6, False)])
def test_library_spectra_that_are_unlike_the_query_are_not_praised(
    tmp_path: Path, cosine: float, *, is_said: bool
) -> None:
    answer = explained()
    assert answer.explanation is not None
    assert answer.explanation.second is not None
    match = LibraryMatch("MSBNK-1", "[M+H]+", cosine, 3, is_clear=False, row=0)
    best = replace(answer.annotations[0], match=match)
    shown = Page(source([of_two(answer, best, answer.explanation.second)], tmp_path)).json["d1"]
    said = "Its library spectra are hardly like the query (cosine 0.05): what counts is that the "
    assert (said in shown["why"]) == is_said


def test_a_second_candidate_that_may_be_a_tautomer_is_told(tmp_path: Path) -> None:
    """Each form of 4-hydroxycoumarin has its own probability."""
    answer = explained()
    assert answer.explanation is not None
    assert answer.explanation.second is not None
    first, second = (
        replace(one, molecule=Molecule.parse(smiles), smiles=smiles, formula="C9H6O3")
        for one, smiles in zip(
            (answer.annotations[0], answer.explanation.second),
            ("O=c1cc(O)c2ccccc2o1", "O=c1cc(O)oc2ccccc12"),
            strict=True,
        )
    )
    told = "Rank 2 may be a tautomer of the first: together they have 93 %."
    first, second = replace(first, probability=0.6), replace(second, probability=0.33)
    shown = Page(source([of_two(answer, first, second)], tmp_path)).json["d1"]
    assert shown["why"].endswith(told)
    other = replace(second, molecule=Molecule.parse("O=c1ccc2cccc(O)c2o1"))
    shown = Page(source([of_two(answer, first, other)], tmp_path)).json["d1"]
    assert "tautomer" not in shown["why"]


def test_a_normalized_collision_energy_is_shown(tmp_path: Path) -> None:
    answer = explained()
    measured = replace(
        answer.query.spectrum, collision_energy=None, normalized_collision_energy=35.0
    )
    shown = Page(source([replace(answer, query=Query.assign_ion(measured))], tmp_path)).json["d1"]
    assert "35 % normalized energy" in shown["facts"]


def test_the_page_tells_the_ion_and_the_remarks_of_a_candidate(tmp_path: Path) -> None:
    tried = Assumptions.parse(tried="[M+H]+,[M+Na]+")
    found = result("q", (-1.0,))
    query = Query.assign_ion(replace(found.query.spectrum, adduct=None, ion_mode="positive"), tried)
    best = replace(found.annotations[0], adduct="[M+Na]+", exact_mass=300.0)
    text = source([replace(found, query=query, annotations=(best,))], tmp_path)
    (row,) = rows_of(text)
    remark = "its mass does not fit the precursor m/z (-395,993 ppm)"
    assert "[M+Na]+" in row
    assert remark in row
    shown = Page(text).json["d1"]
    assert "[M+Na]+" in shown["facts"]
    (candidate,) = shown["candidates"]
    assert (candidate["adduct"], candidate["remarks"]) == ("[M+Na]+", [remark])


def test_a_retention_time_is_shown_where_it_counts(tmp_path: Path) -> None:
    answer = explained()
    first, second = answer.annotations
    late = replace(first, terms=(*first.terms[:5], 0.75, 0.0))
    shown = Page(source([replace(answer, annotations=(late, second))], tmp_path)).json["d1"]
    assert shown["terms"][5][:2] == ["retention time", 0.75]
    assert "retention time +0.75" in shown["why"]


def test_an_error_of_precursor_mz_is_shown_where_it_counts(tmp_path: Path) -> None:
    answer = explained()
    first, second = answer.annotations
    off = replace(second, terms=(*second.terms[:6], -1.5))
    shown = Page(source([of_two(answer, first, off)], tmp_path)).json["d1"]
    assert shown["terms"][5][:3] == ["error of precursor m/z", 0.0, -1.5]
    assert "error of precursor m/z +1.50" in shown["why"]


def test_the_terms_of_a_score_sum_to_it_where_adducts_were_tried(tmp_path: Path) -> None:
    answer = explained()
    protonated, sodiated = (
        replace(row, adduct=adduct, score=sum(row.terms) + share)
        for row, adduct, share in zip(
            answer.annotations, ("[M+H]+", "[M+Na]+"), (-0.25, -3.25), strict=True
        )
    )
    tried = of_two(answer, protonated, sodiated)
    shown = Page(source([tried], tmp_path)).json["d1"]
    assert "how likely the adduct is +3.00" in shown["why"]
    for place, row in ((1, protonated), (2, sodiated)):
        assert sum(term[place] for term in shown["terms"]) == pytest.approx(row.score)
    plain = [replace(row, terms=()) for row in (protonated, sodiated)]
    alone = replace(tried, annotations=tuple(plain), explanation=None)
    shown = Page(source([alone], tmp_path)).json["d1"]
    assert "by the predicted fingerprint and how likely the adduct is" in shown["why"]


def test_the_page_says_that_a_candidate_of_another_mass_stands_behind(tmp_path: Path) -> None:
    answer = explained()
    first, second = answer.annotations
    behind = replace(second, score=second.score - 100.0)
    listed = of_two(answer, first, behind)
    shown = Page(source([listed], tmp_path)).json["d1"]
    assert "nats: whether its mass is the query's +100.00, own library spectra" in shown["why"]
    for place, row in ((1, first), (2, behind)):
        assert sum(term[place] for term in shown["terms"]) == pytest.approx(row.score, abs=0.02)
    plain = [replace(one, terms=(), exact_mass=m) for one, m in ((first, 194.08), (behind, 94.04))]
    alone = replace(listed, annotations=tuple(plain), explanation=None)
    shown = Page(source([alone], tmp_path)).json["d1"]
    assert "by the predicted fingerprint and whether its mass is the query's" in shown["why"]


def test_the_page_says_that_a_candidate_hardly_becomes_the_ion(tmp_path: Path) -> None:
    answer = explained()
    first, second = answer.annotations
    cation = replace(first, molecule=Molecule.parse("CC(=O)OCC[N+](C)(C)C"))
    neutral = replace(second, molecule=None, smiles="CCCCCCCC(O)O", score=second.score - 4.0)
    of_cation = replace(answer.query, ion=parse_adduct("[M]+"))
    listed = replace(of_two(answer, cation, neutral), query=of_cation)
    shown = Page(source([listed], tmp_path)).json["d1"]
    assert "how readily it becomes the ion +4.00" in shown["why"]
    for place, row in ((1, cation), (2, neutral)):
        assert sum(term[place] for term in shown["terms"]) == pytest.approx(row.score, abs=0.02)
    plain = [replace(one, terms=()) for one in (cation, neutral)]
    alone = replace(listed, annotations=tuple(plain), explanation=None)
    shown = Page(source([alone], tmp_path)).json["d1"]
    assert "by the predicted fingerprint and how readily it becomes the ion" in shown["why"]


def test_fragments_are_marked_by_the_atoms_of_the_drawing(tmp_path: Path) -> None:
    """Atoms are numbered as in the canonical SMILES, however the candidate was written."""
    backwards = "O=c1c2c(n(C)c(=O)n1C)ncn2C"
    answer = explained()
    mol = Molecule.parse(backwards)
    places = tuple(a.GetIdx() for a in mol.mol.GetAtoms() if a.GetSymbol() == "O")
    peak = replace(answer.explanation.peaks[0], atoms=places)  # type: ignore[union-attr]
    best = replace(answer.annotations[0], smiles=backwards, molecule=mol)
    explanation = replace(answer.explanation, peaks=(peak,))  # type: ignore[type-var]
    page = Page(
        source(
            [replace(answer, annotations=(best, answer.annotations[1]), explanation=explanation)],
            tmp_path,
        )
    )
    first = page.json["d1"]["first"]
    drawing = page.json["drawings"][first["drawing"]]
    drawn = Molecule.parse(drawing["s"]).mol
    assert [drawn.GetAtomWithIdx(n).GetSymbol() for n in first["fragments"][0]] == ["O", "O"]
    assert len(drawing["a"]) == 2 * drawn.GetNumAtoms()


def test_each_structure_is_drawn_once(tmp_path: Path) -> None:
    page = Page(source([explained(), explained(), result("q2")], tmp_path))
    smiles = [drawing["s"] for drawing in page.json["drawings"]]
    assert len(smiles) == len(set(smiles))
    assert {page.json[d]["first"]["drawing"] for d in ("d1", "d2")} == {0}


def test_the_overview_is_sorted_by_probability_and_keeps_the_files_numbers(
    tmp_path: Path,
) -> None:
    results: list[QueryResult] = [
        result("a", probability=0.2),
        unranked("b", "no precursor m/z"),
        result("c", (-2.0, -2.0, -4.0), probability=0.9),
    ]
    text = source(results, tmp_path)
    rows = rows_of(text)
    assert [row.split()[0] for row in rows] == ["3", "1", "2"]
    assert rows[0].startswith("3 90.0 % caffeine RYYVLZVUVIJVGH-UHFFFAOYSA-N")
    assert rows[0].endswith("195.0877 [M+H]+ 61.2 level 3 tie c")
    assert "2.50" in rows[1]
    assert "no precursor m/z" in rows[2]
    page = Page(text)
    assert page.json["d1"]["id"] == "a"  # numbers are those of the file
    assert page.count("a", href="#q3") == 1
    assert page.json["d3"]["why"].startswith("2 candidates tie for the first place")
    assert page.json["d2"]["why"] == "Not ranked: no precursor m/z."


def test_the_overview_names_the_file_of_each_query(tmp_path: Path) -> None:
    results: list[QueryResult] = [
        result("a", probability=0.2),
        unranked("b", "no precursor m/z"),
        result("c", probability=0.9),
    ]
    path = tmp_path / "report.html"
    files = ["one.mgf", "two.mgf", "three.mgf"]
    write_report(results, path, title="", provenance={}, files=files)
    rows = rows_of(path.read_text(encoding="utf-8"))
    assert [row[0] for row in rows] == ["3", "1", "2"]
    found = [[name for name in files if name in row] for row in rows]
    assert found == [["three.mgf"], ["one.mgf"], ["two.mgf"]]


def test_the_overview_marks_doubts_alone(tmp_path: Path) -> None:
    """Each row looked doubtful: by the names of merged spectra, and by what holds for all rows."""

    def with_remarks(*remarks: str) -> Answer:
        return replace(explained(), query=replace(explained().query, remarks=remarks))

    text = source(
        [with_remarks("merged with b, c"), with_remarks("odd", "merged with b")], tmp_path
    )
    first, second = rows_of(text)
    assert "merged" not in text.split("<footer")[0].split("application/json")[0]
    assert " ok" not in first
    assert second.endswith(" odd")
    assumed = "adduct taken as [M+H]+"
    for others, ending in ((assumed, "odd"), ("", f"{assumed}; odd")):
        answers = [with_remarks(assumed, "odd"), with_remarks(others)]
        assert rows_of(source(answers, tmp_path))[0].endswith(f" {ending}")


def test_a_probability_is_the_same_in_the_overview_and_beside_the_structure(tmp_path: Path) -> None:
    """It was rounded twice: 0.3 % above, 0.4 % below."""
    best, second = explained().annotations
    text = source([of_two(explained(), replace(best, probability=0.003457), second)], tmp_path)
    assert "0.3 %" in rows_of(text)[0]
    assert Page(text).json["d1"]["candidates"][0]["p"] == 0.003457


def test_what_is_to_be_expected_is_told_by_probability(tmp_path: Path) -> None:
    results = [result("a", probability=0.96), result("b", probability=0.5)]
    text = Page(source(results, tmp_path)).text
    assert "all 2 1.5 27.0%" in text
    assert "50% or more 2 1.5 27.0%" in text
    assert "90% or more 1 1.0 4.0%" in text
    assert "What to expect" not in Page(source([result()], tmp_path)).text


def test_queries_without_a_probable_candidate_count_as_ranked(tmp_path: Path) -> None:
    left_out = keep_probable(result("b", probability=0.2, n_candidates=9), 0.5)
    page = Page(source([result("a", probability=0.9, n_candidates=3), left_out], tmp_path))
    totals = "2 queries · 2 ranked · 1 of them left out by probability · median 6 candidates"
    assert totals in page.text
    assert "all that are shown 1" in page.text
    assert "Not ranked, and why" not in page.text
    assert page.json["d2"]["why"] == "Left out: no candidate reaches probability 0.5 (best 0.2)."


def test_levels_of_identification_are_shown_and_counted(tmp_path: Path) -> None:
    """Laboratories report them; they were in what a row opens alone."""
    clear = result("known")
    match = LibraryMatch("L1", "[M+H]+", 0.95, 6, is_clear=True, row=0)
    first = replace(clear.annotations[0], match=match)
    results = [
        replace(clear, annotations=(first, *clear.annotations[1:])),
        result("a"),
        result("b"),
    ]
    text = source(results, tmp_path)
    assert "1 at level 2a · 2 at level 3" in Page(text).text
    shown = {row.split()[-1]: "level 2a" in row for row in rows_of(text)}
    assert shown == {"known": True, "a": False, "b": False}


def test_causes_of_not_being_ranked_are_counted(tmp_path: Path) -> None:
    results: list[QueryResult] = [result(), *(unranked(f"u{n}", "") for n in range(3))]
    text = Page(source(results, tmp_path)).text
    assert "4 queries · 1 ranked · 3 not ranked" in text
    assert "Not ranked, and why 3 no precursor m/z" in text


def test_what_is_known_of_all_queries_is_said_at_the_top(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    told = Told(
        ("1 record <skipped>",), ("1 of 2 ranked",), ("try --ppm 20",), ("errors of m/z: none",)
    )
    write_report([result()], path, title="t", provenance={"date": "today"}, told=told)
    page = Page(path.read_text(encoding="utf-8"))
    # What asks for something comes first.
    places = [page.text.index(text) for text in (*told.advice, *told.found, *told.read)]
    places += [page.text.index(text) for text in (*told.details, "Overview", "today")]
    assert places == sorted(places)


def test_scores_are_said_to_be_no_probabilities_until_they_are_calibrated(tmp_path: Path) -> None:
    plain = Page(source([result()], tmp_path)).text
    assert "Scores are not probabilities" in plain
    assert "Candidates of equal score share the worst rank" in plain
    calibrated = Page(source([result(probability=0.815)], tmp_path)).text
    assert "calibrated chance" in calibrated
    assert "this model is not calibrated" not in calibrated
    assert "81.5 %" in calibrated


@pytest.mark.parametrize("nasty", [NASTY, '"><img src=x>', "a & b < c", "\u2028</script>"])
def test_everything_that_a_file_can_name_is_harmless(tmp_path: Path, nasty: str) -> None:
    results: list[QueryResult] = [
        result(nasty, name=nasty, smiles=nasty),
        replace(explained(nasty), query=Query.assign_ion(spectrum(nasty))),
        unranked(nasty, nasty),
    ]
    path = tmp_path / "report.html"
    write_report(results, path, title=nasty, provenance={nasty: nasty})
    page = Page(path.read_text(encoding="utf-8"))
    assert page.count("script") == 1 + len(results) + 1
    assert page.count("img") == 0
    assert page.json["d1"]["id"] == page.json["d1"]["candidates"][0]["name"] == nasty
    assert page.text.count(" ".join(nasty.split())) >= 6


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    text = source([explained()], tmp_path)
    page = Page(text)
    assert all("src" not in found for _, found in page.tags)
    assert all((found.get("href") or "#").startswith("#") for _, found in page.tags)
    assert "url(" not in text
    assert "@import" not in text
    # The filter does nothing without the script, so the script is what shows it.
    assert ("p", {"class": "filter", "hidden": None}) in page.tags
    assert "does not run here" in page.text


def test_a_structure_that_cannot_be_drawn_is_shown_as_text(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page = Page(source([result(smiles="C1CC(")], tmp_path))
    candidates = page.json["d1"]["candidates"]
    assert [c["smiles"] for c in candidates] == ["C1CC("] * 2
    assert page.json["drawings"] == []
    assert capfd.readouterr().err == ""


def test_only_the_first_candidates_are_drawn_and_listed(tmp_path: Path) -> None:
    scores = tuple(float(-i) for i in range(40))
    shown = Page(source([result(scores=scores, n_candidates=90)], tmp_path)).json["d1"]
    assert sum("drawing" in c for c in shown["candidates"]) == html.N_DRAWN
    assert len(shown["candidates"]) == html.N_LISTED
    assert shown["below"] == 65


def test_a_spectrum_shows_its_strongest_peaks(tmp_path: Path) -> None:
    one = replace(result("q"), query=Query.assign_ion(spectrum("q", n_peaks=1000)))
    shown = Page(source([one], tmp_path)).json["d1"]["query"]
    assert len(shown["mz"]) == len(shown["height"]) == html.N_STICKS
    assert shown["height"][-1] == 100.0
    assert shown["mz"] == sorted(shown["mz"])


def test_each_of_many_queries_takes_little_room(tmp_path: Path) -> None:
    answers = []
    for n in range(0, 1000, 10):
        smiles = "C" * (n % 50 + 1) + "N" * (n // 50 + 1) + "c1ccccc1OC(=O)C1CCCCC1"
        answer = replace(explained(), query=Query.assign_ion(spectrum(f"query {n}", 60)))
        best = replace(answer.annotations[0], smiles=smiles, molecule=Molecule.parse(smiles))
        answers.append(replace(answer, annotations=(best,) * 10))
    path = tmp_path / "report.html"
    write_report(answers, path, title="many", provenance={})
    assert path.stat().st_size < 1_200_000  # a thousand: 12 MB
    assert path.read_text(encoding="utf-8").count("<tbody id=") == 100


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    broken = replace(result(), annotations=())  # an answer has one row at least
    with pytest.raises(IndexError):
        write_report([result(), broken], tmp_path / "report.html", title="", provenance={})
    assert list(tmp_path.iterdir()) == []


def test_no_queries_make_a_page_too(tmp_path: Path) -> None:
    assert "0 queries" in Page(source([], tmp_path)).text


def test_a_library_spectrum_of_low_resolution_is_compared_by_nominal_masses(tmp_path: Path) -> None:
    answer = explained()
    assert answer.explanation is not None
    assert answer.explanation.library is not None
    ours = answer.query.spectrum.mz
    peaks = RememberedPeaks(np.array([ours[1] + 0.3, ours[2] + 1.6]), np.array([1.0, 0.5]), 0.02)
    for is_nominal in (False, True):
        library = replace(answer.explanation.library, peaks=peaks, is_nominal=is_nominal)
        nominal = replace(answer, explanation=replace(answer.explanation, library=library))
        shown = Page(source([nominal], tmp_path)).json["d1"]["library"]
        assert shown.get("nominal") == ([[1], [0]] if is_nominal else None)


def test_a_query_s_only_candidate_keeps_the_terms_of_its_score(tmp_path: Path) -> None:
    answer = explained()
    assert answer.explanation is not None
    first = answer.annotations[0]
    explanation = replace(answer.explanation, second=None, second_peaks=())
    lone = replace(answer, annotations=(first,), n_candidates=1, explanation=explanation)
    page = source([lone], tmp_path)
    assert "1 query · 1 ranked · median 1 candidate a query" in page
    terms = Page(page).json["d1"]["terms"]
    assert sum(value for _, value, _, _ in terms) == pytest.approx(first.score)
    assert all(other is None for _, _, other, _ in terms)
