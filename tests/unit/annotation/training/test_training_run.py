from __future__ import annotations

import csv
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ranking_examples
import torch
from annotation_examples import tiny_config, write_library
from pool_files import write_pool

from specvae.annotation.library.folds import fold_of, write_split
from specvae.annotation.library.header import AnnotatorHeader
from specvae.annotation.library.tensors import FINGERPRINT, SPECTRUM
from specvae.annotation.output.plots import plot_training
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.candidates import CandidateSource
from specvae.annotation.ranking.result import Ranked
from specvae.annotation.training import calibrate as calibration
from specvae.annotation.training import inputs, prepared, record
from specvae.annotation.training import run as module
from specvae.annotation.training.record import EpochLog
from specvae.annotation.training.run import train
from specvae.annotation.training.run_files import (
    MODEL_FILE,
    STATE_FILE,
    TrainFiles,
    require_free,
)
from specvae.annotation.training.settings import TrainConfig
from specvae.annotation.training.streams import choose_pairs
from specvae.errors import ConfigError, InputError, Interrupted, TrainingError
from specvae.files import LOCK, exclusive
from specvae.molecules.fingerprint import get_layout
from specvae.molecules.molecule import parse_molecule
from specvae.progress import Silence
from specvae.report import ReadReport
from specvae.vae.data import TrainingData
from specvae.vae.kinds import MODEL_KINDS
from specvae.vae.model import MultimodalVAE
from specvae.vae.state import EpochRecord, History
from specvae.vae.training import fit

# Alcohols of 2 to 25 carbons: of one formula series, all different.
ALCOHOLS = ["C" * n + "O" for n in range(2, 26)]
BLOCK = {smiles: parse_molecule(smiles).first_block for smiles in ALCOHOLS}


@pytest.fixture(autouse=True)
def small_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write something in place of the curves, which take half of the time of a tiny training."""
    monkeypatch.setattr(module, "plot_training", lambda _, path: path.write_bytes(b"curves"))


@pytest.fixture
def files(tmp_path: Path) -> TrainFiles:
    library = write_library(tmp_path / "library.msp", ALCOHOLS)
    return TrainFiles((library,), tmp_path / "model")


def skipped(folder: Path) -> list[tuple[str, str, str]]:
    with (folder / "skipped.csv").open(encoding="utf-8", newline="") as stream:
        return [
            (Path(row["path"]).name, row["reason"], row["detail"]) for row in csv.DictReader(stream)
        ]


def run(
    config: TrainConfig, files: TrainFiles, resume: bool = False, keep_state: bool = False
) -> AnnotatorHeader:
    return train(
        config, files, device="cpu", n_jobs=1, resume=resume, state_every=0, keep_state=keep_state
    )


def held_out(config: TrainConfig) -> set[str]:
    split = config.split
    folds = {b: fold_of(b, split.validation, split.test, config.seed) for b in BLOCK.values()}
    return {block for block, fold in folds.items() if fold != "train"}


@pytest.mark.parametrize("kind", ["csv", "h5"])
def test_neither_excluded_nor_held_out_compounds_are_learned_from_unpaired(
    files: TrainFiles, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(split__validation=0.2, split__test=0.2)
    held = held_out(config)
    assert 2 <= len(held) <= 20
    excluded = next(smiles for smiles in ALCOHOLS if BLOCK[smiles] not in held)
    (tmp_path / "exclude.txt").write_text(f"{BLOCK[excluded]}\n")
    molecules = tmp_path / "molecules.csv"
    molecules.write_text("smiles\n" + "".join(f"{s}\n" for s in [*ALCOHOLS, "CCN", "CCCN"]))
    layout = get_layout("morgan4096")
    if kind == "h5":
        write_pool(molecules, layout, tmp_path / "pool.h5")
        molecules = tmp_path / "pool.h5"
        monkeypatch.setattr(inputs, "POOL_ROWS", 5)
    files = replace(
        files,
        unpaired_spectra=files.spectra,
        unpaired_molecules=(molecules,),
        exclude=(tmp_path / "exclude.txt",),
    )
    seen: dict[str, TrainingData] = {}

    def recorded(
        model: MultimodalVAE, data: TrainingData, *args: object, **kwargs: object
    ) -> History:
        seen["data"] = data
        return fit(model, data, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "fit", recorded)
    header = run(config, files)
    n_learned = len(ALCOHOLS) - len(held) - 1
    data = seen["data"]
    assert data.paired is not None
    assert len(data.paired) == 2 * n_learned
    assert {name: len(source) for name, source in data.unpaired.items()} == {
        SPECTRUM: 2 * n_learned,
        FINGERPRINT: n_learned + 2,
    }
    # No stream holds a bit pattern that only a held-out or excluded compound has.
    forbidden = layout.compute([s for s in ALCOHOLS if BLOCK[s] in held] + [excluded])
    allowed = layout.compute([s for s in ALCOHOLS if BLOCK[s] not in held and s != excluded])
    only = {row.tobytes() for row in forbidden} - {row.tobytes() for row in allowed}
    assert only
    for source in (data.paired, data.unpaired[FINGERPRINT]):
        bits = source.batch(torch.arange(len(source)))[FINGERPRINT]
        assert isinstance(bits, torch.Tensor)
        packed = np.packbits(bits.numpy().astype(np.uint8), axis=1, bitorder="little")
        assert not only & {row.tobytes() for row in packed}
    written = skipped(files.output)
    assert written.count(("library.msp", "EXCLUDED", BLOCK[excluded])) == 4
    assert (molecules.name, "EXCLUDED", BLOCK[excluded]) in written
    for name, times in (("library.msp", 2), (molecules.name, 1)):
        out = [detail for path, reason, detail in written if (path, reason) == (name, "HELD_OUT")]
        assert sorted(out) == sorted(times * list(held))
    assert BLOCK[excluded] not in header.compounds["train"]
    assert header.provenance.files[-1].name == "exclude.txt"
    assert str(tmp_path) not in json.dumps(header.to_json())


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_each_model_kind_trains_and_ranks(
    files: TrainFiles, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[TrainingData, int]] = []

    def recorded(
        model: MultimodalVAE, data: TrainingData, *args: object, **kwargs: object
    ) -> History:
        history = fit(model, data, *args, **kwargs)  # type: ignore[arg-type]
        seen.append((data, len(history.epochs)))
        return history

    monkeypatch.setattr(module, "fit", recorded)
    header = run(tiny_config(model__kind=kind, optim__epochs=2, split__validation=0.2), files)
    ((data, n_epochs),) = seen
    assert n_epochs == 2
    # All is paired: only VAEVAE's objective has use for the pairs' halves once more.
    pool = data.unpaired
    assert {name: len(source) for name, source in pool.items()} == (
        dict.fromkeys((SPECTRUM, FINGERPRINT), header.provenance.n_spectra_by_fold["train"])
        if MODEL_KINDS[kind].loss == "vaevae"
        else {}
    )
    assert header.config.model.kind == kind
    lines = (files.output / "epochs.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert losses[1] < losses[0]
    candidates = tmp_path / "candidates.csv"
    candidates.write_text("smiles\n" + "".join(f"{s}\n" for s in ALCOHOLS[:9]), encoding="utf-8")
    annotator = Annotator.load(files.output / "model.safetensors", "cpu")
    source = CandidateSource(candidates, annotator.layout, 1e9, ReadReport())
    ranked = ranking_examples.ranked(annotator, files.spectra[0], source)
    assert len(ranked) == 2 * len(ALCOHOLS)
    for query in ranked:
        assert isinstance(query, Ranked)
        assert query.scores.shape == (9,)
        assert np.isfinite(query.scores).all()
        assert len(set(query.scores)) > 1
        assert not np.array_equal(query.scores, query.blind_scores)


@pytest.mark.parametrize(
    ("of_files", "settings", "found"),
    [
        ({"unpaired_spectra": (Path("absent.msp"),)}, {}, "found unpaired spectra"),
        ({"unpaired_molecules": (Path("absent.smi"),)}, {}, "found unpaired molecules"),
        ({}, {"supervision": 0.5}, "found supervision 0.5, wanted 1"),
        ({}, {"unpaired_pool": "all"}, "found unpaired_pool 'all', wanted 'rest'"),
    ],
)
def test_jmvae_refuses_unpaired_samples_before_anything_is_read(
    files: TrainFiles, of_files: dict[str, Any], settings: dict[str, Any], found: str
) -> None:
    absent = replace(files, spectra=(Path("absent.msp"),), **of_files)
    with pytest.raises(ConfigError, match="model kind jmvae learns from pairs only") as caught:
        run(tiny_config(model__kind="jmvae", **settings), absent)
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not files.output.exists()
    # Kinds that can use them, and jmvae without, get as far as the file that is not there.
    for config, wanted in (
        (tiny_config(model__kind="mvae", **settings), absent),
        (tiny_config(model__kind="jmvae"), replace(files, spectra=absent.spectra)),
    ):
        with pytest.raises(InputError, match=r"absent\.msp"):
            run(config, wanted)


def test_a_finished_run_that_is_resumed_stays_as_it_is(files: TrainFiles) -> None:
    config = tiny_config(optim__epochs=2)
    first = run(config, files, keep_state=True)
    written = {
        name: (files.output / name).read_bytes()
        for name in ("epochs.jsonl", "split.csv", "skipped.csv", "training.png")
    }
    digest = AnnotatorHeader.read(files.output / "model.safetensors").weights_sha256
    again = run(config, files, resume=True)
    for name, data in written.items():
        assert (files.output / name).read_bytes() == data, name
    assert AnnotatorHeader.read(files.output / "model.safetensors").weights_sha256 == digest
    # Epochs before a resumption are part of what training took.
    assert again.seconds["training"] == first.seconds["training"] > 0
    assert again.best_epoch == first.best_epoch


def test_epochs_lost_by_a_kill_are_written_on_resume(
    files: TrainFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(optim__epochs=3)

    class KilledError(Exception):
        pass

    def killed(self: object, epoch: EpochRecord) -> None:
        if epoch.epoch == 2:
            # The state of epoch 2 is on disk, its line is not.
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(record.EpochLog, "__call__", killed)
        with pytest.raises(KilledError):
            run(config, files)
    run(config, files, resume=True)
    lines = (files.output / "epochs.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]
    whole = run(config, replace(files, output=files.output.with_name("whole")))
    undisturbed = AnnotatorHeader.read(files.output.with_name("whole") / "model.safetensors")
    resumed = AnnotatorHeader.read(files.output / "model.safetensors")
    assert resumed.weights_sha256 == undisturbed.weights_sha256
    assert resumed.validation == whole.validation


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_stops_after_the_epoch_and_loses_nothing(
    files: TrainFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(optim__epochs=3)
    said: list[str] = []

    class Log(Silence):
        def log(self, message: str) -> None:
            said.append(message)

    def interrupted(stage: str, done: int, total: int | None = None) -> None:
        if stage.startswith("epoch 2,") and done == total:
            signal.raise_signal(signal.SIGINT)

    log = Log()
    with monkeypatch.context() as patch:
        patch.setattr(log, "progress", interrupted)
        # The state is written although it is not yet time for it.
        with pytest.raises(Interrupted, match="after epoch 2 of 3; --resume"):
            train(config, files, device="cpu", n_jobs=1, progress=log)
    assert any("Ctrl-C again stops at once" in line for line in said)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    train(config, files, device="cpu", n_jobs=1, progress=log, resume=True)
    lines = (files.output / "epochs.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]
    assert not any("begins anew" in line for line in said)
    run(config, elsewhere := replace(files, output=files.output.with_name("whole")))
    resumed, undisturbed = (
        AnnotatorHeader.read(folder / MODEL_FILE) for folder in (files.output, elsewhere.output)
    )
    assert resumed.weights_sha256 == undisturbed.weights_sha256


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_ctrl_c_stops_at_once(files: TrainFiles) -> None:
    class Impatient(Silence):
        def progress(self, stage: str, done: int, total: int | None = None) -> None:
            if stage.startswith("epoch 1,"):
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tiny_config(), files, device="cpu", n_jobs=1, progress=Impatient())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_resuming_without_a_state_says_that_training_begins_anew(files: TrainFiles) -> None:
    said: list[str] = []

    class Log(Silence):
        def log(self, message: str) -> None:
            said.append(message)

    train(tiny_config(), files, device="cpu", n_jobs=1, progress=Log(), resume=True)
    assert sum("begins anew" in line for line in said) == 1


def test_what_a_process_of_several_waits_for_is_told(
    files: TrainFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may wait for half an hour, where another one was never started."""
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": "99999"}
    for name, value in {"RANK": "0", "WORLD_SIZE": "3", **place}.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []

    class Listener(Silence):
        def log(self, message: str) -> None:
            said.append(message)

    with pytest.raises(TrainingError, match="3 processes cannot meet there"):
        train(tiny_config(), files, device="cpu", progress=Listener())
    assert said == ["waiting for 2 other processes at localhost:99999"]


def test_resuming_with_other_data_is_refused(files: TrainFiles, tmp_path: Path) -> None:
    run(tiny_config(), files, keep_state=True)
    other = write_library(tmp_path / "other.msp", ALCOHOLS[:-1])
    with pytest.raises(TrainingError, match="other training data"):
        run(tiny_config(), replace(files, spectra=(other,)), resume=True)
    with pytest.raises(TrainingError, match=r"objective\.beta 0\.2 \(now 0\.5\)"):
        run(tiny_config(objective__beta=0.5), files, resume=True)


def test_a_finished_run_needs_no_state(
    files: TrainFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "automatic_epochs", lambda *_: 2)
    config = tiny_config(optim__epochs=0)
    first = run(config, files)
    assert not (files.output / STATE_FILE).exists()
    before = (files.output / MODEL_FILE).read_bytes()
    again = run(config, files, resume=True)
    assert again.weights_sha256 == AnnotatorHeader.read(files.output / MODEL_FILE).weights_sha256
    assert again.config == first.config
    assert (files.output / MODEL_FILE).read_bytes() == before
    for other, named in (
        (tiny_config(optim__epochs=3), r"optim\.epochs 2 \(now 3\).*; the learning rate of each"),
        (tiny_config(optim__epochs=0, model__n_latent=5), r"model\.n_latent 4 \(now 5\)"),
    ):
        with pytest.raises(TrainingError, match=named):
            run(other, files, resume=True)
    library = write_library(tmp_path / "other.msp", ALCOHOLS[:-1])
    with pytest.raises(TrainingError, match="other files"):
        run(config, replace(files, spectra=(library,)), resume=True)
    assert (files.output / MODEL_FILE).read_bytes() == before


@pytest.mark.parametrize("name", ["skipped.csv", "split.csv"])
def test_tables_of_others_in_the_folder_are_kept(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("sample,reason\nA1,no peaks\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"{name}: is no file that an earlier run has written"):
        require_free(tmp_path, resume=False, force=False)
    require_free(tmp_path, resume=False, force=True)
    ReadReport().write_csv(tmp_path / "skipped.csv")
    write_split(tmp_path / "split.csv", {"RYYVLZVUVIJVGH": "val"})
    require_free(tmp_path, resume=False, force=False)


@pytest.mark.parametrize("name", ["epochs.jsonl", "training.png", "training-state.safetensors"])
def test_other_files_of_others_in_the_folder_are_kept(
    name: str, files: TrainFiles, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / name).write_bytes(b"\x89PNG\r\n\x1a\n a course of my own")
    with pytest.raises(InputError, match=rf"{name}: is no file that an earlier run has written"):
        require_free(own, resume=False, force=False)
    require_free(own, resume=False, force=True)
    run(tiny_config(), files, keep_state=True)
    if name == "training.png":  # which the tests' runs do not draw
        plot_training([{"epoch": 1, "loss": 2.0}], own / name)
    else:
        (own / name).write_bytes((files.output / name).read_bytes())
    require_free(own, resume=False, force=False)


def test_the_picture_of_an_earlier_version_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / MODEL_FILE).write_bytes(b"a model")
    (tmp_path / "training.png").write_bytes(b"\x89PNG\r\n\x1a\n without the program's name")
    require_free(tmp_path, resume=True, force=False)
    (tmp_path / MODEL_FILE).unlink()
    for epochs in ("", "a course of my own"):
        (tmp_path / "epochs.jsonl").write_text(epochs, encoding="utf-8")
        with pytest.raises(InputError, match="is no file that an earlier run has written"):
            require_free(tmp_path, resume=False, force=False)
    (tmp_path / "epochs.jsonl").write_text('{"epoch": 1, "loss": 2.0}\n', encoding="utf-8")
    require_free(tmp_path, resume=False, force=False)


def test_a_model_is_replaced_only_by_force(files: TrainFiles) -> None:
    run(tiny_config(), files)
    before = (files.output / MODEL_FILE).read_bytes()
    # Nothing is read: the library of the second run is not even there.
    absent = replace(files, spectra=(files.output / "absent.msp",))
    with pytest.raises(InputError, match=r"model\.safetensors: there is a model already"):
        run(tiny_config(seed=1), absent)
    assert (files.output / MODEL_FILE).read_bytes() == before
    train(tiny_config(seed=1), files, device="cpu", n_jobs=1, force=True)
    assert AnnotatorHeader.read(files.output / MODEL_FILE).seed == 1


BAD_INPUTS = {
    "missing": ("absent.csv", None, "absent.csv"),
    "no column of structures": ("names.csv", "name\nbenzene\n", "names.csv"),
    "no structure": ("empty.csv", "smiles\nxyz\n", "empty.csv: no usable"),
    "pool of another layout": ("pool.h5", "svae2149", "svae2149"),
}


@pytest.mark.parametrize("bad", BAD_INPUTS)
@pytest.mark.parametrize("option", ["structures", "unpaired_molecules"])
def test_unusable_structures_are_told_before_anything_is_read(
    files: TrainFiles, tmp_path: Path, option: str, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, content, written = BAD_INPUTS[bad]
    path = tmp_path / name
    if path.suffix == ".h5":
        (tmp_path / "molecules.csv").write_text("smiles\nCCO\n")
        write_pool(tmp_path / "molecules.csv", get_layout("svae2149"), path)
    elif content is not None:
        path.write_text(content)
    monkeypatch.setattr(module, "read_inputs", lambda *_, **__: pytest.fail("files are read"))
    unusable = replace(files, **{option: path if option == "structures" else (path,)})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=written) as caught:
        run(tiny_config(), unusable)
    assert "\n" not in str(caught.value)
    assert not files.output.exists()


@pytest.mark.parametrize("option", ["spectra", "unpaired_spectra", "exclude"])
def test_a_missing_file_is_told_before_the_library_is_read(
    files: TrainFiles, tmp_path: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = tmp_path / "absent.msp"
    paths = (files.spectra[0], absent) if option == "spectra" else (absent,)
    monkeypatch.setattr(module, "read_inputs", lambda *_, **__: pytest.fail("files are read"))
    with pytest.raises(InputError, match=r"absent\.msp"):
        run(tiny_config(), replace(files, **{option: paths}))  # type: ignore[arg-type]


def test_structures_without_a_use_are_refused(files: TrainFiles) -> None:
    unused = replace(files, structures=files.spectra[0])
    with pytest.raises(ConfigError, match=r"evidence\.library = false"):
        run(tiny_config(evidence__library=False), unused)


def test_unpaired_files_of_which_nothing_is_left_are_refused(
    files: TrainFiles, tmp_path: Path
) -> None:
    molecules = tmp_path / "held.smi"
    config = tiny_config(split__validation=0.2)
    molecules.write_text("".join(f"{s}\n" for s in ALCOHOLS if BLOCK[s] in held_out(config)))
    with pytest.raises(InputError, match=r"held\.smi: no structure to learn from is left \(comp"):
        run(config, replace(files, unpaired_molecules=(molecules,)))
    spectra = write_library(tmp_path / "held.msp", molecules.read_text().split())
    with pytest.raises(InputError, match=r"held\.msp: no spectrum to learn from is left \(comp"):
        run(config, replace(files, unpaired_spectra=(spectra,)))


def test_a_calibration_that_fails_loses_nothing(
    files: TrainFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    structures = tmp_path / "structures.csv"
    ethers = [f"C{s.removesuffix('O')[1:-1]}OC" for s in ALCOHOLS if len(s) > 3]
    structures.write_text("smiles\n" + "".join(f"{s}\n" for s in ALCOHOLS + ethers))
    files = replace(files, structures=structures)
    config = tiny_config(split__validation=0.4, optim__epochs=2)

    def fail(*_: object, **__: object) -> None:
        raise InputError("structures.csv: gone")

    with monkeypatch.context() as patch:
        patch.setattr(module, "calibrate", fail)
        with pytest.raises(
            TrainingError, match=r"written.*structures\.csv: gone.*--resume"
        ) as written:
            run(config, files)
    assert "\n" not in str(written.value)
    assert AnnotatorHeader.read(files.output / MODEL_FILE).calibration is None
    assert Annotator.load(files.output / MODEL_FILE, "cpu").probability is not None
    assert (files.output / "training.png").exists()
    monkeypatch.setattr(calibration, "FEWEST_COMPOUNDS", 2)
    monkeypatch.setattr(EpochLog, "__call__", lambda *_: pytest.fail("trained"))
    header = run(config, files, resume=True)
    assert header.calibration is not None
    assert header.calibration.structures == "structures.csv"
    assert AnnotatorHeader.read(files.output / MODEL_FILE).calibration == header.calibration
    assert not (files.output / STATE_FILE).exists()


def test_structures_that_cannot_be_read_are_told(
    files: TrainFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    structures = tmp_path / "structures.csv"
    structures.write_text("smiles\n" + "".join(f"{s}\n" for s in [*ALCOHOLS, "C(("]))
    written: list[str] = []

    class Listener(Silence):
        def log(self, message: str) -> None:
            written.append(message)

    def fail(*_: object, **__: object) -> None:
        raise InputError("nothing to fit to")

    monkeypatch.setattr(module, "calibrate", fail)
    files = replace(files, structures=structures)
    with pytest.raises(TrainingError, match="nothing to fit to"):
        train(tiny_config(), files, device="cpu", n_jobs=1, progress=Listener())
    (line,) = [message for message in written if message.startswith("structures: ")]
    assert "1 skipped: structure cannot be parsed (1)" in line
    with pytest.raises(InputError, match=r"structures\.csv:\d+: C\(\(: structure cannot be parsed"):
        train(tiny_config(), files, device="cpu", n_jobs=1, strict=True, force=True)


@pytest.mark.parametrize("supervision", [0.25, 1.0])
def test_the_memory_is_of_the_pairs_that_keep_their_structures(
    files: TrainFiles, supervision: float
) -> None:
    config = tiny_config(supervision=supervision, split__validation=0.3)
    header = run(config, files)
    annotator = Annotator.load(files.output / MODEL_FILE, "cpu")
    assert annotator.evidence_pool is not None
    fold = np.array([BLOCK[s] in held_out(config) for s in ALCOHOLS]).repeat(2)
    expected = set()
    for rows in (np.flatnonzero(~fold), np.flatnonzero(fold)):
        chosen = choose_pairs(rows, supervision, "rest", config.seed).paired
        assert len(chosen) == round(supervision * len(rows))
        expected |= {BLOCK[ALCOHOLS[row // 2]] for row in chosen}
    assert set(annotator.evidence_pool.library.first_blocks) == expected
    known = {block for blocks in header.compounds.values() for block in blocks}
    assert (expected == known) == (supervision == 1.0)


def test_the_list_of_what_was_skipped_is_of_the_last_run(files: TrainFiles) -> None:
    with pytest.raises(InputError, match="no spectrum to learn from"):
        run(tiny_config(filter__ion_mode="negative"), files)
    assert skipped(files.output)
    run(tiny_config(), files)
    assert skipped(files.output) == []


def test_exclusions_that_cannot_be_read_are_told(files: TrainFiles, tmp_path: Path) -> None:
    path = tmp_path / "exclude.mgf"
    path.write_text(
        f"BEGIN IONS\nTITLE=a\nPEPMASS=100\nSMILES={ALCOHOLS[0]}\n50.05 1\nEND IONS\n\n"
        f"BEGIN IONS\nTITLE=b\nPEPMASS=100\nSMILES={ALCOHOLS[1]}\nEND IONS\n"
    )
    written: list[str] = []

    class Listener(Silence):
        def log(self, message: str) -> None:
            written.append(message)

    files = replace(files, exclude=(path,))
    train(tiny_config(), files, device="cpu", n_jobs=1, progress=Listener())
    assert ("exclude.mgf", "NO_PEAKS", "") in skipped(files.output)
    assert ("library.msp", "EXCLUDED", BLOCK[ALCOHOLS[0]]) in skipped(files.output)
    (warning,) = [message for message in written if message.startswith("warning")]
    assert "1 unreadable record of exclusion files" in warning
    with pytest.raises(InputError, match=r"exclude\.mgf"):
        train(tiny_config(), files, device="cpu", n_jobs=1, strict=True, force=True)


def test_a_mistyped_path_leaves_the_folder_alone(files: TrainFiles, tmp_path: Path) -> None:
    absent = replace(files, spectra=(tmp_path / "absent.msp",))
    with pytest.raises(InputError, match=r"absent\.msp"):
        run(tiny_config(), absent)
    assert not files.output.exists()


def test_failure_for_want_of_spectra_says_which_were_skipped(files: TrainFiles) -> None:
    with pytest.raises(InputError, match="no spectrum to learn from"):
        run(tiny_config(filter__ion_mode="negative"), files)
    assert {reason for _, reason, _ in skipped(files.output)} == {"ION_MODE"}
    assert not (files.output / "split.csv").exists()


def test_a_file_in_place_of_the_folder_is_told_before_reading(files: TrainFiles) -> None:
    files.output.write_text("precious")
    with pytest.raises(InputError, match="is a file, wanted a folder"):
        run(tiny_config(), replace(files, spectra=(Path("absent.msp"),)))
    assert files.output.read_text() == "precious"


def test_one_process_trains_in_a_folder_and_another_is_refused(files: TrainFiles) -> None:
    with (
        exclusive(files.output, "taken"),
        pytest.raises(InputError, match=r"another process is training in this folder \(process"),
    ):
        run(tiny_config(), files)
    run(tiny_config(), files)
    assert not (files.output / LOCK).exists()


def test_unknown_adduct(files: TrainFiles) -> None:
    with pytest.raises(ConfigError, match=r"\[M\+Zz\]\+"):
        run(tiny_config(filter__adducts=["[M+Zz]+"]), files)


def test_epochs_go_by_the_largest_stream(
    files: TrainFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    molecules = tmp_path / "m.smi"
    molecules.write_text("".join(f"{'C' * n}N\n" for n in range(1, 101)))
    asked: list[tuple[int, int]] = []

    def one(n: int, batch_size: int) -> int:
        asked.append((n, batch_size))
        return 1

    monkeypatch.setattr(prepared, "automatic_epochs", one)
    header = run(tiny_config(optim__epochs=0), replace(files, unpaired_molecules=(molecules,)))
    assert asked == [(100, 8)]
    assert header.config.optim.epochs == 1
