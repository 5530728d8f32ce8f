"""The engine: numbers that remember how they were made, and backpropagation through them.

    >>> a, b = Value(2.0), Value(-3.0)
    >>> c = a * b + a
    >>> c.backward()
    >>> a.grad, b.grad  # dc/da = b + 1, dc/db = a
    (-2.0, 2.0)

An operation makes a node: a Value that keeps its operands and, for each of them, the slope (the
local derivative): how fast the node changes with it. `backward()` multiplies the slopes along each
path back, and adds up the paths. To change the engine, change this file. (`__init__.py` takes
`_engine.c`, the same in C, for speed, if it was built from exactly this text.)
"""
import math
from numbers import Real

NUMBER = float, Real  # float first: asking Real is slow
_set = object.__setattr__  # plain assignment, past the __setattr__ below or of a subclass


def _operator(method):
    """Let the other operand be a plain number, which becomes a leaf."""
    def operator(self, other):
        if isinstance(other, Value):
            return method(self, other)
        return method(self, Value(other)) if isinstance(other, NUMBER) else NotImplemented
    return operator


class Value:
    """A number, and how it was made.

        >>> def sin(x):
        ...     return Value(math.sin(x.data), (x,), 'sin', slopes=(math.cos(x.data),))

    Args:
        data: an int, a Fraction, a NumPy scalar, any `numbers.Real`. It is kept as a float.
        _children: the operands, Values. A leaf has none.
        _op, label: the names of the operation and of the value, for drawings.
        slopes: d(self)/d(operand) for each operand, as of now. Or none: then assign to `_backward`
            a function, without arguments, that adds to the gradients of the operands.

    Raises TypeError for anything else, and ValueError for more or fewer slopes than operands.
    It takes attributes of your own. But a cycle, `p.loss = loss` where `loss` was made from `p`,
    may stay in memory in C: `sys.getrefcount(Value)` grows then.
    """
    __slots__ = ('data', 'grad', '_prev', '_op', '_slopes', '__dict__')
    label = ''

    def __init__(self, data, _children=(), _op='', label='', slopes=()):
        _set(self, 'data', float(_only(data, NUMBER)))
        _set(self, 'grad', 0.0)  # d(root)/d(self), after root.backward()
        _set(self, '_prev', tuple([_only(x, Value) for x in _children]))
        _set(self, '_op', _only(_op, str))
        if label != '':
            _set(self, 'label', _only(label, str))
        _set(self, '_slopes', tuple([float(_only(x, NUMBER)) for x in slopes]))
        if self._slopes and len(self._slopes) != len(self._prev):
            raise ValueError(f'expected {len(self._prev)} slopes, got {len(self._slopes)}')

    @_operator
    def __add__(self, other):
        return Value(self.data + other.data, (self, other), '+', slopes=(1.0, 1.0))

    @_operator
    def __sub__(self, other):
        return Value(self.data - other.data, (self, other), '-', slopes=(1.0, -1.0))

    @_operator
    def __mul__(self, other):
        return Value(self.data * other.data, (self, other), '*', slopes=(other.data, self.data))

    @_operator
    def __truediv__(self, other):
        out = self.data / other.data  # d(a/b)/da = 1/b, d(a/b)/db = -a/b²
        return Value(out, (self, other), '/', slopes=(1.0 / other.data, -out / other.data))

    def __pow__(self, k):
        """self ** k. A plain number `k` is part of the operation, not an operand."""
        if isinstance(k, Value):
            out, dx, dk = _power(self.data, k.data)
            return Value(out, (self, k), '**', slopes=(dx, dk))
        if not isinstance(k, NUMBER):
            return NotImplemented
        out, dx, _ = _power(self.data, float(k))
        return Value(out, (self,), f'**{float(k):g}', slopes=(dx,))

    def __neg__(self): return Value(-self.data, (self,), 'neg', slopes=(-1.0,))

    __radd__ = _operator(lambda self, a: Value.__add__(a, self))  # 2 + self: Python asks self
    __rsub__ = _operator(lambda self, a: Value.__sub__(a, self))
    __rmul__ = _operator(lambda self, a: Value.__mul__(a, self))
    __rtruediv__ = _operator(lambda self, a: Value.__truediv__(a, self))
    __rpow__ = _operator(lambda self, a: Value.__pow__(a, self))

    def relu(self):
        """max(0, self). The slope at 0 is 0."""
        return Value(max(self.data, 0.0), (self,), 'ReLU', slopes=(0 if self.data <= 0 else 1,))

    def exp(self):
        """e to the power self. Raises OverflowError where that is too large for a float."""
        return Value(math.exp(self.data), (self,), 'exp', slopes=(math.exp(self.data),))

    def log(self):
        """The natural logarithm. Raises ValueError where self is zero or less."""
        return Value(math.log(self.data), (self,), 'log', slopes=(1.0 / self.data,))

    def tanh(self):
        """The hyperbolic tangent."""
        out = math.tanh(self.data)
        return Value(out, (self,), 'tanh', slopes=((1.0 - out) * (1.0 + out),))  # 1 - out²

    def sigmoid(self):
        """The logistic function, 1 / (1 + exp(-self))."""
        e = math.exp(-abs(self.data))  # at most 1, so that nothing overflows
        out = (1.0 if self.data >= 0.0 else e) / (1.0 + e)
        return Value(out, (self,), 'sigmoid', slopes=(e / (1.0 + e) / (1.0 + e),))  # out·(1 - out)

    def backward(self):
        """Set v.grad to d(self)/d(v) for every v that self was made from; in a leaf, add it up."""
        order, visited, stack = [], set(), [self]
        while stack:
            v = stack.pop()
            if v is None:  # a mark: the operands of the node under it are in order, so it is next
                order.append(stack.pop())
            elif id(v) not in visited:  # by identity: a subclass may have an __eq__
                visited.add(id(v))
                stack += [v, None, *reversed(v._prev)]
                _set(v, 'grad', 0.0 if v._prev else v.grad)  # a leaf keeps what it has
        _set(self, 'grad', self.grad + 1.0)
        for v in reversed(order):
            v._backward()

    def _backward(self):
        """One step of the chain rule, from this node to its operands."""
        for x, slope in zip(self._prev, self._slopes):
            _set(x, 'grad', x.grad + slope * self.grad)

    __new__ = (lambda cls, *_, **__: object.__new__(cls)).__call__  # help() shows __init__, then

    def __repr__(self): return f'Value(data={self.data}, grad={self.grad})'

    def __setattr__(self, name, x):
        if name in ('_prev', '_op', '_slopes'):
            raise AttributeError(f'{name} of a Value cannot be changed')
        _set(self, name, float(_only(x, NUMBER)) if name in ('data', 'grad') else x)

    def __getstate__(self):  # for pickle and copy: own attributes, and a subclass's own slots
        return tuple({name: x for name, x in (part or {}).items()
                      if name not in (*Value.__slots__, '_backward')}
                     for part in object.__getstate__(self))

    def __reduce__(self): return _leaf, (type(self), self.data, self.grad), self.__getstate__()


def _leaf(cls, data, grad):  # a copy is a leaf: pickle and copy start from this
    v = Value.__new__(cls)
    Value.__init__(v, data)
    _set(v, 'grad', grad)
    return v


def _power(x, k):
    """x**k and its derivatives, k * x**(k-1) and x**k * log(x); where they fail, a limit or nan."""
    if -math.inf < x < 0.0 and k % 1.0 > 0.0:  # Python would give a complex number
        raise ValueError('a negative number to a fractional power')
    out = x ** k
    try:
        dx = k * x ** (k - 1.0) if k else 0.0
    except ArithmeticError:  # x is 0 or tiny: infinite, with the sign of x where k - 1 is odd
        dx = k * math.copysign(math.inf, x if abs(k - 1.0) % 2.0 == 1.0 else 1.0)
    log = math.log(x) if x > 0.0 else -math.inf if x == 0.0 else math.nan
    return out, dx, 0.0 if x == 0.0 and k >= 0.0 else out * log


def _only(x, cls):  # x, if it is one
    if isinstance(x, cls):
        return x
    name = getattr(cls, '__name__', 'real number')
    raise TypeError(f'expected a {name}, not {type(x).__name__}')


def sumprod(p, q, start, /):
    """start + p[0]*q[0] + p[1]*q[1] + ..., for a neuron; ValueError for unequal lengths."""
    for x, y in zip(p, q, strict=True):
        start = start + x * y
    return start


compiled = False  # __init__.py sets it, where the engine in C takes over
