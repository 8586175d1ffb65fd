"""What `import specvae` gives, and what it does not load."""

from __future__ import annotations

import atexit
import inspect
import io
import logging
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pytest
import torch
from annotation_examples import ASPIRIN, CAFFEINE, tiny_config, write_library
from rdkit import Chem

import specvae
from specvae import files, sources
from specvae.annotation.ranking.result import COLUMNS
from specvae.errors import CheckpointError, ConfigError, InputError, SpecvaeError
from specvae.settings import flatten

Result = TypeVar("Result")
STRUCTURES = (CAFFEINE, ASPIRIN, "CCO", "c1ccccc1O", "CC(N)C(=O)O", "NCC(=O)O", "OCC(O)CO", "CCCCO")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("face")
    write_library(folder / "library.msp", STRUCTURES, n_each=4)
    lines = ["smiles", *STRUCTURES, "O=C(C)Oc1ccccc1C(O)=O"]
    (folder / "cands.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> specvae.Model:
    settings = {**flatten(tiny_config().to_json()), "split.validation": 0.3}
    return specvae.train(folder / "library.msp", folder / "model", settings=settings)


def test_a_table_has_the_columns_of_the_command(model: specvae.Model, folder: Path) -> None:
    table = model.annotate(folder / "library.msp", folder / "cands.csv", ppm=10, n_jobs=1)
    assert tuple(table.columns) == COLUMNS
    assert set(table["query_id"]) == {f"c{i}-{k}" for i in range(len(STRUCTURES)) for k in range(4)}
    assert (table["rank"] >= 1).all()
    assert table.attrs["model digest"] == model.annotator.header.weights_sha256
    again = specvae.annotate(
        specvae.read_spectra(folder / "library.msp"), folder / "cands.csv", folder / "model",
        n_jobs=1,
    )  # fmt: skip
    assert table.equals(again)


def test_several_files_are_one_run(model: specvae.Model, folder: Path, tmp_path: Path) -> None:
    """As of the command: the column file names the file of each query."""
    one, other = (tmp_path / name for name in ("one.msp", "other.msp"))
    write_library(one, STRUCTURES[:3], n_each=2)
    write_library(other, STRUCTURES[2:5], n_each=1)
    table = model.annotate([str(one), other], folder / "cands.csv", n_jobs=1)
    assert tuple(table.columns) == (*COLUMNS, "file")
    assert table.groupby("file", sort=False)["query_id"].nunique().to_dict() == {
        str(one): 6,
        str(other): 3,
    }
    queries = table.attrs["provenance"]["inputs"]["queries"]
    assert [file["path"] for file in queries] == [str(one), str(other)]
    assert table.equals(model.annotate(tmp_path, folder / "cands.csv", n_jobs=1))
    alone = model.annotate([other], folder / "cands.csv", n_jobs=1)
    assert set(alone["file"]) == {str(other)}
    assert model.predict([one, other]).shape[0] == 9
    assert np.array_equal(model.embed([one, other])[6:], model.embed(other))
    assert len(specvae.read_spectra(tmp_path)) == 9


@pytest.mark.parametrize("n", [0, 1])
def test_columns_have_the_same_types_whatever_is_missing(
    model: specvae.Model, folder: Path, n: int
) -> None:
    known = specvae.read_spectra(folder / "library.msp")[0]
    timed = replace(known, retention_time=60.0, metadata={"feature_id": "7"})
    lone = replace(known, query_id="lone", precursor_mz=None)
    full = model.annotate([timed, lone], folder / "cands.csv")
    assert full["retention_time"].dtype == "float64"
    assert full["feature_id"].dtype == full["smiles"].dtype
    few = model.annotate([lone][:n], folder / "cands.csv")
    assert few.dtypes.to_dict() == full.dtypes.to_dict()
    assert few[["score", "feature_id", "library_match"]].isna().all(axis=None)


def test_a_table_keeps_what_the_command_would_say(model: specvae.Model, folder: Path) -> None:
    silent = replace(specvae.read_spectra(folder / "library.msp")[0], adduct=None)
    lone = replace(silent, query_id="lone", precursor_mz=999.9123)
    table = model.annotate([silent, lone], folder / "cands.csv", merge_by="SAMPLE")
    lines = table.attrs["summary"]
    named = model.annotate([silent, lone], folder / "cands.csv", merge_by="query_id")
    none = "no two spectra are of one feature (by query_id): each has an answer of its own"
    assert named.attrs["summary"][0] == none
    assert any(line.startswith("note: no query states 'SAMPLE'") for line in lines)
    assert lines[0] == "1 of 2 queries ranked; not ranked: no candidates within 10 ppm (1)"
    assert "adduct taken as [M+H]+: 1 of the ranked" in lines
    read = model.annotate(folder / "library.msp", folder / "cands.csv").attrs["summary"][0]
    assert read == f"queries: {4 * len(STRUCTURES)} spectra read, 0 skipped"


def test_a_model_says_what_it_is(model: specvae.Model, folder: Path) -> None:
    text = repr(model)
    assert str(folder / "model") in text
    assert model.annotator.header.trained_on in text


def test_a_spectrum_without_candidates_keeps_its_row(model: specvae.Model, folder: Path) -> None:
    (folder / "few.csv").write_text("smiles\nCCO\n", encoding="utf-8")
    table = model.annotate(folder / "library.msp", folder / "few.csv")
    unranked = table[table["rank"].isna()]
    assert len(unranked) == 4 * (len(STRUCTURES) - 1)
    assert all(status.startswith("no candidates within 10 ppm") for status in unranked["status"])
    # What the library knows of them is said all the same.
    told = unranked["status"].str.contains("clearly like 'compound")
    assert told.any()
    assert (unranked["analogue_cosine"][told] >= 0.7).all()


def test_a_model_predicts_and_embeds(model: specvae.Model, folder: Path) -> None:
    spectra = specvae.read_spectra(folder / "library.msp")[:3]
    probabilities = model.predict(spectra)
    assert probabilities.shape == (3, 4096)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert model.embed(spectra).shape == (3, 4)
    assert np.isfinite(model.embed(spectra)).all()


def test_files_are_predicted_and_embedded(model: specvae.Model, folder: Path) -> None:
    path = folder / "library.msp"
    spectra = specvae.read_spectra(path)
    assert np.array_equal(model.embed(path), model.embed(spectra))
    assert np.array_equal(model.predict(str(path)), model.predict(spectra))


def test_wrong_arguments_are_one_line(model: specvae.Model, folder: Path) -> None:
    with pytest.raises(ConfigError, match="ppm: found 0"):
        model.annotate(folder / "library.msp", folder / "cands.csv", ppm=0)
    with pytest.raises(ConfigError, match="in_list: found 2"):
        model.annotate(folder / "library.msp", folder / "cands.csv", in_list=2)
    with pytest.raises(CheckpointError, match="nothing: no such file"):
        specvae.load(folder / "nothing")
    with pytest.raises(InputError, match=r"nothing\.mgf: no such file"):
        specvae.read_spectra(folder / "nothing.mgf")
    with pytest.raises(InputError, match=r"library\[0\]: found Spectrum, wanted a path"):
        model.annotate(
            folder / "library.msp",
            folder / "cands.csv",
            library=specvae.read_spectra(folder / "library.msp"),  # type: ignore[arg-type]
        )
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        specvae.nothing  # noqa: B018


def test_messages_on_candidates_in_memory_name_no_file(model: specvae.Model, folder: Path) -> None:
    with pytest.raises(InputError, match=r"^candidates: no column smiles or inchi"):
        model.annotate(folder / "library.msp", pd.DataFrame({"structure": ["CCO"]}))
    with pytest.raises(InputError, match=r"^candidates: no usable candidate"):
        model.annotate(folder / "library.msp", ["CC("])
    with pytest.raises(ConfigError, match=r"^top: found 0, wanted"):
        model.annotate(folder / "library.msp", ["CCO"], top=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top": 2.5}, "top: found 2.5"),
        ({"ppm": "10"}, "ppm: found '10'"),
        ({"known": "all"}, "known: found 'all'"),
        ({"known": (0.7, 0.4)}, "two whose sum is at most 1"),
        ({"known": (0.7,)}, r"known: found \(0.7,\), wanted a finite number, two of them or None"),
        ({"known": [0.7, 0.4]}, "two whose sum is at most 1"),
        ({"n_jobs": -1}, "n_jobs: found -1"),
        ({"assume_ion_mode": "pos"}, "assume_ion_mode: found 'pos', wanted positive or negative"),
    ],
)
def test_values_of_another_type_are_one_line(
    model: specvae.Model, folder: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        model.annotate(folder / "library.msp", [CAFFEINE], **options)


def test_an_unknown_device_is_one_line(model: specvae.Model) -> None:
    with pytest.raises(ConfigError, match="device 'gpu': wanted auto, cpu or cuda"):
        specvae.load(model.path, "gpu")


def test_values_that_say_the_same(model: specvae.Model, folder: Path) -> None:
    spectra = specvae.read_spectra(folder / "library.msp")[:2]
    wanted = model.annotate(spectra, [CAFFEINE], top=None, try_adducts="[M+H]+,[M+Na]+")
    found = model.annotate(
        spectra, [CAFFEINE], top="all", library=None, try_adducts=["[M+H]+", "[M+Na]+"]
    )
    assert found.equals(wanted)
    assert model.annotate(spectra, [CAFFEINE], try_adducts=[]).equals(
        model.annotate(spectra, [CAFFEINE])
    )


def test_names_of_the_rows_of_a_table_are_one_of_its_columns(
    model: specvae.Model, folder: Path
) -> None:
    """Candidates of one query only were ranked for each query of their mass."""
    spectra = specvae.read_spectra(folder / "library.msp")[:2]
    table = pd.DataFrame({"query_id": [spectra[1].query_id], "smiles": [CAFFEINE]})
    wanted = model.annotate(spectra, table)
    for named in (["query_id"], ["query_id", "smiles"]):
        assert model.annotate(spectra, table.set_index(named)).equals(wanted)


def test_candidates_as_molecules_or_what_becomes_a_table(
    model: specvae.Model, folder: Path
) -> None:
    spectra = specvae.read_spectra(folder / "library.msp")[:2]
    wanted = model.annotate(spectra, [CAFFEINE, ASPIRIN])
    molecules = [Chem.MolFromSmiles(smiles) for smiles in (CAFFEINE, ASPIRIN)]
    columns = ["query_id", "rank", "inchikey", "score", "status"]
    for candidates in (
        molecules,
        {"smiles": [CAFFEINE, ASPIRIN]},
        [{"smiles": CAFFEINE}, {"smiles": ASPIRIN}],
    ):
        assert model.annotate(spectra, candidates)[columns].equals(wanted[columns])
    with pytest.raises(InputError, match="candidate 2: found nan, wanted a SMILES"):
        model.annotate(spectra, [CAFFEINE, float("nan")])  # type: ignore[list-item]


def test_spectra_of_one_name_are_told_apart(model: specvae.Model, folder: Path) -> None:
    """Those of two files, as a rule, which both count from 1."""
    spectrum = specvae.read_spectra(folder / "library.msp")[0]
    table = model.annotate([spectrum, spectrum], [CAFFEINE])
    assert table["query_id"].tolist() == [spectrum.query_id, f"{spectrum.query_id}#2"]


def test_one_spectrum_needs_no_list(model: specvae.Model, folder: Path) -> None:
    spectrum = specvae.read_spectra(folder / "library.msp")[0]
    assert model.annotate(spectrum, [CAFFEINE]).equals(model.annotate([spectrum], [CAFFEINE]))
    assert model.predict(spectrum).shape[0] == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_files_may_come_through_pipes(model: specvae.Model, folder: Path, tmp_path: Path) -> None:
    def through_pipes(ask: Callable[..., Result], *names: str) -> Result:
        pipes = [tmp_path / f"pipe-{len(list(tmp_path.iterdir()))}-{name}" for name in names]
        with ThreadPoolExecutor(len(names)) as writers:
            for name, pipe in zip(names, pipes, strict=True):
                os.mkfifo(pipe)
                writers.submit(pipe.write_bytes, (folder / name).read_bytes())
            return ask(*pipes)

    plain = model.annotate(folder / "library.msp", folder / "cands.csv")
    found = through_pipes(model.annotate, "library.msp", "cands.csv")
    assert plain.equals(found)
    predicted = through_pipes(model.predict, "library.msp")
    np.testing.assert_array_equal(predicted, model.predict(folder / "library.msp"))


def test_what_is_left_out_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "q.mgf"
    path.write_text(
        "BEGIN IONS\nTITLE=a\nPEPMASS=195.1\n50 1\nEND IONS\nBEGIN IONS\nTITLE=b\nEND IONS\n",
        encoding="utf-8",
    )
    with caplog.at_level(logging.WARNING):
        assert [spectrum.query_id for spectrum in specvae.read_spectra(path)] == ["a"]
    assert "1 skipped" in caplog.text


def test_import_loads_nothing_heavy() -> None:
    code = "import sys, specvae; print(specvae.__all__, *sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "rdkit", "pandas", "numpy", "click", "specvae.face"}
    assert heavy & set(run.stdout.split()) == set()
    assert all(hasattr(specvae, name) for name in specvae.__all__)


def test_documented_modules_are_there_without_an_import_of_their_own() -> None:
    """``except specvae.errors.SpecvaeError`` was an AttributeError."""
    code = """
import specvae
try:
    specvae.load("none")
except specvae.errors.SpecvaeError as error:
    print(type(error).__name__, specvae.vae.__name__, specvae.Spectrum.__name__)
assert not hasattr(specvae, "nonsense")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["CheckpointError", "specvae.vae", "Spectrum"]


def test_candidates_and_spectra_may_be_in_memory(model: specvae.Model, folder: Path) -> None:
    spectra = specvae.read_spectra(folder / "library.msp")[:6]
    wanted = model.annotate(spectra, folder / "cands.csv", n_jobs=1)
    smiles = pd.read_csv(folder / "cands.csv")
    for candidates in (smiles, smiles["smiles"].tolist()):
        table = model.annotate(spectra, candidates, n_jobs=1)
        assert table.equals(wanted)
        made_by = table.attrs["provenance"]
        assert made_by["inputs"]["candidates"]["path"] is None
        assert table.attrs["candidates"] == "in memory"
    made_by = wanted.attrs["provenance"]
    assert made_by["options"]["ppm"] == 10.0
    assert made_by["inputs"]["queries"] is None
    assert len(made_by["inputs"]["candidates"]["sha256"]) == 64
    with pytest.raises(InputError, match="candidate 1: found 1, wanted a SMILES"):
        model.annotate(spectra, [1, 2])  # type: ignore[list-item]
    for alone in ("CCO", "C" * 300):
        with pytest.raises(InputError, match="candidates: found a SMILES, wanted a list of them"):
            model.annotate(spectra, alone)
    with pytest.raises(InputError, match="no such file"):
        model.annotate(spectra, "none.csv")


def test_a_spectrum_of_matchms_that_cannot_be_used_has_a_row(
    model: specvae.Model, folder: Path
) -> None:
    """One without peaks among a thousand ended the whole run; of a file it has a row."""
    peaks = SimpleNamespace(mz=np.array([110.0713]), intensities=np.array([1.0]))
    none = SimpleNamespace(mz=np.empty(0), intensities=np.empty(0))
    mass = {"precursor_mz": 195.0877, "adduct": "[M+H]+", "feature_id": "7"}
    spectra: list[Any] = [
        SimpleNamespace(peaks=peaks, metadata=mass),
        SimpleNamespace(peaks=none, metadata=mass),
        SimpleNamespace(peaks=peaks, metadata={**mass, "precursor_mz": -1.0}),
    ]
    table = model.annotate(spectra, folder / "cands.csv", top=1)
    assert list(table["query_id"]) == ["7", "7#2", "7#3"]
    status = list(table["status"])
    assert status[0].startswith("ok")
    assert status[1] == "unreadable record: no peaks"
    assert status[2].startswith("unreadable record: precursor m/z is not a positive number")
    assert any(line.startswith("1 of 3 queries ranked") for line in table.attrs["summary"])
    # A row of an array cannot say so.
    for function in (model.predict, model.embed):
        with pytest.raises(InputError, match=r"spectrum 2 \(7\): no peaks"):
            function(spectra)


def test_spectra_of_matchms_are_ranked_like_ours(model: specvae.Model, folder: Path) -> None:
    pytest.importorskip("matchms", reason="matchms is not installed")
    ours = specvae.read_spectra(folder / "library.msp")[:4]
    theirs = [specvae.to_matchms(spectrum) for spectrum in ours]
    columns = ["rank", "smiles", "score", "precursor_mz", "adduct"]
    wanted = model.annotate(ours, folder / "cands.csv", n_jobs=1)[columns]
    assert model.annotate(theirs, folder / "cands.csv", n_jobs=1)[columns].equals(wanted)
    assert np.allclose(model.embed(theirs), model.embed(ours))
    twice = model.annotate([theirs[0], theirs[0]], folder / "cands.csv", n_jobs=1)
    assert twice["query_id"].nunique() == 2


def test_rescore_leaves_fragments_out(model: specvae.Model, folder: Path) -> None:
    query = specvae.read_spectra(folder / "library.msp")[:1]
    # Candidates with spectra in the library are always broken into fragments.
    unknown = ("CCCCCO", "CCC(C)(C)O", "CC(C)CCN", "Cc1ccccc1N", "OCCCCO", "CCOC(=O)CC")
    (folder / "isomers.csv").write_text(
        "query_id,smiles\n" + "".join(f"{query[0].query_id},{s}\n" for s in unknown),
        encoding="utf-8",
    )
    whole = model.annotate(query, folder / "isomers.csv", top=None, n_jobs=1)
    cut = model.annotate(query, folder / "isomers.csv", top=None, rescore=1, n_jobs=1)
    assert len(cut) == len(whole) == len(unknown)
    assert not np.allclose(cut["score"], whole["score"])


def test_progress_is_shown_where_it_is_asked_for(
    model: specvae.Model, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spectra = specvae.read_spectra(folder / "library.msp")[:2]
    model.annotate(spectra, folder / "cands.csv", n_jobs=1)
    assert capsys.readouterr().err == ""
    model.annotate(spectra, folder / "cands.csv", n_jobs=1, progress=True)
    assert "ranking queries" in capsys.readouterr().err


_WRONG = (
    3, -1, 2.5, float("nan"), "no", "", b"x", True, None, [3], ["x"], [None], {"a": 1}, {1: 2},
    (0.5,), "a\0b", "x" * 5000, np.array(1.0), pd.NA, pd.DataFrame({"a": [1]}), object(), int,
)  # fmt: skip


@pytest.mark.parametrize("name", ["load", "read_spectra", "annotate", "predict", "embed"])
def test_no_argument_ends_in_an_error_of_python(
    model: specvae.Model, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    spectra = specvae.read_spectra(folder / "library.msp")[:1]
    function = getattr(model, name, None) or getattr(specvae, name)
    others: dict[str, dict[str, Any]] = {
        "load": {"path": model.path},
        "read_spectra": {"path": "library.msp"},
        "annotate": {"spectra": spectra, "candidates": "cands.csv", "n_jobs": 1, "progress": False},
    }
    sound = others.get(name, {"spectra": spectra})
    said: list[tuple[str, object, str]] = []
    for argument in inspect.signature(function).parameters:
        for value in _WRONG:
            if argument == "n_jobs" and value is None:
                continue  # one for each core
            try:
                function(**{**sound, argument: value})
            except SpecvaeError as error:
                said.append((argument, value, str(error)))
    assert len(said) > len(sound) * 15
    for argument, value, message in said:
        assert "\n" not in message
        if not isinstance(value, str | list | tuple | np.ndarray | pd.DataFrame):
            assert message.startswith(argument), value


def test_wrong_arguments_of_a_training_are_told_before_it(folder: Path, tmp_path: Path) -> None:
    for options, said in (
        ({"spectra": 3}, "spectra: found 3, wanted a path or several of them"),
        ({"output": b"model"}, "output: found b'model', wanted a path"),
        ({"preset": 1}, "preset: found 1, wanted text"),
        ({"settings": {3: 1}}, "settings: found dict, wanted a dictionary with text as keys"),
        ({"resume": "no"}, "resume: found 'no', wanted True or False"),
        ({"force": None}, "force: found None, wanted True or False"),
        ({"device": 0}, "device: found 0, wanted text or a device"),
        ({"device": "meta"}, "device 'meta': wanted auto, cpu or cuda"),
        ({"spectra": []}, "spectra: found none, wanted files of spectra"),
        (
            {"settings": {"optim": {"epochs": "2"}}},
            "optim.epochs: found '2', wanted a whole number",
        ),
    ):
        with pytest.raises(SpecvaeError, match=f"^{said}"):
            specvae.train(**{"spectra": folder / "library.msp", "output": tmp_path / "m"} | options)
    assert not (tmp_path / "m").exists()


def test_random_numbers_of_the_caller_go_on(folder: Path, tmp_path: Path) -> None:
    def draws() -> tuple[object, ...]:
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()  # noqa: NPY002

    def seed() -> None:
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)

    seed()
    wanted = draws()
    settings = tiny_config(optim__epochs=1).to_json()
    settings["model"]["spectrum_encoder"] = np.array([8])
    spectra = specvae.read_spectra(folder / "library.msp")[:2]
    seed()
    trained = specvae.train(folder / "library.msp", tmp_path / "model", settings=settings)
    assert draws() == wanted
    seed()
    loaded = specvae.load(tmp_path / "model", torch.device("cpu"))
    loaded.annotate(spectra, [CAFFEINE], n_jobs=1)
    loaded.predict(spectra)
    loaded.embed(spectra)
    assert draws() == wanted
    weights = trained.annotator.header.weights_sha256
    assert loaded.annotator.header.weights_sha256 == weights


def test_open_files_are_read_as_what_they_hold(model: specvae.Model, folder: Path) -> None:
    """Lines of a table were taken for SMILES, its first line included."""
    wanted = model.annotate(folder / "library.msp", folder / "cands.csv", n_jobs=1)
    with (
        (folder / "cands.csv").open() as candidates,
        (folder / "library.msp").open("rb") as spectra,
    ):
        table = model.annotate(spectra, candidates, n_jobs=1)
    assert table.equals(wanted)
    made_by = table.attrs["provenance"]["inputs"]
    assert made_by == wanted.attrs["provenance"]["inputs"] | {"queries": made_by["queries"]}
    assert made_by["queries"]["path"] == str(folder / "library.msp")
    text = io.StringIO((folder / "library.msp").read_text(encoding="utf-8"))
    table = model.annotate(text, io.StringIO("smiles\n" + "\n".join(STRUCTURES)), n_jobs=1)
    assert table["query_id"].nunique() == 4 * len(STRUCTURES)
    assert table.attrs["candidates"] == "in memory"
    with (folder / "library.msp").open() as spectra:
        read = specvae.read_spectra(spectra)
    assert {spectrum.path for spectrum in read} == {str(folder / "library.msp")}
    assert np.array_equal(model.embed(read), model.embed(folder / "library.msp"))
    with pytest.raises(InputError, match=r"^candidates: no column smiles or inchi among"):
        model.annotate(read, io.StringIO("a,b\n1,2\n"))
    with pytest.raises(InputError, match=r"^spectra: found an open file at its end"):
        model.predict(text)


def test_paths_of_all_kinds(
    model: specvae.Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Place(os.PathLike[str]):
        def __init__(self, path: Path) -> None:
            self.path = path

        def __fspath__(self) -> str:
            return str(self.path)

    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    spectra, candidates = folder / "library.msp", folder / "cands.csv"
    wanted = model.annotate(spectra, candidates, n_jobs=1)
    for as_given in (Place, lambda path: f"~/{path.name}", lambda path: Path("~") / path.name):
        table = specvae.annotate(
            as_given(spectra), as_given(candidates), as_given(folder / "model"), n_jobs=1
        )
        assert table.equals(wanted)
        assert np.array_equal(model.embed(as_given(spectra)), model.embed(spectra))
    for function in (model.predict, lambda path: model.annotate(path, candidates)):
        with pytest.raises(InputError, match=r"^spectra: found b'.*, wanted a path"):
            function(os.fsencode(spectra))


def test_names_of_queries_in_a_column_with_gaps(model: specvae.Model, folder: Path) -> None:
    """What pandas makes of 1, 2 and a gap is 1.0, 2.0 and not-a-number."""
    spectra = [
        replace(spectrum, query_id=str(number))
        for number, spectrum in enumerate(specvae.read_spectra(folder / "library.msp")[:2], start=1)
    ]
    plain = pd.DataFrame({"query_id": ["1", "2"], "smiles": [CAFFEINE, "CCO"], "id": ["7", "8"]})
    gaps = pd.DataFrame(
        {
            "query_id": [1.0, 2.0, np.nan],
            "smiles": [CAFFEINE, "CCO", ASPIRIN],
            "id": [7.0, 8.0, 9.0],
        }
    )
    wanted = model.annotate(spectra, plain, n_jobs=1)
    assert wanted["candidate_id"].tolist() == ["7", "8"]
    assert model.annotate(spectra, gaps, n_jobs=1).equals(wanted)
    assert model.annotate(spectra, gaps.set_index("query_id"), n_jobs=1).equals(wanted)


def test_nothing_is_left_of_many_calls(model: specvae.Model, folder: Path) -> None:
    spectra = specvae.read_spectra(folder / "library.msp")[:2]

    def call() -> tuple[int, ...]:
        with (folder / "cands.csv").open() as stream:
            model.annotate(spectra, stream, n_jobs=1)
        model.annotate(spectra, [CAFFEINE], n_jobs=1)
        made = len(list(Path(tempfile.gettempdir()).glob(f"specvae-*-{os.getpid()}-*")))
        kept = len(files._TEMPORARY) + len(sources._SOURCES)
        return made, kept, threading.active_count(), atexit._ncallbacks()

    assert call() == call() == call()


@pytest.mark.parametrize("setting", ["errors of numpy", "precision", "device"])
def test_what_the_caller_has_set_of_numpy_and_torch_does_not_count(
    model: specvae.Model, folder: Path, tmp_path: Path, setting: str
) -> None:
    """Figures were others, or a call ended in an error of numpy or torch."""
    queries, candidates = tmp_path / "q.mgf", folder / "cands.csv"
    # Some are so far from a bin's place that its share of them underflows.
    peaks = "\n".join(f"{30 + 0.3183 * n:.4f} {n}" for n in range(1, 500))
    queries.write_text(f"BEGIN IONS\nPEPMASS=195.0877\n{peaks}\nEND IONS\n", encoding="utf-8")
    spectra = specvae.read_spectra(queries)
    wanted, predicted = model.annotate(queries, candidates), model.predict(spectra)
    with ExitStack() as stack:
        if setting == "precision":
            stack.enter_context(torch.autocast("cpu", dtype=torch.bfloat16))
        elif setting == "device":
            stack.enter_context(torch.device("meta"))
        else:
            stack.enter_context(np.errstate(all="raise"))
        loaded = specvae.load(folder / "model")
        pd.testing.assert_frame_equal(loaded.annotate(queries, candidates), wanted)
        assert np.array_equal(loaded.predict(spectra), predicted)


def test_a_training_does_not_depend_on_what_the_caller_has_set_of_torch(
    folder: Path, tmp_path: Path
) -> None:
    settings = flatten(tiny_config().to_json())
    library, numbers = folder / "library.msp", torch.get_default_dtype()
    wanted = specvae.train(library, tmp_path / "a", settings=settings)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            found = specvae.train(library, tmp_path / "b", settings=settings)
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(numbers)
    digests = {one.annotator.header.weights_sha256 for one in (wanted, found)}
    assert len(digests) == 1


@pytest.mark.skipif(os.name != "posix", reason="the current folder cannot be removed here")
@pytest.mark.parametrize(
    "call", ["import specvae; specvae.load('x')", "from specvae.cli.main import main; main()"]
)
def test_a_current_folder_that_is_gone_is_one_line(tmp_path: Path, call: str) -> None:
    """Torch ended the process."""
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os, sys; os.rmdir(os.getcwd()); sys.argv = ['specvae', 'info', 'x']; {call}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=gone, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "the current folder cannot be used" in done.stderr.splitlines()[-1]
