"""Objects of every kind in every place: the right number, or an exception that says what is wrong.

Every object below is given to everything that `calls` lists, on both engines. What may come of it
follows from what the object is: a number, which is what float() makes of it; NumPy's, which deals
with the operators itself; or no number, which is an exception of one of the types that stand there.
"""
import array
import datetime
import enum
import gc
import importlib
import math
import operator
import random
import re
import sys
import threading
import types
from decimal import Decimal
from fractions import Fraction
from unittest import mock

import numpy as np
import pytest
import torch
from conftest import load
from graphs import count, describe, without_gc
from hypothesis import given, settings
from hypothesis import strategies as st


class Odd(Exception):
    """What the objects below raise."""


def odd(*_, **__):
    raise Odd('an error of its own')


def kind(name='Thing', bases=(), meta=type, **attributes):
    """An object of a new class."""
    return meta(name, bases or (object,), attributes)


def of(name='Thing', bases=(), meta=type, **methods):
    return kind(name, bases, meta, **methods)()


class SizedMeta(type):
    def __len__(cls):
        return 1


class FloatMeta(type):
    def __float__(cls):
        return 1.0

    __index__ = __add__ = __radd__ = __float__


class NamelessMeta(type):
    __name__ = property(lambda cls: 5)


class Number(enum.IntEnum):
    THREE = 3


class Flag(enum.IntFlag):
    TWO = 2


class Float(float):
    pass


def recursive(self):
    return self


# Objects that are numbers: each says by float() which.
NUMBERS = {
    'int': 3, 'zero': 0, 'negative': -2, 'bool': True, 'False': False, 'float': 0.5, '-0.0': -0.0,
    'nan': math.nan, 'inf': math.inf, '-inf': -math.inf, 'subnormal': 5e-324,
    'max': sys.float_info.max, '2**53+1': 2 ** 53 + 1, 'big': 10 ** 300,
    'nearly 2**1024': 2 ** 1024 - 2 ** 970 - 1,
    'Fraction': Fraction(1, 3), 'Fraction 0': Fraction(0), 'Decimal': Decimal('0.1'),
    'Decimal nan': Decimal('nan'), 'Decimal inf': Decimal('-inf'),
    'Decimal tiny': Decimal('1e-400'), 'IntEnum': Number.THREE, 'Float': Float(2.5),
    **{t.__name__: t(2) for t in (
        np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64,
        np.float16, np.float32, np.float64, np.longdouble)},
    'np.nan': np.float64('nan'), 'np.inf': np.float32('inf'), 'longdouble': np.longdouble('0.1'),
    'only __float__': of(__float__=lambda self: 1.25),
    'only __index__': of(__index__=lambda self: 7),
    '__float__ of an int': of(bases=(int,), __float__=lambda self: 0.25),
    '__float__ of a float': of(bases=(float,), __float__=lambda self: 0.25),
    'SizedMeta': of(bases=(float,), meta=SizedMeta),
    'operators that fail': of(__float__=lambda self: 1.5, __bool__=odd, __eq__=odd, __hash__=odd,
                              __repr__=odd, __str__=odd),
    'own operators are given up': of(__float__=lambda self: 1.5, __add__=lambda *_: NotImplemented,
                                     __radd__=odd, __rmul__=odd, __rpow__=odd),
    'looks like a dict': of(__float__=lambda self: 1.5, __iter__=odd, __getitem__=odd),
    'float subclass from __float__': of(__float__=lambda self: Float(1.75)),
    'huge precision': Decimal(1) / Decimal(7),
}

# Objects that are none: with the exceptions that may come.
OTHERS = {
    'huge int': (10 ** 400, OverflowError), '-huge int': (-10 ** 400, OverflowError),
    'huge Fraction': (Fraction(10 ** 400), OverflowError),
    'sNaN': (Decimal('sNaN'), ValueError),
    'complex': 1j, '0j': 0j, 'str': '3', 'empty str': '', 'surrogate': '\ud800', 'bytes': b'3',
    'bytearray': bytearray(b'3'), 'memoryview': memoryview(b'3'), 'None': None, '...': ...,
    'NotImplemented': NotImplemented, 'list': [1.0], 'empty list': [], 'tuple': (1.0,),
    'dict': {1: 2}, 'set': {1.0}, 'range': range(2), 'slice': slice(1), 'object': object(),
    'function': lambda: 1.0, 'class': float, 'module': math,
    'lock': threading.Lock(), 'exception': ValueError('3'), 'date': datetime.date(2020, 1, 1),
    'timedelta': datetime.timedelta(1), 'regex': re.compile('3'), 'code': odd.__code__,
    'namespace': types.SimpleNamespace(data=1.0, grad=0.0, _data=1.0, _grad=0.0),
    **{f'{t.__name__}': t(2) for t in (np.complex64, np.complex128, np.clongdouble)},
    'np.str_': np.str_('3'), 'np.bytes_': np.bytes_(b'3'),
    'datetime64': np.datetime64('2020-01-01'), 'timedelta64': np.timedelta64(1, 'D'),
    'NaT': np.datetime64('NaT'), 'void': (np.void(b'\xff'), ValueError),
    'record': np.array([(1.0,)], dtype=[('x', float)])[0], 'np.dtype': np.dtype(float),
    '__float__ raises': (of(__float__=odd), Odd), '__index__ raises': (of(__index__=odd), Odd),
    '__float__ returns a str': of(__float__=lambda self: '3'),
    '__float__ returns an int': of(__float__=lambda self: 3),
    '__float__ returns None': of(__float__=lambda self: None),
    '__float__ returns itself': of(__float__=recursive),
    '__float__ is None': of(__float__=None), '__float__ is 5': of(__float__=5),
    '__index__ returns itself': of(__index__=recursive),
    '__float__ on the object': types.SimpleNamespace(__float__=lambda: 3.0),
    '__float__ recurses': (of(__float__=lambda self: float(self)), RecursionError),
    'everything': of(__getattr__=lambda self, name: 1.0), '__getattr__ raises': of(__getattr__=odd),
    'FloatMeta': of(meta=FloatMeta), 'NamelessMeta': of(meta=NamelessMeta),
    'Mock': mock.Mock(),
    '__array__ raises': of(__array__=odd), '__array_ufunc__': of(__array_ufunc__=None),
    'tensor': (torch.tensor([1.0, 2.0]), (RuntimeError, ValueError)),
    'parameter': (torch.nn.Parameter(torch.ones(2)), (RuntimeError, ValueError)),
}

# NumPy's: a TypeError where one number is wanted; beside a Value what NumPy makes of it.
ARRAYS = {
    **{f'array of {dtype}': np.ones(2, dtype) for dtype in (
        '?', 'i1', 'i8', 'u8', 'f2', 'f4', 'f8', 'g', 'c8', 'U3', 'S3', 'M8[D]', 'm8[D]', 'V3')},
    'array of objects': np.array([1.0, Fraction(1, 2)], object), 'array of None': np.array([None]),
    'empty array': np.array([]), 'array of arrays': np.ones((2, 2)),
}

# Objects with operators of their own, which get their turn where a Value gives up.
OPERATORS = {
    '__radd__': of(__radd__=lambda self, other: 'mine', __add__=lambda self, other: 'mine'),
    '__radd__ raises': of(__radd__=odd, __add__=odd, __rmul__=odd, __mul__=odd),
    '__add__ returns itself': of(__add__=lambda self, x: self, __radd__=lambda self, x: self),
    'MagicMock': mock.MagicMock(),
}

# Objects that float() takes and that are no plain numbers: the right result, or a TypeError.
EITHER = {
    'array 0-d': np.array(0.5), 'array 0-d of float32': np.array(0.5, np.float32),
    'array 0-d of objects': np.array(Fraction(1, 2), object), 'array 0-d of complex': np.array(1j),
    'IntFlag': Flag.TWO,
    'tensor 0-d': torch.tensor(0.5), 'tensor 0-d with grad': torch.tensor(0.5, requires_grad=True),
    'tensor of a complex': torch.tensor(1j), 'tensor of one': torch.tensor([0.5]),
    'timedelta64[ns]': np.timedelta64(5, 'ns'), 'datetime64[ns]': np.datetime64(5, 'ns'),
    'array 0-d of str': np.array('3'), 'array 0-d of timedelta': np.array(5, 'm8[ns]'),
}

# The same. Here the engines may differ: isinstance() asks the object, C asks its type.
LIARS = {
    '__class__ is str': of(__class__=str, __float__=lambda self: 1.5),
    '__class__ is complex': of(__class__=complex, __float__=lambda self: 1.5),
    '__class__ raises': of(__class__=property(odd), __float__=lambda self: 1.5),
    '__len__ is None': of(bases=(float,), __len__=None),
}

RAISES = {name: x[1] for name, x in OTHERS.items() if type(x) is tuple and len(x) == 2}
OTHERS = {name: x[0] if name in RAISES else x for name, x in OTHERS.items()}
EVERYTHING = {**NUMBERS, **OTHERS, **ARRAYS, **OPERATORS, **EITHER, **LIARS}

BINARY = {'+': operator.add, '-': operator.sub, '*': operator.mul, '/': operator.truediv,
          '**': operator.pow}


@pytest.fixture(scope='module')
def engines():
    loaded = []
    for pure in True, False:
        loaded.append(load(pure))
        loaded[-1].trace = importlib.import_module('micrograd.trace')
    if not loaded[1].engine.compiled:
        pytest.skip('the compiled engine has not been built')
    return loaded


def outcome(call, *args):
    """What became of a call: ('Value', its graph), ('raised', type), or the type of the result."""
    try:
        out = call(*args)
    except Exception as error:
        assert type(error) is not SystemError
        return 'raised', type(error)
    if type(out).__name__ == 'Value':
        out.backward()
        return 'Value', describe(out)
    return 'returned', type(out)


def calls(mg):
    """{name: (function of one object, function of the float that does the same, or None)}."""
    Value, node = mg.Value, mg.node
    v = Value(2.0)

    def set_data(x):
        w = Value(2.0)
        w.data = x
        return w

    def set_grad(x):
        w = Value(2.0)
        w.grad = x
        return Value(w.grad)

    table = {
        'Value': (Value, float), 'data=': (set_data, float), 'grad=': (set_grad, float),
        '__new__': (lambda x: Value.__new__(Value, x), lambda x: 0.0),
        'node': (lambda x: node(x, 'op', v, 1.0), float),
        'node da': (lambda x: node(1.0, 'op', v, x), lambda x: 1.0),
        'node db': (lambda x: node(1.0, 'op', v, 1.0, v, x), lambda x: 1.0),
        'sumprod start': (lambda x: mg.sumprod([v], [v], x), lambda x: x + 4.0),
        'sumprod p': (lambda x: mg.sumprod([x, v], [v, v], v), lambda x: 2.0 + x * 2.0 + 4.0),
        'sumprod q': (lambda x: mg.sumprod((v, v), (v, x), v), lambda x: 6.0 + 2.0 * x),
    }
    for op, f in BINARY.items():
        table['v ' + op] = lambda x, f=f: f(v, x), lambda x, f=f: f(2.0, x)
        table[op + ' v'] = lambda x, f=f: f(x, v), lambda x, f=f: f(x, 2.0)
    return table


def places(mg):
    """The same for what takes other things than numbers."""
    v, w = mg.Value(2.0), mg.Value(3.0)
    neuron, layer, net = mg.Neuron(2), mg.Layer(2, 2), mg.MLP(2, [2, 1])
    return {
        'label': lambda x: setattr(mg.Value(1.0), 'label', x),
        'attribute': lambda x: setattr(w, 'x', x),
        'Value label': lambda x: mg.Value(1.0, x), 'Value name': lambda x: mg.Value(x=x),
        '_op': lambda x: setattr(v, '_op', x), '_prev': lambda x: setattr(v, '_prev', x),
        'op': lambda x: mg.node(1.0, x, v, 1.0)._op, 'a': lambda x: mg.node(1.0, 'op', x, 1.0),
        'b': lambda x: mg.node(1.0, 'op', v, 1.0, x, 1.0),
        'all': lambda x: mg.node(x, x, x, x, x, x),
        'pow 1': lambda x: pow(v, 3, x) if x is not None else odd(),
        'pow 2': lambda x: pow(v, x, 3), 'pow 3': lambda x: pow(x, v, 3),
        'pow 4': lambda x: pow(2, 3, v), 'pow 5': lambda x: pow(x, x, v),
        '//': lambda x: v // x, '%': lambda x: x % v, '@': lambda x: v @ x, '<': lambda x: v < x,
        'divmod': lambda x: divmod(x, v), '<<': lambda x: v << x, '&': lambda x: x & v,
        '[]': lambda x: v[x], '()': lambda x: v(x),
        'iter': lambda x: iter(v), 'float': lambda x: float(v),
        'backward': lambda x: v.backward(x), 'trace': lambda x: mg.trace.trace(x),
        'draw_dot': lambda x: mg.trace.draw_dot(x),
        'rankdir': lambda x: mg.trace.draw_dot(v, rankdir=x),
        'sumprod p': lambda x: mg.sumprod(x, [v], v),
        'sumprod q': lambda x: mg.sumprod([v, v], x, v),
        'sumprod': lambda x: mg.sumprod(x, x, v),
        'Neuron nin': lambda x: mg.Neuron(x) if not big(x) else odd(),
        'nonlin': lambda x: mg.Neuron(1, x)([1.0]),
        'nonlin=': lambda x: mg.Layer(1, 2, nonlin=x)([1]),
        'Layer nout': lambda x: mg.Layer(1, x) if not big(x) else odd(),
        'MLP nin': lambda x: mg.MLP(x, [1]) if not big(x) else odd(),
        'MLP nouts': lambda x: mg.MLP(1, x),
        'MLP nout': lambda x: mg.MLP(1, [x, 1]) if not big(x) else odd(),
        'neuron': lambda x: neuron(x), 'layer': lambda x: layer(x), 'net': lambda x: net(x),
        'neuron x': lambda x: neuron([x, x]), 'layer x': lambda x: layer((1.0, x)),
        'net x': lambda x: net(iter([x, v])),
    }


NEVER = ('_op', '_prev', '[]', '()', 'iter', 'float', 'backward', 'trace', 'draw_dot', 'a', 'all',
         'Value name', 'pow 1', 'pow 2', 'pow 3', 'pow 4', 'pow 5')  # is there a result


def big(x):
    """Whether x is a size that fills the memory, as asked."""
    return isinstance(x, int) and x > 1000


@pytest.mark.parametrize('name', EVERYTHING)
@pytest.mark.filterwarnings('ignore')
def test_a_number_or_an_exception(engines, name):
    x, seen = EVERYTHING[name], []
    for mg in engines:
        rows = {}
        for call, (f, by_floats) in calls(mg).items():
            got = rows[call] = outcome(f, x)
            if call == '__new__':  # not yet initialized: 0, whatever the arguments
                assert got == ('Value', [('', '0x0.0p+0', '0x1.0000000000000p+0', ())])
            elif name in NUMBERS or name in {**EITHER, **LIARS} and got[0] == 'Value':
                expected = outcome(lambda f=by_floats, Value=mg.Value: Value(f(float(x))))
                if isinstance(expected[1], list):
                    assert got[1][-1][1] == expected[1][-1][1], call
                else:  # where the floats give a complex number, it is a ValueError
                    assert got in (expected, ('raised', ValueError)), call
            elif name in OTHERS:
                assert got[0] == 'raised', (call, got)
                assert issubclass(got[1], (TypeError, RAISES.get(name, TypeError))), (call, got)
            elif name in EITHER:
                assert issubclass(got[1], (TypeError, RuntimeError)), (call, got)
        seen.append(rows)
    assert seen[0] == seen[1] or name in LIARS


@pytest.mark.parametrize('name', EVERYTHING)
@pytest.mark.filterwarnings('ignore')
def test_in_other_places(engines, name):
    x, seen = EVERYTHING[name], []
    for mg in engines:
        seen.append({call: outcome(f, x) for call, f in places(mg).items()})
    for call in seen[0]:
        one, other = seen[0][call][0], seen[1][call][0]
        assert one == other or name in LIARS, (call, one, other)
        assert one == 'raised' or call not in NEVER or name in OPERATORS, (call, one)


@pytest.mark.filterwarnings('ignore')
def test_random_arguments(engines):
    names = sorted(EVERYTHING.keys() - LIARS) + ['Value', 'op'] * 50 + [*NUMBERS] * 3
    rng, seen = random.Random(8), [[], []]
    for _ in range(3000):
        call, n = rng.choice([('node', 4), ('node', 6), ('sumprod', 3), ('pow', 3), ('Value', 2)])
        picked = [rng.choice(names) for _ in range(n)]
        if call == 'pow':  # without a Value, it is Python's, and takes its time for huge numbers
            picked[rng.randrange(3)] = 'Value'
        for mg, outcomes in zip(engines, seen):
            own = {**EVERYTHING, 'Value': mg.Value(2.0), 'op': 'op'}
            f = {'pow': pow, 'node': mg.node, 'sumprod': mg.sumprod, 'Value': mg.Value}[call]
            outcomes.append((call, picked, outcome(f, *(own[name] for name in picked))))
    assert seen[0] == seen[1]
    assert sum(got[0] == 'Value' for _, _, got in seen[0]) > 100


@pytest.mark.parametrize('kind', ['calls', 'places'])
@pytest.mark.filterwarnings('ignore')
def test_nothing_leaks(mg, kind):
    mg.trace = importlib.import_module('micrograd.trace')
    table = calls(mg) if kind == 'calls' else places(mg)
    rounds = [(f[0] if kind == 'calls' else f, x) for f in table.values()
              for name, x in EVERYTHING.items() if 'Mock' not in name]  # they keep what they get

    shared = str, int, type, types.ModuleType, *map(type, (None, ..., NotImplemented))

    def all_of_them():
        for f, x in rounds:
            outcome(f, x)
        gc.collect()
        return count(mg), {name: sys.getrefcount(x) for name, x in EVERYTHING.items()
                           if not issubclass(type(x), shared)}

    all_of_them()
    assert all_of_them() == all_of_them()


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.integers(), st.integers(-2 ** 1100, 2 ** 1100), st.fractions(), st.booleans(),
                 st.decimals(), st.floats(), st.floats(width=32).map(np.float32)),
       st.sampled_from([*BINARY]), st.floats(), st.booleans())
def test_numbers(mg, x, op, y, left):
    """Beside a Value a number is what float() makes of it, in every bit, and also in its errors."""
    a, b = (x, mg.Value(y)) if left else (mg.Value(y), x)
    got = outcome(BINARY[op], a, b)
    expected = outcome(lambda: mg.Value(
        BINARY[op](float(x), y) if left else BINARY[op](y, float(x))))
    if isinstance(expected[1], list):
        assert got[1][-1][1] == expected[1][-1][1]
    else:
        assert got in (expected, ('raised', ValueError))


# Sequences that are not what they seem.

class Meddler:
    """A number that does something when it is read."""

    def __init__(self, meddle):
        self.meddle = meddle

    def __float__(self):
        self.meddle()
        return 2.0


class Lengthy(list):
    def __init__(self, x, length):
        super().__init__(x)
        self.length = length

    def __len__(self):
        return self.length() if callable(self.length) else self.length

    __length_hint__ = __len__


def readings(Value):
    """Functions that make something to be read as [2.0, 3.0]."""
    def generator():
        yield 2.0
        yield Value(3.0)

    def meddled(meddle):
        x = [None, Value(3.0)]
        x[0] = Meddler(lambda: meddle(x))
        return x

    def growing():
        x = [2.0]
        for y in x:
            yield y
            if len(x) == 1:
                x.append(Value(3.0))

    def old_protocol(self, i):
        if i > 1:
            raise IndexError
        return (2.0, 3.0)[i]

    return [
        lambda: (2.0, 3), lambda: [Value(2.0), Value(3.0)], lambda: (Value(2.0), Value(3.0)),
        generator, growing, lambda: {2.0: 0, 3.0: 1}, lambda: range(2, 4), lambda: b'\x02\x03',
        lambda: map(Value, (2, 3)), lambda: iter([2.0, Value(3.0)]),
        lambda: np.array([2.0, 3.0]), lambda: np.array([2, 3], np.int8),
        lambda: np.array([Value(2.0), Value(3.0)]), lambda: array.array('f', [2.0, 3.0]),
        lambda: memoryview(array.array('d', [2.0, 3.0])), lambda: of(__getitem__=old_protocol),
        lambda: meddled(list.clear), lambda: meddled(lambda x: x.append(1.0)),
        lambda: meddled(lambda x: x.__delitem__(slice(1))), lambda: meddled(lambda x: x.reverse()),
        *(lambda n=n: Lengthy([2.0, Value(3.0)], n) for n in (0, 1, 5)),
        *(lambda n=n: of(__iter__=lambda self: iter((2.0, 3.0)), __length_hint__=lambda self: n)
          for n in (0, 1, 10 ** 6, NotImplemented)),
    ]


def test_sequences(mg):
    neuron, net = mg.Neuron(2, nonlin=False), mg.MLP(2, [3, 1])
    for p in net.parameters() + neuron.w:
        p.data = round(p.data * 8) / 8  # sums that are exact
    weighted = [w.data for w in neuron.w]
    for make in readings(mg.Value):
        assert mg.sumprod(make(), [mg.Value(5.0), 7.0], mg.Value(1.0)).data == 32.0
        assert mg.sumprod((mg.Value(5.0), mg.Value(7.0)), make(), 1).data == 32.0
        assert neuron(make()).data == 2.0 * weighted[0] + 3.0 * weighted[1]
        assert mg.Layer(2, 2)(make())[1].data >= 0.0
        assert net(make()).data == net([2.0, 3.0]).data
        for wrong in mg.Neuron(3), mg.Layer(1, 2), mg.MLP(3, [2, 1]):
            with pytest.raises(ValueError, match=r'expected [13] inputs, got 2'):
                wrong(make())


def test_parameters_that_vanish_while_they_are_read(mg):
    neuron = mg.Neuron(2, nonlin=False)
    w = [p.data for p in neuron.w]
    assert neuron([Meddler(neuron.w.clear), 3.0]).data == 2.0 * w[0] + 3.0 * w[1]
    assert neuron.w == []
    v = mg.Value(1.0)
    v.data = Meddler(lambda: setattr(v, 'data', 7.0))
    assert v.data == 2.0
    root = v * v
    assert (root + Meddler(root.backward)).data == 6.0
    assert (v.grad, root.grad) == (4.0, 1.0)


@pytest.mark.parametrize('x', [
    of(__iter__=odd), of(__getitem__=odd), of(__iter__=lambda self: iter([2.0, of(__float__=odd)])),
    of(__iter__=lambda self: self), of(__iter__=lambda self: (odd() for _ in 'x')),
    of(bases=(list,), __iter__=odd), of(__iter__=lambda self: iter(()), __length_hint__=odd),
    of(__iter__=lambda self: iter((2.0, 3.0)), __length_hint__=lambda self: -1),
    of(__iter__=lambda self: iter((2.0, 3.0)), __length_hint__=lambda self: '2'),
])
def test_sequences_that_fail(mg, x):
    gc.collect()
    base, neuron = count(mg), mg.Neuron(2)
    for call in (neuron, mg.Layer(2, 1), mg.MLP(2, [2, 1]),
                 lambda x: mg.sumprod(x, [neuron.b] * 2, 0.0),
                 lambda x: mg.sumprod([neuron.b] * 2, x, neuron.b)):
        assert outcome(call, x) in [('raised', e) for e in (Odd, TypeError, ValueError)]
    del call
    neuron = None
    assert count(mg) == base


# Networks

@pytest.mark.parametrize('n', [
    np.int64(2), np.uint8(2), of(bases=(int,), __new__=lambda cls: int.__new__(cls, 2))])
def test_sizes(mg, n):
    assert len(mg.MLP(n, [n, n]).parameters()) == 12
    assert len(mg.MLP(n, np.array([2, 2])).parameters()) == 12
    assert repr(mg.Neuron(n)) == 'ReLUNeuron(2)'


@pytest.mark.parametrize('n', [
    False, 0, -1, -2 ** 100, 2.0, np.float64(2), np.int64(0), np.int8(-1), Fraction(2), Decimal(2),
    2j, math.nan, math.inf, '2', b'2', None, [2], (2,), {2}, np.array([2]), object(), int,
])
def test_wrong_sizes(mg, n):
    for make in (mg.Neuron, lambda n: mg.Layer(n, 1), lambda n: mg.Layer(1, n),
                 lambda n: mg.MLP(n, [1]), lambda n: mg.MLP(1, [n]), lambda n: mg.MLP(1, [1, n])):
        with pytest.raises(ValueError, match='positive whole number'):
            make(n)


def test_a_nonlinearity_that_only_looks_like_one(mg):
    assert mg.Neuron(1, of(__str__=lambda self: 'tanh'))([1.0])._op == 'tanh'
    for nonlin in None, 1.5, [], b'tanh', mg.Value, mg.Value.tanh, 'data', '', 'tanh ', object():
        with pytest.raises(ValueError, match='no method'):
            mg.Neuron(1, nonlin)


# Own attributes

def test_finalizers_that_use_the_engine(mg):
    class Last:
        def __init__(self, value):
            self.value = value

        def __del__(self):  # while the graph around it is being freed
            x = self.value * 2.0
            for _ in range(100):
                x = x + self.value
            x.backward()

    with without_gc():
        base, v = count(mg), mg.Value(1.0)
        for _ in range(20):
            x = mg.Value(1.0)
            for i in range(200):
                x = x + v
                if i % 20 == 0:
                    x.last = Last(v)
                    x.own = {'deep': [x._prev[0]]}
            del x
        assert v.grad == 20 * 10 * 102
        del v
        assert count(mg) == base


@pytest.mark.parametrize('masked', [[0, 0], [0, 1]])
def test_masked_arrays(mg, masked):
    # np.ma takes what an object calls _data for its data, which would leave the graph
    v, x = mg.Value(3.0), np.ma.masked_array([1.0, 2.0], masked)
    for out in x * v, v + x:
        assert out.dtype == object
        assert type(out[0]) is mg.Value
