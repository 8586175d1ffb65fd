import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from specvae.annotation.evaluation.reliability import (
    expected_calibration_error,
    reliability,
    risk_curves,
)
from specvae.annotation.output.plots import plot_reliability, plot_top_k, plot_training


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collect the figures that are saved, to look into them."""
    saved: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        saved.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def history(n_epochs: int) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "loss": 100.0 / epoch,
            "validation": 0.1 * epoch if epoch % 2 else None,
            "seconds": 3.0,
            "part/kl": 5.0,
            "part/fingerprint": 95.0 / epoch,
        }
        for epoch in range(1, n_epochs + 1)
    ]


def is_picture(path: Path) -> bool:
    pixels = imread(path)
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and pixels.min() < pixels.max()


def test_training_shows_the_loss_its_parts_and_the_best_epoch(
    tmp_path: Path, figures: list[Figure]
) -> None:
    path = tmp_path / "training.png"
    plot_training(history(6), path)
    assert is_picture(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["training.png"]
    left, right = figures[0].axes
    lines = {str(line.get_label()): line for line in left.lines}
    assert sorted(lines) == ["fingerprint", "kl", "loss"]
    assert list(lines["loss"].get_ydata()) == [100.0 / epoch for epoch in range(1, 7)]  # type: ignore[arg-type]
    assert list(right.lines[0].get_xdata()) == [1, 3, 5]  # type: ignore[arg-type]
    assert "nats" in left.get_ylabel()
    assert "epoch" in left.get_xlabel()
    assert any("epoch 5" in text.get_text() for text in right.texts)


@pytest.mark.parametrize("n_epochs", [0, 1])
def test_training_can_be_drawn_from_the_first_epoch_on(tmp_path: Path, n_epochs: int) -> None:
    plot_training(history(n_epochs), tmp_path / "training.png")
    assert is_picture(tmp_path / "training.png")


def test_training_without_validation_and_with_a_part_missing_in_some_epochs(
    tmp_path: Path, figures: list[Figure]
) -> None:
    records = [record | {"validation": None} for record in history(3)]
    del records[1]["part/kl"]
    plot_training(records, tmp_path / "training.png")
    left, right = figures[0].axes
    kl = next(line for line in left.lines if line.get_label() == "kl")
    assert [math.isnan(value) for value in kl.get_ydata()] == [False, True, False]  # type: ignore[arg-type, union-attr]
    assert [text.get_text() for text in right.texts] == ["not validated"]


def test_top_k_draws_one_labelled_curve_per_method_up_to_k_max(
    tmp_path: Path, figures: list[Figure]
) -> None:
    path = tmp_path / "top.png"
    shares = [0.3, 0.5, 0.6, 0.7, 0.8]
    plot_top_k(
        {"SVAE": shares, "random": [0.1] * 5},
        path,
        k_max=4,
        title="Challenges",
        n_queries=1147,
        bands={"SVAE": ([0.2] * 5, [0.9] * 5)},
    )
    assert is_picture(path)
    (axes,) = figures[0].axes
    assert list(axes.lines[0].get_xdata()) == [1, 2, 3, 4]  # type: ignore[arg-type]
    assert list(axes.lines[0].get_ydata()) == shares[:4]  # type: ignore[arg-type]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "SVAE (30.0% at k = 1)",
        "random (10.0% at k = 1)",
    ]
    assert "1,147 queries" in axes.get_ylabel()
    assert axes.get_title(loc="left") == "Challenges"
    assert len(axes.collections) == 1
    assert axes.get_xticks()[0] == 1


@pytest.mark.parametrize("k_max", [1, 2, 100])
def test_top_k_can_be_drawn_for_any_k(tmp_path: Path, figures: list[Figure], k_max: int) -> None:
    plot_top_k({"a": [0.5] * k_max}, tmp_path / "k.png", k_max=k_max, title="", n_queries=1)
    ticks = figures[0].axes[0].get_xticks()
    assert ticks[0] == 1
    assert ticks[-1] == k_max


def test_top_k_refuses_short_curves_and_strange_bands(tmp_path: Path) -> None:
    path = tmp_path / "k.png"
    with pytest.raises(ValueError, match="2 values, wanted at least 3"):
        plot_top_k({"a": [0.1, 0.2]}, path, k_max=3, title="", n_queries=1)
    with pytest.raises(ValueError, match="'b' has no curve"):
        plot_top_k({"a": [0.1]}, path, k_max=1, title="", n_queries=1, bands={"b": ([0.0], [1.0])})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("n", [1, 40])
def test_reliability_stands_beside_risk_promised_and_found(
    tmp_path: Path, figures: list[Figure], n: int
) -> None:
    p = np.linspace(0.05, 0.95, n) if n > 1 else np.array([0.25])
    y = (np.arange(n) % 2).astype(float)
    path = tmp_path / "r.png"
    bins = [(b.probability, b.right) for b in reliability(p, y)]
    error = expected_calibration_error(p, y)
    plot_reliability(bins, error, risk_curves(p, y), path, title="some queries")
    assert imread(path).shape[2] == 4
    left, right = figures[0].axes
    assert np.mean(np.asarray(left.lines[1].get_xdata())) == pytest.approx(p.mean())
    found, promised = (np.asarray(line.get_ydata()) for line in right.lines)
    assert found[-1] == pytest.approx(1 - y.mean())
    assert promised[-1] == pytest.approx(1 - p.mean())


def test_no_global_state_of_pyplot_is_touched(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    plot_training(history(2), tmp_path / "training.png")
    assert dict(mpl.rcParams) == before


def test_a_crowded_legend_stands_beside_the_curves(tmp_path: Path, figures: list[Figure]) -> None:
    for n_curves in (10, 11):
        curves = {f"method {i}": [0.1, 0.2] for i in range(n_curves)}
        plot_top_k(curves, tmp_path / "k.png", k_max=2, title="", n_queries=5)
    inside, beside = (figure.axes[0] for figure in figures)
    for axes, is_inside in ((inside, True), (beside, False)):
        legend = axes.get_legend()
        assert legend is not None
        assert (legend.get_window_extent().x0 < axes.get_window_extent().x1) == is_inside
