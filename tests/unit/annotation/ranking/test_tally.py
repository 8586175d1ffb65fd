"""What is said of queries that were not ranked, and what would help them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotation_examples import CAFFEINE
from pool_files import write_pool
from ranking_examples import QUERY, table

from specvae.annotation.evidence.items import Analogue
from specvae.annotation.library.query import MassFit, Query
from specvae.annotation.output.cells import status_of
from specvae.annotation.ranking.advice import advice_on
from specvae.annotation.ranking.candidates import INNER_SALT, CandidateSource
from specvae.annotation.ranking.result import Annotation, Answer, Cause, Refusal, Unranked
from specvae.annotation.ranking.tally import Tally
from specvae.molecules.fingerprint import get_layout
from specvae.report import ReadReport
from specvae.spectra.spectrum import Spectrum


def tallied(source: CandidateSource, *spectra: Spectrum) -> Tally:
    """Count what a source says of queries that it has no candidates for."""
    tally = Tally(listed_ids=source.listed_ids)
    outcomes = []
    for spectrum in spectra:
        query = Query.assign_ion(spectrum)
        found = source.find(query)
        assert isinstance(found, Refusal)
        outcomes.append(Unranked(query.query_id, found, query))
    assert list(tally.counting(outcomes)) == outcomes
    return tally


@pytest.fixture(params=["table", "pool"])
def caffeine(request: pytest.FixtureRequest, tmp_path: Path) -> CandidateSource:
    """Caffeine (194.0804 Da) alone, as a table and as a pool."""
    path = tmp_path / "c.csv"
    path.write_text(f"smiles\n{CAFFEINE}\n", encoding="utf-8")
    layout = get_layout("morgan4096")
    if request.param == "pool":
        write_pool(path, layout, tmp_path / "c.h5")
        path = tmp_path / "c.h5"
    return CandidateSource(path, layout, 10.0, ReadReport())


def test_a_rough_precursor_asks_for_a_wider_window(caffeine: CandidateSource) -> None:
    # 195.0877 Th: 195.08 is 40 ppm of the neutral mass below, 195.0950 38 above.
    tally = tallied(
        caffeine, *(replace(QUERY, precursor_mz=mz) for mz in (195.08, 195.08, 195.0951))
    )
    assert advice_on(tally) == [
        (
            "3 without candidates of their mass; nearest: median 39.4 ppm, and 2 of 3 precursors "
            "have two decimals or fewer: try --ppm 50"
        )
    ]


def test_precursors_of_which_few_end_with_zeros_are_not_called_rough(
    caffeine: CandidateSource,
) -> None:
    """195.0800 is written 195.08: one of many was told as a reason why candidates lack."""
    exact = [replace(QUERY, precursor_mz=195.0801 + n / 1e4) for n in range(4)]
    (line,) = advice_on(tallied(caffeine, *exact, replace(QUERY, precursor_mz=195.08)))
    assert line.startswith("5 without candidates of their mass")
    assert "decimals" not in line


def test_exact_precursors_are_of_other_compounds_before_a_wider_window_is_named(
    caffeine: CandidateSource,
) -> None:
    (line,) = advice_on(tallied(caffeine, replace(QUERY, precursor_mz=195.0801)))
    assert line.startswith("1 without candidates of its mass; nearest: 38.9 ppm: ")
    assert line.endswith(
        "ppm: the compounds are not listed, or, if precursors are off by so much, try --ppm 50"
    )


def test_adducts_that_cannot_be_read_are_named_and_what_to_do(caffeine: CandidateSource) -> None:
    (line,) = advice_on(tallied(caffeine, replace(QUERY, adduct="[M+Zz]+")))
    assert line.startswith("1 with an adduct that cannot be read, which the status names: ")
    assert "--assume-adduct" in line


def test_masses_that_no_window_reaches_are_of_other_compounds(caffeine: CandidateSource) -> None:
    tally = tallied(caffeine, replace(QUERY, precursor_mz=301.1234))
    (line,) = advice_on(tally)
    assert line.endswith(
        " 353,000 ppm: the compounds are not listed, or the ion species is another"
    )
    assert "--ppm" not in line
    assert "decimals" not in line


def test_queries_without_an_ion_can_be_told_theirs(caffeine: CandidateSource) -> None:
    tally = tallied(caffeine, replace(QUERY, adduct=None, ion_mode=None))
    assert advice_on(tally) == [
        "1 without polarity: state it with --assume-ion-mode positive or --assume-adduct '[M+H]+'"
    ]


def test_names_that_do_not_fit_are_shown_side_by_side(tmp_path: Path) -> None:
    source = table(tmp_path / "c.csv", f"query_id,smiles\nA-1,{CAFFEINE}\nA-1,CCO\nA-2,CCO\n")
    names = ("a1", "a1", "a2", "a3")  # scan 1 of several files
    tally = tallied(source, *(replace(QUERY, query_id=name) for name in names))
    assert advice_on(tally) == [
        (
            "4 queries are not named in the candidates' column query_id: queries are called 'a1', "
            "'a2', 'a3', there 'A-1', 'A-2'"
        )
    ]


def test_names_that_a_spreadsheet_has_changed_are_told(tmp_path: Path) -> None:
    source = table(tmp_path / "c.csv", f"query_id,smiles\n1-Mar,{CAFFEINE}\n")
    (line,) = advice_on(tallied(source, replace(QUERY, query_id="MAR1")))
    assert "called 'MAR1', there '1-Mar'; 1-Mar is what a spreadsheet makes of a name such" in line


def test_the_ends_of_long_names_that_do_not_fit_are_shown(tmp_path: Path) -> None:
    source = table(tmp_path / "c.csv", f"query_id,smiles\nA-1,{CAFFEINE}\n")
    tally = tallied(source, replace(QUERY, query_id="function=2 process=0 scan=1" + "0" * 30 + "7"))
    assert "'function=2 process=0...00000000000000000007'" in advice_on(tally)[0]
    of_thermo = "controllerType=0 controllerNumber=1 scan=14"
    tally = tallied(source, replace(QUERY, query_id=of_thermo))
    assert "called 'scan=14', there 'A-1'" in advice_on(tally)[0]


def asked(source: CandidateSource, *precursors: float) -> list[str]:
    """Return the advice on queries of [M+H]+ of these precursors, whether they find candidates."""
    outcomes = []
    for mz in precursors:
        query = Query.assign_ion(replace(QUERY, precursor_mz=mz))
        found = source.find(query)
        query = replace(query, fit=source.fit(query, found))
        refusal = found if isinstance(found, Refusal) else Refusal(Cause.IMPROBABLE)
        outcomes.append(Unranked(query.query_id, refusal, query))
    tally = Tally()
    assert len(list(tally.counting(outcomes))) == len(precursors)
    return advice_on(tally)


NEUTRAL = "is the mass of a candidate itself, not of its ion: "


def test_precursors_that_are_masses_of_molecules(caffeine: CandidateSource) -> None:
    (line, _) = asked(caffeine, 194.0804, 194.0803, 301.1234)
    assert f"the precursor m/z of 2 of 3 queries {NEUTRAL}" in line
    assert asked(caffeine, 195.0877, 195.0877) == []
    assert not any(NEUTRAL in line for line in asked(caffeine, 194.0804, 301.1234, 302.1234))


def test_a_mass_that_is_of_a_candidate_by_chance_is_no_hint(tmp_path: Path) -> None:
    """One of five fits both ways, one as a molecule alone; the others fit as ions."""
    masses = tmp_path / "c.csv"
    source = table(masses, f"smiles\n{CAFFEINE}\nCCO\n")
    assert not any(NEUTRAL in line for line in asked(source, 195.0877, 47.0491, 47.0491, 194.0804))


def test_listed_candidates_whose_own_mass_is_the_precursors(tmp_path: Path) -> None:
    source = table(tmp_path / "c.csv", f"query_id,smiles\nq,{CAFFEINE}\nq,CCO\n")
    (line,) = asked(source, 194.0804)
    assert line.startswith(f"the precursor m/z of 1 of 1 query {NEUTRAL}")
    assert asked(source, 195.0877) == asked(source, 301.1234) == []


def test_rows_of_a_long_table_that_were_not_parsed_are_masses_of_molecules(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text(f"smiles\n{CAFFEINE}\n" + "CCO\n" * 10_000, encoding="utf-8")
    query = Query.assign_ion(replace(QUERY, precursor_mz=194.0804))
    source = CandidateSource(path, get_layout("morgan4096"), 10.0, ReadReport(), queries=[query])
    assert source.fit(query, source.find(query)) == MassFit(as_ion=False, as_neutral=True)
    off = replace(query, spectrum=replace(query.spectrum, precursor_mz=194.0904))
    assert source.fit(off, source.find(off)) == MassFit(as_ion=False, as_neutral=False)


@pytest.mark.parametrize(
    ("mz", "ppm", "share"),
    [
        (195.0, 10.0, 0.0039),
        (195.1, 10.0, 0.03902),
        (195.1, 200.0, 0.7804),
        (195.0, 200.0, 0.078),
        (195.1, 300.0, 1.0),  # the window is as wide as the rounding
        (195.0, 300.0, 0.117),  # of that of a whole number it is not
        (195.09, 10.0, 1.0),
        (195.0877, 10.0, 1.0),
    ],
)
def test_of_a_rounded_mass_the_window_has_a_share(
    tmp_path: Path, mz: float, ppm: float, share: float
) -> None:
    query = Query.assign_ion(replace(QUERY, precursor_mz=mz))
    for text, is_by_mass in (
        (f"smiles\n{CAFFEINE}\n", True),
        (f"query_id,smiles\nq,{CAFFEINE}\n", False),
    ):
        (tmp_path / "c.csv").write_text(text, encoding="utf-8")
        source = CandidateSource(tmp_path / "c.csv", get_layout("morgan4096"), ppm, ReadReport())
        assert source.window_share(query) == pytest.approx(share if is_by_mass else 1.0)


def test_an_mz_that_a_quadrupole_measured_may_be_anywhere_in_1_th(tmp_path: Path) -> None:
    coarse = replace(QUERY, mz=np.array([110.1, 138.0]), intensity=np.array([1.0, 2.0]))
    (tmp_path / "c.csv").write_text(f"smiles\n{CAFFEINE}\n", encoding="utf-8")
    source = CandidateSource(tmp_path / "c.csv", get_layout("morgan4096"), 10.0, ReadReport())
    for mz, share in ((195.09, 0.0039018), (195.0877, 1.0)):
        query = Query.assign_ion(replace(coarse, precursor_mz=mz))
        assert source.window_share(query) == pytest.approx(share)


@pytest.mark.parametrize(
    ("mz", "ppm", "is_said"),
    [
        (195.1, 10.0, True),
        (195.0, 10.0, True),
        (195.0, 300.0, True),
        (195.09, 10.0, False),
        (195.1, 300.0, False),
    ],
)
def test_a_precursor_that_is_too_coarse_for_the_window_is_told(
    tmp_path: Path, mz: float, ppm: float, is_said: bool
) -> None:
    """m/z 355.3 found an ester of that mass alone, and its probability was .9."""
    path = tmp_path / "c.csv"
    for text, is_by_mass in (
        (f"smiles\n{CAFFEINE}\n", True),
        (f"query_id,smiles\nq,{CAFFEINE}\n", False),
    ):
        path.write_text(text, encoding="utf-8")
        source = CandidateSource(path, get_layout("morgan4096"), ppm, ReadReport())
        said = "".join(source.doubts(Query.assign_ion(replace(QUERY, precursor_mz=mz))))
        perhaps = f"the right one may not be within {ppm:g} ppm of it"
        wanted = f"precursor m/z has one decimal or none: {perhaps}"
        assert said == (wanted if is_said and is_by_mass else "")


@pytest.mark.parametrize(
    ("mz", "peaks", "ppm", "is_said"),
    [
        (195.23, (110.0, 138.1), 10.0, True),
        (195.23, (110.0, 138.1), 300.0, False),
        (195.23, (110.07, 138.1), 10.0, False),
        (195.0877, (110.0, 138.1), 10.0, False),
        (195.23, (110.0,), 10.0, False),
    ],
)
def test_a_precursor_of_two_decimals_is_as_coarse_as_its_peaks(
    tmp_path: Path, mz: float, peaks: tuple[float, ...], ppm: float, is_said: bool
) -> None:
    path = tmp_path / "c.csv"
    path.write_text(f"smiles\n{CAFFEINE}\n", encoding="utf-8")
    source = CandidateSource(path, get_layout("morgan4096"), ppm, ReadReport())
    measured = replace(
        QUERY, precursor_mz=mz, mz=np.array(peaks), intensity=np.full(len(peaks), 10.0)
    )
    said = list(source.doubts(Query.assign_ion(measured)))
    assert [text.partition(": ")[0] for text in said] == is_said * [
        "precursor m/z has two decimals, and those of the peaks fewer"
    ]


def test_precursors_as_coarse_as_their_peaks_need_exact_ones_and_no_wider_window(
    caffeine: CandidateSource,
) -> None:
    coarse = replace(QUERY, precursor_mz=195.09, mz=np.array([110.0, 138.1]), intensity=np.ones(2))
    sharp = replace(QUERY, precursor_mz=195.08)
    for queries, said in (
        ([replace(coarse, precursor_mz=195.08)], "state exact ones, as formula"),
        ([replace(coarse, precursor_mz=195.08), sharp, sharp], "try --ppm 50"),
    ):
        (line,) = advice_on(tallied(caffeine, *queries))
        assert said in line


@pytest.mark.parametrize(
    ("n", "of", "said", "is_told"),
    [
        (10, 20, {}, True),
        (9, 20, {}, False),
        (10, 200, {}, False),
        (10, 20, {"states_adduct": True}, False),
        (10, 20, {"listed_ids": ("q",)}, False),  # candidates of any mass
    ],
)
def test_many_ranked_queries_without_an_adduct_may_be_other_adducts(
    n: int, of: int, said: dict[str, Any], is_told: bool
) -> None:
    answer = answered("q")
    silent = replace(answer, query=Query.assign_ion(replace(QUERY, adduct=None)))
    tally = Tally(**said)
    assert len(list(tally.counting([silent] * n + [answer] * (of - n)))) == of
    told = (
        f"{n} of the ranked queries state no adduct: --try-adducts common ranks candidates of "
        "several"
    )
    assert advice_on(tally) == [told] * is_told


def test_a_match_that_is_not_listed_is_told() -> None:
    clear = Analogue("A" * 14, "C", 0.91, name="caffeine", is_unlisted=True)
    found = [
        answered(name, *analogues)
        for name, analogues in {
            "listed": [replace(clear, is_unlisted=False), clear],
            "unlike": [replace(clear, cosine=0.6)],
            "one": [clear],
            "two": [replace(clear, cosine=0.8)],
            "none": [],
        }.items()
    ]
    tally = Tally()
    assert list(tally.counting(found)) == found
    assert advice_on(tally) == [
        (
            "2 queries are clearly like a compound of the library that is not among their "
            "candidates, as their status says: such as 'one', like 'caffeine' (cosine 0.91)"
        )
    ]


def test_precursors_that_are_off_are_shown_by_the_library() -> None:
    """A run that is 15 ppm off had other candidates in long lists, and nothing told of it."""

    def said(*errors: float, ppm: float | None = 10.0, **wrong: object) -> list[str]:
        like = replace(Analogue("A" * 14, CAFFEINE, 0.9), **wrong)  # type: ignore[arg-type]
        tally, exact = Tally(ppm=ppm), 195.08765
        for error in errors:
            mz = exact * (1 + error * 1e-6)
            answer = answered("q", like)
            query = Query.assign_ion(replace(QUERY, precursor_mz=mz))
            list(tally.counting([replace(answer, query=query)]))
        return advice_on(tally)

    wanted = (
        "the precursor m/z of 3 queries is some {} that of compounds of the library that they are "
        "clearly like, farther than --ppm 10: correct the m/z of the file, or try --ppm {}"
    )
    assert said(14, 15, 16) == [wanted.format("15 ppm above", 20)]
    assert said(-31, -30, -28, 200, 90) == [wanted.format("30 ppm below", 50)]
    for errors in ((), (15, 15), (1, 2, 3), (15, 30, 45), (15, 15, 15, 1, 1, 1, 1), (90, 90, 90)):
        assert said(*errors) == []
    assert said(14, 15, 16, ppm=20.0) == said(14, 15, 16, ppm=None) == []
    assert said(14, 15, 16, cosine=0.6) == said(14, 15, 16, smiles="CCO") == []


def test_no_wider_window_is_advised_where_the_library_shows_that_m_z_are_right(
    caffeine: CandidateSource,
) -> None:
    """Suspects that are not listed were looked for within 100 ppm, among wrong ones."""
    like = Analogue("A" * 14, CAFFEINE, 0.9)
    near = replace(QUERY, precursor_mz=195.0952)  # 38 ppm above caffeine
    for ppm, n, is_shown in ((10.0, 3, True), (10.0, 2, False), (0.1, 3, False)):
        tally = tallied(caffeine, near)
        tally.ppm = ppm
        query = Query.assign_ion(replace(QUERY, precursor_mz=195.0878))
        found = [replace(answered("q", like), query=query)] * n
        assert list(tally.counting(found)) == found
        (line, *_) = (each for each in advice_on(tally) if "without candidates" in each)
        assert ("so no wider --ppm" in line) == is_shown
        assert ("try --ppm 50" in line) == (not is_shown)


def test_precursors_that_come_back_all_through_a_run_are_told() -> None:
    """Converters write the middle of a wide window as precursor m/z, in MGF without its width."""

    def said(*found: tuple[float, float | None]) -> list[str]:
        tally = Tally()
        for mz, time in found:
            query = Query.assign_ion(replace(QUERY, precursor_mz=mz, retention_time=time))
            list(tally.counting([replace(answered("q"), query=query)]))
        return advice_on(tally)

    run = [(625.25, 30.0 * n) for n in range(12)]
    assert said(*run) == [
        (
            "12 of 12 queries state one precursor m/z all through the run, such as 625.25 in 12 "
            "from 0.0 to 5.5 min: if no precursor was selected (DIA, SWATH, MSE), this is the "
            "middle of a window, and answers mean nothing: take spectra apart by ion first"
        )
    ]
    (line,) = said(*run, *((412.5, time) for _, time in run), (195.0877, 1.0))
    assert line.startswith("24 of 25 queries state one of 2 precursor m/z all through the run")
    others = [(195.0 + n / 100, 30.0 * n) for n in range(12)]
    for found in (
        run[:9],
        [(mz, time / 10) for mz, time in run],  # of one peak
        [(mz, None) for mz, _ in run],
        [*run, *others],
    ):
        assert said(*found) == []


def test_the_status_names_a_match_that_is_not_listed() -> None:
    clear = Analogue("A" * 14, "C", 0.91, name="caffeine", is_unlisted=True, adduct="[M+H]+")
    said = "; clearly like 'caffeine'{} of the library, which is not among the candidates"
    for analogue, wanted in (
        (clear, said.format("")),
        (replace(clear, adduct=""), said.format("")),
        (replace(clear, adduct="[M+NH4]+"), said.format(" as [M+NH4]+")),
        (replace(clear, name=""), said.format("").replace("caffeine", "A" * 14)),
        (replace(clear, cosine=0.6), ""),
        (replace(clear, is_unlisted=False), ""),
    ):
        assert status_of(answered("one", analogue)) == f"ok{wanted}"
    unlike = replace(clear, cosine=0.95, is_unlisted=False)
    assert status_of(answered("one", unlike, clear)) == status_of(answered("one")) == "ok"


def answered(name: str, *analogues: Analogue) -> Answer:
    row = Annotation(1, "CCO", "", "", 0.0)
    return Answer(Query.assign_ion(replace(QUERY, query_id=name)), (row,), 1, analogues=analogues)


CHOLINE = "C[N+](C)(C)CCO"
ACETYLCARNITINE = "CC(=O)OC(CC(=O)[O-])C[N+](C)(C)C"
CATION = "of a candidate that is listed as a cation, and not ranked: --try-adducts '[M+H]+,[M]+'"


@pytest.mark.parametrize("kind", ["table", "pool", "long table"])
def test_candidates_that_are_cations_are_no_masses_of_molecules(tmp_path: Path, kind: str) -> None:
    """Choline is listed as its cation: a query at its m/z was told to state m/z of ions."""
    path = tmp_path / "c.csv"
    rest = "CCO\n" * (10_000 if kind == "long table" else 1)
    path.write_text(f"smiles\n{rest}{CHOLINE}\n", encoding="utf-8")
    layout = get_layout("morgan4096")
    if kind == "pool":
        write_pool(path, layout, tmp_path / "c.h5")
        path = tmp_path / "c.h5"
    unstated = replace(QUERY, precursor_mz=104.1070, adduct=None, charge=1)
    for spectrum, is_said in (
        (unstated, True),
        (replace(unstated, adduct="[M+H]+"), True),
        (replace(unstated, precursor_mz=105.1143), False),
        (replace(unstated, charge=-1, ion_mode="negative"), False),
    ):
        query = Query.assign_ion(spectrum)
        source = CandidateSource(path, layout, 10.0, ReadReport(), queries=[query])
        found = source.find(query)
        query = replace(query, fit=source.fit(query, found))
        assert query.fit is not None
        assert query.fit.as_cation == is_said
        tally = Tally()
        outcomes = [Unranked(query.query_id, Refusal(Cause.IMPROBABLE), query)]
        assert len(list(tally.counting(outcomes))) == 1
        assert any(CATION in line for line in advice_on(tally)) == is_said
        assert not any(NEUTRAL in line for line in advice_on(tally)[: int(is_said)])


def test_cations_without_two_protons_are_told(tmp_path: Path) -> None:
    """Anthocyanins are listed as cations, of which negative mode shows [M-2H]-."""
    path = tmp_path / "c.csv"
    path.write_text("smiles\nOc1cc(O)c2cc(O)c(-c3ccc(O)c(O)c3)[o+]c2c1\n", encoding="utf-8")
    unstated = replace(QUERY, precursor_mz=285.0405, adduct=None, charge=None, ion_mode="negative")
    for spectrum, is_said in (
        (unstated, True),
        (replace(unstated, adduct="[M-2H]-"), False),
        (replace(unstated, precursor_mz=287.0550, ion_mode="positive", adduct="[M]+"), False),
    ):
        query = Query.assign_ion(spectrum)
        source = CandidateSource(path, get_layout("morgan4096"), 10.0, ReadReport())
        query = replace(query, fit=source.fit(query, source.find(query)))
        tally = Tally()
        list(tally.counting([Unranked("q", Refusal(Cause.IMPROBABLE), query)]))
        said = [line for line in advice_on(tally) if "such as an anthocyanin" in line]
        assert len(said) == is_said
        assert all(line.startswith("the precursor m/z of 1 of 1 query is that") for line in said)


@pytest.mark.parametrize("kind", ["table", "long table", "pool"])
@pytest.mark.parametrize(
    ("smiles", "mz", "adduct", "is_said"),
    [
        (ACETYLCARNITINE, 204.1230, "[M]+", True),
        (ACETYLCARNITINE, 204.1230, "[M+H]+", False),
        (ACETYLCARNITINE, 204.1230, None, False),
        ("CCCCC(N)(CC)C(=O)O", 174.1489, "[M]+", False),  # an amino acid
        ("Cc1ccc(cc1)[N+](=O)[O-]", 138.0550, "[M]+", False),
    ],
)
def test_inner_salts_that_may_be_what_is_stated_as_a_cation_are_told(
    tmp_path: Path, kind: str, smiles: str, mz: float, adduct: str | None, *, is_said: bool
) -> None:
    """Laboratories call protonated carnitines [M]+, and databases list inner salts."""
    path = tmp_path / "c.csv"
    rest = "CCO\n" * (10_000 if kind == "long table" else 1)
    decoy = "N=C(N)NCCC(O)CC(N)C(=O)O"  # has the mass of [M]+
    path.write_text(f"smiles\n{rest}{decoy}\n{smiles}\n", encoding="utf-8")
    layout = get_layout("morgan4096")
    if kind == "pool":
        write_pool(path, layout, tmp_path / "c.h5")
        path = tmp_path / "c.h5"
    query = Query.assign_ion(replace(QUERY, precursor_mz=mz, adduct=adduct, charge=1))
    source = CandidateSource(path, layout, 10.0, ReadReport(), queries=[query])
    assert list(source.doubts(query)) == [INNER_SALT] * is_said


def test_cations_of_several_charges_are_told(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("smiles\nC[n+]1ccc(-c2cc[n+](C)cc2)cc1.[Cl-].[Cl-]\n", encoding="utf-8")
    unstated = replace(QUERY, precursor_mz=93.0573, adduct=None, charge=2, ion_mode="positive")
    for spectrum, is_said in ((unstated, True), (replace(unstated, adduct="[M]2+"), False)):
        query = Query.assign_ion(spectrum)
        source = CandidateSource(path, get_layout("morgan4096"), 10.0, ReadReport())
        query = replace(query, fit=source.fit(query, source.find(query)))
        tally = Tally()
        list(tally.counting([Unranked("q", Refusal(Cause.IMPROBABLE), query)]))
        assert any("state it in the file, such as [M]2+" in line for line in advice_on(tally)) == (
            is_said
        )


def test_listed_cations_are_no_masses_of_molecules(tmp_path: Path) -> None:
    source = table(tmp_path / "c.csv", f"query_id,smiles\nq,{CHOLINE}\nq,CCO\n")
    query = Query.assign_ion(replace(QUERY, precursor_mz=104.1070))
    assert source.fit(query, source.find(query)) == MassFit(as_ion=False, as_neutral=False)


def fitted(source: CandidateSource, *spectra: Spectrum) -> list[str]:
    """Return what is advised for queries without candidates, whose precursors were compared."""
    tally = Tally()
    outcomes = []
    for spectrum in spectra:
        query = Query.assign_ion(spectrum)
        found = source.find(query)
        assert isinstance(found, Refusal)
        query = replace(query, fit=source.fit(query, found))
        outcomes.append(Unranked(query.query_id, found, query))
    assert len(list(tally.counting(outcomes))) == len(outcomes)
    return [line for line in advice_on(tally) if "of these" in line]


@pytest.mark.parametrize(
    ("adduct", "mz", "said"),
    [
        ("[M+Na]+", 195.0877, "1 of these would have candidates as [M+H]+: if that is the ion"),
        ("[M+H]+", 217.0696, "1 of these would have candidates as [M+Na]+: if"),
        ("[M+H]+", 389.1680, "1 of these would have candidates as [2M+H]+: if"),
        ("[M-H]-", 195.0877, "1 of these would have candidates as [M+H]+: if"),
        ("[M+H]+", 193.0731, "1 of these would have candidates as [M-H]-: if"),
        ("[M+H]+", 196.0910, "1 of these is at the first isotope peak of a candidate's ion"),
        ("[M+2H]2+", 98.5492, "1 of these is at the first isotope peak of a candidate's ion"),
        (
            "[M+H]+",
            195.20,
            "1 of these has the average mass of a candidate's ion, over all isotopes",
        ),
        ("[M+2H]2+", 98.1024, "1 of these has the average mass of a candidate's ion"),
        ("[M+H]+", 195.15, None),
        ("[M+H]+", 300.1234, None),
    ],
)
def test_an_ion_that_would_have_candidates_is_named(
    caffeine: CandidateSource, adduct: str, mz: float, said: str | None
) -> None:
    charge = -1 if adduct.endswith("-") else 2 if "2+" in adduct else 1
    mode = "negative" if charge < 0 else "positive"
    spectrum = replace(QUERY, adduct=adduct, precursor_mz=mz, charge=charge, ion_mode=mode)
    lines = fitted(caffeine, spectrum)
    assert len(lines) == (said is not None)
    assert said is None or lines[0].startswith(said)


def test_ions_of_a_few_queries_or_of_all_kinds_are_not_named(caffeine: CandidateSource) -> None:
    sodium = replace(QUERY, precursor_mz=217.0696)
    other = replace(QUERY, precursor_mz=300.1234)
    assert fitted(caffeine, sodium, other, other) == []
    assert len(fitted(caffeine, sodium, sodium, other)) == 1
    # As in a long list, where any species has candidates.
    potassium = replace(QUERY, precursor_mz=233.0435)
    assert fitted(caffeine, sodium, potassium, sodium, potassium) == []
