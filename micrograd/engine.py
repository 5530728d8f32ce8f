"""The engine: numbers that remember how they were made, and backpropagation through them.

    >>> a, b = Value(2.0), Value(-3.0)
    >>> c = a * b + a
    >>> c.backward()
    >>> c.data, a.grad, b.grad  # dc/da = b + 1, dc/db = a
    (-4.0, -2.0, 2.0)

An operation makes a node: its number and its local derivatives, ∂out/∂a and ∂out/∂b, are computed
together. `Value.backward` walks the nodes in reverse and multiplies. That is all there is to it.

This file is the reference. Where `_engine.c`, the same in C, has been built, the last lines take
`Value`, `node` and `sumprod` from there; `MICROGRAD_PURE=1` in the environment keeps them here.
"""
from __future__ import annotations

import copyreg
import math
import os
from collections.abc import Callable, Iterable, Sized
from numbers import Complex, Real
from operator import attrgetter
from typing import Any, SupportsFloat, SupportsIndex

Number = SupportsFloat | SupportsIndex  # an int, a float, a NumPy scalar, a Fraction, …
Rule = Callable[[float, float], tuple[float, float, float]]  # (a, b) -> (out, ∂out/∂a, ∂out/∂b)
Method = Callable[['Value', 'Value | Number'], 'Value']


def _is_real(x: object) -> bool:
    kind = type(x)
    return (kind is float or kind is int
            or (hasattr(kind, '__float__') or hasattr(kind, '__index__'))
            # NumPy's strings and complex numbers have a __float__, too.
            and not isinstance(x, (str, bytes))
            and (isinstance(x, Real) or not isinstance(x, Complex)))


def _real(x: Any) -> float:
    if not _is_real(x):
        raise TypeError(f'expected a real number, not {type(x).__name__}')
    return float(x)


def _leaf(x: Any) -> Value | None:
    """The leaf that a number becomes beside a Value; None for anything else, such as an array."""
    number = _is_real(x) and not isinstance(x, Sized)
    return _node(float(x), '', None, 0.0) if number else None


def _operator(op: str, rule: Rule) -> tuple[Method, Method]:
    """An operator and its reflection, which share one rule."""
    def forward(x: Any, y: Any) -> Value:
        a = x if isinstance(x, Value) else _leaf(x)
        b = y if isinstance(y, Value) else _leaf(y)
        if a is None or b is None:
            return NotImplemented  # type: ignore[no-any-return]
        data, da, db = rule(a._number, b._number)
        return _node(data, op, a, da, b, db)

    return forward, lambda self, other: forward(other, self)


def _power(x: float, k: float) -> tuple[float, float, float]:
    """x**k, k·x**(k-1), x**k·log(x), the derivatives as in IEEE 754: inf or nan, no exception.

    Where x or k is 0, they are the limits that PyTorch takes.
    """
    if -math.inf < x < 0.0 and k % 1.0 > 0.0:  # Python's answer is complex
        raise ValueError('a negative number to a fractional power')
    data = x ** k
    try:
        slope = k * math.pow(x, k - 1.0) if k else 0.0
    except (OverflowError, ValueError):
        slope = k * (math.copysign(math.inf, x) if (k - 1.0) % 2.0 == 1.0 else math.inf)
    log = math.log(x) if x > 0.0 else -math.inf if x == 0.0 else math.nan
    return data, slope, 0.0 if x == 0.0 and k >= 0.0 else data * log


class Value:
    """A real number and the operation that made it.

    Args:
        data: any real number: int, float, NumPy scalar, anything with a `__float__`.
        label: a name, for drawings.

    Any other attribute may be set, too: `p.momentum = 0.0`. (If such attributes make a cycle, its
    nodes may stay in memory.) Two Values are equal only where they are the same object.

    Raises:
        TypeError: `data` is not a real number.
    """
    __slots__ = ('_number', '_grad', '_operation', '_a', '_da', '_b', '_db', '__dict__')

    _number: float  # `data`; not _data, which NumPy's masked arrays would take for their own
    _grad: float
    _operation: str
    _a: Value | None  # the operands: none, one, or two
    _b: Value | None
    _da: float  # the local derivatives: ∂self/∂a, ∂self/∂b
    _db: float
    label: str = ''

    def __new__(cls, *args: Any, **kwargs: Any) -> Value:
        return _node(0.0, '', None, 0.0, cls=cls)

    def __init__(self, data: Number, label: str = '') -> None:
        self._number = _real(data)
        if label:
            self.label = label

    data: float = property(  # type: ignore[assignment]
        attrgetter('_number'), lambda self, x: setattr(self, '_number', _real(x)),
        doc='The number.')
    grad: float = property(  # type: ignore[assignment]
        attrgetter('_grad'), lambda self, x: setattr(self, '_grad', _real(x)),
        doc='∂root/∂self: summed over all `backward()`s on a leaf, that of the last one elsewhere.')
    _op = property(attrgetter('_operation'))
    _prev = property(lambda self: tuple(x for x in (self._a, self._b) if x is not None))

    __add__, __radd__ = _operator('+', lambda a, b: (a + b, 1.0, 1.0))
    __sub__, __rsub__ = _operator('-', lambda a, b: (a - b, 1.0, -1.0))
    __mul__, __rmul__ = _operator('*', lambda a, b: (a * b, b, a))
    __truediv__, __rtruediv__ = _operator('/', lambda a, b: (a / b, 1.0 / b, -(a / b) / b))
    _pow, __rpow__ = _operator('**', _power)

    def __pow__(self, k: Value | Number) -> Value:
        exponent = None if isinstance(k, Value) else _leaf(k)
        if exponent is None:
            return self._pow(k)
        data, da, _ = _power(self._number, exponent._number)
        return _node(data, f'**{exponent._number:g}', self, da)

    def __neg__(self) -> Value:
        return _node(-self._number, 'neg', self, -1.0)

    def relu(self) -> Value:
        """max(0, self), with derivative 0 at 0."""
        x = self._number
        return _node(0.0 if x < 0.0 else x, 'ReLU', self, 0.0 if x <= 0.0 else 1.0)

    def exp(self) -> Value:
        """e to the power self. Raises OverflowError where that is too large for a float."""
        y = math.exp(self._number)
        return _node(y, 'exp', self, y)

    def log(self) -> Value:
        """The natural logarithm. Raises ValueError where self is zero or less."""
        return _node(math.log(self._number), 'log', self, 1.0 / self._number)

    def tanh(self) -> Value:
        """The hyperbolic tangent."""
        y = math.tanh(self._number)
        return _node(y, 'tanh', self, (1.0 - y) * (1.0 + y))  # 1 - y², exact near ±1, too

    def _backward(self) -> None:
        """One step of the chain rule, from this node to its operands."""
        _chain([self])

    def backward(self) -> None:
        """Add ∂self/∂leaf to the gradient of every leaf below, and set it on the nodes between.

        An interruption (Ctrl-C) leaves the leaves as they were.
        """
        if self._a is None:
            self._grad += 1.0
            return
        zero = float('0')  # a new object: the gradient to start from, and the mark of a visit
        leaves: list[tuple[Value, float]] = []  # with the gradients that they had
        order: list[Value] = []  # topological: operands come first
        try:
            v: Value | None = self
            path: list[Value | None] = [None]  # the way back up from v
            while v is not None:
                x = v._a
                if x is None or x._grad is zero:
                    x = v._b
                if x is None or x._grad is zero:
                    order.append(v)
                    v = path.pop()
                elif x._a is None:
                    leaves.append((x, x._grad))
                    x._grad = zero
                else:
                    path.append(v)
                    v = x
                    v._grad = zero
            self._grad = 1.0
            _chain(reversed(order))
            for leaf, grad in leaves:
                leaf._grad += grad
        except BaseException:
            for leaf, grad in leaves:
                leaf._grad = grad
            raise

    def __reduce__(self) -> tuple[Any, ...]:  # for pickle and copy: what arrives is a leaf
        state = self.__dict__, {'data': self._number, 'grad': self._grad}
        return copyreg.__newobj__, (type(self),), state  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f'Value(data={self._number}, grad={self._grad})'


def _node(data: float, op: str, a: Value | None, da: float, b: Value | None = None,
          db: float = 0.0, cls: type[Value] = Value, new: Any = object.__new__) -> Value:
    out: Value = new(cls)
    out._number, out._grad, out._operation = data, 0.0, op
    out._a, out._da = a, da
    out._b, out._db = b, db
    return out


def _chain(nodes: Iterable[Value]) -> None:
    """The chain rule: every node in turn hands on its gradient, times its local derivatives."""
    for v in nodes:
        a, b, grad = v._a, v._b, v._grad
        if a is not None:
            a._grad += v._da * grad
        if b is not None:
            b._grad += v._db * grad


def node(data: Number, op: str, a: Value, da: Number,
         b: Value | None = None, db: Number = 0.0) -> Value:
    """One node of a graph: an operation of your own, of one operand or two.

        >>> def sin(x):
        ...     return node(math.sin(x.data), 'sin', x, math.cos(x.data))

    Args:
        data: the result.
        op: the operation's name, for drawings.
        a, b: the operands.
        da, db: the local derivatives, ∂out/∂a and ∂out/∂b, at these operands.

    Raises:
        TypeError: an operand is not a Value, `op` no str, or another argument no real number.
    """
    for x, kind in (op, str), (a, Value), (a if b is None else b, Value):
        if not isinstance(x, kind):
            raise TypeError(f'expected a {kind.__name__}, not {type(x).__name__}')
    return _node(_real(data), op, a, _real(da), b, _real(db))


def sumprod(p: Iterable[Value | Number], q: Iterable[Value | Number],
            start: Value | Number) -> Any:
    """start + p[0]*q[0] + p[1]*q[1] + …, from left to right: the graph that `+` and `*` make.

    Args:
        p, q: Values or numbers, as many in one as in the other, n each.
        start: what the first product is added to.

    Returns:
        The last sum, a Value (unless there was none among all these); `start` where n is 0.

    Raises:
        ValueError: the lengths differ.
    """
    p, q = tuple(p), tuple(q)
    if len(p) != len(q):
        raise ValueError(f'expected {len(p)} inputs, got {len(q)}')
    out: Any = start
    for x, y in zip(p, q):
        if type(x) is type(y) is type(out) is Value:  # as below, in half the time
            a, b = x._number, y._number
            xy = _node(a * b, '*', x, b, y, a)
            out = _node(out._number + xy._number, '+', out, 1.0, xy, 1.0)
        else:
            out = out + x * y  # type: ignore[operator]
    return out


compiled = False  # whether the engine in use is the one in C
if os.environ.get('MICROGRAD_PURE') != '1':
    try:
        from micrograd._engine import Value, node, sumprod  # type: ignore  # noqa: F401
        compiled = True
    except ImportError:
        pass
