from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotation_examples import ASPIRIN, CAFFEINE, spectrum_of, tiny_annotator
from numpy.typing import NDArray
from ranking_examples import by_mass, mgf, ranked, said, table
from rdkit import Chem

from specvae.annotation.evidence.analogues import ANALOGUE_BINS
from specvae.annotation.evidence.defaults import EVIDENCE_KINDS
from specvae.annotation.evidence.fingerprint import log_likelihoods
from specvae.annotation.evidence.ion_formation import FORMATION, Formation
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.library.library import Library
from specvae.annotation.library.query import Assumptions, Query
from specvae.annotation.ranking import rank as module
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.candidates import INNER_SALT, CandidateSource
from specvae.annotation.ranking.probability import default_probability
from specvae.annotation.ranking.queries import QueryFilter, read_queries
from specvae.annotation.ranking.rank import rank_spectra
from specvae.annotation.ranking.result import Cause, Ranked, Refusal, Unranked
from specvae.annotation.ranking.run_scoring import RunScoring
from specvae.annotation.ranking.tally import Tally
from specvae.errors import ConfigError
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.fingerprint import fingerprints, get_layout
from specvae.molecules.graph import Graph
from specvae.molecules.kept_code import compiling
from specvae.molecules.molecule import Molecule
from specvae.report import ReadReport
from specvae.spectra.adducts import parse_adduct


@pytest.fixture(scope="module")
def annotator() -> Annotator:
    return tiny_annotator()


@pytest.mark.parametrize(
    ("fields", "modes", "adduct", "status"),
    [
        ("IONMODE=positive", ("positive",), "[M+H]+", "ok; adduct taken as [M+H]+"),
        ("", ("positive",), "[M+H]+", "ok; adduct taken as [M+H]+"),
        ("", ("positive", "negative"), None, "no adduct and no ion mode"),
        ("ADDUCT=M+H", ("positive",), "[M+H]+", "ok"),
        (
            "IONMODE=positive",
            ("negative",),
            "[M+H]+",
            "ok; adduct taken as [M+H]+; the model was not trained on positive ion mode",
        ),
    ],
)
def test_adduct_that_a_query_does_not_state(
    tmp_path: Path, fields: str, modes: tuple[str, ...], adduct: str | None, status: str
) -> None:
    queries = mgf(tmp_path / "q.mgf", f"TITLE=a\nPEPMASS=195.0877\n{fields}\n138.066 10")
    (query,) = ranked(tiny_annotator(modes), queries, by_mass(tmp_path))
    assert query.query is not None
    assert (query.query.adduct, said(query)) == (adduct, status)


@pytest.mark.parametrize(
    ("adduct", "adducts", "status"),
    [
        ("[M+Na]+", ("[M+H]+",), "ok; the model was not trained on [M+Na]+"),
        ("[M+Na]+", ("[M+H]+", "[M+Na]+"), "ok"),
        ("[M+Na]+", (), "ok"),
    ],
)
def test_an_adduct_that_the_model_was_not_trained_on(
    tmp_path: Path, annotator: Annotator, adduct: str, adducts: tuple[str, ...], status: str
) -> None:
    counts = dict.fromkeys(adducts, 9)
    provenance = replace(annotator.header.provenance, adducts=counts)
    trained = tiny_annotator()
    trained.header = replace(trained.header, provenance=provenance)
    queries = mgf(tmp_path / "q.mgf", f"TITLE=a\nPEPMASS=217.0696\nADDUCT={adduct}\n138.066 10")
    (query,) = ranked(trained, queries, by_mass(tmp_path))
    assert said(query) == status


def test_an_assumed_ion_ranks_as_if_the_record_stated_it(tmp_path: Path) -> None:
    annotator = tiny_annotator(("negative",))
    source = table(
        tmp_path / "c.csv",
        f"query_id,smiles\na,{CAFFEINE}\na,{ASPIRIN}\nb,{CAFFEINE}\nb,{ASPIRIN}\n",
    )
    queries = mgf(
        tmp_path / "q.mgf",
        "TITLE=a\nPEPMASS=193.0731\n138.066 10\n178.05 20",
        "TITLE=b\nPEPMASS=193.0731\nIONMODE=negative\nADDUCT=[M-H]-\n138.066 10\n178.05 20",
    )
    silent, outspoken = ranked(annotator, queries, source)
    assert said(silent) == "ok; adduct taken as [M-H]-"
    assert said(outspoken) == "ok"
    assert isinstance(silent, Ranked)
    assert isinstance(outspoken, Ranked)
    np.testing.assert_array_equal(silent.scores, outspoken.scores)


def test_users_assumptions_come_before_the_models_ion_mode(
    tmp_path: Path, annotator: Annotator
) -> None:
    queries = mgf(tmp_path / "q.mgf", "TITLE=a\nPEPMASS=193.0731\n138.066 10")
    assumed = Assumptions.parse(ion_mode="negative")
    (query,) = ranked(annotator, queries, by_mass(tmp_path), assumed=assumed)
    assert said(query) == (
        "ok; adduct taken as [M-H]-; the model was not trained on negative ion mode"
    )


def test_two_charges_without_adduct_are_two_protons(tmp_path: Path, annotator: Annotator) -> None:
    ion = parse_adduct("[M+2H]2+")
    assert ion is not None
    mz = ion.precursor_mz(194.0804)
    queries = mgf(tmp_path / "q.mgf", f"TITLE=a\nPEPMASS={mz:.4f}\nCHARGE=2+\n83.06 10")
    (query,) = ranked(annotator, queries, by_mass(tmp_path))
    assert said(query) == "ok; adduct taken as [M+2H]2+"


def test_filters_leave_out_and_say_so(tmp_path: Path, annotator: Annotator) -> None:
    queries = mgf(
        tmp_path / "q.mgf",
        "TITLE=a\nPEPMASS=195.0877\nADDUCT=[M+H]+\n138.066 10",
        "TITLE=b\nPEPMASS=195.0877\nADDUCT=[M-H]-\n138.066 10",
        "TITLE=c\nPEPMASS=217.0696\nADDUCT=[M+Na]+\n138.066 10",
    )
    wanted = QueryFilter.of("positive", ["M+H"])
    found = ranked(annotator, queries, by_mass(tmp_path), wanted)
    assert [said(q) for q in found] == [
        "ok",
        "left out: ion mode negative",
        "left out: adduct [M+Na]+",
    ]
    assert [isinstance(q, Unranked) and q.refusal.is_filter for q in found] == [False, True, True]
    with pytest.raises(ConfigError, match="Zz"):
        QueryFilter.of(None, ["[M+Zz]+"])


def test_queries_without_candidates_say_why_the_right_one_may_be_missed(
    tmp_path: Path, annotator: Annotator
) -> None:
    queries = mgf(
        tmp_path / "q.mgf",
        "TITLE=a\nPEPMASS=195.3\nADDUCT=[M+H]+\n138.066 10",
        "TITLE=b\nPEPMASS=204.1230\nADDUCT=[M]+\n85.0284 10",
    )
    with table(tmp_path / "c.csv", "smiles\nCC(=O)OC(CC(=O)[O-])C[N+](C)(C)C\n") as source:
        rounded, inner = ranked(annotator, queries, source)
    none = "no candidates within 10 ppm; "
    assert said(rounded).startswith(f"{none}precursor m/z has one decimal or none: ")
    assert said(inner).startswith(none)
    assert said(inner).endswith(INNER_SALT)


def test_unreadable_records_keep_their_place_and_get_names_of_their_own(
    tmp_path: Path, annotator: Annotator
) -> None:
    good = "PEPMASS=195.0877\nADDUCT=[M+H]+\n138.066 10"
    bad = "PEPMASS=195.0877\n138.066 x"
    queries = mgf(
        tmp_path / "q.mgf",
        f"TITLE=a\n{bad}",
        f"TITLE=a\n{good}",
        f"TITLE=b\n{bad}",
        f"TITLE=a\n{bad}",
        f"TITLE=c\n{good}",
        f"TITLE=d\n{bad}",
    )
    found = ranked(annotator, queries, by_mass(tmp_path))
    assert [q.query_id for q in found] == ["a#2", "a", "b", "a#3", "c", "d"]
    assert [q.query is None for q in found] == [True, False, True, True, False, True]
    assert said(found[0]).startswith("unreadable record: a peak is not two finite numbers")


@pytest.mark.parametrize(
    ("limit", "value"), [("MOST_QUERIES", 2), ("MOST_CANDIDATES", 1), ("MOST_CANDIDATES", 3)]
)
def test_chunks_of_queries_change_nothing(
    tmp_path: Path, annotator: Annotator, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    queries = mgf(
        tmp_path / "q.mgf",
        *(
            f"TITLE=q{i}\nPEPMASS={mz}\nADDUCT=[M+H]+\n{100 + i}.05 10"
            for i, mz in enumerate((195.0877, 181.0495, 999.9, 181.0720, 195.0877))
        ),
    )
    whole = ranked(annotator, queries, by_mass(tmp_path))
    monkeypatch.setattr(module, limit, value)
    pieces = ranked(annotator, queries, by_mass(tmp_path))
    assert [said(q) for q in whole] == [said(q) for q in pieces]
    for one, other in zip(whole, pieces, strict=True):
        assert isinstance(one, Ranked) == isinstance(other, Ranked)
        if isinstance(one, Unranked) or isinstance(other, Unranked):
            continue
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-6)


def test_outcomes_come_out_about_as_often_as_asked(
    tmp_path: Path, annotator: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is ranked together is what the last queries took, not a number of queries."""
    query = annotator.assign_ion(spectrum_of(CAFFEINE, 138.066))
    clock, n_found, takes = 0.0, 0, 10.0
    with table(tmp_path / "c.csv", f"query_id,smiles\n{query.query_id},{CAFFEINE}\n") as source:
        find = source.find

        def slow(query: Query) -> CandidateSet | Refusal:
            nonlocal clock, n_found
            clock, n_found = clock + takes, n_found + 1
            return find(query)

        monkeypatch.setattr(source, "find", slow)
        monkeypatch.setattr(module, "monotonic", lambda: clock)
        monkeypatch.setattr(module, "MOST_QUERIES", 16)
        before = []
        for _ in rank_spectra(annotator, [query] * 30, source, QueryFilter(), step_seconds=30.0):
            before.append(n_found)
            if len(before) == 4:
                takes = 1.0
    assert before == [1, 4, 4, 4, 7, 7, 7, *[23] * 16, *[30] * 7]


def test_blind_scores_are_of_the_candidates_alone(tmp_path: Path, annotator: Annotator) -> None:
    isomers = (CAFFEINE, "CCn1cnc2c1c(=O)n(C)c(=O)[nH]2")
    source = table(
        tmp_path / "c.csv",
        "query_id,smiles\n" + "".join(f"{q},{s}\n" for q in "ab" for s in isomers),
    )
    queries = mgf(
        tmp_path / "q.mgf",
        "TITLE=a\nPEPMASS=195.0877\nIONMODE=positive\n138.066 10",
        "TITLE=b\nPEPMASS=195.0877\nIONMODE=positive\n43.018 10\n121.03 50",
    )
    a, b = ranked(annotator, queries, source)
    assert isinstance(a, Ranked)
    assert isinstance(b, Ranked)
    np.testing.assert_array_equal(a.blind_scores, b.blind_scores)
    assert not np.array_equal(a.scores, b.scores)
    np.testing.assert_allclose(a.scores, log_likelihoods(a.packed, a.logits), rtol=1e-12)
    expected = log_likelihoods(a.packed, annotator.blind_logits)
    np.testing.assert_allclose(a.blind_scores, expected, rtol=1e-12)


def test_queries_are_counted_by_why_they_are_not_ranked(
    tmp_path: Path, annotator: Annotator
) -> None:
    queries = mgf(
        tmp_path / "q.mgf",
        "TITLE=a\nPEPMASS=195.0877\n138.066 10",
        "TITLE=b\nPEPMASS=999.9\nADDUCT=[M+H]+\n138.066 10",
        "TITLE=c\nPEPMASS=999.8\nADDUCT=[M+H]+\n138.066 10",
        "TITLE=d\nPEPMASS=195.0877\nADDUCT=[M+Qq]+\n138.066 10",
        "TITLE=e\nPEPMASS=195.0877\n138.066 x",
    )
    tally = Tally()
    outcomes = list(tally.counting(ranked(annotator, queries, by_mass(tmp_path))))
    assert [outcome.query_id for outcome in outcomes] == list("abcde")
    assert str(tally) == (
        "1 of 5 queries ranked; not ranked: no candidates within 10 ppm (2), unknown adduct (1), "
        "unreadable record (1)"
    )
    assert tally.causes[Cause.NONE_WITHIN] == 2
    assert tally.remarks == {"adduct taken as [M+H]+": 1}


class _BadRows(CandidateSource):
    """A source whose first `n_bad` candidates of a query cannot be parsed, as an old pool's may."""

    n_bad = 1

    def find(self, query: Query) -> CandidateSet | Refusal:
        found = super().find(query)
        assert isinstance(found, CandidateSet)
        smiles = found.smiles.copy()
        smiles[: self.n_bad] = "C1CC("
        return CandidateSet(
            smiles, found.exact_mass, inchikey=found.inchikey, name=found.name, id=found.id
        )


@pytest.mark.parametrize(("n_bad", "n_left"), [(1, 1), (2, 0)])
def test_a_candidate_that_cannot_be_parsed_is_left_out_and_said(
    tmp_path: Path, n_bad: int, n_left: int
) -> None:
    annotator = tiny_annotator()
    library = Library.from_spectra(
        [spectrum_of(CAFFEINE, 110.07, 138.066)], annotator.bins, ReadReport(), peaks=ANALOGUE_BINS
    )
    packed = fingerprints([CAFFEINE], get_layout(ANALOGUE_FINGERPRINT), n_jobs=1)
    annotator.evidence_pool = EvidencePool.from_library(library, np.arange(1), packed)
    (tmp_path / "c.csv").write_text(
        f"query_id,smiles\nq,{CAFFEINE}\nq,{ASPIRIN}\n", encoding="utf-8"
    )
    source = _BadRows(tmp_path / "c.csv", annotator.layout, 10.0, ReadReport())
    source.n_bad = n_bad
    queries = mgf(tmp_path / "q.mgf", "TITLE=q\nPEPMASS=195.0877\nADDUCT=[M+H]+\n138.066 10")
    (query,) = ranked(annotator, queries, source)
    if n_left:
        assert isinstance(query, Ranked)
        assert len(query.scores) == n_left
        assert said(query) == "ok; candidates left out whose structure cannot be parsed: 1"
    else:
        assert said(query) == "no candidate with a structure that can be parsed"


def test_unreadable_records_of_one_name(tmp_path: Path) -> None:
    bad = "TITLE=a\nPEPMASS=x\n138.066 10"
    good = "TITLE=a#3\nPEPMASS=195.0877\n138.066 10"
    records = read_queries(
        mgf(tmp_path / "q.mgf", bad, good, *[bad] * 3), ReadReport(), Query.assign_ion
    )
    assert [record.query_id for record in records] == ["a", "a#3", "a#2", "a#4", "a#5"]


def test_an_unusable_candidate_ends_no_run(
    annotator: Annotator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of 135,000 ended annotate after a minute, with nothing written."""
    query = spectrum_of(CAFFEINE, 110.0713, 138.0662)
    library = Library.from_spectra([query], ANALOGUE_BINS, ReadReport(), peaks=ANALOGUE_BINS)
    packed = fingerprints(library.molecules, get_layout(ANALOGUE_FINGERPRINT), n_jobs=1)
    pool = EvidencePool.from_library(library, np.arange(1), packed)
    monkeypatch.setattr(annotator, "evidence_pool", pool)
    # No other test has had it broken, and kept the table.
    broken = Molecule.parse("CC(=O)Nc1ccc(OCCCF)cc1")
    take = Graph.take

    def with_fault(mol: Chem.Mol, places: NDArray[np.int16], binary: bytes) -> Graph:
        if Chem.MolToSmiles(mol) == broken.smiles:
            raise Chem.KekulizeException("Can't kekulize mol.")
        return take(mol, places, binary)

    monkeypatch.setattr(Graph, "take", with_fault)
    path = tmp_path / "candidates.csv"
    rows = "".join(f"{query.query_id},{s},{s[:4]}\n" for s in (broken.smiles, CAFFEINE, "CCO"))
    path.write_text(f"query_id,smiles,name\n{rows}", encoding="utf-8")
    report = ReadReport()
    with compiling(False), CandidateSource(path, annotator.layout, 10.0, report) as source:
        for _ in range(2):
            (outcome,) = rank_spectra(
                annotator, [annotator.assign_ion(query)], source, QueryFilter()
            )
            assert isinstance(outcome, Ranked)
            assert outcome.candidates.smiles.tolist() == [CAFFEINE, "CCO"]
            assert len(outcome.scores) == len(outcome.packed) == len(outcome.blind_scores) == 2
            left_out = "candidates left out whose structure cannot be broken into fragments: 1"
            assert said(outcome) == f"ok; {left_out}"


def test_a_cascade_is_said(
    annotator: Annotator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = spectrum_of(CAFFEINE, 110.0713, 138.0662)
    library = Library.from_spectra([query], ANALOGUE_BINS, ReadReport(), peaks=ANALOGUE_BINS)
    packed = fingerprints(library.molecules, get_layout(ANALOGUE_FINGERPRINT), n_jobs=1)
    pool = EvidencePool.from_library(library, np.arange(1), packed)
    monkeypatch.setattr(annotator, "evidence_pool", pool)
    listed = (FERULIC, CAFFEINE, ESTER, SULFIDE)  # the last one, of quite another mass, never is
    rows = "".join(f"{query.query_id},{s}\n" for s in listed)
    source = table(tmp_path / "c.csv", f"query_id,smiles\n{rows}")
    with_ions = [annotator.assign_ion(query)]
    for rescore, status in (
        (None, "ok"),
        (3, "ok"),
        (2, "ok; fragments compared for the best 2 candidates only"),
    ):
        (outcome,) = rank_spectra(annotator, with_ions, source, QueryFilter(), rescore=rescore)
        assert isinstance(outcome, Ranked)
        assert said(outcome) == status


SMALL_ONE = "Oc1ccccc1"


def with_listed(
    annotator: Annotator, queries: Path, smiles: Sequence[str], folder: Path
) -> tuple[Ranked, np.ndarray]:
    """Rank candidates that are listed for the query a; return what each has beside its bits."""
    rows = "".join(f"a,{text}\n" for text in smiles)
    with table(folder / "c.csv", f"query_id,smiles\n{rows}") as source:
        (found,) = ranked(annotator, queries, source)
    assert isinstance(found, Ranked)
    alone = log_likelihoods(found.packed, found.logits[np.newaxis])[0]
    return found, found.scores - alone


@pytest.mark.parametrize(
    ("ion", "precursor_mz", "smiles", "behind"),
    [
        ("ADDUCT=[M+H]+", 195.0877, (CAFFEINE, SMALL_ONE), [False, True]),
        # As the m/z of a quadrupole, cut off, and as that of the first isotope peak.
        ("ADDUCT=[M+H]+", 195.0, (CAFFEINE, SMALL_ONE), [False, True]),
        ("ADDUCT=[M+H]+", 196.0911, (CAFFEINE, SMALL_ONE), [False, True]),
        # Where none has the mass, the m/z or the ion may be wrong: all are compared.
        ("ADDUCT=[M+H]+", 300.0, (CAFFEINE, SMALL_ONE), None),
        # The m/z of its [M+Na]+: an assumption may be wrong, a statement is taken as it is.
        ("IONMODE=positive", 217.0696, (CAFFEINE, "CCCCCCCCCCCC(=O)OC"), None),
        ("ADDUCT=[M+H]+", 217.0696, (CAFFEINE, "CCCCCCCCCCCCC(=O)O"), [True, False]),
        ("IONMODE=positive", 217.0696, (CAFFEINE, SMALL_ONE), [False, True]),
        ("", 195.0877, (CAFFEINE, SMALL_ONE), [False, True]),
    ],
)
def test_listed_candidates_of_quite_another_mass_stand_behind_the_others(
    tmp_path: Path,
    annotator: Annotator,
    ion: str,
    precursor_mz: float,
    smiles: tuple[str, ...],
    behind: list[bool] | None,
) -> None:
    """A small molecule has few fragments that could be missing: no score can be compared."""
    queries = mgf(tmp_path / "q.mgf", f"TITLE=a\nPEPMASS={precursor_mz}\n{ion}\n138.066 10")
    found, others = with_listed(annotator, queries, smiles, tmp_path)
    assert len(found.candidates) == 2
    expected = np.zeros(2) if behind is None else np.where(behind, -1e6, 0.0)
    np.testing.assert_allclose(others, expected, atol=1e-6)
    assert (found.blind_scores < -90.0 + found.blind_scores.max()).tolist() == (
        [False, False] if behind is None else behind
    )


@pytest.mark.parametrize(
    ("ion", "precursor_mz", "smiles", "share"),
    [
        ("ADDUCT=[M+H]+", 300.0, (CAFFEINE, SMALL_ONE), 0.0),
        ("ADDUCT=[M+H]+", 217.0696, (CAFFEINE,), 0.0),
        ("ADDUCT=[M+H]+", 195.0877, (CAFFEINE, SMALL_ONE), 1.0),
        ("IONMODE=positive", 217.0696, (CAFFEINE,), 1.0),  # its [M+Na]+, as the ion is assumed
    ],
)
def test_a_list_of_quite_other_masses_alone_does_not_hold_the_truth(
    tmp_path: Path,
    annotator: Annotator,
    ion: str,
    precursor_mz: float,
    smiles: tuple[str, ...],
    share: float,
) -> None:
    """One candidate of a sixth of the query's mass had a probability of one half."""
    queries = mgf(tmp_path / "q.mgf", f"TITLE=a\nPEPMASS={precursor_mz}\n{ion}\n138.066 10")
    found, _ = with_listed(annotator, queries, smiles, tmp_path)
    assert found.list_scores.window_share == share


SULFIDE = "CCSCC(O)CNC(C)C(=O)NCCO"
FERULIC, ESTER = "COc1cc(C=CC(=O)O)ccc1O", "CCOC(=O)c1ccc(OC)c(O)c1"  # of nearly caffeine's mass


def test_formulas_of_quite_another_mass_let_no_peak_count(tmp_path: Path) -> None:
    """One large molecule in a list would have a part of almost any mass."""
    annotator = tiny_annotator()
    library = Library.from_spectra(
        [spectrum_of(ASPIRIN, 121.0284)], annotator.bins, ReadReport(), peaks=ANALOGUE_BINS
    )
    packed = fingerprints([ASPIRIN], get_layout(ANALOGUE_FINGERPRINT), n_jobs=1)
    annotator.evidence_pool = EvidencePool.from_library(library, np.arange(1), packed)
    peaks = "61.0106 10\n110.0713 10\n138.0662 10"  # the first is C2H5S+, none of caffeine's
    queries = mgf(tmp_path / "q.mgf", f"TITLE=a\nPEPMASS=195.0877\nADDUCT=[M+H]+\n{peaks}")
    scores = []
    for smiles in ((CAFFEINE,), (CAFFEINE, SULFIDE)):
        found, _ = with_listed(annotator, queries, smiles, tmp_path)
        assert found.evidence is not None
        scores.append(found.evidence.raw[:, EVIDENCE_KINDS.index("fragments")][0])
    assert scores[0] == scores[1] != 0.0


@pytest.mark.parametrize("smiles", [(CAFFEINE, FERULIC, ESTER), (CAFFEINE,)])
@pytest.mark.parametrize("known", [None, 0.3])
def test_what_is_of_quite_another_mass_changes_nothing_for_the_others(
    tmp_path: Path, smiles: tuple[str, ...], known: float | None
) -> None:
    """It counted as a competitor, by hundreds of nats, and as measured or unmeasured."""
    annotator = tiny_annotator()
    spectra = [spectrum_of(CAFFEINE, 110.07, 138.066), spectrum_of(SMALL_ONE, 77.04, 110.07)]
    library = Library.from_spectra(spectra, annotator.bins, ReadReport(), peaks=ANALOGUE_BINS)
    packed = fingerprints([CAFFEINE, SMALL_ONE], get_layout(ANALOGUE_FINGERPRINT), n_jobs=1)
    annotator.evidence_pool = EvidencePool.from_library(library, np.arange(2), packed)
    scoring = RunScoring(annotator.evidence_pool.weights, default_probability(), False)
    peaks = "77.04 3\n110.07 10\n138.066 10"
    queries = mgf(tmp_path / "q.mgf", f"TITLE=a\nPEPMASS=195.0877\nADDUCT=[M+H]+\n{peaks}")
    each = []
    for listed in (smiles, (*smiles, SMALL_ONE, ASPIRIN, SULFIDE)):
        found, _ = with_listed(annotator, queries, listed, tmp_path)
        assert found.evidence is not None
        run = scoring.of_run([found.list_scores], known)
        final = scoring.final_scores(found.list_scores, run)
        probabilities = scoring.probabilities(final)
        assert probabilities is not None
        n = len(smiles)
        np.testing.assert_array_equal(probabilities.given_in_list[n:], 0.0)
        each.append(
            (
                final.scores[:n].tolist(),
                probabilities.given_in_list[:n].tolist(),
                probabilities.log_odds_in_list,
                scoring.log_odds_known(found.list_scores),
                found.evidence.leading_kinds()[:n],
                [analogue.is_unlisted for analogue in found.evidence.analogues],
            )
        )
    assert each[0] == each[1]


CATION, NEUTRAL = "CC(=O)OCC[N+](C)(C)C", "CCCCCCCC(O)O"  # acetylcholine; 146 Da both


@pytest.mark.parametrize(
    ("ion", "precursor_mz", "smiles", "prior"),
    [
        ("[M]+", 146.1176, (CATION, NEUTRAL), [0.0, -4.0]),
        ("[M]+", 146.1176, (NEUTRAL, "CCCCCCC(O)CO"), [0.0, 0.0]),
        ("[M]+", 146.1176, (CATION, NEUTRAL, SMALL_ONE), [0.0, -4.0, -1e6]),
        ("[M]+", 246.1176, (CATION, NEUTRAL), [0.0, -4.0]),  # none has its mass
        ("[M+H]+", 147.1254, (CATION, NEUTRAL), [0.0, 0.0]),
        ("[M-2H]-", 144.1030, (CATION, NEUTRAL), [0.0, -4.0]),
        ("[M-H]-", 145.1234, (CATION, NEUTRAL), [-1.5, 0.0]),
        ("[M+CH3COO]-", 197.0489, ("CCCCS(=O)(=O)O", "CCS(=O)(=O)CCO"), [-5.0, 0.0]),
    ],
)
def test_what_hardly_becomes_the_ion_is_behind(
    tmp_path: Path,
    annotator: Annotator,
    ion: str,
    precursor_mz: float,
    smiles: tuple[str, ...],
    prior: list[float],
) -> None:
    queries = mgf(tmp_path / "q.mgf", f"TITLE=a\nPEPMASS={precursor_mz}\nADDUCT={ion}\n87.044 10")
    _, others = with_listed(annotator, queries, smiles, tmp_path)
    np.testing.assert_allclose(others, prior)


def test_a_tried_cation_is_likelier_too(
    tmp_path: Path, annotator: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = mgf(tmp_path / "q.mgf", "TITLE=a\nPEPMASS=146.1169\nIONMODE=positive\n87.044 10")
    rows = f"smiles\n{CATION}\nNCCN(C)CC(=O)NN\nCCCCCC(N)C(=O)O\n"
    scores = []
    for prior in (-4.0, 0.0):
        monkeypatch.setitem(FORMATION, "[M]+", Formation(neutral=prior))
        with table(tmp_path / "c.csv", rows) as source:
            tried = Assumptions.parse(tried="[M]+,[M+H]+")
            (found,) = ranked(annotator, queries, source, assumed=tried)
        assert isinstance(found, Ranked)
        assert found.candidates.ion is not None
        ions = [found.query.ions[number].name for number in found.candidates.ion.tolist()]
        scores.append(
            dict(zip(zip(found.candidates.smiles, ions, strict=True), found.scores, strict=True))
        )
    moved = {key: scores[0][key] - scores[1][key] for key in scores[0]}
    assert moved == pytest.approx(
        {
            (CATION, "[M]+"): 0.0,
            ("NCCN(C)CC(=O)NN", "[M]+"): -4.0,
            ("CCCCCC(N)C(=O)O", "[M+H]+"): 0.0,
        }
    )
