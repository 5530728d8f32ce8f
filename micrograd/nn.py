"""Neural networks: a neuron, a layer of neurons, a multi-layer perceptron.

    >>> model = MLP(3, [4, 1])  # 3 inputs, a hidden layer of 4 neurons, 1 output
    >>> score = model([1.0, 2.0, 3.0])
    >>> score.backward()  # adds to p.grad for each p in model.parameters()
"""
import random
from typing import Any

from micrograd import engine


class Module:
    """Something with `parameters()`: the leaves to train, each once, always in the same order."""

    def zero_grad(self) -> None:
        """Set every parameter's gradient to 0, before the next `backward`."""
        for p in self.parameters():
            p.grad = 0.0

    def parameters(self) -> list[engine.Value]: return []


class Neuron(Module):
    """A weighted sum of the inputs, plus a bias, passed through a nonlinearity.

    Args:
        nin: the number of inputs.
        nonlin: True for ReLU, False for none, the name of a Value's method, such as 'tanh', or a
            function from a Value to a Value.

    The weights are drawn with `random.uniform(-1, 1)`; the bias starts at 0.

    Raises:
        ValueError: `nin` is not a positive whole number, or `nonlin` none of these.
    """

    def __init__(self, nin: int, nonlin: Any = True) -> None:
        if not (isinstance(nonlin, bool) or callable(getattr(engine.Value, str(nonlin), nonlin))):
            raise ValueError(f'nonlin={nonlin!r}: a Value has no method of that name')
        self.w = [engine.Value(random.uniform(-1, 1)) for _ in range(_size('nin', nin))]
        self.b = engine.Value(0)
        self.nonlin = nonlin

    def __call__(self, x: Any) -> Any:
        """The output, a Value, for one point: a list of `nin` inputs, numbers or Values.

        Raises ValueError for another number of them, and TypeError for anything else.
        """
        act = engine.sumprod(self.w, x if type(x) is _Point else _point(x, len(self.w)), self.b)
        if self.nonlin is True or self.nonlin is False:
            return act.relu() if self.nonlin else act
        return engine._only(getattr(engine.Value, str(self.nonlin), self.nonlin)(act), engine.Value)

    def parameters(self) -> list[engine.Value]: return [*self.w, self.b]

    def __repr__(self) -> str:
        name = getattr(self.nonlin, '__name__', self.nonlin)
        return f"{'ReLU' if name is True else name or 'Linear'}Neuron({len(self.w)})"


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
        """The `nout` outputs for one point: a list, or a Value where `nout` is 1.

        Raises ValueError for a wrong number of inputs, and TypeError for anything but one point.
        """
        x = _point(x, len(self.neurons[0].w))
        out = _Point([n.__call__(x) for n in self.neurons])  # n(x); a step is 8 % faster so
        return out if len(out) > 1 else out[0]

    def parameters(self) -> Any: return _once([p for n in self.neurons for p in n.parameters()])

    def __repr__(self) -> str: return f"Layer of [{', '.join(map(str, self.neurons))}]"


class MLP(Module):
    """Layers, one after the other.

    Args:
        nin: the number of inputs.
        nouts: the number of neurons in each layer.
        nonlin: as in a Neuron, for every layer but the last, which is linear.

    Raises:
        ValueError: a size is not a positive whole number, or `nouts` is not a list of sizes.
    """

    def __init__(self, nin: int, nouts: Any, nonlin: Any = True) -> None:
        if not hasattr(nouts, '__iter__') or len(sizes := [nin, *nouts]) < 2:
            raise ValueError(f'nouts is a list of sizes, such as [16, 16, 1], not {nouts!r}')
        self.layers = [Layer(m, n, nonlin=nonlin) for m, n in zip(sizes, sizes[1:-1])]
        self.layers.append(Layer(sizes[-2], sizes[-1], nonlin=False))

    def __call__(self, x: Any) -> Any:
        """The outputs of the last layer for one point."""
        for layer in self.layers:
            x = layer(x)
        return x

    def parameters(self) -> Any: return _once([p for x in self.layers for p in x.parameters()])

    def __repr__(self) -> str: return f"MLP of [{', '.join(map(str, self.layers))}]"


def _size(name: str, n: Any) -> int:
    if not hasattr(n, '__index__') or n < 1:
        raise ValueError(f'{name} is a whole number, 1 or more, not {n!r}')
    return int(n)


def _once(xs: list[Any]) -> list[Any]: return [*dict(zip(map(id, xs), xs)).values()]


def _val(x: Any) -> Any: return x if isinstance(x, engine.Value) else engine.Value(x)


_Point: Any = type('_Point', (list,), {})  # a list of Values alone, from _point or from a Layer


def _point(x: Any, nin: int) -> Any:
    """The inputs as Values: plain numbers become leaves, once for all neurons of a layer."""
    try:
        x = x if type(x) is _Point else _Point(map(_val, [x] if isinstance(x, engine.Value) else x))
    except TypeError as error:
        raise TypeError(f'a model takes one point, a list of {nin} inputs: {error}') from None
    if len(x) != nin:
        raise ValueError(f'expected {nin} inputs, got {len(x)}')
    return x
