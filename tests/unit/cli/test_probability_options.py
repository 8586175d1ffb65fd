"""Probabilities through the command line, with an untrained model calibrated by hand."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotation_examples import ASPIRIN, CAFFEINE, tiny_annotator
from click.testing import CliRunner, Result

from specvae.annotation.ranking.probability import SCORE_FEATURES, ProbabilityModel
from specvae.cli.annotate import annotate
from specvae.cli.evaluate import evaluate
from specvae.errors import CheckpointError
from specvae.vae.checkpoint import save_checkpoint

N = len(SCORE_FEATURES)
NONE = (0.0,) * N
# All candidates of a list are equally probable, and half of the lists hold their truth.
FLAT = ProbabilityModel((), NONE, (1.0,) * N, (-50.0, *NONE), (0.0, *NONE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two models, four queries, their candidates and truths."""
    folder = tmp_path_factory.mktemp("probability")
    tiny = tiny_annotator()
    header = replace(tiny.header, program="specvae")
    save_checkpoint(folder / "plain.safetensors", tiny.model, header)
    header = replace(header, probability=FLAT.to_json())
    save_checkpoint(folder / "calibrated.safetensors", tiny.model, header)
    (folder / "q.mgf").write_text(
        "".join(
            f"BEGIN IONS\nTITLE=q{i}\nPEPMASS=195.0877\nCHARGE=1+\nIONMODE=positive\n"
            f"{110 + i}.07 10\n138.066 100\nEND IONS\n\n"
            for i in range(4)
        ),
        encoding="utf-8",
    )
    # One candidate for the first two queries, two for the third, none for the fourth.
    (folder / "c.csv").write_text(
        f"query_id,smiles\nq0,{CAFFEINE}\nq1,{CAFFEINE}\nq2,{CAFFEINE}\nq2,{ASPIRIN}\n",
        encoding="utf-8",
    )
    (folder / "t.csv").write_text(
        f"query_id,smiles\nq0,{CAFFEINE}\nq1,{ASPIRIN}\nq2,{CAFFEINE}\nq3,{CAFFEINE}\n",
        encoding="utf-8",
    )
    return folder


def run(command: str, folder: Path, *options: object, model: str = "calibrated") -> Result:
    commands = {"annotate": annotate, "evaluate": evaluate}
    arguments = [
        folder / "q.mgf", "--candidates", folder / "c.csv",
        "--model", folder / f"{model}.safetensors", "--jobs", 1, *options,
    ]  # fmt: skip
    return CliRunner().invoke(
        commands[command], [str(argument) for argument in arguments], catch_exceptions=True
    )


def rows_of(done: Result) -> list[dict[str, str]]:
    assert done.exit_code == 0, done.output
    return list(csv.DictReader(io.StringIO(done.stdout)))


def test_rows_have_probabilities_that_depend_on_the_share(folder: Path) -> None:
    rows = rows_of(run("annotate", folder, "--in-list", 0.6))
    assert [float(row["probability"] or -1) for row in rows] == pytest.approx(
        [0.6, 0.6, 0.3, 0.3, -1]
    )
    done = run("annotate", folder)
    # Three queries without a hint leave the default share where it is.
    assert float(rows_of(done)[0]["probability"]) == pytest.approx(0.9)
    share = "lists that hold the right structure: 90.0% (estimated from 3 queries; 95% interval "
    assert share not in done.stderr
    assert "more on the probabilities: --verbose" in done.stderr
    assert share in run("annotate", folder, "--verbose").stderr
    assert "best candidates: 3, of which about 2.2 are right; estimated" in done.stderr


def test_least_probability_leaves_out_rows_but_no_query(folder: Path) -> None:
    done = run("annotate", folder, "--in-list", 0.6, "--min-probability", 0.5)
    rows = rows_of(done)
    assert [row["query_id"] for row in rows] == ["q0", "q1", "q2", "q3"]
    assert [row["rank"] for row in rows] == ["1", "1", "", ""]
    assert rows[2]["status"].startswith("no candidate reaches probability 0.5 (best 0.3)")
    assert rows[3]["status"].startswith("no candidates for this query_id")
    assert "about 1.2 are right; estimated false-discovery rate 40.0%" in done.stderr


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("annotate", ("--min-probability", 0.5)),
        ("annotate", ("--in-list", 0.5)),
        ("evaluate", ("--in-list", 0.5, "--truth", "t.csv")),
        ("evaluate", ("--reliability", "r.png", "--truth", "t.csv")),
    ],
)
def test_model_without_calibration_is_refused_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: str, options: tuple[object, ...]
) -> None:
    monkeypatch.chdir(folder)
    error = run(command, folder, *options, model="plain").exception
    assert isinstance(error, CheckpointError)
    message = f"no probabilities, which {options[0]} needs: the model is not calibrated"
    assert f"plain.safetensors: {message}" in str(error)
    assert "\n" not in str(error)


def test_model_without_calibration_has_empty_probabilities(folder: Path) -> None:
    done = run("annotate", folder, model="plain")
    assert {row["probability"] for row in rows_of(done)} == {""}
    assert "false-discovery" not in done.stderr


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan"])
def test_probability_beyond_its_range_is_wrong_usage(folder: Path, value: str) -> None:
    assert run("annotate", folder, "--min-probability", value).exit_code == 2


@pytest.mark.parametrize("value", ["1.5", "0.7,0.4", "0.1,0.1,0.1", "0.1,", "half"])
def test_shares_of_known_compounds_are_one_or_two(folder: Path, value: str) -> None:
    assert run("annotate", folder, "--known", value).exit_code == 2
    assert rows_of(run("annotate", folder, "--known", "0.3,0.2"))


def test_evaluation_compares_probabilities_with_the_truth(folder: Path, tmp_path: Path) -> None:
    done = run(
        "evaluate", folder, "--truth", folder / "t.csv", "--in-list", 0.6,
        "--json", tmp_path / "f.json", "--reliability", tmp_path / "r.png",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    # Best candidates of 0.6 (right), 0.6 (wrong) and 0.3 (one of two, by the untrained scores).
    right = [1.0, 0.0, figures["hit_at_1"] * 4 - 1.0]
    assert figures["n_with_probability"] == 3
    assert (figures["in_list"], figures["in_list_is_estimated"]) == (0.6, False)
    assert figures["ece"] == pytest.approx((0.1 + 0.1 + abs(0.3 - right[2])) / 3)
    assert figures["log_loss"] == pytest.approx(-np.log([0.6, 0.4, 0.3]).mean())
    assert figures["risk_coverage"][-1]["risk"] == pytest.approx(1 - np.mean(right))
    assert sum(b["n_queries"] for b in figures["reliability"]) == 3
    at_half = next(row for row in figures["false_discovery"] if row["threshold"] == 0.5)
    assert (at_half["n_queries"], at_half["true"]) == (2, 0.5)
    assert at_half["estimated"] == pytest.approx(0.4)
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    assert "ece" in done.stdout
    page = Path(__file__).parents[3] / "docs" / "formats.md"
    said = page.read_text(encoding="utf-8")
    assert [name for name in figures if f"`{name.removesuffix('_ci95')}`" not in said] == []


def test_evaluation_without_calibration_has_no_such_figures(folder: Path, tmp_path: Path) -> None:
    done = run(
        "evaluate", folder, "--truth", folder / "t.csv", "--json", tmp_path / "f.json",
        model="plain",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert not {"ece", "brier", "in_list"} & figures.keys()
