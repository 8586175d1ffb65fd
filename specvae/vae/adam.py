"""AdamW without an import of torch's compiler.

:class:`torch.optim.AdamW` imports ``torch._dynamo``, which takes as long as torch itself and is
used for compiled models only. The update itself is a separate function,
:func:`torch.optim.adamw.adamw`, which is called here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.optim.adamw import adamw

_BETAS, _EPSILON = (0.9, 0.999), 1e-8

Slots = dict[str, Tensor]


class AdamW:
    """Adam with decoupled weight decay; its numbers are those of :class:`torch.optim.AdamW`.

    Parameters
    ----------
    parameters
        Parameters that are trained, in place; all on one device. Those without a gradient stay as
        they are.
    learning_rate
        The rate of the first steps.
    weight_decay
        Each step reduces every weight by this share, times the rate.

    Attributes
    ----------
    state
        By number of the parameter, under torch's names: how many steps it took (``step``, a
        scalar), the averages of its gradient (``exp_avg``) and of the gradient's square
        (``exp_avg_sq``).

    References
    ----------
    Loshchilov and Hutter, Decoupled weight decay regularization, ICLR 2019, algorithm 2.
    """

    def __init__(
        self, parameters: Iterable[Tensor], learning_rate: float, *, weight_decay: float
    ) -> None:
        self._parameters = list(parameters)
        self._device = self._parameters[0].device
        on_gpu = self._device.type == "cuda"
        # A recorded step reads its rate from the GPU's memory.
        self._rate: float | Tensor = (
            torch.tensor(learning_rate, device=self._device) if on_gpu else learning_rate
        )
        self._weight_decay = weight_decay
        self._on_gpu = on_gpu
        self._is_fused = True
        self.state: dict[int, Slots] = {}
        trial = torch.zeros(1, device=self._device)
        try:
            self._move([trial], [trial.clone()], [self._new_slots(trial)])
        except RuntimeError:  # no fused kernel in this torch for this device
            self._is_fused = False

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the steps to come, recorded ones included."""
        if isinstance(self._rate, Tensor):
            self._rate.fill_(rate)
        else:
            self._rate = rate

    def load(self, state: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Copy the `state` of another optimiser of the same parameters."""
        self.state = {}
        for number, slots in state.items():
            # The fused update walks through memory: a moment lies there as its weight does.
            self.state[number] = self._new_slots(self._parameters[number])
            for name, tensor in self.state[number].items():
                tensor.copy_(slots[name])

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        moved, gradients, slots = [], [], []
        for number, parameter in enumerate(self._parameters):
            if parameter.grad is None:
                continue
            if number not in self.state:
                self.state[number] = self._new_slots(parameter)
            moved.append(parameter)
            gradients.append(parameter.grad)
            slots.append(self.state[number])
        self._move(moved, gradients, slots)

    def _move(self, parameters: list[Tensor], gradients: list[Tensor], slots: list[Slots]) -> None:
        adamw(
            parameters,
            gradients,
            [each["exp_avg"] for each in slots],
            [each["exp_avg_sq"] for each in slots],
            [],
            [each["step"] for each in slots],
            fused=self._is_fused,
            foreach=not self._is_fused,
            capturable=self._on_gpu,
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=self._rate,
            weight_decay=self._weight_decay,
            eps=_EPSILON,
            maximize=False,
        )

    def _new_slots(self, parameter: Tensor) -> Slots:
        # Without a fused kernel, the steps are counted on the CPU, which reads them one by one.
        place = self._device if self._is_fused or self._on_gpu else torch.device("cpu")
        return {
            "step": torch.zeros((), dtype=torch.float32, device=place),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
