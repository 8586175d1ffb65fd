from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.image import imread

from specvae.annotation.evaluation.reliability import risk_curves, summarise_probabilities
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


def test_training_shows_each_part_on_a_scale_of_its_own_and_the_best_epoch(
    tmp_path: Path, figures: list[Figure]
) -> None:
    path = tmp_path / "training.png"
    records = [r | {"part/spectrum": 10_000.0 - r["epoch"]} for r in history(6)]
    plot_training(records, path)
    assert is_picture(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["training.png"]
    panels = {axes.get_title(loc="left"): axes for axes in figures[0].axes}
    assert list(panels) == ["loss", "fingerprint", "kl", "spectrum", "validation MRR"]
    assert list(panels["loss"].lines[0].get_ydata()) == [100.0 / epoch for epoch in range(1, 7)]  # type: ignore[arg-type]
    assert list(panels["validation MRR"].lines[0].get_xdata()) == [1, 3, 5]  # type: ignore[arg-type]
    # A part that is large and hardly changes is seen to change.
    low, high = panels["spectrum"].get_ylim()
    assert 9_990 < low < high < 10_001
    assert all("e" not in t.get_text() for t in panels["spectrum"].get_yticklabels())
    assert any("epoch 5" in text.get_text() for text in panels["validation MRR"].texts)
    assert "nats" in figures[0].get_supylabel()
    assert figures[0].get_supxlabel() == "epoch"


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
    panels = {axes.get_title(loc="left"): axes for axes in figures[0].axes}
    assert list(panels["kl"].lines[0].get_xdata()) == [1, 3]  # type: ignore[arg-type]
    assert [text.get_text() for text in panels["validation MRR"].texts] == ["not validated"]


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
        intervals={"SVAE": dict.fromkeys(range(1, 6), (0.2, 0.9))},
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
    assert isinstance(axes.collections[0], PolyCollection)  # every k has an interval: a band
    assert axes.get_xticks()[0] == 1
    assert axes.get_xscale() == "linear"


def test_intervals_at_some_k_are_bars_beside_one_another(
    tmp_path: Path, figures: list[Figure]
) -> None:
    ends = {1: (0.1, 0.3), 5: (0.2, 0.4), 50: (0.8, 0.9)}
    curves = {"a": [0.25] * 30, "b": [0.2] * 30}
    plot_top_k(
        curves, tmp_path / "k.png", k_max=30, title="", n_queries=5,
        intervals={"a": ends, "b": ends},
    )  # fmt: skip
    (axes,) = figures[0].axes
    bars = [c.get_segments() for c in axes.collections if isinstance(c, LineCollection)]
    assert [[(float(s[0][1]), float(s[1][1])) for s in of] for of in bars] == [
        [(0.1, 0.3), (0.2, 0.4)]
    ] * 2  # k = 50 is not drawn
    assert bars[0][0][0][0] < bars[1][0][0][0]
    assert axes.get_xscale() == "log"


def test_of_many_methods_the_best_are_in_colour_and_the_controls_in_black(
    tmp_path: Path, figures: list[Figure]
) -> None:
    curves = {f"m{i}": [i / 20] * 2 for i in range(12)} | {"random": [0.01, 0.02]}
    plot_top_k(curves, tmp_path / "k.png", k_max=2, title="", n_queries=5)
    (axes,) = figures[0].axes
    legend = axes.get_legend()
    assert legend is not None
    names = [text.get_text().split(" (")[0] for text in legend.get_texts()]
    assert names == ["m11", "m10", "m9", "m8", "m7", "m6", "random", "6 more methods"]
    colours = {str(line.get_label()).split(" (")[0]: line.get_color() for line in axes.lines}
    assert colours["random"] == "black"
    assert len({colours[name] for name in names[:6]} - {"black", "0.75"}) == 6


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_a_figure_is_the_same_file_each_time(tmp_path: Path, suffix: str) -> None:
    for name in "ab":
        plot_top_k({"m": [0.5]}, tmp_path / f"{name}.{suffix}", k_max=1, title="t", n_queries=1)
    a, b = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
    assert a == b
    assert a[:4] in (b"\x89PNG", b"%PDF", b"<?xm")


@pytest.mark.parametrize("k_max", [1, 2, 100])
def test_top_k_can_be_drawn_for_any_k(tmp_path: Path, figures: list[Figure], k_max: int) -> None:
    plot_top_k({"a": [0.5] * k_max}, tmp_path / "k.png", k_max=k_max, title="", n_queries=1)
    ticks = figures[0].axes[0].get_xticks()
    assert ticks[0] == 1
    assert ticks[-1] == k_max


def test_top_k_refuses_short_curves_and_strange_intervals(tmp_path: Path) -> None:
    path = tmp_path / "k.png"
    with pytest.raises(ValueError, match="2 values, wanted at least 3"):
        plot_top_k({"a": [0.1, 0.2]}, path, k_max=3, title="", n_queries=1)
    with pytest.raises(ValueError, match="'b' has no curve"):
        plot_top_k(
            {"a": [0.1]}, path, k_max=1, title="", n_queries=1, intervals={"b": {1: (0.0, 1.0)}}
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("n", [1, 40])
def test_reliability_stands_beside_risk_promised_and_found(
    tmp_path: Path, figures: list[Figure], n: int
) -> None:
    p = np.linspace(0.05, 0.95, n) if n > 1 else np.array([0.25])
    y = (np.arange(n) % 2).astype(float)
    path = tmp_path / "r.png"
    found = summarise_probabilities(p, y, p)
    plot_reliability(found, risk_curves(p, y), path, title="some queries", probabilities=p)
    assert imread(path).shape[2] == 4
    left, right, counts = figures[0].axes
    assert np.mean(np.asarray(left.lines[1].get_xdata())) == pytest.approx(p.mean())
    wrong, promised = (np.asarray(line.get_ydata()) for line in right.lines)
    assert wrong[-1] == pytest.approx(1 - y.mean())
    assert promised[-1] == pytest.approx(1 - p.mean())
    # Each point has its interval, and it is said how many queries there are.
    (bars,) = (c for c in left.collections if isinstance(c, LineCollection))
    assert len(bars.get_segments()) == len(left.lines[1].get_xdata()) == min(n, 10)  # type: ignore[arg-type]
    assert f"{n} quer" in left.texts[0].get_text()
    assert sum(patch.get_height() for patch in counts.patches) == n  # type: ignore[attr-defined]


def test_no_global_state_of_pyplot_is_touched(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    plot_training(history(2), tmp_path / "training.png")
    assert dict(mpl.rcParams) == before
