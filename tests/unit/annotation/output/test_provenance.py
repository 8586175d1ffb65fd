"""What the report's footer says of how it was made."""

from __future__ import annotations

from typing import Any

from specvae.annotation.output.provenance import described


def test_every_input_is_named_with_its_digest() -> None:
    def file(name: str) -> dict[str, str]:
        return {"path": name, "sha256": f"digest of {name}"}

    made: dict[str, Any] = {
        "program": "specvae 1",
        "versions": {"numpy": "2"},
        "date": "today",
        "inputs": {
            "queries": [file("a.mgf"), file("b.mgf")],
            "candidates": file("cands.csv"),
            "library": [file("standards.msp")],
            "exclude": [file("truth.csv")],
            "model": {"path": "m", "weights_sha256": "digest of m", "program": None},
        },
        "options": {"ppm": 10.0, "adducts": (), "known": (0.3, 0.2), "use_library": False},
    }
    lines = described(made)
    text = "; ".join(lines.values())
    for name in ("a.mgf", "b.mgf", "cands.csv", "standards.msp", "truth.csv"):
        assert f"{name}, SHA-256 digest of {name}" in text
    assert "digest of m" in lines["model"]
    assert lines["options"] == "ppm 10, known 0.3 0.2, use_library no; not given: adducts"
    assert lines["exclude"].startswith("truth.csv")
    made["inputs"]["exclude"] = []
    assert "exclude" not in described(made)
    assert "counts" not in lines
    made["inputs"]["counts"] = file("refs.csv")
    assert described(made)["counts"] == "refs.csv, SHA-256 digest of refs.csv"
