"""What a call of `bench gpu` was given."""

from __future__ import annotations

from pathlib import Path

from specvae_bench.gpu.plan import Plan


def test_a_kind_is_of_all_steps_or_of_one() -> None:
    plan = Plan(Path("gpu"), "cpu", kinds=("svae", "mnist-split:svae-star", "mnist-split:vaevae"))
    assert plan.kinds_of("mnist-split") == ("svae-star", "vaevae")
    assert plan.kinds_of("supervision") == ("svae",)
    assert Plan(Path("gpu"), "cpu", kinds=("mnist-split:svae",)).kinds_of("supervision") == ()
