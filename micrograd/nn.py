"""Neural networks: a neuron, a layer of neurons, a multi-layer perceptron.

    >>> model = MLP(3, [4, 1])  # 3 inputs, a hidden layer of 4 neurons, 1 output
    >>> score = model([1.0, 2.0, 3.0])
    >>> score.backward()  # adds to p.grad for each p in model.parameters()
"""
import random
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from micrograd.engine import Value, sumprod


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
    """A weighted sum of the inputs, plus a bias, passed through a nonlinearity.

    Args:
        nin: the number of inputs.
        nonlin: True for ReLU, False for none, or the name of a Value's method, such as 'tanh'.

    The weights are drawn with `random.uniform(-1, 1)`; the bias starts at 0.

    Raises:
        ValueError: `nin` is not a positive whole number, or there is no such method.
    """

    def __init__(self, nin: int, nonlin: bool | str = True) -> None:
        if not (isinstance(nonlin, bool) or callable(getattr(Value, str(nonlin), None))):
            raise ValueError(f'a Value has no method {nonlin!r}')
        self.w = [Value(random.uniform(-1, 1)) for _ in range(_size('nin', nin))]
        self.b = Value(0)
        self.nonlin = nonlin

    def __call__(self, x: Any) -> Any:
        """The output, a Value, for `nin` inputs. Raises ValueError for any other number of them."""
        act = sumprod(self.w, x, self.b)
        if self.nonlin is True:
            return act.relu()
        return getattr(act, self.nonlin)() if self.nonlin else act

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
        self.neurons = [Neuron(nin, **kwargs) for _ in range(_size('nout', nout))]

    def __call__(self, x: Any) -> Any:
        """The `nout` outputs for `nin` inputs: a list, or a Value where `nout` is 1.

        Raises TypeError for a list of points, such as [[1, 2], [3, 4]]: pass one at a time.
        """
        x = [x] if isinstance(x, Value) else list(x)  # one Value: from a layer of one neuron
        if x and not isinstance(x[0], (Value, Real)):
            raise TypeError(f'expected numbers, one point at a time, not {type(x[0]).__name__}s')
        out = [n.__call__(x) for n in self.neurons]  # n(x), in a form that Python calls faster
        return out if len(out) > 1 else out[0]

    def parameters(self) -> list[Value]:
        return [p for n in self.neurons for p in n.parameters()]

    def __repr__(self) -> str:
        return f"Layer of [{', '.join(map(str, self.neurons))}]"


class MLP(Module):
    """Layers, one after the other.

    Args:
        nin: the number of inputs.
        nouts: the number of neurons in each layer.
        nonlin: as in a Neuron, for every layer but the last, which is linear.

    Raises:
        ValueError: a size is not a positive whole number, or `nouts` is not a list of sizes.
    """

    def __init__(self, nin: int, nouts: Iterable[int], nonlin: bool | str = True) -> None:
        sizes = [nin, *nouts] if isinstance(nouts, Iterable) else []
        if len(sizes) < 2:
            raise ValueError(f'nouts is a list of sizes, such as [16, 16, 1], not {nouts!r}')
        self.layers = [Layer(m, n, nonlin=nonlin) for m, n in zip(sizes[:-2], sizes[1:-1])]
        self.layers.append(Layer(sizes[-2], sizes[-1], nonlin=False))

    def __call__(self, x: Any) -> Any:
        """The outputs of the last layer for `nin` inputs."""
        for layer in self.layers:
            x = layer(x)
        return x

    def parameters(self) -> list[Value]:
        return [p for layer in self.layers for p in layer.parameters()]

    def __repr__(self) -> str:
        return f"MLP of [{', '.join(map(str, self.layers))}]"


def _size(name: str, n: Any) -> int:
    if not isinstance(n, Integral) or n < 1:
        raise ValueError(f'{name} is a whole number, 1 or more, not {n!r}')
    return int(n)
