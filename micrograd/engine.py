"""The engine: numbers that remember how they were made, and backpropagation through them.

    >>> a, b = Value(2.0), Value(-3.0)
    >>> c = a * b + a
    >>> c.backward()
    >>> a.grad, b.grad  # dc/da = b + 1, dc/db = a
    (-2.0, 2.0)

Every operation makes a node: its number, its operands, and the local derivatives, which say how
fast the number changes with each operand. `backward()` walks the nodes in reverse and multiplies.

`_engine.c` is the same engine in C. If it has been built, the last lines import `Value`, `node`
and `sumprod` from it instead, unless the environment variable `MICROGRAD_PURE` is 1.
"""
import contextlib
import copyreg
import math
import os
from numbers import Real


class Value:
    """A number, and how it was made.

    Args:
        data: an int, a float, a Fraction, a NumPy scalar: any `numbers.Real`.
        label: a str, for drawings.

    Raises TypeError for anything else. You may add attributes of your own: `p.momentum = 0.0`. But
    avoid cycles, such as `p.loss = loss` where `loss` was made from `p`: the compiled engine never
    frees them. To find such a leak, watch `sys.getrefcount(Value)`: it grows with each live Value.
    """
    __slots__ = ('_number', '_grad', '_operation', '_a', '_da', '_b', '_db', '__dict__')
    label = ''

    def __new__(cls, *args, **kwargs): return _node(0.0, '', None, 0.0, cls=cls)  # a leaf
    def __init__(self, data, label='', *more, **names):  # more, names: of the classic form
        if more or names or not isinstance(label, str):
            raise TypeError(f'a Value takes a number and a label, which is a str; {_HINT}')
        self._number = _real(data)  # not `_data`, which NumPy's masked arrays would read
        if label:
            self.label = label

    def __add__(self, other): return _apply(_add, self, other)
    def __sub__(self, other): return _apply(_sub, self, other)
    def __mul__(self, other): return _apply(_mul, self, other)
    def __truediv__(self, other): return _apply(_div, self, other)
    def __pow__(self, k): return _apply(_pow if isinstance(k, Value) else _pow_number, self, k)

    def __radd__(self, other): return _apply(_add, other, self)  # other + self
    def __rsub__(self, other): return _apply(_sub, other, self)
    def __rmul__(self, other): return _apply(_mul, other, self)
    def __rtruediv__(self, other): return _apply(_div, other, self)
    def __rpow__(self, other): return _apply(_pow, other, self)
    def __neg__(self): return _node(-self._number, 'neg', self, -1.0)

    def relu(self):
        """max(0, self), with derivative 0 at 0."""
        x = self._number  # compared so that NaN stays NaN
        return _node(0.0 if x < 0.0 else x, 'ReLU', self, 0.0 if x <= 0.0 else 1.0)

    def exp(self):
        """e to the power self. Raises OverflowError where that is too large for a float."""
        y = math.exp(self._number)
        return _node(y, 'exp', self, y)

    def log(self):
        """The natural logarithm. Raises ValueError where self is zero or less."""
        return _node(math.log(self._number), 'log', self, 1.0 / self._number)

    def tanh(self):
        """The hyperbolic tangent."""
        y = math.tanh(self._number)
        return _node(y, 'tanh', self, (1.0 - y) * (1.0 + y))  # 1 - y², but accurate near ±1

    def backward(self):
        """Compute ∂self/∂v for every v that self was made from: set `v.grad`; a leaf adds it up."""
        order, visited, path = [], {None}, [self]  # None, a missing operand, needs no visit
        while path:
            v = path[-1]
            visited.add(v)
            if v._a not in visited:
                path.append(v._a)
            elif v._b not in visited:
                path.append(v._b)
            else:  # both operands are listed, so v is next
                order.append(path.pop())
                v._grad = v._grad if v._a is None else 0.0  # a leaf keeps its sum
        self._grad += 1.0
        for v in reversed(order):
            v._chain()

    def _chain(self):
        """One step of the chain rule, from this node to its operands."""
        if self._a is not None:
            self._a._grad += self._da * self._grad
        if self._b is not None:
            self._b._grad += self._db * self._grad

    def _refuse(self, function):
        raise AttributeError(f'_backward cannot be assigned; {_HINT}')

    _backward = property(lambda self: self._chain, _refuse)  # to call, but not to replace

    data = property(lambda self: self._number, lambda self, x: setattr(self, '_number', _real(x)),
                    doc='The number. Nodes already made from it do not change when it is assigned.')
    grad = property(lambda self: self._grad, lambda self, x: setattr(self, '_grad', _real(x)),
                    doc='∂root/∂self, after `root.backward()`; a leaf sums over all the calls.')
    _op = property(lambda self: self._operation)  # these three for drawings
    _prev = property(lambda self: tuple(x for x in (self._a, self._b) if x is not None))
    _slopes = property(lambda self: (self._da, self._db)[:len(self._prev)])  # ∂self/∂x

    def __repr__(self): return f'Value(data={self.data}, grad={self.grad})'

    def __reduce__(self):  # for pickle and copy: a leaf, with its attributes, number and gradient
        state = self.__dict__, {'data': self.data, 'grad': self.grad}
        return copyreg.__newobj__, (type(self),), state


# The rules. Each gives the result, the operation, and each operand with its local derivative.
def _add(a, b): return _node(a._number + b._number, '+', a, 1.0, b, 1.0)
def _sub(a, b): return _node(a._number - b._number, '-', a, 1.0, b, -1.0)
def _mul(a, b): return _node(a._number * b._number, '*', a, b._number, b, a._number)


def _div(a, b):
    y = a._number / b._number
    return _node(y, '/', a, 1.0 / b._number, b, -y / b._number)  # d(a/b)/db = -a/b²


def _pow(a, b):
    y, da, db = _power(a._number, b._number)
    return _node(y, '**', a, da, b, db)


def _pow_number(a, k):  # k was a plain number, so it gets no gradient
    y, da, _ = _power(a._number, k._number)
    return _node(y, f'**{k._number:g}', a, da)


def _power(x, k):
    """x**k and its derivatives, k·x**(k-1) and x**k·log(x); where they fail, a limit or NaN."""
    if -math.inf < x < 0.0 and k % 1.0 > 0.0:  # Python would give a complex number
        raise ValueError('a negative number to a fractional power')
    y = x ** k
    try:
        dx = k * math.pow(x, k - 1.0) if k else 0.0
    except (OverflowError, ValueError):  # infinite, with the sign of x where k - 1 is odd
        dx = k * math.copysign(math.inf, x if abs(k - 1.0) % 2.0 == 1.0 else 1.0)
    log = math.log(x) if x > 0.0 else -math.inf if x == 0.0 else math.nan
    return y, dx, 0.0 if x == 0.0 and k >= 0.0 else y * log


def _node(data, op, a, da, b=None, db=0.0, cls=Value):  # node() below, without its checks
    out = object.__new__(cls)
    out._number, out._grad, out._operation = data, 0.0, op
    out._a, out._da, out._b, out._db = a, da, b, db
    return out


def _apply(rule, x, y):
    """Apply a rule to x and y, each a Value or a plain number, which becomes a leaf."""
    try:
        a = x if isinstance(x, Value) else Value(x)
        b = y if isinstance(y, Value) else Value(y)
    except TypeError:
        return NotImplemented  # then Python asks the other operand's class
    return rule(a, b)


def _real(x):
    if not isinstance(x, (float, Real)):  # float first: asking Real is slow
        raise TypeError(f'expected a real number, not {type(x).__name__}')
    return float(x)


def node(data, op, a, da, b=None, db=0.0):
    """One node of a graph: an operation of your own, of one operand or two.

        >>> def sin(x):
        ...     return node(math.sin(x.data), 'sin', x, math.cos(x.data))

    Args:
        data, op: the result, and the operation's name, for drawings.
        a, b: the operands.
        da, db: the local derivatives, ∂data/∂a and ∂data/∂b.

    Raises TypeError if `op` is not a str, an operand not a Value, or another not a real number.
    """
    if not (isinstance(op, str) and isinstance(a, Value) and isinstance(b, (Value, type(None)))):
        raise TypeError('op is a str, and the operands a and b are Values')
    return _node(_real(data), op, a, _real(da), b, _real(db))


def sumprod(p, q, start, /):
    """start + p[0]*q[0] + p[1]*q[1] + …; ValueError if p and q differ in length."""
    p, q = tuple(p), tuple(q)
    if len(p) != len(q):
        raise ValueError(f'expected {len(p)} inputs, got {len(q)}')
    for x, y in zip(p, q):
        start = start + x * y
    return start


_HINT = 'for an operation of your own, use micrograd.engine.node(data, op, a, da, b, db)'

compiled = False  # whether the engine in use is the one in C
if os.environ.get('MICROGRAD_PURE') != '1':
    with contextlib.suppress(ImportError):
        from micrograd._engine import Value, compiled, node, sumprod  # noqa: F401
