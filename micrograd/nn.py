"""Neural networks: a neuron, a layer of neurons, a multi-layer perceptron.

    >>> model = MLP(3, [4, 1])  # 3 inputs, a hidden layer of 4 neurons, 1 output
    >>> score = model([1.0, 2.0, 3.0])
    >>> score.backward()  # every p.grad, for p in model.parameters()
"""
from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

from micrograd.engine import Number, Value, sumprod

Inputs = Iterable[Value | Number]


def _size(n: Any) -> int:
    if not isinstance(n, Integral) or n < 1:
        raise ValueError(f'a size is a positive whole number, not {n!r}')
    return int(n)


class Module:
    """Something with parameters that can be trained."""

    def zero_grad(self) -> None:
        """Set every parameter's gradient to 0, before the next `backward`."""
        for p in self.parameters():
            p.grad = 0.0

    def parameters(self) -> list[Value]:
        """The leaves to train, always in the same order."""
        return []


class Neuron(Module):
    """A weighted sum of inputs and a bias, through a nonlinearity.

    Args:
        nin: the number of inputs.
        nonlin: True for ReLU, False for none, or the name of a Value's method, such as 'tanh'.

    The weights are drawn by `random.uniform(-1, 1)`; the bias is 0.

    Raises:
        ValueError: `nin` is not a positive whole number, or there is no such method.
    """

    def __init__(self, nin: int, nonlin: bool | str = True) -> None:
        if not isinstance(nonlin, bool) and not callable(getattr(Value, str(nonlin), None)):
            raise ValueError(f'a Value has no method {nonlin!r}')
        self.w = [Value(random.uniform(-1, 1)) for _ in range(_size(nin))]
        self.b = Value(0)
        self.nonlin = nonlin if isinstance(nonlin, bool) else str(nonlin)

    def __call__(self, x: Inputs) -> Value:
        """The output for `nin` inputs. Raises ValueError where there are more or fewer."""
        act: Value = sumprod(self.w, x, self.b)
        if isinstance(self.nonlin, str):
            return getattr(act, self.nonlin)()  # type: ignore[no-any-return]
        return act.relu() if self.nonlin else act

    def parameters(self) -> list[Value]:
        return [*self.w, self.b]

    def __repr__(self) -> str:
        kind = self.nonlin if isinstance(self.nonlin, str) else 'ReLU' if self.nonlin else 'Linear'
        return f'{kind}Neuron({len(self.w)})'


class Layer(Module):
    """Neurons that share their inputs.

    Args:
        nin: the number of inputs.
        nout: the number of neurons.
        **kwargs: passed on to every Neuron.

    Raises:
        ValueError: a size is not a positive whole number.
    """

    def __init__(self, nin: int, nout: int, **kwargs: Any) -> None:
        self.neurons = [Neuron(nin, **kwargs) for _ in range(_size(nout))]

    def __call__(self, x: Inputs | Value) -> Any:
        """The `nout` outputs for `nin` inputs: a list, or a Value where `nout` is 1."""
        x = [x] if isinstance(x, Value) else list(x)
        out = [n(x) for n in self.neurons]
        return out if len(out) > 1 else out[0]

    def parameters(self) -> list[Value]:
        return [p for n in self.neurons for p in n.parameters()]

    def __repr__(self) -> str:
        return f"Layer of [{', '.join(map(str, self.neurons))}]"


class MLP(Module):
    """Layers, one after the other. The last one is linear, those before it have ReLUs.

    Args:
        nin: the number of inputs.
        nouts: the number of neurons in each layer.

    Raises:
        ValueError: a size is not a positive whole number, or `nouts` is empty.
    """

    def __init__(self, nin: int, nouts: Sequence[int]) -> None:
        sizes = [nin, *nouts]
        if len(sizes) < 2:
            raise ValueError('an MLP needs at least one layer: nouts is empty')
        self.layers = [Layer(m, n, nonlin=i < len(sizes) - 2)
                       for i, (m, n) in enumerate(zip(sizes, sizes[1:]))]

    def __call__(self, x: Inputs | Value) -> Any:
        """The outputs of the last layer for `nin` inputs."""
        for layer in self.layers:
            x = layer(x)
        return x

    def parameters(self) -> list[Value]:
        return [p for layer in self.layers for p in layer.parameters()]

    def __repr__(self) -> str:
        return f"MLP of [{', '.join(map(str, self.layers))}]"
