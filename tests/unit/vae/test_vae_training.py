# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import gc
import itertools
import json
import math
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from vae_examples import NONE, linear_gaussian, random_rows, small_batch, small_model, small_source

from specvae.errors import ConfigError, TrainingError
from specvae.vae import training
from specvae.vae.adam import AdamW
from specvae.vae.checkpoint import weights_sha256
from specvae.vae.config import Modality, ModelConfig, ObjectiveConfig, OptimConfig
from specvae.vae.data import GreyLevels, PackedBits, Table, TensorSource, TrainingData
from specvae.vae.kinds import MODEL_KINDS
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import NetworkConfig
from specvae.vae.state import EpochRecord, StateFile
from specvae.vae.training import fit

OPTIM = OptimConfig(
    epochs=4,
    batch_size=8,
    learning_rate=0.01,
    clip_norm=5.0,
    schedule="cosine",
    warmup=0.2,
    weight_averaging=0.9,
    seed=3,
)


def data() -> TrainingData:
    pairs, singles = small_source(20, 1), small_source(33, 2)
    return TrainingData(pairs, {"a": singles, "b": small_source(9, 4)})


class Recorder:
    """A source that remembers which rows were drawn."""

    def __init__(self, source: TensorSource) -> None:
        self.source = source
        self.drawn: list[list[int]] = []
        self.weights = source.weights

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, rows: Tensor) -> Mapping[str, Tensor]:
        self.drawn.append(rows.tolist())
        return self.source.batch(rows)  # type: ignore[return-value]

    def sha256(self) -> str:
        return self.source.sha256()


def dropout_model() -> MultimodalVAE:
    layers = NetworkConfig((8,), batch_norm=True, dropout=0.2, input_dropout=0.1)
    modalities = (
        Modality("a", 6, layers, layers),
        Modality("b", 4, layers, layers, "gaussian", n_context=1),
    )
    torch.manual_seed(0)
    return MultimodalVAE(ModelConfig(modalities, 2))


def test_packed_bits_unpack_lowest_bit_first() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (7, 21), dtype=np.uint8)
    packed = PackedBits(torch.from_numpy(np.packbits(bits, axis=1, bitorder="little")), 21)
    rows = [4, 4, 0]
    assert len(packed) == 7
    assert torch.equal(packed.rows(torch.tensor(rows)), torch.from_numpy(bits[rows]).float())


def test_grey_levels_are_shares_of_255() -> None:
    table = torch.arange(256, dtype=torch.uint8).view(8, 32)
    levels = GreyLevels(table)
    rows = torch.tensor([7, 0, 7])
    assert len(levels) == 8
    found = levels.rows(rows)
    assert found.dtype is torch.float32
    torch.testing.assert_close(found, table[rows].double().div(255.0).float())
    assert (found[1, 0].item(), found[0, -1].item()) == (0.0, 1.0)
    source = TensorSource({"a": levels, "b": torch.rand(8, 2)})
    batch = source.to("cpu").batch(rows)
    assert torch.equal(batch["a"], found)  # type: ignore[arg-type]
    digests = {
        TensorSource({"a": each}).sha256()
        for each in (levels, GreyLevels(table.flip(0)), GreyLevels(table.view(4, 64)), table)
    }
    assert len(digests) == 4
    assert TensorSource({"a": GreyLevels(table.clone())}).sha256() in digests


def test_source_looks_rows_up_in_each_table() -> None:
    spectra, table = random_rows(6, 9), torch.rand(2, 5)
    source = TensorSource({"s": spectra, "f": table}, {"f": torch.tensor([0, 1, 1, 0, 0, 1])})
    batch = source.batch(torch.tensor([5, 2, 0]))
    assert len(source) == 6
    assert torch.equal(batch["f"], table[[1, 1, 0]])  # type: ignore[arg-type]
    assert torch.equal(batch["s"].to_dense(), spectra.to_dense()[[5, 2, 0]])


def test_source_digest_follows_the_data() -> None:
    bits = torch.rand(2, 5)
    tables: dict[str, Table] = {"s": random_rows(6, 9), "f": bits}
    index = {"f": torch.tensor([0, 1, 1, 0, 0, 1])}
    digest = TensorSource(tables, index).sha256()
    assert TensorSource(tables, index).to("cpu").sha256() == digest
    assert TensorSource(tables, {"f": 1 - index["f"]}).sha256() != digest
    assert TensorSource({**tables, "f": bits + 1}, index).sha256() != digest
    assert TensorSource({**tables, "s": random_rows(6, 9, seed=1)}, index).sha256() != digest


def test_weighted_examples_are_drawn_in_proportion() -> None:
    weights = torch.tensor([1.0, 1.0, 6.0]).repeat(60)
    source = Recorder(TensorSource(small_batch(180), None, weights))
    optim = OptimConfig(epochs=5, batch_size=60, learning_rate=1e-3)
    fit(small_model(), TrainingData(source), optim, ObjectiveConfig())
    drawn = [row for rows in source.drawn for row in rows]
    assert len(drawn) == 900
    share = sum(row % 3 == 2 for row in drawn) / 900
    # Standard error of 900 independent draws.
    assert abs(share - 0.75) < 4 * math.sqrt(0.75 * 0.25 / 900)
    tables, weights = {"a": torch.rand(3, 2)}, weights[:3]
    assert TensorSource(tables).sha256() != TensorSource(tables, None, weights).sha256()
    assert TensorSource(tables, None, weights).to("cpu").weights is weights
    for wrong in (torch.ones(2), torch.tensor([1.0, 0.0, 1.0])):
        with pytest.raises(ConfigError, match="3 positive numbers"):
            TensorSource(tables, None, wrong)


def test_inconsistent_sources_are_refused() -> None:
    with pytest.raises(ConfigError, match="different numbers"):
        TensorSource({"a": torch.rand(3, 2), "b": torch.rand(4, 2)})
    for wrong in (3, -1):
        with pytest.raises(ConfigError, match="outside its 3 rows"):
            TensorSource({"a": torch.rand(3, 2)}, {"a": torch.tensor([0, wrong])})


def test_streams_are_shuffled_independently_and_short_ones_restart() -> None:
    sources = {name: Recorder(small_source(n)) for name, n in (("p", 20), ("a", 33), ("b", 9))}
    streams = TrainingData(sources["p"], {"a": sources["a"], "b": sources["b"]})
    optim = OptimConfig(epochs=2, batch_size=8, learning_rate=1e-3)
    fit(small_model(), streams, optim, ObjectiveConfig())
    steps = math.ceil(33 / 8)
    for source in sources.values():
        assert len(source.drawn) == 2 * steps
    passes = sources["a"].drawn[:steps], sources["a"].drawn[steps:]
    orders = [[row for rows in one for row in rows] for one in passes]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(33))  # each example once an epoch
    assert orders[0] != orders[1]
    assert {len(rows) for rows in sources["a"].drawn} == {6, 7}  # equal batches
    pairs = sources["p"].drawn
    assert sorted(itertools.chain(*pairs[:3])) == list(range(20))
    assert len(set(itertools.chain(*pairs[3:5]))) == 14  # a new pass
    assert pairs[:2] != pairs[3:5]
    equal = {name: Recorder(small_source(16)) for name in ("p", "a", "b")}
    fit(
        small_model(),
        TrainingData(equal["p"], {"a": equal["a"], "b": equal["b"]}),
        optim,
        ObjectiveConfig(),
    )
    assert equal["p"].drawn != equal["a"].drawn != equal["b"].drawn


def test_an_epoch_can_have_a_size_of_its_own() -> None:
    # 5 steps of 8 whatever the streams hold; each still goes through all its rows in turn.
    pairs, singles = Recorder(small_source(20, 1)), Recorder(small_source(100, 2))
    optim = OptimConfig(epochs=2, batch_size=8, learning_rate=0.01, epoch_size=36)
    steps: list[tuple[int, int, int]] = []
    fit(
        small_model(),
        TrainingData(pairs, {"a": singles}),
        optim,
        ObjectiveConfig(),
        on_step=lambda *step: steps.append(step),
    )
    assert steps == [(epoch, step, 5) for epoch in (1, 2) for step in (1, 2, 3, 4, 5)]
    assert len(pairs.drawn) == len(singles.drawn) == 10
    first = list(itertools.chain(*pairs.drawn[:3]))
    assert sorted(first) == list(range(20))
    assert len(set(itertools.chain(*singles.drawn[:5]))) == sum(map(len, singles.drawn[:5]))


def test_jmvae_refuses_unpaired_streams_before_a_step() -> None:
    steps: list[int] = []
    with pytest.raises(
        ConfigError, match="learns from pairs only, found unpaired examples of a, b"
    ):
        fit(
            small_model("joint_full"),
            data(),
            OPTIM,
            ObjectiveConfig("jmvae"),
            on_step=lambda *_: steps.append(1),
        )
    assert not steps
    empty = TrainingData(small_source(20, 1), {"a": TensorSource({"a": torch.empty(0, 6)})})
    assert fit(small_model("joint_full"), empty, OPTIM, ObjectiveConfig("jmvae")).epochs


@pytest.mark.parametrize("unpaired", [{}, {"a": 9}, {"a": 9, "b": 5}])
@pytest.mark.parametrize("n_pairs", [0, 12])
def test_absent_streams_leave_their_parts_out(n_pairs: int, unpaired: dict[str, int]) -> None:
    if not n_pairs and not unpaired:
        return
    streams = TrainingData(
        small_source(n_pairs) if n_pairs else None,
        {name: small_source(n) for name, n in unpaired.items()},
    )
    optim = OptimConfig(epochs=1, batch_size=4, learning_rate=1e-3, clip_norm=1.0)
    (record,) = fit(small_model("joint"), streams, optim, ObjectiveConfig()).epochs
    assert any(name.startswith("kl/joint") for name in record.parts) == bool(n_pairs)
    found = {name[-1] for name in record.parts if name.startswith("unpaired-kl")}
    assert found == set(unpaired)


def test_nothing_to_learn_from_or_unknown_names_are_refused() -> None:
    optim = OptimConfig(epochs=1, batch_size=4, learning_rate=1e-3)
    empty = TensorSource({"a": torch.empty(0, 6), "b": torch.empty(0, 5)})
    with pytest.raises(ConfigError, match="empty"):
        fit(small_model(), TrainingData(empty), optim, ObjectiveConfig())
    with pytest.raises(ConfigError, match="no modality 'c'"):
        fit(small_model(), TrainingData(None, {"c": small_source()}), optim, ObjectiveConfig())


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    digests: list[str] = []
    for seed in (3, 3, 4):
        model = dropout_model()
        torch.manual_seed(len(digests))  # the global generator must not matter
        optim = OptimConfig(epochs=2, batch_size=8, learning_rate=0.01, seed=seed)
        fit(model, data(), optim, ObjectiveConfig())
        digests.append(weights_sha256(model))
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("kind", ["svae", "svae-star", "vaevae", "jmvae", "mvae", "mmvae", "mopoe"])
def test_no_tensor_of_a_step_waits_for_the_search_for_cycles(kind: str) -> None:
    """They were gigabytes after some epochs: Python looks for cycles seldom."""
    member = MODEL_KINDS[kind]
    config = replace(small_model().config, posterior=member.posterior)
    pairs = small_source(20, 1)
    streams = {} if kind == "jmvae" else {"a": small_source(9, 4)}
    optim = OptimConfig(epochs=1, batch_size=8, learning_rate=0.01)
    gc.collect()
    gc.disable()
    try:
        fit(
            MultimodalVAE(config), TrainingData(pairs, streams), optim, ObjectiveConfig(member.loss)
        )
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [each for each in gc.garbage if issubclass(type(each), Tensor)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert left == []


def test_training_leaves_the_global_generator_alone() -> None:
    model = dropout_model()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(model, data(), OPTIM, ObjectiveConfig())
    assert torch.equal(torch.rand(3), expected)


RUN = """
import os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_vae_training import OPTIM, data, dropout_model
from specvae.vae.config import ObjectiveConfig
from specvae.vae.state import StateFile
from specvae.vae.training import fit

def on_step(epoch, step, n_steps):
    if (epoch, step) == (3, 2):
        # Torch's compiler would take seconds of every start.
        assert "torch._dynamo" not in sys.modules
        os.kill(os.getpid(), 9)

fit(dropout_model(), data(), OPTIM, ObjectiveConfig(), validate=lambda model: 1.0,
    on_step=on_step, state=StateFile(Path(sys.argv[2]), every=0))
"""


@pytest.mark.usefixtures("as_on_windows")
def test_a_killed_run_resumes_to_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    state = StateFile(tmp_path / "state.safetensors", every=0)
    killed = subprocess.run(
        [sys.executable, "-c", RUN, str(Path(__file__).parent), str(state.path)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    seen: list[EpochRecord] = []
    resumed, undisturbed = dropout_model(), dropout_model()
    # The best epoch is the first: it too has to survive the kill.
    history = fit(
        resumed,
        data(),
        OPTIM,
        ObjectiveConfig(),
        validate=lambda _: 1.0,
        on_epoch=seen.append,
        state=state,
        resume=True,
    )
    assert [record.epoch for record in seen] == [3, 4]
    assert [record.epoch for record in history.epochs] == [1, 2, 3, 4]
    whole = fit(undisturbed, data(), OPTIM, ObjectiveConfig(), validate=lambda _: 1.0)
    assert weights_sha256(resumed) == weights_sha256(undisturbed)
    for ours, theirs in zip(history.epochs, whole.epochs, strict=True):
        assert ours.parts == theirs.parts
        assert (ours.best, ours.learning_rate) == (theirs.best, theirs.learning_rate)
    again = dropout_model()  # resuming a finished run trains nothing and restores it
    assert len(fit(again, data(), OPTIM, ObjectiveConfig(), state=state, resume=True).epochs) == 4
    assert weights_sha256(again) == weights_sha256(undisturbed)
    torch.set_num_threads(n_threads)


def test_last_weights_are_resumed_too(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.safetensors", every=0)

    class Stop(Exception):
        pass

    def stop(record: EpochRecord) -> None:
        if record.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        fit(dropout_model(), data(), OPTIM, ObjectiveConfig(), on_epoch=stop, state=state)
    resumed, undisturbed = dropout_model(), dropout_model()
    fit(resumed, data(), OPTIM, ObjectiveConfig(), state=state, resume=True)
    fit(undisturbed, data(), OPTIM, ObjectiveConfig())
    assert weights_sha256(resumed) == weights_sha256(undisturbed)


@pytest.mark.parametrize("averaging", [None, 0.9])
@pytest.mark.parametrize("best", [1, 2])
def test_a_state_holds_no_weights_twice(tmp_path: Path, averaging: float | None, best: int) -> None:
    state = StateFile(tmp_path / "state.safetensors", every=0)
    optim = OptimConfig(2, batch_size=8, learning_rate=0.01, weight_averaging=averaging)
    values = {1: [2.0, 1.0], 2: [1.0, 2.0]}[best]

    def run(resume: bool) -> str:
        model, measured = dropout_model(), iter(values)
        fit(
            model, data(), optim, ObjectiveConfig(), validate=lambda _: next(measured),
            state=state, resume=resume,
        )  # fmt: skip
        return weights_sha256(model)

    trained = run(resume=False)
    with safe_open(state.path, framework="pt") as stream:
        groups = {key.partition("/")[0] for key in stream.keys()}  # noqa: SIM118 (no mapping)
    wanted = {"model", "optimizer"}
    # The best weights are those of the last epoch, or need a place of their own.
    wanted |= {"best"} if best == 1 else set()
    wanted |= {"averaged"} if averaging else set()
    assert groups == wanted
    assert run(resume=True) == trained


def test_a_state_is_written_no_more_often_than_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    seen: list[bool] = []
    for every in (1e9, 0.0):
        fit(
            dropout_model(), data(), OPTIM, ObjectiveConfig(),
            on_epoch=lambda _: seen.append(path.exists()), state=StateFile(path, every),
        )  # fmt: skip
        assert path.exists()  # after the last epoch it always is
        path.unlink()
    assert seen == [False] * 4 + [True] * 4


def test_resume_state_of_another_run_or_a_foreign_file_is_refused(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.safetensors", settings={"optim": {"rate": 0.1}, "seed": 3})
    fit(dropout_model(), data(), OPTIM, ObjectiveConfig(), state=state)
    other = OptimConfig.from_json({**OPTIM.to_json(), "seed": 4})
    other_settings = replace(state, settings={"optim": {"rate": 0.2}, "seed": 4})
    for streams, optim, objective, ours, differing in (
        (data(), other, ObjectiveConfig(), state, "optim.seed 3 (now 4)"),
        (data(), OPTIM, ObjectiveConfig(beta=0.5), state, "objective.beta 1.0 (now 0.5)"),
        (
            TrainingData(small_source(20, 8), data().unpaired), OPTIM, ObjectiveConfig(), state,
            "other training data",
        ),
        (data(), other, ObjectiveConfig(), other_settings, "optim.rate 0.1 (now 0.2), seed 3 (now"),
    ):  # fmt: skip
        with pytest.raises(TrainingError, match="resume state of a run with") as error:
            fit(dropout_model(), streams, optim, objective, state=ours, resume=True)
        assert differing in str(error.value)
        assert "\n" not in str(error.value)
    for content in (b"", b"nonsense" * 40, state.path.read_bytes()[:3000]):
        state.path.write_bytes(content)
        with pytest.raises(TrainingError, match="not a resume state, or a damaged one") as error:
            fit(dropout_model(), data(), OPTIM, ObjectiveConfig(), state=state, resume=True)
        assert "\n" not in str(error.value)


def test_a_run_at_a_constant_rate_is_prolonged_and_never_shortened(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.safetensors")

    def run(epochs: int) -> int:
        optim = OptimConfig(epochs, batch_size=8, learning_rate=0.01)
        history = fit(dropout_model(), data(), optim, ObjectiveConfig(), state=state, resume=True)
        return len(history.epochs)

    assert [run(1), run(3), run(3)] == [1, 3, 3]
    with pytest.raises(TrainingError, match="after 3 epochs, wanted at most 2"):
        run(2)


def test_a_run_whose_rates_follow_from_its_epochs_is_not_prolonged(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.safetensors")
    for epochs in (1, 2):
        optim = OptimConfig(epochs, batch_size=8, learning_rate=0.01, schedule="cosine")
        with ExitStack() as stack:
            if epochs == 2:
                said = (
                    r"epochs 1 \(now 2\); the learning rate of each epoch depends on their number"
                )
                stack.enter_context(pytest.raises(TrainingError, match=said))
            fit(dropout_model(), data(), optim, ObjectiveConfig(), state=state, resume=True)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_and_says_where(value: float) -> None:
    batch = small_batch(20)
    batch["b"][7, 2] = value
    source = TensorSource(batch)
    optim = OptimConfig(epochs=2, batch_size=20, learning_rate=1e-3)
    with pytest.raises(TrainingError, match=r"^epoch 1, step 1: .* finite: \S+ is (nan|inf)$"):
        fit(small_model(), TrainingData(source), optim, ObjectiveConfig())


def test_a_gradient_that_is_no_number_stops() -> None:
    model = small_model()
    model.get_parameter("decoders.a.output.weight").register_hook(lambda grad: grad * math.nan)
    optim = OptimConfig(epochs=1, batch_size=8, learning_rate=1e-3)
    with pytest.raises(TrainingError, match="epoch 1, step 1: the gradient"):
        fit(model, data(), optim, ObjectiveConfig())


def test_a_validation_value_that_is_no_number_stops() -> None:
    with pytest.raises(TrainingError, match="validation value is not a number"):
        fit(small_model(), data(), OPTIM, ObjectiveConfig(), validate=lambda _: math.nan)


def test_gradients_are_clipped_after_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    step = AdamW.step

    def spy(self: AdamW) -> None:
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        norms.append(torch.linalg.vector_norm(torch.cat(gradients)).item())
        step(self)

    monkeypatch.setattr(AdamW, "step", spy)
    for clip in (None, 0.5):
        norms.clear()
        model = small_model()
        optim = OptimConfig(epochs=1, batch_size=8, learning_rate=1e-3, clip_norm=clip)
        (record,) = fit(model, data(), optim, ObjectiveConfig()).epochs
        assert record.gradient_norm > 1.0  # before clipping
        assert max(norms) > 1.0 if clip is None else norms == pytest.approx([0.5] * len(norms))


def test_the_model_ends_with_its_best_epoch_by_the_metric() -> None:
    values = iter([0.1, 0.7, 0.7, 0.3])
    digests: list[str] = []

    def validate(model: MultimodalVAE) -> float:
        assert not model.training
        assert not torch.is_grad_enabled()
        digests.append(weights_sha256(model))
        torch.rand(1)  # what a validation draws must not matter
        return next(values)

    model = dropout_model()
    history = fit(model, data(), OPTIM, ObjectiveConfig(), validate=validate)
    assert [record.best for record in history.epochs] == [True, True, False, False]
    assert history.best.epoch == 2
    assert weights_sha256(model) == digests[1]
    assert len(set(digests)) == 4
    assert not model.training
    for record in history.epochs:
        assert EpochRecord(**json.loads(json.dumps(record.to_json()))) == record


def test_patience_stops_after_epochs_without_improvement() -> None:
    optim = OptimConfig(epochs=9, batch_size=8, learning_rate=1e-3, patience=2)
    values = iter([0.1, 0.5, 0.4, 0.5])
    history = fit(small_model(), data(), optim, ObjectiveConfig(), validate=lambda _: next(values))
    assert len(history.epochs) == 4


def test_averaged_weights_are_the_exponential_average() -> None:
    steps: list[Tensor] = []
    model = small_model()
    weight = model.get_parameter("decoders.a.output.weight")
    optim = OptimConfig(epochs=2, batch_size=8, learning_rate=0.01, weight_averaging=0.6)
    expected = weight.detach().clone()
    fit(
        model,
        data(),
        optim,
        ObjectiveConfig(),
        on_step=lambda *_: steps.append(weight.detach().clone()),
    )
    assert len(steps) == 10
    for number, value in enumerate(steps):
        decay = min(0.6, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * value
    torch.testing.assert_close(weight.detach(), expected)
    assert not torch.allclose(expected, steps[-1])


def test_learning_rates_of_the_schedules() -> None:
    def rates(**options: object) -> list[float]:
        config = OptimConfig(epochs=1, batch_size=1, learning_rate=2.0, **options)  # type: ignore[arg-type]
        return [config.rate_at(step, 100) for step in range(100)]

    assert set(rates()) == {2.0}
    assert rates(warmup=0.1)[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    cosine = rates(schedule="cosine", warmup=0.1)
    assert max(cosine) == cosine[10] == 2.0
    assert cosine[55] == pytest.approx(1.0)
    assert 0.0 < cosine[99] < 0.01
    one = rates(schedule="onecycle")
    assert one[0] == pytest.approx(2.0 / 25)
    assert one[15] == pytest.approx(2.0 * (1 / 25 + 24 / 25 / 2))
    assert max(one) == one[30] == pytest.approx(2.0)
    assert 0.0 < one[99] < 0.01
    assert max(rates(schedule="onecycle", warmup=0.5)) == rates(schedule="onecycle", warmup=0.5)[50]


@pytest.mark.parametrize("is_fast", [True, False])
def test_mixed_precision_trains_and_says_where_it_is_slow(
    is_fast: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(training, "has_fast_bfloat16", lambda _: is_fast)
    optim = OptimConfig(epochs=2, batch_size=8, learning_rate=0.01, amp=True)
    history = fit(dropout_model(), data(), optim, ObjectiveConfig())
    assert history.epochs[1].total < history.epochs[0].total
    assert ("bfloat16 are emulated on this processor" in caplog.text) != is_fast
    fit(dropout_model(), data(), replace(optim, amp=False), ObjectiveConfig())
    assert caplog.text.count("emulated") == (not is_fast)


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"clip_norm": 0.0},
        {"warmup": 1.0},
        {"weight_averaging": 1.0},
        {"epoch_size": 0},
        {"epoch_size": -3},
    ],
)
def test_senseless_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        OptimConfig(**{"epochs": 1, "batch_size": 1, "learning_rate": 0.1, **options})  # type: ignore[arg-type]


def test_fit_reaches_the_evidence_of_linear_gaussian_data() -> None:
    # Linear networks hold the exact single posteriors, so the trained bounds on log p(x1) and
    # log p(x2) can be compared with the known values.
    exact, (x1, x2) = linear_gaussian(400)
    modalities = tuple(
        Modality(name, x.shape[1], NONE, NONE, "gaussian", scale=s)
        for name, x, s in zip("ab", (x1, x2), exact.scales, strict=True)
    )
    torch.manual_seed(0)
    model = MultimodalVAE(ModelConfig(modalities, 3, "joint")).double()
    source = TensorSource({"a": x1, "b": x2})
    optim = OptimConfig(epochs=100, batch_size=100, learning_rate=0.03, schedule="cosine")
    history = fit(model, TrainingData(None, {"a": source, "b": source}), optim, ObjectiveConfig())
    evidence = (exact.evidence((x1, 0)) + exact.evidence((x2, 1))).mean().item()
    # The decoders are fitted to these samples, so they may exceed the true model by a little.
    assert -history.epochs[-1].total == pytest.approx(evidence, abs=0.4)
    assert -history.epochs[0].total < evidence - 1.0
