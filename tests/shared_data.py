"""Where tests find the public data that lies beside the repository."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared(name: str) -> Path:
    """Return the path of a shared data file, or skip the test that asks for it."""
    if not (SHARED / name).exists():
        pytest.skip(f"shared data file {name} is absent")
    return SHARED / name
