"""Write the tables of README.md and of pages in docs/ anew from the JSON files in docs/results.

Usage: python docs/make_tables.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from specvae_bench.folds.topk import markdown_table
from specvae_bench.laboratories.report import list_table
from specvae_bench.laboratories.report import markdown_tables as laboratory_tables
from specvae_bench.markdown import table
from specvae_bench.paper.report import table as experiment_report
from specvae_bench.paper.report import wide_table
from specvae_bench.retrieval.report import markdown_tables
from specvae_bench.speed.pools import further_queries
from specvae_bench.supervision.report import markdown_table as supervision_table

DOCS = Path(__file__).resolve().parent
RESULTS = DOCS / "results"
PAGES = (
    DOCS.parent / "README.md",
    DOCS / "results.md",
    DOCS / "benchmarks.md",
    DOCS / "evaluation.md",
    DOCS / "reliability.md",
    DOCS / "scale.md",
    DOCS / "fingerprints.md",
)

# File -> heading; a file that is not there has no table.
SETS = {
    "massbank-fold": "MassBank compounds held out",
    "massbank-negative": "MassBank compounds held out, [M-H]-",
    "massbank-contaminated": "MassBank compounds held out, with noise and others' ions",
    "massbank-negative-contaminated": (
        "MassBank compounds held out, [M-H]-, with noise and others' ions"
    ),
    "massbank-sodium": "MassBank compounds held out, [M+Na]+",
    "casmi2016": "CASMI 2016, positive challenges",
    "casmi2016-negative": "CASMI 2016, negative challenges",
    "casmi2017": "CASMI 2017, positive challenges",
    "massbank-fold-fingerprint": "MassBank compounds held out, by the predicted fingerprint alone",
    "casmi2017-fingerprint": "CASMI 2017, positive challenges, by the predicted fingerprint alone",
}


def retrieval_tables() -> str:
    """Return a heading and a table for each evaluated set."""
    sections = []
    for name, heading in SETS.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text(encoding="utf-8"))
            first = next(iter(result["models"].values()))
            sections.append(
                f"**{heading}**: {first['n_queries']} spectra of {first['n_molecules']} compounds, "
                f"median {first['candidates_median']:.0f} candidates "
                f"(`docs/results/{name}.json`, {result['date']}).\n\n"
                + markdown_table(result["models"])
            )
    return "\n".join(sections)


# Method of the stored comparison -> how the README calls it.
HEADLINE = {
    "modified cosine, sum of 30": "library search for similar spectra (matchms' modified cosine)",
    "fragments, MetFrag": "MetFrag's score",
}


def headline_table() -> str:
    """Return three rows on the same held-out compounds: ours and the best of others."""
    ours = json.loads((RESULTS / "massbank-fold.json").read_text(encoding="utf-8"))
    path = RESULTS / "retrieval-massbank-fold.json"
    methods = json.loads(path.read_text(encoding="utf-8"))["tracks"]["mass"]
    methods = {"specvae": ours["models"]["svae"], **methods}
    rows = []
    for name, heading in {"specvae": "specvae", **HEADLINE}.items():
        figures = methods[name]
        cells = [
            f"{figures[k]:.1%} [{low:.1%}, {high:.1%}]"
            for k in ("hit_at_1", "hit_at_5", "hit_at_20")
            for low, high in [figures[f"{k}_ci95"]]
        ]
        rows.append((heading, *cells))
    return table(("method", "hit@1", "hit@5", "hit@20"), rows)


def fragment_speed_table() -> str:
    """Return what the fragment evidence of a candidate takes."""
    stored = json.loads((RESULTS / "speed-fragments.json").read_text(encoding="utf-8"))
    figures = stored["fragments"]
    rows = [
        ("from the parsed molecule to its fragments", f"{figures['breaking_ms']:.2f} ms"),
        (
            "the same from the graph that the cache keeps",
            f"{figures['breaking_again_ms']:.2f} ms",
        ),
        ("from the fragments to the score", f"{figures['scoring_ms']:.2f} ms"),
        (
            "the same score by the network that is fitted",
            f"{figures['network_ms']:.2f} ms",
        ),
        ("largest difference of these two scores", f"{figures['largest_difference']:.0e}"),
    ]
    return table(("of one candidate", "found"), rows)


def fingerprint_speed_table() -> str:
    """Return what fingerprints take, beside scikit-fingerprints."""
    path = RESULTS / "speed-fingerprints.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    figures = result["fingerprints"]
    peer = figures["scikit_fingerprints"]
    rows = [
        (f"`{name}`", f"{figures[f'{name}_ms']:.2f}", f"{figures[f'{name}_per_second']:,.0f}", "")
        for name in ("svae2149", "mixed2149", "morgan4096")
    ]
    together = "scikit-fingerprints: the four blocks below"
    rows.append((together, f"{peer['together_ms']:.1f}", f"{peer['per_second']:,.0f}", ""))
    for name in ("laggner", "pubchem", "klekota_roth", "maccs"):
        bits = figures["bits"][name]
        compared = f"{bits['differ']:,} of {bits['cells']:,}"
        rows.append((f"its `{name}`", f"{peer[f'{name}_ms']:.1f}", "", compared))
    head = (
        f"`docs/results/{path.name}`, {result['date']}, {figures['n_structures']:,} structures, "
        f"{figures['rounds']} rounds.\n\n"
    )
    columns = ("of a parsed molecule", "ms of a core", "a second", "bits of `svae2149` that differ")
    return head + table(columns, rows)


def speed_table() -> str:
    """Return our speed against the peers'."""
    result: dict[str, Any] = json.loads((RESULTS / "speed.json").read_text(encoding="utf-8"))
    read, layer, start = (result[key] for key in ("read_msp", "sparse_layer", "start"))
    ours, theirs = read["specvae"], read["matchms"]
    rows = [
        (
            f"reading {ours['n_spectra']:,} spectra (MSP)",
            f"{ours['seconds']:.1f} s, {ours['peak_mib']:.0f} MiB",
            f"matchms: {theirs['seconds']:.1f} s, {theirs['peak_mib']:.0f} MiB",
            f"{read['matchms_over_specvae']:.1f}",
        ),
        (
            "first layer on sparse spectra, forward and backward",
            f"{layer['sparse_ms']:.0f} ms",
            f"dense layer: {layer['dense_ms']:.0f} ms",
            f"{layer['dense_over_sparse']:.1f}",
        ),
        (
            "`specvae --help`",
            f"{start['help_seconds']:.2f} s",
            f"`import click`: {start['import_click_seconds']:.2f} s",
            f"{1 / start['help_over_click']:.2f}",
        ),
    ]
    return table(("task", "specvae", "peer", "ratio"), rows)


def experiment_table(name: str) -> str:
    """Return the table of the stored runs of an image or text benchmark."""
    return experiment_report(_stored(name))


def row_for_each_run(name: str) -> str:
    """Return the figures of the stored runs of an experiment, a row for each run."""
    return wide_table(_stored(name))


def _stored(name: str) -> list[dict[str, Any]]:
    paths = sorted((RESULTS / name).glob("*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def method_tables() -> str:
    """Return the figures of all methods on each set, in both tracks."""
    sections = []
    for name, heading in SETS.items():
        path = RESULTS / f"retrieval-{name}.json"
        if path.exists():
            result = json.loads(path.read_text(encoding="utf-8"))
            sections.append(
                f"### {heading}\n\n`docs/results/{path.name}`, {result['date']}.\n\n"
                + markdown_tables(result)
            )
    return "\n".join(sections)


def supervision_tables() -> str:
    """Return hit@1 by the share of pairs, and what unpaired examples add."""
    path = RESULTS / "supervision-massbank-fold.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    return f"`docs/results/{path.name}`, {result['date']}.\n\n" + supervision_table(result)


def epoch_table() -> str:
    """Return seconds per epoch beside multivae's."""
    result = json.loads((RESULTS / "epoch-speed.json").read_text(encoding="utf-8"))["epochs"]
    columns = (
        "kind",
        "specvae",
        "in bfloat16",
        "multivae's trainer",
        "its objective in a bare loop",
        "trainer / specvae",
        "bare loop / specvae",
    )
    rows = []
    for name, figures in result.items():
        if not isinstance(figures, dict):
            continue
        seconds = [
            f"{figures[key]:.2f} s" if key in figures else ""
            for key in (
                "specvae_seconds",
                "specvae_bf16_seconds",
                "multivae_trainer_seconds",
                "multivae_loop_seconds",
            )
        ]
        ratios = [
            f"{figures[key]:.2f}" if key in figures else ""
            for key in ("multivae_trainer_over_specvae", "multivae_loop_over_specvae")
        ]
        rows.append((name, *seconds, *ratios))
    return table(columns, rows)


def gpu_speed_table() -> str:
    """Return what a training step of the paper's networks takes on a GPU."""
    figures = json.loads((RESULTS / "gpu" / "speed.json").read_text(encoding="utf-8"))["figures"]
    rows = [
        (
            name,
            f"{1e3 * mode['seconds_per_step']:.1f}",
            f"{mode['seconds_per_epoch']:.2f}",
            f"{mode['flop_per_second'] / 1e12:.0f}",
            f"{mode['peak_memory_gib']:.1f} GiB",
        )
        for name, mode in figures.items()
    ]
    return table(("kind, mode", "ms a step", "s an epoch", "TFLOP/s", "memory"), rows)


# File -> what was evaluated.
CALIBRATED = {
    "probability-massbank-fold": "MassBank compounds held out",
    "probability-massbank-half": "the same, truths struck from the lists of half of the compounds",
    "probability-casmi2016": "CASMI 2016, positive challenges",
}


def probability_table() -> str:
    """Return how far the probabilities came true."""
    columns = (
        "set",
        "queries",
        "right at rank 1",
        "ECE",
        "Brier",
        "lists with truth, estimated",
        "wrong at p of 0.5 or more: promised, found",
        "wrong in the surest 40 %, 60 %",
    )
    rows = []
    for name, evaluated in CALIBRATED.items():
        result = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        half = next(row for row in result["false_discovery"] if row["threshold"] == 0.5)
        sure = [row["risk"] for row in result["risk_coverage"]]
        cells = (
            f"{evaluated} (`docs/results/{name}.json`)",
            str(result["n_with_probability"]),
            f"{result['hit_at_1']:.1%}",
            f"{result['ece']:.3f}",
            f"{result['brier']:.3f}",
            f"{result['in_list']:.0%}",
            f"{half['estimated']:.1%}, {half['true']:.1%}",
            f"{sure[3]:.1%}, {sure[5]:.1%}",
        )
        rows.append(cells)
    return table(columns, rows)


# File of tests/fuzz.py -> what it is.
BROKEN = {
    "x.mgf": "MGF",
    "x.msp": "MSP",
    "x.txt": "MassBank records",
    "x.mzML": "mzML",
    "x.mzXML": "mzXML",
    "x.csv": "candidates, CSV",
    "x.tsv": "candidates, TSV",
    "truth.csv": "truths",
    "settings.toml": "settings of a training",
    "options.toml": "options of a command",
    "pool.h5": "candidate pool",
    "model.safetensors": "model, damaged",
    "header.safetensors": "model with a header of other types",
}


def mutation_table() -> str:
    """Return what became of broken files of each kind."""
    result = json.loads((RESULTS / "reliability.json").read_text(encoding="utf-8"))
    columns = ("tried", "refused", "in part", "read", "badly")
    rows = [
        (BROKEN[name], *(f"{counts.get(column, 0):,}" for column in columns))
        for name, counts in result["kinds"].items()
    ]
    sums = [sum(counts.get(c, 0) for counts in result["kinds"].values()) for c in columns]
    rows.append(("all", *(f"{n:,}" for n in sums)))
    head = f"`docs/results/reliability.json`, {result['date']}, seed {result['seed']}.\n\n"
    return head + table(("kind", *columns), rows)


def structures_table() -> str:
    """Return what became of the structures of tables, and why some were skipped."""
    results = json.loads((RESULTS / "structures.json").read_text(encoding="utf-8"))
    columns = ("tried", "ranked", "twice", "skipped", "drawn", "badly")
    rows = [
        (
            f"`{result['table']}`",
            f"{result['rows']:,}",
            *(f"{result[column]:,}" for column in columns),
            "; ".join(f"{reason} {n:,}" for reason, n in result["reasons"].items()),
        )
        for result in results
    ]
    head = f"`docs/results/structures.json`, {results[0]['date']}.\n\n"
    return head + table(("table", "rows", *columns, "reasons and notes"), rows)


def whole_runs_table() -> str:
    """Return what whole runs of commands took."""
    results = json.loads((RESULTS / "whole-runs.json").read_text(encoding="utf-8"))
    rows = [
        (
            name + (f" ({result['note']})" if "note" in result else ""),
            result["data"],
            f"{result['processor_seconds']:.0f}",
            f"{result['seconds']:.0f}",
            f"{result['megabytes']:,}",
            f"{result['wanted']:g}",
        )
        for name, result in results.items()
    ]
    dates = sorted({result["date"] for result in results.values()})
    head = f"`docs/results/whole-runs.json`, {', '.join(dates)}.\n\n"
    columns = ("run", "data", "processor s", "clock s", "MB", "wanted: clock s, two free cores")
    return head + table(columns, rows)


def pools_table() -> str:
    """Return what made-up pools take to search, by their rows, mass windows and queries."""
    result = json.loads((RESULTS / "speed-pools-ten-million.json").read_text(encoding="utf-8"))
    searched, further = result["pools"]["searched"], further_queries(result["pools"])
    numbers = sorted({each["queries"] for each in searched})
    rows = []
    for n_rows, ppm in dict.fromkeys((each["rows"], each["ppm"]) for each in searched):
        of_pool = [e for e in searched if (e["rows"], e["ppm"]) == (n_rows, ppm)]
        took = {each["queries"]: f"{each['cpu_seconds']:.0f}" for each in of_pool}
        candidates = of_pool[-1]["candidates_of_a_query"]
        slopes = [e["ms"] for e in further if (e["rows"], e["ppm"]) == (n_rows, ppm)]
        rows.append(
            (
                f"{n_rows:,}",
                f"{ppm:g}",
                f"{candidates:,.0f}",
                *(took.get(n, "") for n in numbers),
                f"{slopes[-1]:.1f}",
                f"{max(each['peak_mib'] for each in of_pool):,.0f}",
            )
        )
    queries = (f"s for {n:,} queries" for n in numbers)
    columns = ("rows", "± ppm", "candidates of a query", *queries, "ms for a further one", "MiB")
    head = f"`docs/results/speed-pools-ten-million.json`, {result['date']}.\n\n"
    return head + table(columns, rows)


def list_lengths_table() -> str:
    """Return what three queries take by all evidence, by the length of their lists."""
    results = json.loads((RESULTS / "list-lengths.json").read_text(encoding="utf-8"))
    rows = []
    for name, first in results.items():
        if name.isdigit():
            again = results[f"{name}-again"]
            shown = (each["processor_seconds"] for each in (first, again))
            most = max(each["megabytes"] for each in (first, again))
            rows.append((f"{int(name):,}", *(f"{seconds:.0f}" for seconds in shown), f"{most:,}"))
    columns = ("candidates of each of three queries", "s, empty cache", "s, again", "MB")
    date = results["10"]["date"]
    return f"`docs/results/list-lengths.json`, {date}.\n\n" + table(columns, rows)


def known_and_unknown() -> str:
    """Return the figures of known, unknown and mixed queries, and how probabilities came true."""
    path = RESULTS / "laboratories.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    return f"`docs/results/{path.name}`, {result['date']}.\n\n" + laboratory_tables(result)


def with_network() -> str:
    """Return the same figures of the program with a network that has seen none of the queries."""
    result = _of_laboratories("laboratories-network")
    (name,) = result["models"]
    return _of_kinds(result, "with a network", f"{name}, everything", f"{name}, fingerprint")


def unseen_score() -> str:
    """Return the same figures by a fragment score that has not seen the compounds."""
    result = _of_laboratories("laboratories-unseen")
    return _of_kinds(
        result,
        "by a fragment score that has not seen them",
        "everything",
        "everything, without retention times",
        "everything, without errors of precursor m/z",
    )


def _of_laboratories(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return {"name": name, **found}


def _of_kinds(result: dict[str, Any], heading: str, *methods: str) -> str:
    """Return hit@1 by kind of query, and how the first method's probabilities came true."""
    kinds = result["kinds"]
    rows = [
        (
            f"{method}, hit@1, %",
            *(f"{100 * kind['all'][method]['hit_at_1']:.1f}" for kind in kinds.values()),
        )
        for method in methods
    ]
    for lists in ("all truths listed", "half of the truths struck"):
        promised = (kind["probabilities"][methods[0]][lists] for kind in kinds.values())
        errors = (f"{figures['ece']:.3f}" for figures in promised)
        rows.append((f"expected calibration error, {lists}", *errors))
    head = f"`docs/results/{result['name']}.json`, {result['date']}.\n\n"
    return head + table((heading, *kinds), rows)


def merging_table() -> str:
    """Return what merging the spectra of a compound gains."""
    result = json.loads((RESULTS / "merging.json").read_text(encoding="utf-8"))
    kinds = list(result["kinds"])
    heads = [f"{kind} ({result['kinds'][kind]['n_compounds']})" for kind in kinds]
    methods = list(result["kinds"][kinds[0]]["hit_at_1"])
    rows = [
        [
            method,
            *(
                f"{100 * result['kinds'][kind]['hit_at_1'][method]:.1f} / "
                f"{100 * result['kinds'][kind]['hit_at_5'][method]:.1f}"
                for kind in kinds
            ),
        ]
        for method in methods
    ]
    head = f"`docs/results/merging.json`, {result['date']}.\n\n"
    return head + table(["hit@1 / hit@5", *heads], rows)


def long_lists() -> str:
    """Return hit rates on lists of contest length, by library and length."""
    path = RESULTS / "laboratories-lists.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    return f"`docs/results/{path.name}`, {result['date']}.\n\n" + list_table(result["lists"])


TABLES: dict[str, Callable[[], str]] = {
    "headline": headline_table,
    "results": retrieval_tables,
    "retrieval": method_tables,
    "supervision": supervision_tables,
    "probability": probability_table,
    "laboratories": known_and_unknown,
    "unseen-score": unseen_score,
    "with-network": with_network,
    "merging": merging_table,
    "long-lists": long_lists,
    "speed": speed_table,
    "fragment-speed": fragment_speed_table,
    "fingerprint-speed": fingerprint_speed_table,
    "epoch-speed": epoch_table,
    "gpu-speed": gpu_speed_table,
    "mutations": mutation_table,
    "structures": structures_table,
    "whole-runs": whole_runs_table,
    "pools": pools_table,
    "list-lengths": list_lengths_table,
    "mnist-split": partial(experiment_table, "mnist-split"),
    "mnist-split-dense": partial(row_for_each_run, "mnist-split-dense"),
    "mnist-split-3-dense": partial(row_for_each_run, "mnist-split-3-dense"),
    "mnist-colour": partial(row_for_each_run, "mnist-colour"),
    "mnist-captions": partial(row_for_each_run, "mnist-captions"),
}


def render(text: str) -> str:
    """Return a page with the tables between its ``<!-- NAME -->`` marks made anew."""
    for name, make in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, found, rest = text.partition(begin)
        if found:
            text = before + begin + make() + end + rest.partition(end)[2]
    return text


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(render(page.read_text(encoding="utf-8")), encoding="utf-8")
