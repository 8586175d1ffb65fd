"""Several spectra of one feature."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotation_examples import CAFFEINE, spectrum_of, tiny_annotator
from click.testing import CliRunner
from numpy.typing import NDArray
from ranking_examples import mgf

from specvae.annotation.evidence.analogues import ANALOGUE_BINS
from specvae.annotation.evidence.defaults import EVIDENCE_KINDS
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.evidence.weighted import Evidence
from specvae.annotation.library.library import Library
from specvae.annotation.library.query import Query
from specvae.annotation.output.cells import rows
from specvae.annotation.output.details import details
from specvae.annotation.output.drawing import Drawings
from specvae.annotation.output.parts import outcome_from_json, outcome_to_json
from specvae.annotation.ranking import rank
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.merging import group_by, merged
from specvae.annotation.ranking.options import RunOptions
from specvae.annotation.ranking.query_notes import note_on_unmerged
from specvae.annotation.ranking.result import COLUMNS, Answer, Cause, Ranked, Refusal, Unranked
from specvae.annotation.ranking.run import RankingRun
from specvae.cli.annotate import annotate
from specvae.cli.evaluate import evaluate
from specvae.molecules.fingerprint import fingerprints, get_layout
from specvae.report import ReadReport
from specvae.spectra.keys import stated
from specvae.vae.checkpoint import save_checkpoint

THEOBROMINE = "Cn1cnc2c1c(=O)[nH]c(=O)n2C"
THEOPHYLLINE = "Cn1c2nc[nH]c2c(=O)n(C)c1=O"


@pytest.fixture(scope="module")
def annotator() -> Annotator:
    annotator = tiny_annotator()
    spectra = [
        spectrum_of(THEOPHYLLINE, 69.0447, 96.0556, 124.0505),
        spectrum_of(THEOBROMINE, 110.0713, 138.0662),
    ]
    library = Library.from_spectra(spectra, ANALOGUE_BINS, ReadReport(), peaks=ANALOGUE_BINS)
    packed = fingerprints(library.molecules, get_layout(ANALOGUE_FINGERPRINT), n_jobs=1)
    annotator.evidence_pool = EvidencePool.from_library(library, np.arange(2), packed)
    return annotator


def query(query_id: str, *mz: float, feature: str | None = "7", **changes: object) -> Query:
    metadata = {} if feature is None else {"Feature_ID": feature}
    spectrum = replace(
        spectrum_of(THEOPHYLLINE, *mz or (69.0447,)), query_id=query_id, metadata=metadata,
        **changes,  # type: ignore[arg-type]
    )  # fmt: skip
    return Query.assign_ion(spectrum)


def test_spectra_of_one_feature_agree_in_field_ion_and_precursor() -> None:
    unread = Unranked("u", Refusal(Cause.UNREADABLE))
    records: list[Query | Unranked] = [
        query("a"),
        query("b", feature="8"),
        query("c"),
        unread,
        query("d", feature=None),
        query("e", precursor_mz=181.1),
        query("f", adduct="[M+Na]+"),
        query("g", feature=None),
        query("h", precursor_mz=181.0721),
    ]
    groups = group_by(records, "FEATURE_ID", 10.0)
    assert [[record.query_id for record in group] for group in groups] == [
        ["a", "c", "h"], ["b"], ["u"], ["d"], ["e"], ["f"], ["g"],
    ]  # fmt: skip
    assert [len(group) for group in group_by(records, "no such field", 10.0)] == [1] * 9


def test_a_field_is_found_however_it_is_written() -> None:
    spectrum = replace(
        spectrum_of("CCO", 50.0), name="n", metadata={"Cluster Index": " 12 ", "other": "N/A"}
    )
    assert stated(spectrum, "cluster_index") == "12"
    assert stated(spectrum, "NAME") == "n"
    assert stated(spectrum, "other") is None
    assert stated(spectrum, "absent") is None


def test_a_feature_without_candidates_says_what_the_library_knows(
    annotator: Annotator, tmp_path: Path
) -> None:
    """It was told only where another structure happened to have the mass."""
    path = tmp_path / "c.csv"
    path.write_text(f"smiles\n{CAFFEINE}\n", encoding="utf-8")
    run = RankingRun(annotator, RunOptions(candidates=path, merge_by="Feature_ID", n_jobs=1))
    spectra = [
        query("poor", 69.0447, 150.0).spectrum,
        query("rich", 69.0447, 96.0556, 124.0505).spectrum,
        query("other", 55.5, 77.7, feature=None).spectrum,
    ]
    feature, other = run.outcomes(spectra)
    assert isinstance(feature, Unranked)
    assert feature.refusal.cause is Cause.NONE_WITHIN
    told = "of the library, which is not among the candidates"
    assert [told in remark for remark in feature.remarks] == [False, True]
    nearest = feature.analogues[0]  # theophylline, as its second spectrum shows
    assert nearest.is_unlisted
    assert nearest.cosine == pytest.approx(1.0)
    assert len({each.first_block for each in feature.analogues}) == len(feature.analogues)
    assert isinstance(other, Unranked)
    assert not any(told in remark for remark in other.remarks)
    assert run.tally.n_absent == 1
    # Parts of a run and what --resume keeps have it, too.
    again = outcome_from_json(json.loads(json.dumps(outcome_to_json(feature))), None)
    assert isinstance(again, Unranked)
    assert (again.remarks, again.analogues) == (feature.remarks, feature.analogues)


@pytest.mark.parametrize("field", ["Feature_ID", "ROW_ID", "SCANS"])
def test_spectra_that_agree_in_a_field_of_features_are_told(field: str) -> None:
    """Only FEATURE_ID was looked at, which other programs call otherwise."""
    records = [
        replace(each, spectrum=replace(each.spectrum, metadata={field: value}))
        for each, value in ((query("a"), "1"), (query("b"), "1"), (query("c"), "2"))
    ]
    told = note_on_unmerged([records, records[2:]], 10.0)
    name = field.upper()
    assert told.startswith(f"note: features ({name}) with several spectra: 1, of 2 spectra; ")
    assert f"--merge-by {name} gives" in told
    assert note_on_unmerged([records[1:], records[:1]], 10.0) == ""  # of several files
    # A number that all spectra of a library have names no feature.
    spectra = (query("x", precursor_mz=mz).spectrum for mz in (100.0, 150.0, 200.0))
    others = [Query.assign_ion(replace(each, metadata={field: "1"})) for each in spectra]
    assert note_on_unmerged([[*records[:2], *others]], 10.0) == ""


def test_a_run_that_comes_back_to_its_precursors_is_told() -> None:
    def at(seconds: float, mz: float) -> Query:
        return query("q", feature=None, retention_time=seconds, precursor_mz=mz)

    again = [at(100.0, 181.072), at(400.0, 181.072), at(129.0, 181.0721), at(100.0, 300.0)]
    assert note_on_unmerged([again], 10.0) == ""  # two of four
    told = note_on_unmerged([again[:3], [at(100.0, 300.0)] * 2], 10.0)
    assert told.startswith("note: 4 of 5 spectra have the precursor m/z of another within 30 s: ")
    unknown = query("q", feature=None, retention_time=None)
    assert note_on_unmerged([[unknown] * 4], 10.0) == ""


@pytest.mark.parametrize(
    ("metadata", "feature"),
    [
        ({"Row_ID": "4", "FEATURE_ID": "7"}, "7"),
        ({"row ID": "4", "FEATURE_ID": "N/A"}, "4"),
        ({"PEAKID": "3"}, "3"),
        ({"COMMENT": "|PEAKID=12|MS1SCAN=7|ISOTOPE=M+0"}, "12"),  # MS-DIAL
        ({"COMMENT": "no PEAKID=12"}, None),
        ({"SCANS": "5"}, None),
    ],
)
def test_a_feature_has_its_name_from_the_program_that_found_it(
    metadata: dict[str, str], feature: str | None
) -> None:
    """Only FEATURE_ID was read, so that MS-DIAL's tables could not be joined."""
    spectrum = replace(spectrum_of("CCO", 50.0), metadata=metadata)
    assert Query.assign_ion(spectrum).feature_id == feature


def run_of(annotator: Annotator, tmp_path: Path, merge_by: str | None) -> RankingRun:
    path = tmp_path / "c.csv"
    lines = ("smiles,id", f"{THEOPHYLLINE},1", f"{THEOBROMINE},2", f"{CAFFEINE},3")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return RankingRun(annotator, RunOptions(candidates=path, merge_by=merge_by, n_jobs=1))


def test_the_spectra_of_a_feature_have_one_answer(annotator: Annotator, tmp_path: Path) -> None:
    low = query("low", 124.0505, 181.072).spectrum
    high = query("high", 69.0447, 96.0556).spectrum
    spectra = [low, query("lone", 69.0447, feature=None).spectrum, high]
    first, _, last = run_of(annotator, tmp_path, None).outcomes(spectra)
    run = run_of(annotator, tmp_path, "feature id")
    both, other = run.outcomes(spectra)
    assert [o.query_id for o in (both, other)] == ["low", "lone"]
    assert run.query_notes == ("features with several spectra (by feature id): 1, of 2 spectra",)
    assert run.tally.n_queries == 2
    assert isinstance(both, Ranked)
    assert both.query.feature_id == "7"
    assert both.query.remarks == ("merged with high",)
    pooled, one, two = evidence_of(both), evidence_of(first), evidence_of(last)
    library = EVIDENCE_KINDS.index("library")
    raw = np.stack([one.raw, two.raw])
    np.testing.assert_allclose(pooled.raw[:, :library], raw[:, :, :library].mean(axis=0))
    np.testing.assert_array_equal(pooled.raw[:, library], raw[:, :, library].max(axis=0))
    assert pooled.own is not None
    assert one.own is not None
    assert two.own is not None
    best = np.maximum(one.own.cosine, two.own.cosine)
    np.testing.assert_array_equal(pooled.own.cosine, best)
    nearest: dict[str, float] = {}
    for analogue in (*one.analogues, *two.analogues):
        nearest[analogue.first_block] = max(analogue.cosine, nearest.get(analogue.first_block, 0.0))
    assert {each.first_block: each.cosine for each in pooled.analogues} == nearest
    cosines = [each.cosine for each in pooled.analogues]
    assert cosines == sorted(nearest.values(), reverse=True)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("named", ["low", "high"])
def test_a_feature_has_the_candidates_that_are_listed_for_any_of_its_spectra(
    annotator: Annotator, tmp_path: Path, named: str, order: tuple[int, int]
) -> None:
    """Those listed for the first alone counted: the feature of another was not ranked."""
    path = tmp_path / "c.csv"
    rows = [f"{named},{(THEOPHYLLINE, THEOBROMINE)[n]}\n" for n in order]
    path.write_text("query_id,smiles\n" + "".join(rows), encoding="utf-8")
    options = RunOptions(candidates=path, merge_by="FEATURE_ID", n_jobs=1)
    spectra = [query("low", 124.0505, 181.072).spectrum, query("high", 69.0447, 96.0556).spectrum]
    (both,) = RankingRun(annotator, options).outcomes(spectra)
    assert isinstance(both, Ranked)
    assert (both.query_id, both.query.merged) == ("low", ("high",))
    assert both.query.merged_ordinals == (spectra[1].ordinal,)
    (by_mass,) = run_of(annotator, tmp_path, "FEATURE_ID").outcomes(spectra)
    assert isinstance(by_mass, Ranked)
    wanted = dict(zip(by_mass.candidates.smiles, evidence_of(by_mass).raw, strict=True))
    found = dict(zip(both.candidates.smiles, evidence_of(both).raw, strict=True))
    assert list(found) == [(THEOPHYLLINE, THEOBROMINE)[n] for n in order]
    fragments = EVIDENCE_KINDS.index("fragments")
    for smiles, raw in found.items():
        assert raw[fragments] == pytest.approx(wanted[smiles][fragments])


@pytest.mark.parametrize(("rescore", "together"), [(None, [1, 1, 1]), (1, [3])])
def test_spectra_of_a_feature_are_ranked_together_with_rescore_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rescore: int | None, together: list[int]
) -> None:
    """A feature may have thousands of spectra, and each of their candidates takes memory."""
    monkeypatch.setattr(rank, "MOST_QUERIES", 1)
    sizes: list[int] = []
    whole = rank._Ranker.rank

    def counted(self: rank._Ranker, listed: Sequence[rank._ListedQuery]) -> list[Ranked]:
        sizes.append(len(listed))
        return list(whole(self, listed))

    monkeypatch.setattr(rank._Ranker, "rank", counted)
    path = tmp_path / "c.csv"
    path.write_text(f"smiles\n{CAFFEINE}\n", encoding="utf-8")
    spectra = [
        replace(spectrum_of(CAFFEINE, 138.0661), query_id=name, metadata={"FEATURE_ID": "7"})
        for name in "abc"
    ]
    options = RunOptions(candidates=path, merge_by="FEATURE_ID", n_jobs=1, rescore=rescore)
    assert len(list(RankingRun(tiny_annotator(), options).outcomes(spectra))) == 1
    assert sizes == together


@pytest.mark.parametrize("most", [1, 1024])
def test_the_best_candidates_of_any_spectrum_of_a_feature_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """With --rescore, a score and a guess were averaged: the first by them was the least likely."""
    monkeypatch.setattr(rank, "MOST_QUERIES", most)
    of_anilide, of_amide = (66.0464, 71.0491, 94.0651), (51.0229, 77.0386, 105.0335)
    known = [
        spectrum_of("CC(=O)Nc1ccccc1", *of_anilide),
        spectrum_of("CCNC(=O)c1ccccc1", *of_amide),
    ]
    annotator = tiny_annotator()
    library = Library.from_spectra(known, ANALOGUE_BINS, ReadReport(), peaks=ANALOGUE_BINS)
    packed = fingerprints(library.molecules, get_layout(ANALOGUE_FINGERPRINT), n_jobs=1)
    annotator.evidence_pool = EvidencePool.from_library(library, np.arange(2), packed)
    path = tmp_path / "c.csv"
    listed = (
        "CCCC(=O)Nc1ccccc1", "CC(=O)N(C)Cc1ccccc1", "CCCNC(=O)c1ccccc1", "CC(C)NC(=O)c1ccccc1",
        "CCC(=O)Nc1ccc(C)cc1",
    )  # fmt: skip
    path.write_text("\n".join(("smiles", *listed)) + "\n", encoding="utf-8")
    spectra = [
        replace(spectrum_of(listed[0], *mz), query_id=name, metadata={"FEATURE_ID": "7"})
        for name, mz in (("a", of_anilide), ("b", of_amide), ("alone", (164.107,)))
    ]

    def outcomes(merge_by: str | None, rescore: int | None) -> list[Evidence]:
        options = RunOptions(candidates=path, merge_by=merge_by, n_jobs=1, rescore=rescore)
        return [evidence_of(one) for one in RankingRun(annotator, options).outcomes(spectra)]

    def is_guessed(evidence: Evidence) -> NDArray[np.bool_]:
        assert evidence.guessed is not None
        return np.asarray(evidence.guessed != evidence.raw[:, EVIDENCE_KINDS.index("fragments")])

    broken = [~is_guessed(each) for each in outcomes(None, 2)[:2]]
    assert [each.tolist() for each in broken] == [
        [True, False, True, False, False],
        [False, False, True, True, False],
    ]
    (whole,), (cascade,) = outcomes("FEATURE_ID", None), outcomes("FEATURE_ID", 2)
    found = ~is_guessed(cascade)
    np.testing.assert_array_equal(found, broken[0] | broken[1])
    np.testing.assert_array_equal(cascade.raw[found], whole.raw[found])
    assert cascade.scores[found].min() > cascade.scores[~found].max()


def test_what_only_one_spectrum_of_a_feature_has_is_merged(
    annotator: Annotator, tmp_path: Path
) -> None:
    """A prior counts by half, fragment scores that one has guessed beside those of the other."""
    spectra = [query("a", 69.0447, 96.0556, 124.0505).spectrum, query("b", 110.0713).spectrum]
    first, second = run_of(annotator, tmp_path, None).outcomes(spectra)
    assert isinstance(first, Ranked)
    assert isinstance(second, Ranked)
    one, other = evidence_of(first), evidence_of(second)
    guessed, prior, counts = np.array([1.0, -3.0]), np.array([2.0, 0.5]), np.array([0.1, 0.2])
    other = replace(other, guessed=guessed, prior=prior, own=None)
    second = replace(second, list_scores=replace(second.list_scores, n_peaks=9, evidence=other))
    for members in ([first, second], [second, first]):
        members[0] = replace(members[0], counts=counts)
        both = merged(members)
        found = evidence_of(both)
        assert found.prior is not None
        assert found.guessed is not None
        assert found.own is not None
        fragments = one.raw[:, EVIDENCE_KINDS.index("fragments")]
        np.testing.assert_allclose(found.prior, prior / 2)
        np.testing.assert_allclose(found.guessed, (guessed + fragments) / 2)
        assert one.own is not None
        np.testing.assert_array_equal(found.own.cosine, one.own.cosine)
        assert both.list_scores.n_peaks == 9
        assert both.counts is not None
        np.testing.assert_array_equal(both.counts, counts)
    assert merged([first, first]).counts is None


def test_precursors_that_are_not_stated_are_the_same() -> None:
    names = {"a": None, "b": None, "c": 181.0721}
    records = [query(name, precursor_mz=mz, adduct=None) for name, mz in names.items()]
    groups = group_by(records, "FEATURE_ID", 10.0)
    assert [[record.query_id for record in group] for group in groups] == [["a", "b"], ["c"]]


def test_a_precursor_alone_does_not_weaken_what_another_says(
    annotator: Annotator, tmp_path: Path
) -> None:
    alone, high = query("alone", 181.072).spectrum, query("high", 69.0447, 96.0556).spectrum
    one = run_of(annotator, tmp_path, None).outcomes([high])
    both = run_of(annotator, tmp_path, "feature id").outcomes([alone, high])
    (first,), (second,) = one, both
    np.testing.assert_array_equal(evidence_of(first).raw, evidence_of(second).raw)
    assert second.query_id == "alone"


def test_what_holds_for_some_spectra_of_a_feature_says_for_how_many(
    annotator: Annotator, tmp_path: Path
) -> None:
    """One spectrum without fragments made a feature of many one without."""
    run = run_of(annotator, tmp_path, "FEATURE_ID")
    spectra = [
        query(str(n), *mz).spectrum for n, mz in enumerate(((181.072,), (69.0447,), (96.0,)))
    ]
    bare = replace(spectra[0], query_id="lone", metadata={})
    together, alone = run.outcomes([*(replace(s, adduct=None) for s in spectra), bare])
    assert isinstance(together, Ranked)
    assert together.query.remarks == (
        "adduct taken as [M+H]+",
        "no peak below the precursor m/z (1 of 3 spectra)",
        "merged with 1, 2",
    )
    assert alone.query is not None
    assert alone.query.remarks == ("no peak below the precursor m/z",)
    assert run.tally.remarks["no peak below the precursor m/z"] == 2


def test_an_assumed_adduct_that_queries_cannot_be_of_is_told(
    annotator: Annotator, tmp_path: Path
) -> None:
    run = run_of(annotator, tmp_path, None)
    options = replace(run.options, assume_adduct="[M+H+Na]2+")
    spectra = [query(str(n), 69.0447).spectrum for n in range(4)]
    spectra = [spectra[0], *(replace(s, adduct=None, charge=1) for s in spectra[1:])]
    told = RankingRun(annotator, options)
    list(told.outcomes(spectra))
    assert told.query_notes[0] == (
        "note: of 3 queries without an adduct, 3 state another ion mode or charge than that of "
        "--assume-adduct [M+H+Na]2+: the status says what they are taken as"
    )
    fits = RankingRun(annotator, replace(options, assume_adduct="[M+Na]+"))
    list(fits.outcomes(spectra))
    assert not any("--assume-adduct" in line for line in fits.query_notes)


def test_a_feature_has_the_first_time_that_counts(annotator: Annotator, tmp_path: Path) -> None:
    run = run_of(annotator, tmp_path, "feature id")
    (both,) = run.outcomes(
        query(str(time), retention_time=time).spectrum for time in (None, 0.0, 71.5, 72.0)
    )
    assert isinstance(both, Ranked)
    assert both.evidence is not None
    assert both.evidence.elution is not None
    assert both.evidence.elution.time == 71.5
    (both,) = run.outcomes(query(str(n), retention_time=0.0).spectrum for n in range(2))
    assert isinstance(both, Ranked)
    assert both.evidence is not None
    assert both.evidence.elution is None


def evidence_of(outcome: Ranked | Unranked) -> Evidence:
    assert isinstance(outcome, Ranked)
    assert outcome.evidence is not None
    return outcome.evidence


def test_a_spectrum_that_cannot_be_ranked_keeps_its_row(
    annotator: Annotator, tmp_path: Path
) -> None:
    spectra = [query("a").spectrum, query("b").spectrum, query("bad", ms_level=3).spectrum]
    results = run_of(annotator, tmp_path, "FEATURE_ID").results(spectra).results
    assert [(r.query_id, isinstance(r, Answer)) for r in results] == [("a", True), ("bad", False)]


@pytest.mark.parametrize("merge_by", ["FEATURE_ID", None])
def test_spectra_that_are_not_ranked_for_one_reason_have_one_row_of_their_feature(
    annotator: Annotator, tmp_path: Path, merge_by: str | None
) -> None:
    """Each had one: joined with a table of features, these stood as often as they had spectra."""
    far = [query(name, precursor_mz=301.1234).spectrum for name in ("a", "b", "c")]
    run = run_of(annotator, tmp_path, merge_by)
    results = run.results([*far, query("bad", ms_level=3).spectrum]).results
    ids = ["a", "bad"] if merge_by else ["a", "b", "c", "bad"]
    assert [r.query_id for r in results] == ids
    assert run.tally.n_queries == len(ids)
    assert run.tally.reasons["no candidates within 10 ppm"] == len(ids) - 1
    note = "; merged with b, c" if merge_by else ""
    (row,) = rows(results[0])
    assert row["status"] == f"no candidates within 10 ppm{note}"
    assert len(list(run.outcomes(far))) == (1 if merge_by else 3)


@pytest.mark.parametrize("order", [1, -1])
def test_the_report_draws_the_spectrum_of_a_feature_that_matched(
    annotator: Annotator, tmp_path: Path, order: int
) -> None:
    """It drew the first, beside the likeness of another."""
    alike = query("alike", 69.0447, 96.0556, 124.0505, collision_energy=40.0).spectrum
    other = query("other", 55.0291, 138.0662, collision_energy=10.0).spectrum
    run = run_of(annotator, tmp_path, "FEATURE_ID")
    (answer,) = run.results([alike, other][::order], explained=True).results
    assert isinstance(answer, Answer)
    assert answer.annotations[0].match is not None
    assert answer.annotations[0].match.cosine > 0.9
    shown = details(answer, Drawings(), 2)
    assert shown["query"]["mz"] == [69.0447, 96.0556, 124.0505]
    assert shown["facts"][0] == "alike, one of the feature's 2 spectra"
    assert "40 eV" in shown["facts"]
    assert "3 peaks" in shown["facts"]
    (alone,) = run_of(annotator, tmp_path, None).results([alike], explained=True).results
    of_one = details(alone, Drawings(), 2)
    assert (of_one["query"], of_one["library"]) == (shown["query"], shown["library"])
    assert [row[:3] for row in of_one["first"]["peaks"]] == [
        row[:3] for row in shown["first"]["peaks"]
    ]
    assert of_one["facts"] == shown["facts"][1:]


def test_fragments_of_a_candidate_are_those_of_its_ion(
    annotator: Annotator, tmp_path: Path
) -> None:
    """Of a candidate that is tried as [M+Na]+, no ion with sodium counted, and none was shown."""
    other = "COC(=O)CC(=CC(=O)OC)C(=O)OC"  # its [M+H]+ has the mass of caffeine's [M+Na]+
    (tmp_path / "c.csv").write_text(f"smiles\n{CAFFEINE}\n{other}\n", encoding="utf-8")
    with_sodium = (160.0481, 217.0696)  # C6H7N3NaO+, and the precursor
    stated = query("a", *with_sodium, precursor_mz=217.0696, adduct="[M+Na]+").spectrum

    def of_caffeine(tried: str | None) -> tuple[float, list[str]]:
        options = RunOptions(candidates=tmp_path / "c.csv", try_adducts=tried, n_jobs=1)
        spectrum = replace(stated, adduct=None, charge=None) if tried else stated
        (answer,) = RankingRun(annotator, options).results([spectrum], explained=True).results
        assert isinstance(answer, Answer)
        assert answer.explanation is not None
        assert answer.n_candidates == (2 if tried else 1)
        place = [annotation.formula for annotation in answer.annotations].index("C8H10N4O2")
        fragments = answer.annotations[place].terms[EVIDENCE_KINDS.index("fragments")]
        peaks = (answer.explanation.peaks, answer.explanation.second_peaks)[place]
        return fragments, [peak.formula for peak in peaks]

    as_stated = of_caffeine(None)
    assert "C6H7N3NaO+" in as_stated[1]
    assert of_caffeine("[M+H]+,[M+Na]+") == as_stated


def test_no_match_is_clear_where_an_unlisted_compound_is_nearer(tmp_path: Path) -> None:
    """The status named that compound, and the level of the candidate was 2a."""
    peaks = (69.0447, 96.0556, 124.0505)
    spectra = [
        spectrum_of(THEOPHYLLINE, *peaks, 142.061),
        spectrum_of(THEOBROMINE, *peaks, 138.0662),
    ]
    library = Library.from_spectra(spectra, ANALOGUE_BINS, ReadReport(), peaks=ANALOGUE_BINS)
    packed = fingerprints(library.molecules, get_layout(ANALOGUE_FINGERPRINT), n_jobs=1)
    annotator = tiny_annotator()
    annotator.evidence_pool = EvidencePool.from_library(library, np.arange(2), packed)

    def level_of(*mz: float) -> tuple[str, bool]:
        (tmp_path / "c.csv").write_text(f"smiles\n{THEOBROMINE}\n", encoding="utf-8")
        run = RankingRun(annotator, RunOptions(candidates=tmp_path / "c.csv", n_jobs=1))
        (answer,) = run.results([query("a", *mz).spectrum]).results
        assert isinstance(answer, Answer)
        (annotation,) = answer.annotations
        assert annotation.match is not None
        assert annotation.match.cosine > 0.7
        return annotation.level, "clearly like" in "; ".join(answer.remarks)

    assert level_of(*peaks, 138.0662) == ("2a", False)
    assert level_of(*peaks, 142.061) == ("3", True)


def test_the_command_merges_when_it_is_asked(tmp_path: Path) -> None:
    tiny = tiny_annotator()
    save_checkpoint(tmp_path / "m.safetensors", tiny.model, tiny.header)
    (tmp_path / "c.csv").write_text(f"smiles\n{CAFFEINE}\n", encoding="utf-8")
    record = "FEATURE_ID=4\nPEPMASS=195.0877\nADDUCT=[M+H]+\nRTINSECONDS=60\n{} 10"
    queries = mgf(tmp_path / "q.mgf", record.format(138.066), record.format(110.071))

    def ranked(*options: str) -> tuple[list[list[str]], str]:
        arguments = [
            queries, "--candidates", tmp_path / "c.csv", "--model", tmp_path / "m.safetensors",
            "--jobs", 1, *options,
        ]  # fmt: skip
        done = CliRunner().invoke(annotate, [str(argument) for argument in arguments])
        assert done.exception is None, done.output
        return [line.split(",") for line in done.stdout.splitlines()[1:]], done.stderr

    apart, said = ranked()
    assert [row[0] for row in apart] == ["4", "4#2"]
    assert (
        "features (FEATURE_ID) with several spectra: 1, of 2 spectra; --merge-by FEATURE_ID" in said
    )
    together, said = ranked("--merge-by", "FEATURE_ID")
    assert [row[0] for row in together] == ["4"]
    shown = dict(zip(COLUMNS, together[0], strict=True))
    assert (shown["status"], shown["retention_time"], shown["feature_id"]) == (
        "ok; merged with 4#2", "60.0", "4",
    )  # fmt: skip
    assert "features with several spectra (by FEATURE_ID): 1, of 2 spectra" in said


def test_evaluate_counts_a_feature_once(tmp_path: Path) -> None:
    """Merged spectra are one query; so are those of a feature that none of could be ranked."""
    tiny = tiny_annotator()
    save_checkpoint(tmp_path / "m.safetensors", tiny.model, tiny.header)
    (tmp_path / "c.csv").write_text(f"smiles\n{CAFFEINE}\n", encoding="utf-8")
    record = "TITLE={}\nFEATURE_ID={}\nPEPMASS={}\nADDUCT=[M+H]+\n138.066 10\n"
    records = [("a", 4, 195.0877), ("b", 4, 195.0877), ("c", 5, 301.1), ("d", 5, 301.1)]
    queries = mgf(tmp_path / "q.mgf", *(record.format(*values) for values in records))
    truth = tmp_path / "t.csv"
    figures = tmp_path / "f.json"

    def said(truths: str, *options: str) -> str:
        truth.write_text(f"query_id,inchikey14\n{truths}", encoding="utf-8")
        arguments = [
            queries, "--candidates", tmp_path / "c.csv", "--model", tmp_path / "m.safetensors",
            "--truth", truth, "--json", figures, "--jobs", 1, *options,
        ]  # fmt: skip
        done = CliRunner().invoke(evaluate, [str(argument) for argument in arguments])
        assert done.exception is None, done.output
        return done.stderr

    named = "b,RYYVLZVUVIJVGH\nd,RYYVLZVUVIJVGH\n"
    assert "2 queries have no row in the truth file" in said(named)
    assert json.loads(figures.read_text())["n_queries"] == 2
    of_features = said(named, "--merge-by", "FEATURE_ID")
    found = json.loads(figures.read_text())
    assert (found["n_queries"], found["n_ranked"], found["hit_at_1"]) == (2, 1, 0.5)
    assert found["merge_by"] == "FEATURE_ID"
    assert "have no " not in of_features
    other = said("a,RYYVLZVUVIJVGH\nb,BSYNRYMUTXBXSQ\n", "--merge-by", "FEATURE_ID")
    assert "spectra of one feature have different truths, of which the first counts: a" in other
