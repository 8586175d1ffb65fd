"""A candidate is parsed once, however many steps need it."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from annotation_examples import CAFFEINE, spectrum_of, tiny_annotator
from rdkit import Chem

from specvae.annotation.evidence.analogues import ANALOGUE_BINS
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.library.library import Library
from specvae.annotation.ranking.candidates import CandidateSource
from specvae.annotation.ranking.queries import QueryFilter
from specvae.annotation.ranking.rank import rank_spectra
from specvae.annotation.ranking.result import Ranked
from specvae.molecules import fingerprint
from specvae.molecules.candidates import CandidateSet, read_candidates, usable_structures
from specvae.molecules.fingerprint import (
    FingerprintCache,
    FingerprintLayout,
    fingerprints,
    get_layout,
)
from specvae.molecules.molecule import Molecule
from specvae.report import ReadReport

# None is charged: a neutralised structure is written and read again.
CANDIDATES = (CAFFEINE, "Cn1cnc2c1c(=O)[nH]c(=O)n2C", "CCOc1ccc(NC(C)=O)c(N)n1", "NC(C)C(=O)O")


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    counts: Counter[str] = Counter()
    parse = Chem.MolFromSmiles

    def counted(smiles: str, *others: object, **options: object) -> object:
        counts[smiles] += 1
        return parse(smiles, *others, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Chem, "MolFromSmiles", counted)
    return counts


def test_each_candidate_is_parsed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parsed: Counter[str]
) -> None:
    """It was seven times: for mass, key, fragments, and twice for each fingerprint."""
    monkeypatch.setenv("SPECVAE_CACHE", str(tmp_path))
    query = spectrum_of(CAFFEINE, 110.0713, 138.0662)
    library = Library.from_spectra([query], ANALOGUE_BINS, ReadReport(), peaks=ANALOGUE_BINS)
    annotator = tiny_annotator()
    packed = fingerprints(library.molecules, get_layout(ANALOGUE_FINGERPRINT), n_jobs=1)
    annotator.evidence_pool = EvidencePool.from_library(library, np.arange(1), packed)
    table = tmp_path / "candidates.csv"
    rows = "".join(f"{query.query_id},{smiles}\n" for smiles in CANDIDATES)
    table.write_text(f"query_id,smiles\n{rows}", encoding="utf-8")
    parsed.clear()
    with CandidateSource(table, annotator.layout, 10.0, ReadReport()) as source:
        (ranked,) = rank_spectra(annotator, [annotator.assign_ion(query)], source, QueryFilter())
        assert isinstance(ranked, Ranked)
        assert len(ranked.candidates) == len(CANDIDATES)
        assert ranked.evidence is not None
        for molecule in ranked.candidates.molecules:
            annotator.evidence_pool.explain(query, molecule)
        assert {len(key) for key in ranked.candidates.inchikey} == {27}
    assert parsed == Counter(CANDIDATES)


def test_rows_that_say_the_same_are_parsed_once(tmp_path: Path, parsed: Counter[str]) -> None:
    table = tmp_path / "candidates.csv"
    rows = [f"{query},{smiles}" for query in "abc" for smiles in (*CANDIDATES, "C1CC", "[Na]")]
    table.write_text("query_id,smiles\n" + "\n".join(rows) + "\n", encoding="utf-8")
    report = ReadReport()
    found = read_candidates(table, report)
    assert {parsed[smiles] for smiles in CANDIDATES} == {1}
    assert found.query_id is not None
    assert found.smiles.tolist() == [*(*CANDIDATES, "[Na]") * 3]
    assert found.query_id.tolist() == [query for query in "abc" for _ in range(5)]
    # Each row that cannot be used is named.
    assert [skip.line for skip in report.skips] == [6, 12, 18]


def test_no_canonical_smiles_is_computed_of_what_a_table_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take a third as long as fingerprints, and only what is shown needs them."""
    listed = ("OCC", "C(N)CO", "c1ccccc1CCC", "CCOC(=O)CC")
    table = tmp_path / "candidates.csv"
    table.write_text("smiles\n" + "".join(f"{smiles}\n" for smiles in listed), encoding="utf-8")
    layout = get_layout("morgan4096")
    wanted = fingerprints(listed, layout)
    written: list[Chem.Mol] = []
    computed: list[int] = []
    write, compute = Chem.MolToSmiles, fingerprint.compute_all

    def noted(mol: Chem.Mol, *others: object, **options: object) -> object:
        written.append(mol)
        return write(mol, *others, **options)  # type: ignore[call-overload]

    def counted(layouts: list[FingerprintLayout], molecules: list[Molecule]) -> object:
        computed.append(len(molecules))
        return compute(layouts, molecules)

    monkeypatch.setattr(Chem, "MolToSmiles", noted)
    monkeypatch.setattr(fingerprint, "compute_all", counted)
    for _ in range(2):
        found = read_candidates(table)
        assert found.smiles.tolist() == list(listed)
        packed = fingerprints(list(found.molecules), layout, FingerprintCache(tmp_path))
        np.testing.assert_array_equal(packed, wanted)
    assert not written
    assert computed == [len(listed)]


def test_structures_of_several_sets_are_parsed_once(parsed: Counter[str]) -> None:
    def of(*smiles: str) -> CandidateSet:
        column = np.array(smiles, dtype=object)
        empty = np.array([""] * len(smiles), dtype=object)
        masses = np.zeros(len(smiles))
        return CandidateSet(column, masses, inchikey=empty, name=empty, id=empty)

    (first, n_lost), (second, none_lost) = usable_structures(
        [of(CAFFEINE, "C1CC", "CCO"), of("CCO", CAFFEINE)]
    )
    assert (n_lost, none_lost) == (1, 0)
    assert first.smiles.tolist() == [CAFFEINE, "CCO"]
    assert second.molecules[1] is first.molecules[0]
    assert parsed[CAFFEINE] == parsed["CCO"] == 1
