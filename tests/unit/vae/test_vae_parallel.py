# mypy: disable-error-code="no-untyped-call"
"""Processes that train together give what one process gives on the same batches."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed
from vae_examples import small_batch, small_model, small_source

from specvae.errors import ConfigError, TrainingError
from specvae.vae.config import ObjectiveConfig, OptimConfig
from specvae.vae.data import TrainingData
from specvae.vae.distributions import Normal
from specvae.vae.kinds import LossKind
from specvae.vae.objective import LOSSES, loss
from specvae.vae.parallel import BatchPart, Processes, joined, started_by_torchrun
from specvae.vae.state import StateFile
from specvae.vae.training import fit


def train(name: str, epochs: int, state: Path | None = None) -> dict[str, Any]:
    """Train a small model; return its epochs and weights. Also what the processes run."""
    # Batches of 7, 7, 6 pairs and of 9 or fewer singles: parts of unlike sizes.
    unpaired = {"a": small_source(33, 2), "b": small_source(9, 4)}
    model = small_model()
    optim = OptimConfig(
        epochs, 7, 0.01, clip_norm=2.0, weight_averaging=0.9, seed=3, schedule="constant"
    )
    with joined(torch.device("cpu")) as processes:
        history = fit(
            model,
            TrainingData(small_source(20, 1), unpaired),
            optim,
            ObjectiveConfig(loss=name, n_samples=2),  # type: ignore[arg-type]
            # What the first process finds counts, whatever the others would.
            validate=lambda m: float(next(m.parameters()).sum()) + 100.0 * processes.rank,
            state=None if state is None else StateFile(state, 0.0),
            resume=True,
            processes=processes,
        )
    epochs_of = [record.to_json() for record in history.epochs]
    for record in epochs_of:
        del record["seconds"], record["validation_seconds"]
    return {
        "rank": processes.rank,
        "epochs": epochs_of,
        "weights": [p.flatten().tolist() for p in model.parameters()],
    }


def by_processes(n: int, folder: Path, *arguments: object) -> dict[str, Any]:
    code = (
        f"import json, sys; sys.path[:0] = {sys.path!r}\n"
        "from pathlib import Path\n"
        "from test_vae_parallel import train\n"
        "found = train(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))\n"
        "Path(sys.argv[3]).with_name(f'rank{found[\"rank\"]}.json').write_text(json.dumps(found))\n"
    )
    script = folder / "train.py"
    script.write_text(code, encoding="utf-8")
    line = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n),
        str(script), *map(str, arguments), str(folder / "state.safetensors"),
    ]  # fmt: skip
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    of_ranks = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(n)]
    assert all(each["weights"] == of_ranks[0]["weights"] for each in of_ranks)
    found: dict[str, Any] = of_ranks[0]
    return found


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert len(found["epochs"]) == len(wanted["epochs"])
    for ours, theirs in zip(found["epochs"], wanted["epochs"], strict=True):
        parts, other_parts = ours.pop("parts"), theirs.pop("parts")
        assert parts == pytest.approx(other_parts, rel=1e-4)
        assert ours == pytest.approx(theirs, rel=1e-4)
    for a, b in zip(found["weights"], wanted["weights"], strict=True):
        torch.testing.assert_close(torch.tensor(a), torch.tensor(b), rtol=1e-3, atol=1e-5)


def test_two_processes_give_the_loss_curve_of_one_which_goes_on_where_they_were(
    tmp_path: Path,
) -> None:
    assert_same(by_processes(2, tmp_path, "new", 2), train("new", 2))
    assert_same(train("new", 4, tmp_path / "state.safetensors"), train("new", 4))


@pytest.mark.parametrize("name", LOSSES)
def test_parts_of_a_batch_have_the_loss_of_the_whole(name: LossKind) -> None:
    model = small_model("mixture" if name in ("iwae", "dreg", "elbo") else "product")
    config = ObjectiveConfig(loss=name, n_samples=2, path_weights={"a->b": 0.5})
    batches: dict[str, dict[str, Tensor]] = {"paired": small_batch(7, 1)}
    if name not in ("jmvae", "mvtcae"):
        batches["unpaired-a"] = {"a": small_batch(6, 2)["a"]}
        batches["unpaired-b"] = {"b": small_batch(5, 4)["b"]}

    def parts_of(rank: int, n: int) -> dict[str, float]:
        part = {s: Processes(rank, n).part(len(next(iter(x.values())))) for s, x in batches.items()}
        cut = {
            s: {m: v[part[s].first : part[s].end] for m, v in x.items()} for s, x in batches.items()
        }
        unpaired = {s.removeprefix("unpaired-"): x for s, x in cut.items() if s != "paired"}
        found = loss(
            model,
            cut["paired"],
            {m: x[m] for m, x in unpaired.items()},
            config,
            generator=torch.Generator().manual_seed(5),
            parts=part,
            n_processes=n,
        )
        return {key: value.item() for key, value in found.parts.items()}

    whole, both = parts_of(0, 1), [parts_of(rank, 2) for rank in range(2)]
    assert {key: sum(p[key] for p in both) / 2 for key in whole} == pytest.approx(whole, rel=1e-5)


def test_parts_are_all_rows_once() -> None:
    for n_rows in (3, 7, 12):
        parts = [Processes(rank, 3).part(n_rows) for rank in range(3)]
        rows = [row for part in parts for row in range(part.first, part.end)]
        assert rows == list(range(n_rows))
        assert sum(part.share for part in parts) == pytest.approx(1.0)
    with pytest.raises(ConfigError, match="a batch of 2 examples for 3 processes"):
        Processes(0, 3).part(2)


def test_a_part_s_noise_is_that_of_the_whole() -> None:
    whole = Normal(torch.zeros(7, 2), torch.zeros(7, 2))
    part = Normal(torch.zeros(3, 2), torch.zeros(3, 2))
    noise = [torch.Generator().manual_seed(1) for _ in range(2)]
    wanted = whole.sample(4, noise[0])[:, 2:5]
    assert torch.equal(part.sample(4, noise[1], BatchPart(2, 5, 7)), wanted)


def test_a_process_alone_is_the_first() -> None:
    assert started_by_torchrun({}) == Processes(0, 1)
    where = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    assert started_by_torchrun({"RANK": "1", "WORLD_SIZE": "4", **where}) == Processes(1, 4)
    # What a batch system or an earlier run leaves behind.
    assert started_by_torchrun({"RANK": "1", "WORLD_SIZE": ""}) == Processes(0, 1)
    assert started_by_torchrun({"RANK": "3", "WORLD_SIZE": "1"}) == Processes(0, 1)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RANK": "1", "WORLD_SIZE": "4"}, "WORLD_SIZE=4, but has no MASTER_ADDR and no MASTER"),
        ({"WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "has no RANK: start several"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE='two': wanted a number"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE='-2': wanted a number"),
        (
            {"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"},
            "RANK=2 of WORLD_SIZE=2: wanted less",
        ),
        (
            {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "tcp"},
            "MASTER_PORT='tcp': wanted a number",
        ),
    ],
)
def test_variables_that_torchrun_did_not_set(environment: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        started_by_torchrun(environment)
    assert Processes().from_first(None, torch.device("cpu")) is None


def test_processes_that_cannot_meet_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": "99999"}
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", **place}.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(TrainingError, match=r"^localhost:99999: 2 processes cannot meet there: .+"),
        joined(torch.device("cpu")),
    ):
        pass


LOSES_ANOTHER = """
import os, signal, sys
import torch
from specvae.errors import TrainingError
from specvae.vae.parallel import joined

try:
    with joined(torch.device("cpu")) as processes:
        processes.wait()
        if processes.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        while True:
            processes.mean(torch.ones(3))
except TrainingError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_process_that_is_killed_is_told_by_the_others() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", LOSES_ANOTHER],
            env=os.environ | place | {"RANK": str(rank), "WORLD_SIZE": "2"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=100)[0] for process in started]
    assert said[0].startswith("process 0 of 2 has lost another one, which says why it ended, or ")
    assert said[0].endswith("; it can be resumed from its last state\n")
    assert "[/" not in said[0]
    assert said[0].count("\n") == 1


@pytest.mark.parametrize("is_gone", [False, True])
def test_processes_leave_together(monkeypatch: pytest.MonkeyPatch, is_gone: bool) -> None:
    """No operation with tensors is the last one; a partner that is gone does not matter then."""
    done: list[str] = []

    def barrier() -> None:
        done.append("barrier")
        if is_gone:
            raise RuntimeError("gloo: connection closed by peer")

    monkeypatch.setattr(distributed, "init_process_group", lambda *_: None)
    monkeypatch.setattr(distributed, "all_reduce", lambda *_: done.append("mean"))
    monkeypatch.setattr(distributed, "barrier", barrier)
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: done.append("left"))
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", **place}.items():
        monkeypatch.setenv(name, value)
    with joined(torch.device("cpu")) as processes:
        processes.mean(torch.ones(2))
    assert done == ["mean", "barrier", "left"]


def test_other_errors_of_processes_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("init_process_group", "destroy_process_group"):
        monkeypatch.setattr(distributed, name, lambda *_: None)
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", **place}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeError, match="of mine"), joined(torch.device("cpu")):
        raise RuntimeError("a defect of mine")


FORKS = """
import multiprocessing
import torch
import specvae.vae.device

def product(_):
    return float((torch.ones(1_000_000) + 1).sum())

torch.set_num_threads(2)
product(0)
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(product, range(2)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_process_computes_by_itself() -> None:
    """As of ``multiprocessing.Pool``, where a model was used before; it would wait for ever."""
    done = subprocess.run(
        [sys.executable, "-c", FORKS],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stdout == "[2000000.0, 2000000.0]\n"
