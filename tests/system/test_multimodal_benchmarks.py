"""Each image and text benchmark trains for a few steps on small files of the exact formats."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from caption_files import write_captions
from click.testing import CliRunner
from conftest import run_specvae
from image_files import draw_nothing, narrow_judges, write_mnist, write_svhn
from PIL import Image
from specvae_bench.paper import commands, images, multivae_peer, text_tasks
from specvae_bench.paper.pictures import draw_epochs
from specvae_bench.paper.report import report, require_own_report, wide_table
from specvae_bench.paper.report import table as report_table

from specvae.cli.console import Console
from specvae.errors import CheckpointError, ConfigError, InputError, Interrupted, TrainingError

QUICK = ("--limit", "20", "--epochs", "1", "--oracle-epochs", "1", "--device", "cpu")


def bench(command: click.Command, *arguments: object) -> str:
    done = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def with_pictures() -> None:
    """Have the pictures of a run drawn; see `little`."""


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Judge 200 captions drawn from the prior; draw no pictures unless they are tested."""
    narrow_judges(monkeypatch)
    monkeypatch.setattr(text_tasks, "CaptionTask", partial(text_tasks.CaptionTask, n_prior=200))
    if "with_pictures" not in request.fixturenames:
        draw_nothing(monkeypatch)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_mnist(folder / "mnist")
    write_svhn(folder / "svhn")
    (folder / "cub").mkdir()
    write_captions(folder / "cub", n_train=80, n_test=12)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("oracles")


def read(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((path / "result.json").read_text())
    return result


@pytest.mark.usefixtures("with_pictures")
@pytest.mark.parametrize(
    ("command", "folder", "figures"),
    [
        (commands.mnist_split, "mnist", ("both", "top", "bottom")),
        (
            commands.mnist_split_3,
            "mnist",
            (
                "all",
                "top",
                "middle",
                "bottom",
                "top+middle",
                "top+bottom",
                "middle+bottom",
                "one",
                "two",
            ),
        ),
        (
            commands.mnist_svhn,
            "",
            ("joint", "mnist->svhn", "svhn->mnist", "both->mnist", "both->svhn"),
        ),
        (
            commands.cub_captions,
            "cub",
            ("joint", "image->text", "text->image", "ground-truth"),
        ),
        (
            commands.mnist_colour,
            "mnist",
            ("joint", "mnist->colour", "colour->mnist", "both->mnist", "both->colour"),
        ),
        (
            commands.mnist_captions,
            "mnist",
            tuple(
                f"{name}{end}"
                for name in ("joint", "image->text", "text->image", "ground-truth")
                for end in ("", "-digit")
            ),
        ),
    ],
    ids=[
        "mnist-split",
        "mnist-split-3",
        "mnist-svhn",
        "cub-captions",
        "mnist-colour",
        "mnist-captions",
    ],
)
def test_a_run_writes_what_it_promises(
    command: click.Command,
    folder: str,
    figures: Sequence[str],
    data: Path,
    cache: Path,
    tmp_path: Path,
) -> None:
    if folder == "cub":
        pytest.importorskip("gensim", reason="gensim is absent")
    out = tmp_path / "out"
    stdout = bench(command, "--data", data / folder, "-o", out, "--cache", cache, *QUICK)
    result = read(out)
    assert result["benchmark"] == command.name
    assert set(result["test"]) == set(figures)
    assert all(-1.0 <= value <= 1.0 for value in result["test"].values())
    assert result["settings"]["kind"] == "svae"
    assert result["settings"]["unpaired"] == "all"
    assert [epoch["epoch"] for epoch in result["epochs"]] == [1]
    assert set(result["epochs"][0]["measured"]) <= set(result["validation"])
    assert {"python", "torch", "specvae"} <= set(result["versions"])
    assert result["data"]
    for name in ("reconstructions.png", "samples.png", "epochs.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 100
    assert "| svae | 1 | " in (out / "table.md").read_text()
    assert str(out / "table.md") in stdout
    if folder != "cub":
        cards = result["oracles"].values()
        assert all(0.0 <= card["test_accuracy"] <= 1.0 for card in cards)
    in_training = result.get("oracle_in_training")
    assert (in_training is not None) == ("mnist-split" in str(command.name))
    if in_training is not None:
        assert {fold: set(found) for fold, found in in_training.items()} == {
            "validation": set(figures),
            "test": set(figures),
        }
    # The validation fold is not the test fold.
    digests = {name: fold["sha256"] for name, fold in result["data"].items() if name != "pairs"}
    assert len(set(digests.values())) == len(digests)


# One of each posterior; the unit tests let every kind take a batch of every experiment.
@pytest.mark.parametrize("kind", ["vaevae", "jmvae", "mvae", "mmvae", "mopoe", "bridged"])
def test_kinds_run_on_thirds(kind: str, data: Path, cache: Path, tmp_path: Path) -> None:
    arguments = ("--data", data / "mnist", "-o", tmp_path, "--cache", cache, *QUICK)
    bench(commands.mnist_split_3, *arguments, "--model-kind", kind, "--n-samples", 2)
    found = read(tmp_path)
    assert found["settings"]["kind"] == kind
    if kind == "jmvae":  # it learns from pairs only
        assert found["settings"]["unpaired"] == "none"
        assert not any("unpaired" in part for part in found["epochs"][0]["parts"])


def test_a_caption_metric_that_cannot_be_read_asks_for_another_cache(
    data: Path, tmp_path: Path
) -> None:
    (tmp_path / "caption-metric.safetensors").write_bytes(b"of another program")
    arguments = ("--data", data / "cub", "-o", tmp_path / "run", "--cache", tmp_path, *QUICK)
    with pytest.raises(CheckpointError, match=r"caption-metric.safetensors: .*another --cache"):
        bench(commands.cub_captions, *arguments)


def test_dense_networks_are_another_experiment(data: Path, cache: Path, tmp_path: Path) -> None:
    arguments = ("--data", data / "mnist", "-o", tmp_path, "--cache", cache, *QUICK)
    bench(commands.mnist_split, *arguments, "--networks", "dense")
    found = read(tmp_path)
    assert found["benchmark"] == "mnist-split-dense"
    assert found["model"]["modalities"][0]["encoder"]["hidden"] == [400]
    assert "difference" not in (tmp_path / "table.md").read_text()
    with pytest.raises(InputError, match="wanted the results of one benchmark"):
        bench(commands.mnist_split, *arguments)


def test_two_thirds_reconstruct_themselves_or_all(data: Path, cache: Path, tmp_path: Path) -> None:
    arguments = ("--data", data / "mnist", "-o", tmp_path, "--cache", cache, *QUICK)
    subset = "subset-reconstruction/top+middle:"
    bench(commands.mnist_split_3, *arguments)
    (epoch,) = read(tmp_path)["epochs"]
    parts = epoch["parts"].keys()
    assert {f"{subset}top", f"{subset}middle"} == {p for p in parts if p.startswith(subset)}
    with pytest.raises(ConfigError, match="its subset_targets is given, wanted all"):
        bench(commands.mnist_split_3, *arguments, "--subset-targets", "all")
    # A result of before there was the option is one of the given.
    result = read(tmp_path)
    del result["settings"]["subset_targets"]
    (tmp_path / "result.json").write_text(json.dumps(result))
    bench(commands.mnist_split_3, *arguments)
    assert "subset_targets" not in read(tmp_path)["settings"]
    (tmp_path / "all").mkdir()
    arguments = ("--data", data / "mnist", "-o", tmp_path / "all", "--cache", cache, *QUICK)
    bench(commands.mnist_split_3, *arguments, "--subset-targets", "all")
    (epoch,) = read(tmp_path / "all")["epochs"]
    assert f"{subset}bottom" in epoch["parts"]


def test_a_sweep_resumes_where_it_stopped(data: Path, cache: Path, tmp_path: Path) -> None:
    sweep = (
        *("--data", data / "mnist", "-o", tmp_path, "--cache", cache, *QUICK),
        *("--model-kind", "vaevae", "--supervision", "1,0.1", "--seed", "0,1"),
    )
    bench(commands.mnist_split, *sweep)
    paths = sorted(tmp_path.rglob("result.json"))
    assert len(paths) == 4
    kept = {path: path.stat().st_mtime_ns for path in paths}
    lost = paths[2]
    lost.unlink()
    bench(commands.mnist_split, *sweep)
    for path in paths:
        assert (path.stat().st_mtime_ns != kept[path]) == (path == lost)
    table = (tmp_path / "table.md").read_text()
    assert table.count("| vaevae | 1 | 20 | 1 | 2 |") == 3
    assert "| both | 0.956 |" in table  # the paper's, and only at full supervision
    # Both folds together, from the paper's; the last column is by oracles in training mode.
    result = read(tmp_path / "vaevae" / "supervision-0.1" / "seed-1")
    result["validation"]["top"], result["test"]["top"] = 0.25, 0.75
    result["oracle_in_training"]["validation"]["top"] = 1.0
    result["oracle_in_training"]["test"]["top"] = 0.5
    assert "| top |  | 0.750 | 0.250 | 0.500 | 0.750 |" in report_table([result])
    assert table.count("0.956") == 1
    wide = wide_table([read(path.parent) for path in paths])
    assert wide.startswith("| model | supervision | epochs | both | top | bottom |")
    assert [wide.count(f"| vaevae | {share} | 1 |") for share in ("1", "0.1")] == [1, 1]
    drawn = tmp_path / "supervision.png"
    drawn.unlink()
    bench(report, tmp_path)
    assert drawn.exists()


@pytest.mark.usefixtures("with_pictures")
@pytest.mark.parametrize("name", ["table.md", "epochs.png", "supervision.png"])
def test_a_report_replaces_no_file_of_others(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"what I think of it")
    for command, options in ((report, ()), (commands.mnist_split, ("--data", tmp_path, "-o"))):
        with pytest.raises(InputError, match="is no result of an earlier run, and would be"):
            bench(command, *options, tmp_path)
    assert path.read_bytes() == b"what I think of it"
    path.unlink()
    draw_epochs(tmp_path / "epochs.png", {"both": {"svae": [0.5]}})
    require_own_report(tmp_path)
    # Pictures of earlier versions say nothing of the program: the table beside them does.
    (tmp_path / "epochs.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "table.md").write_text("| model | supervision | epochs |\n", encoding="utf-8")
    require_own_report(tmp_path)
    of_gpu = {"device": {"name": "cpu"}, "date": "2026-11-29"}
    (tmp_path / "speed.json").write_text(json.dumps(of_gpu), encoding="utf-8")
    bench(report, tmp_path)
    (tmp_path / "tables.md").write_text("# Mine\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"tables\.md: is no result of an earlier run"):
        bench(report, tmp_path)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_keeps_the_epoch_and_the_same_command_goes_on(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is written every five minutes only: all epochs since then were lost."""
    arguments = ("--data", data / "mnist", "--cache", cache, *QUICK, "--epochs", 3, "-o")
    sweep = (*arguments, tmp_path / "a", "--seed", "0,1")
    folder = tmp_path / "a" / "svae" / "supervision-1" / "seed-0"

    def interrupted(self: Console, stage: str, done: int, total: int | None = None) -> None:
        if stage == "epoch 2" and done == total:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Console, "progress", interrupted)
        with pytest.raises(Interrupted, match="seed-0: stopped after epoch 2 of 3, which is kept"):
            bench(commands.mnist_split, *sweep)
    assert not (folder / "result.json").exists()
    assert not (tmp_path / "a" / "svae" / "supervision-1" / "seed-1").exists()
    logged = (folder / "epochs.jsonl").read_text().splitlines()
    output = bench(commands.mnist_split, *sweep)
    assert "epoch 3: loss" in output
    assert output.count("epoch 2: loss") == 1  # of the second seed
    assert (folder / "epochs.jsonl").read_text().splitlines()[:2] == logged
    bench(commands.mnist_split, *arguments, tmp_path / "b")
    assert read(folder)["test"] == read(tmp_path / "b")["test"]


def test_a_finished_run_can_be_prolonged(data: Path, cache: Path, tmp_path: Path) -> None:
    arguments = ("--data", data / "mnist", "--cache", cache, *QUICK)
    bench(commands.mnist_split, *arguments, "-o", tmp_path / "a")
    bench(commands.mnist_split, *arguments, "-o", tmp_path / "a", "--epochs", 3)
    bench(commands.mnist_split, *arguments, "-o", tmp_path / "b", "--epochs", 3)
    prolonged, at_once = read(tmp_path / "a"), read(tmp_path / "b")
    totals = [[epoch["total"] for epoch in result["epochs"]] for result in (prolonged, at_once)]
    assert totals[0] == totals[1]
    assert len(totals[0]) == 3
    assert prolonged["test"] == at_once["test"]


def test_a_run_killed_before_its_last_line_of_the_log_still_has_all_epochs(
    data: Path, cache: Path, tmp_path: Path
) -> None:
    arguments = ("--data", data / "mnist", "--cache", cache, *QUICK, "-o", tmp_path)
    bench(commands.mnist_split, *arguments)
    whole = read(tmp_path)
    (tmp_path / "result.json").unlink()
    (tmp_path / "epochs.jsonl").unlink()
    bench(commands.mnist_split, *arguments)
    (epoch,) = read(tmp_path)["epochs"]
    assert epoch["total"] == whole["epochs"][0]["total"]
    assert epoch["measured"] == {"top": whole["epochs"][0]["measured"]["top"]}
    assert read(tmp_path)["test"] == whole["test"]
    (tmp_path / "result.json").unlink()
    (tmp_path / "epochs.jsonl").write_text("{")
    done = CliRunner().invoke(commands.mnist_split, [str(a) for a in arguments])
    assert isinstance(done.exception, InputError)


@pytest.mark.parametrize("name", ["samples.png", "model.safetensors"])
def test_a_run_replaces_no_file_of_others(
    name: str, data: Path, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"mine")
    arguments = ("--data", data / "mnist", "--cache", cache, *QUICK, "-o", tmp_path)
    done = CliRunner().invoke(commands.mnist_split, [str(a) for a in arguments])
    assert isinstance(done.exception, InputError)
    assert str(done.exception).startswith(f"{tmp_path / name}: would be replaced, and no run is")
    assert (tmp_path / name).read_bytes() == b"mine"


def test_runs_that_differ_in_more_than_the_seed_have_rows_of_their_own(
    data: Path, cache: Path, tmp_path: Path
) -> None:
    arguments = ("--data", data / "mnist", "--cache", cache, *QUICK)
    bench(commands.mnist_split, *arguments, "-o", tmp_path / "a")
    result = read(tmp_path / "a")
    for folder, name, value in (("b", "seed", 1), ("c", "unpaired", "rest"), ("d", "seed", 0)):
        (tmp_path / folder).mkdir()
        changed = {**result, "settings": {**result["settings"], name: value}}
        (tmp_path / folder / "result.json").write_text(json.dumps(changed))
    bench(report, tmp_path)
    table = (tmp_path / "table.md").read_text()
    assert table.count("| svae, unpaired all | 1 | 20 | 1 | 2 |") == 3
    assert table.count("| svae, unpaired rest | 1 | 20 | 1 | 1 |") == 3
    assert table.count("0.948") == 2
    of_fewer = {**result, "n_pairs": 10}
    wide = wide_table([result, result, of_fewer]).splitlines()[2:]
    assert [line.split(" | ")[0] for line in wide] == ["| svae, n_pairs 10", "| svae, n_pairs 20"]
    (tmp_path / "e").mkdir()
    other = {**result, "benchmark": "mnist-svhn"}
    (tmp_path / "e" / "result.json").write_text(json.dumps(other))
    for command, options in ((report, ()), (commands.mnist_split, (*arguments, "-o"))):
        done = CliRunner().invoke(command, [*map(str, options), str(tmp_path)])
        assert isinstance(done.exception, InputError)
        assert "those of mnist-split, mnist-svhn" in str(done.exception)
    (tmp_path / "e" / "result.json").write_text('{"benchmark": "casmi2017"}')
    done = CliRunner().invoke(report, [str(tmp_path)])
    assert "key 'settings' is missing" in str(done.exception)


def test_mistakes_are_told_before_any_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "oracles"
    in_place = ("--data", data / "mnist", "-o", tmp_path, *QUICK)
    arguments = (*in_place, "--cache", cache)

    def refused(*options: str, given: Sequence[object] = arguments) -> Exception:
        done = CliRunner().invoke(commands.mnist_split, [*map(str, given), *options])
        assert isinstance(done.exception, Exception)
        return done.exception

    error = refused("--model-kind", "jmvae", "--unpaired", "all")
    assert isinstance(error, ConfigError)
    assert "learns from pairs only" in str(error)
    assert not list(tmp_path.rglob("result.json"))
    (tmp_path / "file").write_text("mine")
    error = refused("--cache", str(tmp_path / "file"), given=in_place)
    assert str(error).startswith(f"{tmp_path}/file/oracle: cannot be written (")
    empty = tmp_path / "empty"
    empty.mkdir()
    done = CliRunner().invoke(
        commands.mnist_split, ["--data", str(empty), "-o", str(tmp_path / "out")]
    )
    assert isinstance(done.exception, InputError)
    for text, message in (("0", "is not in"), ("2", "is not in"), ("a", "is no number")):
        done = CliRunner().invoke(
            commands.mnist_split, [*map(str, arguments), "--supervision", text]
        )
        assert done.exit_code == 2
        assert message in done.output
    error = refused("--model-kind", "svae", "--trainer", "multivae")
    assert isinstance(error, ConfigError)
    assert "no counterpart" in str(error)
    monkeypatch.setattr(multivae_peer, "find_spec", lambda _: None)
    error = refused("--model-kind", "svae", "--model-kind", "jmvae", "--trainer", "multivae")
    assert "no counterpart" in str(error)
    error = refused("--model-kind", "jmvae", "--trainer", "multivae")
    assert "multivae is not installed" in str(error)
    assert not list(tmp_path.rglob("result.json"))
    assert not list(cache.glob("*"))
    bench(commands.mnist_split, *arguments)
    # Another kind in the same folder would mix two runs, and so would another trainer.
    for mistake in (("--model-kind", "vaevae"), ("--seed", "1"), ("--unpaired", "rest")):
        error = refused(*mistake)
        assert isinstance(error, ConfigError)
        assert "holds another run" in str(error)
    error = refused("--limit", "5")
    assert f"{tmp_path}: holds a run with other data; choose another folder" in str(error)
    error = refused("--oracle-epochs", "2")
    assert f"{tmp_path}: holds a run with other oracles; choose another folder" in str(error)
    (tmp_path / "result.json").unlink()
    assert isinstance(refused("--model-kind", "vaevae"), TrainingError)
    done = CliRunner().invoke(report, [str(empty)])
    assert isinstance(done.exception, InputError)


def test_numbers_come_from_a_file_of_options_too(data: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text("supervision = [1, 0.1]\nseed = 3\n")
    arguments = ("--data", data / "mnist", "-o", tmp_path, "--cache", cache, *QUICK)
    bench(commands.mnist_split, *arguments, "--config", tmp_path / "sweep.toml")
    found = [path.parent.relative_to(tmp_path) for path in sorted(tmp_path.rglob("result.json"))]
    assert [str(path) for path in found] == [
        "svae/supervision-0.1/seed-3",
        "svae/supervision-1/seed-3",
    ]


def test_digits_without_a_common_class_are_refused(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = torch.empty(0, dtype=torch.int64)
    monkeypatch.setattr(images, "pair_by_class", lambda *_: (none, none))
    arguments = ("--data", data, "-o", tmp_path, "--cache", cache, *QUICK)
    done = CliRunner().invoke(commands.mnist_svhn, [str(a) for a in arguments])
    assert isinstance(done.exception, InputError)
    assert "no two train digits of MNIST and SVHN are the same" in str(done.exception)


def test_the_peer_trains_our_networks(data: Path, cache: Path, tmp_path: Path) -> None:
    arguments = (
        *("--data", data / "mnist", "-o", tmp_path, "--cache", cache, *QUICK),
        *("--model-kind", "jmvae", "--trainer", "multivae"),
    )
    if find_spec("multivae") is None:
        done = CliRunner().invoke(commands.mnist_split, [str(a) for a in arguments])
        assert isinstance(done.exception, ConfigError)
        assert "specvae[peers]" in str(done.exception)
        return
    bench(commands.mnist_split, *arguments)
    result = read(tmp_path)
    assert result["epochs"][0]["seconds"] > 0.0
    assert "| jmvae by multivae |" in (tmp_path / "table.md").read_text()


def test_help_has_an_example() -> None:
    for name in (
        "mnist-split", "mnist-split-3", "mnist-svhn", "cub-captions", "mnist-colour",
        "mnist-captions",
    ):  # fmt: skip
        shown = run_specvae("bench", name, "--help").stdout
        assert f"specvae bench {name} --data" in shown
