"""Oracles: their networks, training, evaluation mode, and the cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from specvae_bench.paper.images import ImageSet
from specvae_bench.paper.oracles import (
    DigitNet,
    Oracle,
    OracleCard,
    OracleSettings,
    load_oracle,
    one_cycle,
    oracle_for,
    resnet18,
    save_oracle,
    shift_randomly,
    train_oracle,
)

from specvae.errors import CheckpointError, ConfigError, TrainingError
from specvae.vae.checkpoint import weights_sha256


def stripes(n: int, seed: int, channels: int = 1) -> ImageSet:
    """Noise with a bright row at 2 x digit + 4: separable, also when moved by one pixel."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(10, (n,), generator=generator)
    pixels = torch.randint(60, (n, channels, 28, 28), generator=generator, dtype=torch.uint8)
    pixels[torch.arange(n), :, 2 * labels + 4] = 255
    return ImageSet(pixels, labels)


TRAIN, TEST = stripes(400, 0), stripes(100, 1)
SMALL = OracleSettings("digit-net", epochs=12, batch_size=20, learning_rate=5e-3, max_shift=0)


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return train_oracle(SMALL, TRAIN, TEST)


def n_parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("channels", [1, 3])
def test_resnet18_has_the_parameters_of_its_table(channels: int) -> None:
    # Weights of a k x k convolution without bias, and the 2 n of a batch normalisation.
    stem = channels * 64 * 49 + 128
    stage1 = 4 * (64 * 64 * 9 + 128)
    stage2 = 64 * 128 * 9 + 3 * (128 * 128 * 9) + 64 * 128 + 5 * 256
    stage3 = 128 * 256 * 9 + 3 * (256 * 256 * 9) + 128 * 256 + 5 * 512
    stage4 = 256 * 512 * 9 + 3 * (512 * 512 * 9) + 256 * 512 + 5 * 1024
    total = stem + stage1 + stage2 + stage3 + stage4 + 512 * 10 + 10
    assert total == {1: 11_175_370, 3: 11_181_642}[channels]
    assert n_parameters(resnet18(10, channels)) == total


def test_resnet18_with_1000_classes_and_colours_is_the_well_known_one() -> None:
    assert n_parameters(resnet18(1000, 3)) == 11_689_512


def test_resnet18_halves_the_image_five_times() -> None:
    network = resnet18(7, 1).eval()
    sizes = []
    x = torch.zeros(2, 1, 64, 64)
    for layer in network.children():
        x = layer(x)
        if x.ndim == 4 and (x.shape[1], x.shape[2]) not in sizes:
            sizes.append((x.shape[1], x.shape[2]))
    assert sizes == [(64, 32), (64, 16), (128, 8), (256, 4), (512, 2), (512, 1)]
    assert x.shape == (2, 7)


@pytest.mark.parametrize(("channels", "size", "n_flat"), [(1, 28, 320), (3, 32, 500)])
def test_digit_net_shapes(channels: int, size: int, n_flat: int) -> None:
    network = DigitNet(channels, size)
    convolutions = (channels * 25 + 1) * 10 + (10 * 25 + 1) * 20
    assert n_parameters(network) == convolutions + (n_flat + 1) * 50 + 51 * 10
    assert network(torch.rand(2, channels, size, size)).shape == (2, 10)


def test_one_cycle_rises_and_falls() -> None:
    rates = [one_cycle(i / 100) for i in range(101)]
    assert rates[0] == 0
    assert rates[15] == pytest.approx(0.5)
    assert rates[30] == pytest.approx(1)
    assert rates[65] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0)
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)


def test_shifts_move_whole_images_and_repeat_their_border() -> None:
    torch.manual_seed(0)
    image = torch.arange(2 * 6 * 5, dtype=torch.uint8).reshape(1, 2, 6, 5)
    moved = shift_randomly(image.repeat(400, 1, 1, 1), 2)
    padded = torch.nn.functional.pad(image.float(), (2, 2, 2, 2), mode="replicate").byte()[0]
    places = [padded[:, y : y + 6, x : x + 5] for y in range(5) for x in range(5)]
    hits = [[torch.equal(one, place) for place in places] for one in moved]
    assert all(sum(row) == 1 for row in hits)
    # All 25 places are drawn.
    assert all(any(column) for column in zip(*hits, strict=True))
    assert torch.equal(shift_randomly(image, 0), image)


def test_a_trained_oracle_knows_separable_images(oracle: Oracle) -> None:
    assert oracle.card.test_accuracy > 0.95
    assert oracle.accuracy(TEST.pixels, TEST.labels) == oracle.card.test_accuracy
    predicted = oracle.predict(TEST.pixels)
    assert predicted.dtype == torch.int64
    assert torch.equal(predicted, oracle.predict(TEST.floats()))
    right = float((predicted == TEST.labels).double().mean())
    assert right == pytest.approx(oracle.card.test_accuracy)
    assert oracle.card.train_sha256 == TRAIN.sha256
    assert oracle.card.test_sha256 == TEST.sha256


def test_nothing_to_classify(oracle: Oracle) -> None:
    assert oracle.predict(TEST.pixels[:0]).shape == (0,)


def test_images_of_another_shape_are_refused(oracle: Oracle) -> None:
    with pytest.raises(ConfigError, match=r"shape \(1, 28, 28\), found \(3, 32, 32\)"):
        oracle.predict(torch.zeros(2, 3, 32, 32))


def test_an_image_is_judged_alone() -> None:
    """Batch statistics or dropout would make a class depend on its batch, and move the buffers."""
    settings = OracleSettings("resnet18", epochs=1, batch_size=4, max_shift=0)
    oracle = train_oracle(settings, TRAIN.take(slice(8)), TEST.take(slice(4)))
    oracle.network.train()  # Whatever another user of the network did.
    before = {name: b.clone() for name, b in oracle.network.named_buffers()}
    images = torch.cat([TEST.floats()[:6], torch.ones(2, 1, 28, 28)])
    together = oracle.predict(images)
    assert together.tolist() == [int(oracle.predict(image[None])) for image in images]
    assert torch.equal(together, oracle.predict(images, batch_size=3))
    assert torch.equal(together.flip(0), oracle.predict(images.flip(0)))
    with torch.no_grad():
        logits = oracle.network(images)
        torch.testing.assert_close(oracle.network(images[:1]), logits[:1], rtol=1e-4, atol=1e-4)
    assert any("running_mean" in name for name in before)
    for name, buffer in oracle.network.named_buffers():
        assert torch.equal(buffer, before[name])


def test_an_oracle_in_training_mode_adapts_and_stays_as_it_is() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(1), torch.nn.Flatten())
    card = OracleCard(SMALL, (1, 1, 2), "", "", 1.0, 0.0)
    oracle = Oracle(network, card)
    before = weights_sha256(network)
    # Far to one side of what batch normalisation remembers (mean 0): all of class 0, unless the
    # batch's own mean is taken. Each image shows its class by its brighter pixel, however dim.
    images = 5.0 + torch.tensor([[2.0, 1.0], [1.0, 2.0]]).repeat(150, 1).view(300, 1, 1, 2)
    labels = torch.tensor([0, 1]).repeat(150)
    assert oracle.accuracy_in_training(images, labels) == 1.0
    assert oracle.accuracy_in_training(images[:1], labels[:1]) == 1.0
    limited = torch.nn.Sequential(*network, torch.nn.Hardtanh(-1.5, 1.5))
    adapting = Oracle(limited, card)
    assert adapting.accuracy(images, labels) == 0.5  # beyond the limit all pixels are alike
    assert adapting.accuracy_in_training(images, labels) == 1.0
    assert weights_sha256(network) == before
    assert not network.training


def test_training_leaves_the_callers_random_numbers_alone(oracle: Oracle) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    again = train_oracle(SMALL, TRAIN, TEST)
    assert torch.equal(torch.rand(3), expected)
    assert weights_sha256(again.network) == weights_sha256(oracle.network)
    other = train_oracle(replace(SMALL, seed=1, epochs=1), TRAIN, TEST)
    assert weights_sha256(other.network) != weights_sha256(oracle.network)


def test_an_interrupted_training_ends_with_the_same_weights(oracle: Oracle, tmp_path: Path) -> None:
    def stop(epoch: int, loss: float) -> None:
        if epoch == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        oracle_for(SMALL, TRAIN, TEST, tmp_path, on_epoch=stop)
    assert [path.name.endswith(".state.safetensors") for path in tmp_path.iterdir()] == [True]
    epochs: list[int] = []
    steps: list[tuple[int, int, int]] = []
    resumed = oracle_for(
        SMALL,
        TRAIN,
        TEST,
        tmp_path,
        on_epoch=lambda epoch, _: epochs.append(epoch),
        on_step=lambda *step: steps.append(step),
    )
    n_steps = len(TRAIN) // min(SMALL.batch_size, len(TRAIN))
    assert steps[:n_steps] == [(6, step + 1, n_steps) for step in range(n_steps)]
    assert epochs == list(range(6, 13))
    assert weights_sha256(resumed.network) == weights_sha256(oracle.network)
    assert [path.name.endswith(".state.safetensors") for path in tmp_path.iterdir()] == [False]


def test_the_state_of_another_training_is_refused(tmp_path: Path) -> None:
    def stop(epoch: int, loss: float) -> None:
        raise KeyboardInterrupt

    state = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train_oracle(SMALL, TRAIN, TEST, state=state, on_epoch=stop)
    with pytest.raises(CheckpointError, match="the state of another training"):
        train_oracle(replace(SMALL, seed=1), TRAIN, TEST, state=state)
    with pytest.raises(CheckpointError, match="the state of another training"):
        train_oracle(SMALL, TEST, TEST, state=state)


def test_the_cache_holds_an_oracle_by_settings_and_data(tmp_path: Path) -> None:
    trainings: list[int] = []

    def found(settings: OracleSettings, train: ImageSet, test: ImageSet) -> Oracle:
        return oracle_for(
            settings, train, test, tmp_path, on_epoch=lambda e, _: trainings.append(e)
        )

    settings = replace(SMALL, epochs=1)
    first = found(settings, TRAIN, TEST)
    assert trainings == [1]
    again = found(settings, TRAIN, TEST)
    assert trainings == [1]
    assert again.card == first.card
    assert weights_sha256(again.network) == weights_sha256(first.network)
    assert torch.equal(again.predict(TEST.pixels), first.predict(TEST.pixels))
    assert not again.network.training
    found(replace(settings, seed=1), TRAIN, TEST)
    assert len(trainings) == 2
    found(settings, TRAIN.take(slice(1, None)), TEST)
    assert len(trainings) == 3
    found(settings, TRAIN, TEST.take(slice(1, None)))
    assert len(trainings) == 4
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_oracle_is_an_error_in_one_line(oracle: Oracle, tmp_path: Path) -> None:
    path = tmp_path / "oracle.safetensors"
    save_oracle(path, oracle)
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[-1] ^= 1
    for message, damaged in (
        ("cannot be read as an oracle", content[:-10]),
        ("cannot be read as an oracle", b""),
        ("the weights differ from their recorded SHA-256", bytes(flipped)),
    ):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=message) as caught:
            load_oracle(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="but not of an oracle"):
        load_oracle(path)
    with pytest.raises(CheckpointError, match="cannot be read as an oracle"):
        load_oracle(tmp_path / "absent.safetensors")


def test_an_oracle_of_another_version_is_refused(oracle: Oracle, tmp_path: Path) -> None:
    path = tmp_path / "oracle.safetensors"
    colours = Oracle(oracle.network, replace(oracle.card, image_shape=(3, 28, 28)))
    save_oracle(path, colours)
    with pytest.raises(CheckpointError, match="not an oracle of this version") as caught:
        load_oracle(path)
    assert "\n" not in str(caught.value)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="'resnet19' is unknown; nearest: 'resnet18'"):
        OracleSettings("resnet19")
    with pytest.raises(ConfigError, match="epochs must be at least 1, found 0"):
        OracleSettings("digit-net", epochs=0)


def test_a_loss_that_is_no_number_stops_training() -> None:
    with pytest.raises(TrainingError, match="oracle digit-net: loss is nan in epoch 1"):
        train_oracle(replace(SMALL, learning_rate=float("inf")), TRAIN, TEST)
