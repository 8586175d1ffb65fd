"""`specvae bench casmi2017`: figure 11 D, the share of challenges with the truth in the top k."""

from __future__ import annotations

import csv
import dataclasses
import re
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.options import INPUT, device_option, jobs_option, model_file
from specvae.cli.outputs import require_writable
from specvae.errors import InputError
from specvae_bench.markdown import percent, table

K_MAX = 100
_CHALLENGE = re.compile(r"challenge[-_ ]?0*(\d+)", re.IGNORECASE)


@click.command()
@click.option("--data", type=INPUT, required=True, help="Folder of the contest's files.")
@click.option(
    "--model",
    "models",
    type=INPUT,
    multiple=True,
    help="Trained model to evaluate (repeatable); without it, SVAE and VAEVAE are trained.",
)
@click.option(
    "--spectra",
    type=INPUT,
    multiple=True,
    help="Library to train on where no model is given (repeatable).",
)
@click.option("--preset", type=click.Choice(["small", "paper"]), default="small", show_default=True)
@click.option("--fingerprint", default=None, metavar="LAYOUT", help="Of the models to train.")
@click.option("--epochs", type=click.IntRange(min=1), default=None, help="Of the models to train.")
@click.option(
    "--ion-mode",
    type=click.Choice(["positive", "negative"]),
    default="positive",
    show_default=True,
    help="Challenges of this ion mode.",
)
@click.option(
    "--exclude",
    type=INPUT,
    multiple=True,
    help="More compounds to keep out of training (repeatable).",
)
@click.option("--title", default=None, help="Of the plot.")
@jobs_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("-o", "--output", type=INPUT, default=Path("casmi2017"), show_default=True)
@device_option
@settings_options
@verbosity
def casmi2017(
    data: Path,
    models: tuple[Path, ...],
    spectra: tuple[Path, ...],
    preset: str,
    fingerprint: str | None,
    epochs: int | None,
    ion_mode: str,
    exclude: tuple[Path, ...],
    title: str | None,
    jobs: int | None,
    seed: int,
    output: Path,
    device: str,
) -> None:
    """Rank the candidates of CASMI 2017's challenges: figure 11 D of Kutuzova et al.

    DATA is a folder with the merged files (queries.mgf, candidates.csv, truth.csv or
    solutions.csv) or with the contest's own: one MGF per challenge, loose, in raw_mgf/ or in
    raw_mgf.zip, solutions.csv, and one candidate CSV per challenge, loose or in candidates/. An
    empty precursor is filled from the solutions, the ion mode is theirs. The 2016 contest's files
    work too. Models trained here never see a compound of the contest.

    Writes result.json, table.md and topk.png, and the merged queries, candidates and truth.

    \b
    Example:
      specvae bench casmi2017 --data casmi/2017 --spectra mona.msp -o fig11d
      specvae bench casmi2017 --data casmi/2017 --model svae --model vaevae -o fig11d
    """
    if not models and not spectra:
        raise click.UsageError("name trained models with --model, or a library with --spectra")
    require_writable(output / "result.json")

    from specvae.annotation.evaluation.evaluate import evaluate
    from specvae.annotation.evaluation.hits import random_curve, top_k_curve
    from specvae.annotation.library.compounds import read_truth
    from specvae.annotation.output.plots import plot_top_k
    from specvae.annotation.ranking.annotator import Annotator
    from specvae.annotation.ranking.candidates import CandidateSource
    from specvae.annotation.ranking.queries import QueryFilter
    from specvae.annotation.ranking.rank import rank_queries
    from specvae.annotation.training.inputs import TrainFiles
    from specvae.annotation.training.run import train
    from specvae.annotation.training.settings import preset_config
    from specvae.files import atomic_text, sha256_of
    from specvae.report import ReadReport
    from specvae.settings import override
    from specvae_bench.files import write_result

    console = Console()
    challenges = prepare(data, output)
    truth = read_truth(challenges.truth)
    paths = {path.name or str(path): model_file(path) for path in models}
    if len(paths) < len(models):
        raise click.UsageError("two models have the same folder name; rename one")
    if not models:
        for kind in ("svae", "vaevae"):
            console.log(f"training {kind}")
            values = {"fingerprint": fingerprint, "optim.epochs": epochs, "seed": seed}
            config = override(
                preset_config(preset, kind),
                {key: v for key, v in values.items() if v is not None}
                | {"filter.ion_mode": ion_mode,
                   "filter.adducts": ["[M+H]+" if ion_mode == "positive" else "[M-H]-"]},
            )  # fmt: skip
            files = TrainFiles(spectra, output / kind, exclude=(challenges.truth, *exclude))
            train(config, files, device=device, resume=True, n_jobs=jobs, progress=console)
            paths[kind] = output / kind / "model.safetensors"
    result: dict[str, Any] = {
        "command": "specvae bench casmi2017",
        "date": time.strftime("%Y-%m-%d"),
        "data": {path.name: sha256_of(path) for path in dataclasses.astuple(challenges)},
        "ion_mode": ion_mode,
        "seed": seed,
        "models": {},
    }
    curves: dict[str, list[float]] = {}
    for name, path in paths.items():
        start = time.perf_counter()
        annotator = Annotator.load(path, device)
        report = ReadReport()
        with CandidateSource(challenges.candidates, annotator.layout, 10.0, report) as source:
            ranked = rank_queries(
                annotator, challenges.queries, source, QueryFilter(ion_mode), report,
                n_jobs=jobs, progress=console,
            )  # fmt: skip
            evaluation = evaluate(annotator, ranked, truth)
        if not evaluation.ranks:
            raise InputError(f"{challenges.queries}: no {ion_mode} challenge that has a truth")
        if evaluation.trained_on:
            console.log(
                f"warning: {name} has learned from the truth of {len(evaluation.trained_on)} "
                "queries; its figures flatter it"
            )
        curves[name] = top_k_curve(evaluation.ranks, K_MAX)
        result["models"][name] = {
            "kind": annotator.header.config.model.kind,
            "preset": annotator.header.config.preset,
            "fingerprint": annotator.layout.name,
            "weights_sha256": annotator.header.weights_sha256,
            "best_epoch": annotator.header.best_epoch,
            "n_training_spectra": annotator.header.provenance.n_spectra_by_fold["train"],
            "seconds": {
                **annotator.header.seconds,
                "evaluation": round(time.perf_counter() - start, 1),
            },
            **evaluation.figures(seed),
            "top_k": curves[name],
        }
    # The queries and their candidates, and so the ranks by chance, are the same for every model.
    curves["random"] = result["random_top_k"] = random_curve(evaluation.ranks, K_MAX)
    plot_top_k(
        curves,
        output / "topk.png",
        k_max=K_MAX,
        title=title or f"CASMI challenges, {ion_mode} mode",
        n_queries=len(evaluation.ranks),
    )
    write_result(output / "result.json", result)
    table = markdown_table(result["models"])
    with atomic_text(output / "table.md") as stream:
        stream.write(table)
    click.echo(table, nl=False)


@dataclasses.dataclass(frozen=True)
class Challenges:
    """The contest in three merged files."""

    queries: Path
    candidates: Path
    truth: Path


def prepare(data: Path, output: Path) -> Challenges:
    """Find the contest's files in a folder, merging what lies there one per challenge.

    Merged files are used where they lie; loose ones are merged into `output`.

    Raises
    ------
    InputError
        If a file that is needed is missing; the message names what was looked for.
    """
    if not data.is_dir():
        raise InputError(f"{data}: no such folder; wanted the contest's files")
    solutions = _read_solutions(data / "solutions.csv") if (data / "solutions.csv").exists() else {}
    truth = _first(data, "truth.csv")
    if truth is None:
        if not solutions:
            raise InputError(f"{data}: neither truth.csv nor solutions.csv lies in it")
        truth = _write_rows(
            output / "truth.csv",
            ("query_id", "inchikey14", "ion_mode"),
            ((name, s["inchikey"][:14], s["ion_mode"]) for name, s in solutions.items()),
        )
    queries = _first(data, "queries.mgf", "queries.mgf.gz")
    if queries is None:
        queries = _merge_queries(data, solutions, output / "queries.mgf")
    candidates = _first(data, "candidates.csv.gz", "candidates.csv")
    if candidates is None:
        candidates = _merge_candidates(data, solutions, output / "candidates.csv")
    return Challenges(queries, candidates, truth)


def markdown_table(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figures of several models as a Markdown table, in percent."""
    columns = (
        "model", "queries", "hit@1 [95 %]", "hit@5 [95 %]", "hit@20 [95 %]", "random@1", "blind@1",
    )  # fmt: skip
    rows = []
    for name, figures in models.items():
        hits = [percent(figures, f"hit_at_{k}") for k in (1, 5, 20)]
        controls = [f"{100 * figures[f'{c}_hit_at_1']:.1f}" for c in ("random", "blind")]
        rows.append((name, str(figures["n_queries"]), *hits, *controls))
    return table(columns, rows)


def _first(folder: Path, *names: str) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _number(text: str) -> int | None:
    found = _CHALLENGE.search(text)
    return int(found[1]) if found else None


def _read_solutions(path: Path) -> dict[str, dict[str, str]]:
    """Return challenge name -> inchikey, ion_mode and precursor_mz; 2016 and 2017 spell apart."""
    from specvae.molecules.structures import read_named_rows

    solutions = {}
    for line, fields in read_named_rows(path):
        name = fields.get("challengename") or fields.get("challenge", "")
        if not name or not fields.get("inchikey"):
            raise InputError(
                f"{path}:{line}: wanted columns Challenge (or ChallengeName) and InChIKey"
            )
        solutions[name] = {
            "inchikey": fields["inchikey"],
            "ion_mode": fields.get("ion_mode", "").lower(),
            "precursor_mz": fields.get("precursor_mz", ""),
        }
    return solutions


def _merge_queries(data: Path, solutions: Mapping[str, Mapping[str, str]], output: Path) -> Path:
    """Write one MGF: identifiers, ion modes and missing precursors are the solutions'."""
    from specvae.report import ReadReport
    from specvae.spectra.read import read_spectra
    from specvae_bench.files import write_mgf

    by_number = {_number(name): name for name in solutions}
    merged = []
    report = ReadReport()
    with _challenge_files(data, "raw_mgf", ".mgf") as files:
        for file in files:
            name = by_number.get(_number(file.name))
            if name is None:
                raise InputError(f"{file.name}: solutions.csv has no such challenge")
            ion_mode = solutions[name]["ion_mode"]
            if ion_mode not in ("positive", "negative"):
                raise InputError(
                    f"{data / 'solutions.csv'}: {name}: ion_mode is {ion_mode!r}, wanted positive "
                    "or negative"
                )
            for spectrum in read_spectra(file, report):
                precursor = spectrum.precursor_mz
                if precursor is None:
                    precursor = _precursor(data / "solutions.csv", name, solutions[name])
                merged.append(
                    dataclasses.replace(
                        spectrum,
                        query_id=name,
                        precursor_mz=precursor,
                        ion_mode=ion_mode,
                        charge=1 if ion_mode == "positive" else -1,
                        adduct=None,
                    )
                )
    if not merged:
        raise InputError(f"{data}: neither queries.mgf nor an MGF per challenge lies in it")
    write_mgf(merged, output)
    return output


def _precursor(path: Path, name: str, solution: Mapping[str, str]) -> float | None:
    text = solution["precursor_mz"]
    try:
        return float(text) if text else None
    except ValueError:
        raise InputError(
            f"{path}: {name}: precursor_mz is {text!r}, wanted a number (Th)"
        ) from None


def _merge_candidates(data: Path, solutions: Mapping[str, Any], output: Path) -> Path:
    """Write one CSV of the per-challenge ones, with columns query_id and smiles or inchi."""
    from specvae.molecules.structures import read_named_rows

    by_number = {_number(name): name for name in solutions}
    rows: list[tuple[str, str, str]] = []
    with _challenge_files(data, "candidates", ".csv") as files:
        for file in files:
            name = by_number.get(_number(file.name))
            if name is not None:
                rows += [
                    (name, fields.get("smiles", ""), fields.get("inchi", ""))
                    for _, fields in read_named_rows(file)
                ]
    if not rows:
        raise InputError(f"{data}: neither candidates.csv nor a CSV per challenge lies in it")
    return _write_rows(output, ("query_id", "smiles", "inchi"), rows)


@contextmanager
def _challenge_files(data: Path, name: str, suffix: str) -> Iterator[list[Path]]:
    """Yield the files of single challenges: loose, in a folder `name`, or in `name`.zip."""
    archive = data / f"{name}.zip"
    if not archive.is_file():
        yield sorted(
            path
            for folder in (data, data / name)
            if folder.is_dir()
            for path in folder.iterdir()
            if path.name.lower().removesuffix(".gz").endswith(suffix)
            and _number(path.name) is not None
        )
        return
    with tempfile.TemporaryDirectory() as room:
        files = []
        with zipfile.ZipFile(archive) as members:
            for member in sorted(members.namelist()):
                # The archive's own folders are dropped: a member can never land elsewhere.
                if member.lower().endswith(suffix) and _number(member) is not None:
                    path = Path(room) / Path(member).name
                    path.write_bytes(members.read(member))
                    files.append(path)
        yield files


def _write_rows(path: Path, header: tuple[str, ...], rows: Any) -> Path:  # noqa: ANN401
    from specvae.files import atomic_text

    with atomic_text(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return path
