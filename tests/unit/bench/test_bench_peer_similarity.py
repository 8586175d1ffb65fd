"""matchms' similarities, by a process that says nothing of its own."""

import subprocess
import sys

import numpy as np
import pytest
from annotation_examples import CAFFEINE, spectrum_of
from specvae_bench.peer_similarity import PeerSimilarity


def test_likeness_is_that_of_shared_peaks() -> None:
    spectra = [
        spectrum_of(CAFFEINE, 110.0713, 138.0662),
        spectrum_of(CAFFEINE, 110.0800, 138.0700),  # within the tolerance
        spectrum_of(CAFFEINE, 69.0447, 83.0604),
    ]
    for score_type, mode in (("cosine", "hybrid"), ("spectral_entropy", "fragment")):
        similarity = PeerSimilarity(score_type, mode)
        peers = similarity.converted(spectra)
        found = similarity.matrix(peers[:1], peers)
        assert found.dtype == np.float64
        assert found[0, :2] == pytest.approx([1.0, 1.0], abs=1e-5)
        assert found[0, 2] == 0.0


def test_nothing_is_said_of_what_is_not_needed() -> None:
    code = "from specvae_bench.peer_similarity import PeerSimilarity as P; P('cosine', 'fragment')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert "hdf5plugin" not in done.stderr
