"""The names at the top of specvae.vae."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import specvae.vae


def test_every_name_is_that_of_its_module() -> None:
    tree = ast.parse(Path(specvae.vae.__file__).read_text(encoding="utf-8"))
    (typed,) = [node for node in tree.body if isinstance(node, ast.If)]
    declared = {
        alias.name: node.module
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(declared) == set(specvae.vae.__all__)
    for name, module in declared.items():
        assert getattr(specvae.vae, name) is getattr(sys.modules[str(module)], name)
    assert set(specvae.vae.__all__) <= set(dir(specvae.vae))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Multimodal'"):
        _ = specvae.vae.Multimodal
    with pytest.raises(ImportError, match="Multimodal"):
        exec("from specvae.vae import Multimodal")


def test_importing_the_face_loads_no_torch() -> None:
    code = (
        "import sys, specvae.vae; from specvae.vae import MODEL_KINDS, Header, read_header;"
        "assert not {'torch', 'numpy'} & set(sys.modules);"
        "from specvae.vae import *; assert 'torch' in sys.modules; assert MultimodalVAE and loss"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
