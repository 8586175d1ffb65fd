from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from annotation_examples import ASPIRIN, CAFFEINE, tiny_annotator, tiny_config

from specvae.annotation.evidence.fingerprint import log_likelihoods
from specvae.annotation.evidence.fragments import Peaks
from specvae.annotation.library.query import Assumptions, Query
from specvae.annotation.ranking import annotator as module
from specvae.annotation.ranking.annotator import (
    Annotator,
    CandidateSource,
    QueryFilter,
    RankedQuery,
    rank_queries,
    to_result,
)
from specvae.annotation.ranking.probability import ProbabilityModel
from specvae.annotation.training.networks import bin_layout
from specvae.errors import CheckpointError, ConfigError, InputError
from specvae.molecules.candidates import CandidatePool, CandidateSet
from specvae.molecules.fingerprint import get_layout
from specvae.molecules.molecule import parse_molecule
from specvae.report import ReadReport
from specvae.spectra.adducts import parse_adduct
from specvae.spectra.spectrum import Spectrum
from specvae.vae.checkpoint import save_checkpoint

QUERY = Spectrum(
    mz=np.array([110.0713, 138.0662]),
    intensity=np.array([10.0, 100.0]),
    query_id="q",
    precursor_mz=195.0877,
    adduct="[M+H]+",
    ion_mode="positive",
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECVAE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def annotator() -> Annotator:
    return tiny_annotator()


def table(path: Path, text: str) -> CandidateSource:
    path.write_text(text, encoding="utf-8")
    return CandidateSource(path, get_layout("morgan4096"), 10.0, ReadReport())


def by_mass(tmp_path: Path) -> CandidateSource:
    return table(
        tmp_path / "mass.csv",
        f"smiles,name\n{CAFFEINE},caffeine\n{ASPIRIN},aspirin\n"
        "CN1C=NC2=C1C(=O)N(C)C(=O)N2C,caffeine again\nCn1cnc2n(C)c(=O)[nH]c(=O)c12,theobromine\n",
    )


def mgf(path: Path, *records: str) -> Path:
    path.write_text(
        "".join(f"BEGIN IONS\n{record}\nEND IONS\n\n" for record in records), encoding="utf-8"
    )
    return path


def ranked(
    annotator: Annotator, queries: Path, source: CandidateSource, wanted: QueryFilter | None = None
) -> list[RankedQuery]:
    report = ReadReport()
    return list(rank_queries(annotator, queries, source, wanted or QueryFilter(), report, n_jobs=1))


def test_candidates_by_mass_are_one_per_first_block(tmp_path: Path) -> None:
    found = by_mass(tmp_path).find(Query.settle(QUERY))
    assert isinstance(found, CandidateSet)
    assert found.name.tolist() == ["caffeine"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (replace(QUERY, precursor_mz=None), "no precursor m/z"),
        (replace(QUERY, precursor_mz=999.9), "no candidates within 10 ppm"),
        (replace(QUERY, ms_level=1), "MS level 1, wanted 2"),
        (replace(QUERY, adduct="[M+Zz]+"), "unknown adduct [M+Zz]+"),
        (replace(QUERY, adduct=None, ion_mode=None), "no adduct and no ion mode"),
    ],
)
def test_why_there_are_no_candidates(tmp_path: Path, query: Spectrum, status: str) -> None:
    assert by_mass(tmp_path).find(Query.settle(query)) == status


def test_listed_candidates_need_no_mass(tmp_path: Path) -> None:
    source = table(tmp_path / "ids.csv", f"query_id,smiles\nq,{ASPIRIN}\nq,{CAFFEINE}\nr,CCO\n")
    found = source.find(Query.settle(replace(QUERY, precursor_mz=None)))
    assert isinstance(found, CandidateSet)
    assert len(found) == 2
    assert (
        source.find(Query.settle(replace(QUERY, query_id="s"))) == "no candidates for this query_id"
    )


def test_table_without_usable_candidate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no usable candidate"):
        table(tmp_path / "none.csv", "smiles\nC1CC\n")


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
    assert (query.adduct, query.status) == (adduct, status)


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
    assert silent.status == "ok; adduct taken as [M-H]-"
    assert outspoken.status == "ok"
    np.testing.assert_array_equal(silent.scores, outspoken.scores)


def test_a_query_without_ion_mode_is_explained_in_the_mode_that_the_model_knows(
    tmp_path: Path,
) -> None:
    """Its fragments are scored and shown as the negative ions that its status names."""
    query = tiny_annotator(("negative",)).settle(
        replace(QUERY, adduct=None, ion_mode=None, precursor_mz=193.0731)
    )
    assert query.remarks == ("adduct taken as [M-H]-",)
    assert Peaks.of(query.spectrum).sign == -1


def test_users_assumptions_come_before_the_models_ion_mode(
    tmp_path: Path, annotator: Annotator
) -> None:
    queries = mgf(tmp_path / "q.mgf", "TITLE=a\nPEPMASS=193.0731\n138.066 10")
    report = ReadReport()
    (query,) = rank_queries(
        annotator, queries, by_mass(tmp_path), QueryFilter(), report,
        assumed=Assumptions.parse(ion_mode="negative"), n_jobs=1,
    )  # fmt: skip
    assert query.adduct == "[M-H]-"
    assert query.status == (
        "ok; adduct taken as [M-H]-; the model was not trained on negative ion mode"
    )


def test_two_charges_without_adduct_are_two_protons(tmp_path: Path, annotator: Annotator) -> None:
    ion = parse_adduct("[M+2H]2+")
    assert ion is not None
    mz = ion.precursor_mz(194.0804)
    queries = mgf(tmp_path / "q.mgf", f"TITLE=a\nPEPMASS={mz:.4f}\nCHARGE=2+\n98.066 10")
    (query,) = ranked(annotator, queries, by_mass(tmp_path))
    assert query.status == "ok; adduct taken as [M+2H]2+"


def test_filters_leave_out_and_say_so(tmp_path: Path, annotator: Annotator) -> None:
    queries = mgf(
        tmp_path / "q.mgf",
        "TITLE=a\nPEPMASS=195.0877\nADDUCT=[M+H]+\n138.066 10",
        "TITLE=b\nPEPMASS=195.0877\nADDUCT=[M-H]-\n138.066 10",
        "TITLE=c\nPEPMASS=217.0696\nADDUCT=[M+Na]+\n138.066 10",
    )
    wanted = QueryFilter.of("positive", ["M+H"])
    found = ranked(annotator, queries, by_mass(tmp_path), wanted)
    assert [(q.status, q.is_filtered) for q in found] == [
        ("ok", False),
        ("left out: ion mode negative", True),
        ("left out: adduct [M+Na]+", True),
    ]
    with pytest.raises(ConfigError, match="Zz"):
        QueryFilter.of(None, ["[M+Zz]+"])


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
    assert found[0].status.startswith("unreadable record: a peak is not two finite numbers")


def test_chunks_of_queries_change_nothing(
    tmp_path: Path, annotator: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = mgf(
        tmp_path / "q.mgf",
        *(
            f"TITLE=q{i}\nPEPMASS={mz}\nADDUCT=[M+H]+\n{100 + i}.05 10"
            for i, mz in enumerate((195.0877, 181.0495, 999.9, 181.0720, 195.0877))
        ),
    )
    whole = ranked(annotator, queries, by_mass(tmp_path))
    monkeypatch.setattr(module, "_CHUNK", 2)
    pieces = ranked(annotator, queries, by_mass(tmp_path))
    assert [q.status for q in whole] == [q.status for q in pieces]
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-6)


def test_blind_scores_are_of_the_candidates_alone(tmp_path: Path, annotator: Annotator) -> None:
    source = table(
        tmp_path / "c.csv",
        "query_id,smiles\n" + "".join(f"{q},{s}\n" for q in "ab" for s in (CAFFEINE, ASPIRIN)),
    )
    queries = mgf(
        tmp_path / "q.mgf",
        "TITLE=a\nPEPMASS=195.0877\nIONMODE=positive\n138.066 10",
        "TITLE=b\nPEPMASS=181.0495\nIONMODE=positive\n43.018 10\n121.03 50",
    )
    a, b = ranked(annotator, queries, source)
    np.testing.assert_array_equal(a.blind_scores, b.blind_scores)
    assert not np.array_equal(a.scores, b.scores)
    np.testing.assert_allclose(a.scores, log_likelihoods(a.packed, a.logits), rtol=1e-12)
    expected = log_likelihoods(a.packed, annotator.blind_logits)
    np.testing.assert_allclose(a.blind_scores, expected, rtol=1e-12)


def scored(scores: list[float]) -> RankedQuery:
    n = len(scores)
    # Listed against the order of their keys.
    keys = [f"{chr(ord('Z') - i) * 14}-UHFFFAOYSA-N" for i in range(n)]
    strings = [np.array(values, dtype=object) for values in (["C"] * n, keys, [""] * n)]
    candidates = CandidateSet(
        strings[0], np.full(n, 16.0), inchikey=strings[1], name=strings[2], id=strings[2]
    )
    return RankedQuery(
        "q", QUERY, "[M+H]+", "ok", candidates,
        packed=np.zeros((n, 512), np.uint8), scores=np.array(scores), logits=np.zeros(4096),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("top", "ranks", "first_letters"),
    [
        (None, [1, 4, 4, 4, 5], "XVYZW"),
        (2, [1, 4], "XV"),
        (9, [1, 4, 4, 4, 5], "XVYZW"),
    ],
)
def test_ties_share_the_worst_rank_and_stand_in_order_of_keys(
    annotator: Annotator, top: int | None, ranks: list[int], first_letters: str
) -> None:
    rows = to_result(annotator, scored([-2.0, -2.0, -1.0, -3.0, -2.0]), top).annotations
    assert [row.rank for row in rows] == ranks
    assert "".join(row.inchikey[0] for row in rows) == first_letters
    assert {row.n_candidates for row in rows} == {5}
    assert [row.score for row in rows] == [-1.0, -2.0, -2.0, -2.0, -3.0][: len(rows)]


def test_unrankable_query_has_one_row(annotator: Annotator) -> None:
    result = to_result(annotator, RankedQuery("q", QUERY, None, "no precursor m/z"), 10)
    (row,) = result.annotations
    assert (row.rank, row.score, row.n_candidates, row.status) == (
        None,
        None,
        0,
        "no precursor m/z",
    )
    assert result.evidence == ()


def test_evidence_is_what_the_spectrum_moved(annotator: Annotator) -> None:
    logits = annotator.blind_logits.copy()
    logits[7] += 5.0
    logits[11] -= 2.0
    bits = np.zeros(4096, np.uint8)
    bits[7] = 1
    evidence = annotator.evidence(logits, np.packbits(bits, bitorder="little"))
    loudest = [(e.bit, e.present) for e in evidence[:2]]
    assert loudest in ([(7, True), (11, False)], [(11, False), (7, True)])
    assert evidence[0].probability == pytest.approx(1 / (1 + np.exp(-logits[evidence[0].bit])))


def test_other_fingerprints_are_refused() -> None:
    good = tiny_annotator()
    for key, value in (("probe_sha256", "0" * 64), ("version", 99), ("n_bits", 7)):
        header = {**good.header, "fingerprint": {**good.header["fingerprint"], key: value}}
        with pytest.raises(CheckpointError, match=key) as caught:
            Annotator(good.model, header, torch.device("cpu"))
        assert "\n" not in str(caught.value)


def test_probabilities_of_other_features_are_refused() -> None:
    good = tiny_annotator()
    numbers = (0.0,) * 5
    stored = ProbabilityModel(("f",), numbers, (1.0,) * 5, (0.0,) * 6, (0.0,) * 6).to_json()
    with pytest.raises(CheckpointError, match=r"found the features \('f',\), wanted \(\)"):
        Annotator(good.model, {**good.header, "probability": stored}, torch.device("cpu"))


@pytest.mark.parametrize("heavy_first", [True, False])
def test_of_isotopologues_listed_for_a_query_the_one_that_it_can_be_is_ranked(
    tmp_path: Path, heavy_first: bool
) -> None:
    smiles = ["[2H]C([2H])([2H])O", "CO"]
    rows = smiles if heavy_first else smiles[::-1]
    path = tmp_path / "candidates.csv"
    path.write_text("query_id,smiles\n" + "".join(f"q,{of}\n" for of in rows))
    source = CandidateSource(path, get_layout("morgan4096"), 10.0, ReadReport())
    adduct = parse_adduct("[M+H]+")
    assert adduct is not None
    for of in smiles:
        query = Spectrum(
            mz=np.array([31.0]),
            intensity=np.array([1.0]),
            query_id="q",
            precursor_mz=adduct.precursor_mz(parse_molecule(of).exact_mass),
            adduct=adduct.name,
        )
        found = source.find(Query.settle(query))
        assert not isinstance(found, str)
        assert found.smiles.tolist() == [of]


def test_loading_gives_the_same_predictions(tmp_path: Path, annotator: Annotator) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, annotator.model, annotator.header)
    loaded = Annotator.load(path, "cpu")
    np.testing.assert_allclose(
        loaded.predict([QUERY]), annotator.predict([QUERY]), rtol=1e-4, atol=1e-6
    )
    assert loaded.bins == annotator.bins
    assert loaded.training_compounds == {"RYYVLZVUVIJVGH", "BSYNRYMUTXBXSQ"}


def test_a_model_of_something_else_is_refused(tmp_path: Path, annotator: Annotator) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, annotator.model, {"program": "specvae"})
    with pytest.raises(CheckpointError, match="not of spectra"):
        Annotator.load(path, "cpu")


def test_bins_of_the_header_are_those_of_the_model(annotator: Annotator) -> None:
    assert annotator.bins == bin_layout(tiny_config())
    assert annotator.embed([QUERY, QUERY]).shape == (2, 4)


def test_a_source_of_candidates_closes_its_pool(tmp_path: Path) -> None:
    structures = tmp_path / "structures.csv"
    structures.write_text(f"smiles\n{CAFFEINE}\n", encoding="utf-8")
    layout = get_layout("morgan4096")
    CandidatePool.build(structures, layout, tmp_path / "pool.h5")

    def n_open() -> int:
        return int(h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE))

    before = n_open()
    with CandidateSource(tmp_path / "pool.h5", layout, 10.0, ReadReport()):
        assert n_open() == before + 1
    assert n_open() == before
