# mypy: disable-error-code="no-untyped-call,no-any-return,attr-defined"
"""A device that torch takes for one of its own, and that computes on the CPU.

What a GPU refuses, it refuses too: an operation on tensors of two devices (even indices that lie on
the CPU, which a GPU waits for), a generator of another device, a tensor given to numpy. What a GPU
would have to wait for is counted. Its numbers are the CPU's, so that a whole run can be compared
with one there. It knows nothing of streams, recorded steps or reduced precision.

`install` changes torch for the rest of the process: call it in a process of its own.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map

NAME = "imitated"
IS_POSSIBLE = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")

waits: Counter[str] = Counter()
"""How often the program waited for the device, by file, function and operation."""

_COPIES = {"aten.copy_.default", "aten._to_copy.default", "aten._copy_from.default"}
# Their result, or its shape, depends on values: the CPU has to wait for them.
_READ_VALUES = {
    "aten._local_scalar_dense.default",
    "aten.nonzero.default",
    "aten.equal.default",
    "aten.is_nonzero.default",
    "aten.masked_select.default",
}
# Made by resizing an empty tensor, which a wrapper cannot follow.
_FACTORIES = ("arange", "arange.start", "arange.start_step", "randperm", "randperm.generator")

_Operation = Callable[..., Any]
_generators: list[torch.Generator] = []
_libraries: list[torch.library.Library] = []
_Generator, _as_list = torch.Generator, Tensor.tolist


class _Wrapper(Tensor):
    """A tensor of the device; `held` is where its values lie."""

    held: Tensor

    @staticmethod
    def __new__(cls: type[Self], held: Tensor) -> Self:
        made = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        function: _Operation,
        types: Any,  # noqa: ANN401
        args: Any = (),  # noqa: ANN401
        kwargs: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        return _compute(function, args, kwargs or {})

    def tolist(self) -> Any:  # noqa: ANN401
        _wait("tolist")
        return self.held.tolist()

    def numpy(self, *, force: bool = False) -> Any:  # noqa: ANN401
        raise TypeError(f"a tensor of {self.device} is no array: it has to go to the CPU first")

    __array__ = numpy  # type: ignore[assignment]


def install() -> None:
    """Make the device known to torch, under the name `NAME`, for the rest of the process."""
    module = backend_registration._DummyBackendModule()
    module.get_amp_supported_dtype = lambda: [torch.bfloat16]
    backend_registration._setup_privateuseone_for_python_backend(NAME, module)
    every = torch.library.Library("_", "IMPL")
    every.fallback(_call, "PrivateUse1")
    factories = torch.library.Library("aten", "IMPL")
    for name in _FACTORIES:
        packet, _, overload = name.partition(".")
        operation = getattr(getattr(torch.ops.aten, packet), overload or "default")
        factories.impl(name, _factory(operation), "PrivateUse1")
    _libraries.extend([every, factories])
    torch.Generator = _new_generator  # type: ignore[misc]
    torch.tensor = _moved(torch.tensor)
    torch.as_tensor = _moved(torch.as_tensor)


def _compute(function: _Operation, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Compute on the CPU what was asked of the device."""
    name = str(function)
    leaves = tree_leaves((args, dict(kwargs)))
    ours = [leaf for leaf in leaves if isinstance(leaf, _Wrapper)]
    stays = bool(ours)
    options = dict(kwargs)
    if options.get("device") is not None:
        stays = _is_ours(options["device"])
        if stays:
            options["device"] = torch.device("cpu")
        elif ours:
            _wait(name)
    if name in _COPIES:
        if name == "aten.copy_.default":
            stays = isinstance(args[0], _Wrapper)
            if not stays:
                _wait(name)
    elif _reads_values(name, args, options):
        _wait(name)
    else:
        _require_one_device(name, leaves, stays)
    result = function(*tree_map(_held, args), **tree_map(_held, options))
    wrappers = {id(wrapper.held): wrapper for wrapper in ours}

    def wrapped(value: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, Tensor) or not stays:
            return value
        # What is changed in place stays the same tensor.
        return wrappers[id(value)] if id(value) in wrappers else _Wrapper(value)

    return tree_map(wrapped, result)


def _require_one_device(name: str, leaves: Sequence[Any], stays: bool) -> None:
    ours = [leaf for leaf in leaves if isinstance(leaf, _Wrapper)]
    others = [
        leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, _Wrapper)
    ]
    # A single number of the CPU is let pass, as a GPU does.
    if ours and any(other.dim() for other in others):
        shapes = [f"{leaf.device} {tuple(leaf.shape)}" for leaf in (*ours, *others)]
        raise RuntimeError(f"{name}: tensors of two devices: {', '.join(shapes)}")
    for leaf in leaves:
        if isinstance(leaf, _Generator) and stays != any(leaf is each for each in _generators):
            raise RuntimeError(f"{name}: a generator of another device")


def _reads_values(name: str, args: Sequence[Any], options: Mapping[str, Any]) -> bool:
    if name.startswith("aten.repeat_interleave"):
        return options.get("output_size") is None
    if name == "aten.index.Tensor":
        return any(isinstance(i, _Wrapper) and i.dtype == torch.bool for i in args[1])
    return name in _READ_VALUES


def _wait(name: str) -> None:
    frame = sys._getframe(1)
    while frame.f_back is not None:
        file = frame.f_code.co_filename
        if "specvae" in file and file != __file__:
            waits[f"{Path(file).name}:{frame.f_code.co_name} {name}"] += 1
            return
        frame = frame.f_back
    waits[name] += 1


def _is_ours(device: Any) -> bool:  # noqa: ANN401
    return device is not None and torch.device(device).type == NAME


def _held(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, _Wrapper):
        return value.held
    is_our_device = isinstance(value, torch.device) and _is_ours(value)
    return torch.device("cpu") if is_our_device else value


def _call(function: _Operation, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    return _compute(function, args, kwargs)


def _factory(function: _Operation) -> _Operation:
    def make(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return _compute(function, args, {**kwargs, "device": torch.device(NAME)})

    return make


def _moved(function: _Operation) -> _Operation:
    """Return a function that makes tensors on the CPU and moves them to the device."""

    def make(data: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        device = kwargs.pop("device", None)
        if isinstance(data, _Wrapper) or not _is_ours(device):
            return function(data, *args, device=device, **kwargs)
        return function(data, *args, **kwargs).to(device)

    return make


class _IsGenerator(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _Generator)


class _new_generator(metaclass=_IsGenerator):
    def __new__(cls, device: object = "cpu") -> Any:  # noqa: ANN401
        if not _is_ours(device):
            return _Generator(device)  # type: ignore[arg-type]
        _generators.append(_Generator("cpu"))
        return _generators[-1]
