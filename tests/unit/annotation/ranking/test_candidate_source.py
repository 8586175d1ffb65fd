from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from annotation_examples import ASPIRIN, CAFFEINE
from pool_files import write_pool
from ranking_examples import QUERY, by_mass, table

from specvae.annotation.evidence.library_memory import Absence
from specvae.annotation.library.query import Assumptions, Query
from specvae.annotation.ranking.candidates import CandidateSource
from specvae.annotation.ranking.restriction import Restriction
from specvae.annotation.ranking.result import Cause, Refusal
from specvae.errors import ConfigError, InputError
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.fingerprint import fingerprints, get_layout
from specvae.molecules.molecule import parse_molecule
from specvae.progress import Silence
from specvae.report import ReadReport
from specvae.spectra.adducts import parse_adduct
from specvae.spectra.spectrum import Spectrum


def test_candidates_by_mass_are_one_per_first_block(tmp_path: Path) -> None:
    found = by_mass(tmp_path).find(Query.assign_ion(QUERY))
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
    assert str(by_mass(tmp_path).find(Query.assign_ion(query))) == status


def test_listed_candidates_need_no_mass(tmp_path: Path) -> None:
    source = table(tmp_path / "ids.csv", f"query_id,smiles\nq,{ASPIRIN}\nq,{CAFFEINE}\nr,CCO\n")
    found = source.find(Query.assign_ion(replace(QUERY, precursor_mz=None)))
    assert isinstance(found, CandidateSet)
    assert len(found) == 2
    other = source.find(Query.assign_ion(replace(QUERY, query_id="s")))
    assert other == Refusal(Cause.NOT_LISTED)


def test_table_without_usable_candidate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no usable candidate"):
        table(tmp_path / "none.csv", "smiles\nC1CC\n")


@pytest.mark.parametrize("heavy_first", [True, False])
def test_of_isotopologues_listed_for_a_query_the_one_that_it_can_be_is_ranked(
    tmp_path: Path, heavy_first: bool
) -> None:
    smiles = ["[2H]C([2H])([2H])O", "CO"]
    rows = smiles if heavy_first else smiles[::-1]
    path = tmp_path / "candidates.csv"
    path.write_text("query_id,smiles\n" + "".join(f"q,{text}\n" for text in rows))
    source = CandidateSource(path, get_layout("morgan4096"), 10.0, ReadReport())
    adduct = parse_adduct("[M+H]+")
    assert adduct is not None
    for text in smiles:
        query = Spectrum(
            mz=np.array([31.0]),
            intensity=np.array([1.0]),
            query_id="q",
            precursor_mz=adduct.precursor_mz(parse_molecule(text).exact_mass),
            adduct=adduct.name,
        )
        found = source.find(Query.assign_ion(query))
        assert isinstance(found, CandidateSet)
        assert found.smiles.tolist() == [text]


@pytest.mark.parametrize("name", ["c.h5", "C.H5", "c.hdf5"])
def test_a_pool_is_closed_with_its_source(tmp_path: Path, name: str) -> None:
    structures, path = tmp_path / "c.smi", tmp_path / name
    structures.write_text(f"{CAFFEINE} caffeine\n", encoding="utf-8")
    layout = get_layout("morgan4096")
    write_pool(structures, layout, path)
    with CandidateSource(path, layout, 10.0, ReadReport()) as source:
        found = source.find(Query.assign_ion(QUERY))
        assert isinstance(found, CandidateSet)
        assert found.name.tolist() == ["caffeine"]
    # HDF5 opens no file for writing that is open for reading.
    with h5py.File(path, "r+"):
        pass


@pytest.mark.parametrize("as_pool", [False, True])
@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({}, ["caffeine", "acid", "thio"]),
        ({"formula": "C8H10N4O2"}, ["caffeine", "acid"]),
        ({"formula": "O2N4H10C8"}, ["caffeine", "acid"]),
        ({"formula": "C8H10N4O"}, []),
        ({"formula": "C8 H10 N4 O2"}, ["caffeine", "acid"]),
        ({"elements": "CHNO"}, ["caffeine", "acid"]),
        ({"elements": "C, H; N O"}, ["caffeine", "acid"]),
        ({"elements": "CHNOSP"}, ["caffeine", "acid", "thio"]),
        ({"elements": "CH"}, []),
        ({"exclude": True}, ["acid", "thio"]),
    ],
)
def test_candidates_by_formula_elements_and_compound(
    tmp_path: Path, asked: dict[str, Any], names: list[str], as_pool: bool
) -> None:
    path = tmp_path / "c.csv"
    others = "NC(=O)Nc1cc(C(=N)N)ccc1O,acid\nNC(=NO)c1cccc(NSCCCC)c1,thio\n"
    path.write_text(f"smiles,name\n{CAFFEINE},caffeine\n{others}", encoding="utf-8")
    layout = get_layout("morgan4096")
    if as_pool:
        write_pool(path, layout, tmp_path / "c.h5")
        path = tmp_path / "c.h5"
    if asked.get("exclude"):
        (tmp_path / "no.txt").write_text(f"{CAFFEINE}\n", encoding="utf-8")
        asked = {"exclude": [tmp_path / "no.txt"]}
    with CandidateSource(
        path, layout, 1e6, ReadReport(), restriction=Restriction.of(**asked)
    ) as source:
        found = source.find(Query.assign_ion(QUERY))
    if names:
        assert isinstance(found, CandidateSet)
        assert sorted(found.name.tolist()) == sorted(names)
    else:
        option = next(iter(asked))
        assert found == Refusal(Cause.NONE_LIKE_THAT, f"no candidate left by --{option}")


@pytest.mark.parametrize("as_pool", [False, True])
@pytest.mark.parametrize("key", ["RYYVLZVUVIJVGH", "VDHPYBVMFNLZQG"])
def test_a_salt_is_left_out_by_its_own_key_and_its_parent_s(
    tmp_path: Path, key: str, as_pool: bool
) -> None:
    path, excluded = tmp_path / "c.csv", tmp_path / "no.txt"
    path.write_text(f"smiles,name\n{CAFFEINE}.Cl,caffeine HCl\n", encoding="utf-8")
    excluded.write_text(f"{key}\n", encoding="utf-8")
    layout = get_layout("morgan4096")
    if as_pool:
        write_pool(path, layout, tmp_path / "c.h5")
        path = tmp_path / "c.h5"
    restriction = Restriction.of(exclude=[excluded])
    with CandidateSource(path, layout, 1e6, ReadReport(), restriction=restriction) as source:
        said = "no candidate left by --exclude"
        assert source.find(Query.assign_ion(QUERY)) == Refusal(Cause.NONE_LIKE_THAT, said)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("formula", "C9x"),
        ("elements", "CHQ"),
        ("formula", ""),
        # Two formulas were joined to one that no candidate has, and numbers dropped.
        ("formula", "C9H8O4, C8H10N4O2"),
        ("formula", "C9H8O4;C9H8O3"),
        ("elements", "C9H8O4"),
    ],
)
def test_what_is_no_formula_is_refused(option: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"{option}: found '{text}', wanted"):
        Restriction.of(**{option: text})  # type: ignore[arg-type]


def test_a_compound_that_is_not_listed_may_be_the_query_s(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text(f"smiles\n{ASPIRIN}\n", encoding="utf-8")
    caffeine = parse_molecule(CAFFEINE).first_block

    def absence(
        query: Spectrum, ppm: float = 10.0, adduct: str = "[M+H]+", **asked: object
    ) -> Absence:
        restriction = Restriction.of(**asked)  # type: ignore[arg-type]
        layout, report = get_layout("morgan4096"), ReadReport()
        source = CandidateSource(path, layout, ppm, report, restriction=restriction)
        assumed = Assumptions.parse(tried="[M+H]+,[M+Na]+")
        return source.may_be(Query.assign_ion(query, assumed), caffeine, CAFFEINE, adduct)

    def may_be(query: Spectrum, **options: object) -> bool:
        return absence(query, **options).is_unlisted  # type: ignore[arg-type]

    assert may_be(QUERY)
    assert not may_be(replace(QUERY, precursor_mz=None))
    # 13 ppm off.
    off = replace(QUERY, precursor_mz=195.0877 * (1 + 13e-6))
    assert not may_be(off)
    assert may_be(off, ppm=20.0)
    # The second of the species that are tried.
    assert may_be(replace(QUERY, adduct=None, precursor_mz=217.0696))
    # The library's spectrum is of an ion that has the query's m/z, whatever this is taken for.
    ammoniated = replace(QUERY, precursor_mz=212.1142)
    assert absence(ammoniated, adduct="[M+NH4]+") == Absence(is_unlisted=True, is_other_ion=True)
    unstated = replace(ammoniated, adduct=None)
    assert absence(unstated, adduct="[M+NH4]+") == Absence(is_unlisted=True)
    assert absence(QUERY) == Absence(is_unlisted=True)
    for adduct in ("[M+H]+", "[M+Na]+", "", "no adduct"):
        assert not may_be(ammoniated, adduct=adduct)
    assert not may_be(ammoniated, adduct="[M+NH4]+", formula="C9H8O4")
    assert not may_be(replace(ammoniated, precursor_mz=212.1190), adduct="[M+NH4]+")
    deprotonated = replace(QUERY, precursor_mz=193.0731)
    assert not may_be(deprotonated, adduct="[M-H]-")
    # What the user leaves out is not missed.
    left_out = tmp_path / "known.csv"
    left_out.write_text(f"smiles\n{CAFFEINE}\n", encoding="utf-8")
    assert not may_be(QUERY, exclude=[left_out])
    assert not may_be(QUERY, formula="C9H8O4")
    assert may_be(QUERY, formula="C8H10N4O2")
    assert not may_be(QUERY, elements="CHO")


@pytest.mark.parametrize("stored", [("morgan4096", "mixed2149"), ("morgan4096",), None])
def test_fingerprints_of_candidates_are_those_of_the_layout_that_is_asked_for(
    tmp_path: Path, stored: tuple[str, ...] | None
) -> None:
    """A pool may hold both layouts, one of them, or candidates are of a table."""
    path = tmp_path / "c.csv"
    path.write_text(f"smiles\n{CAFFEINE}\nNC(=O)Nc1cc(C(=N)N)ccc1O\nCCO\n", encoding="utf-8")
    layouts = [get_layout(name) for name in ("morgan4096", "mixed2149")]
    if stored is not None:
        write_pool(path, [*map(get_layout, stored)], tmp_path / "c.h5")
        path = tmp_path / "c.h5"
    ethanol = replace(QUERY, precursor_mz=47.0491)
    with CandidateSource(path, layouts[0], 10.0, ReadReport()) as source:
        sets = [source.find(Query.assign_ion(query)) for query in (ethanol, QUERY)]
        found = [one for one in sets if isinstance(one, CandidateSet)]
        assert [len(one) for one in found] == [1, 2]
        tables = source.packed(found, layouts, 1, Silence())
    for layout, of_layout in zip(layouts, tables, strict=True):
        for candidates, packed in zip(found, of_layout, strict=True):
            wanted = fingerprints(list(candidates.molecules), layout, n_jobs=1)
            np.testing.assert_array_equal(packed, wanted)
