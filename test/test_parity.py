"""The two engines side by side: the same bits, the same graphs, the same exceptions."""
import copy  # noqa: F401 (for the lines of ALIKE)
import inspect
import math
import operator  # noqa: F401 (likewise)
import os
import pickle
import re
import struct
import subprocess
import sys
import weakref  # noqa: F401 (likewise)
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from conftest import load
from graphs import FUNCTIONS, OPERATORS, describe
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope='module')
def engines():
    """The compiled engine and the one in Python, each with the same helpers; sys.modules as before.
    """
    def ours():
        return {name: m for name, m in sys.modules.items() if name.split('.')[0] == 'micrograd'}

    before, pure = ours(), os.environ.get('MICROGRAD_PURE')
    pair = [helpers(load(pure)) for pure in (False, True)]
    for name in ours():
        del sys.modules[name]
    sys.modules.update(before)
    os.environ.pop('MICROGRAD_PURE')
    if pure is not None:
        os.environ['MICROGRAD_PURE'] = pure
    if not pair[0].engine.compiled:
        pytest.skip('the compiled engine has not been built')
    return pair


def helpers(mg):
    """With classes that are derived from this engine's Value."""
    class Sub(mg.Value):
        pass

    class Slots(mg.Value):
        __slots__ = ()

    class Reflected(mg.Value):
        def __radd__(self, other):
            return 'radd', other

        def __rpow__(self, other):
            return 'rpow', other

    class Counted(mg.Value):
        def __init__(self, n):
            super().__init__(n + 1, label=f'n={n}')
            self.n = n

    class Bare(mg.Value):
        def __init__(self):
            pass

    mg.Sub, mg.Slots, mg.Reflected, mg.Counted, mg.Bare = Sub, Slots, Reflected, Counted, Bare
    return mg


def outcome(function, *args):
    """What a call gives, in a form that two engines can be compared by."""
    try:
        out = function(*args)
    except Exception as error:
        return type(error), str(error)
    return type(out).__name__, repr(out)


# Random programs. Like those of graphs.py, but with numbers of all kinds and whatever else a
# program does to nodes; so an operand in a graph is a Back here, and an int is an int.

class Back(int):
    """How many nodes back an operand is, 0 for the newest."""


def run(program, mg):
    """All that can be seen of a program's run: each step's outcome, and the nodes at the end."""
    nodes, outcomes = [mg.Value(2.0)], []

    def operand(x):
        if isinstance(x, Back):
            return nodes[~(x % len(nodes))]
        return [*map(operand, x)] if type(x) is list else x

    def step(op, *args):
        out = operations[op](*map(operand, args))
        if isinstance(out, mg.Value):
            nodes.append(out)
        return out

    operations = {
        'leaf': mg.Value, 'subclass': mg.Sub, 'node': mg.node, 'sumprod': mg.sumprod,
        'data': lambda v, x: setattr(v, 'data', x), 'grad': lambda v, x: setattr(v, 'grad', x),
        'backward': mg.Value.backward, '_backward': mg.Value._backward, **OPERATORS, **FUNCTIONS}
    with np.errstate(all='ignore'):
        for op, *args in program:
            outcomes.append((op, outcome(step, op, *args)))
    for root in nodes[-2:]:
        root.backward()
    return outcomes, describe(*nodes), [type(v).__name__ for v in nodes]


SPECIAL = [
    0.0, -0.0, 0.5, 1.0, -1.0, 2.0, -3.0, math.inf, -math.inf, math.nan, 5e-324, 2.3e-308, 1e308,
    0, 1, 2, -1, 3, 2**53 + 1, 10**400, -10**400, True, False,
    Fraction(1, 3), Fraction(-2), Fraction(10**400), Decimal('0.1'), Decimal('nan'),
    np.float64(0.7), np.float64(-0.0), np.float32(0.1), np.float16(3), np.longdouble(0.3),
    np.int8(3), np.int64(-2), np.uint8(0), np.bool_(True)]
WRONG = [None, 1j, '2', b'2', [], {}, ..., np.complex64(1), np.str_('2')]


def decode(data):
    """The program that some bytes stand for.

    So hypothesis draws, and shrinks, a hundred choices for little more than the price of one.
    """
    draw = iter(data).__next__

    def pick(xs):
        return xs[draw() % len(xs)]

    def back():
        return Back(draw() % 16)

    def number():
        kind = draw()
        if kind < 2 * len(SPECIAL):
            return SPECIAL[kind // 2]
        return struct.unpack('d', bytes([draw() for _ in range(8)]))[0] if kind > 220 else (
            (draw() - 128) / 32)

    def any_operands():
        return [pick((back, back, number))() for _ in range(draw() % 4)]

    def values(n):
        return [back() for _ in range(n)], [back() for _ in range(n)]

    kinds = [
        lambda: ('leaf', number()),
        lambda: (pick([*OPERATORS]), back(), back()),
        lambda: (pick([*OPERATORS]), back(), number()),
        lambda: (pick([*OPERATORS]), number(), back()),
        lambda: (pick([*FUNCTIONS]), back()),
        lambda: ('sumprod', *values(draw() % 5), back()),
        lambda: ('backward', back()),
        lambda: ('node', number(), pick(('sin', '**k', 'ä')), back(), number()),
        lambda: ('node', number(), pick(('sin', '**k', 'ä')), back(), number(), back(), number()),
        lambda: (pick(('subclass', 'leaf')), pick((number, number, lambda: pick(WRONG)))()),
        lambda: ('sumprod', any_operands(), any_operands(), pick((back, number))()),
        lambda: (pick(('backward', '_backward')), back()),
        lambda: (pick(('data', 'grad')), back(), number()),
        lambda: pick([
            lambda: (pick([*OPERATORS]), back(), pick(WRONG)),
            lambda: (pick([*OPERATORS]), pick(WRONG), back()),
            lambda: (pick(('data', 'grad')), back(), pick(WRONG)),
            lambda: ('node', pick(WRONG), pick(('x', None)), back(), pick(WRONG)),
            lambda: ('node', 1.0, 'x', pick(WRONG), 1.0, back(), 1.0)])()]
    program = []
    try:
        while True:
            program.append(pick(kinds[:5] + kinds)())
    except StopIteration:
        return program


@settings(max_examples=2500, deadline=None)
@given(st.binary(min_size=50, max_size=250).map(decode))
def test_random_programs(engines, program):
    compiled, pure = (run(program, mg) for mg in engines)
    assert compiled == pure


# The rest of the design's table, a line of Python each

class Odd:
    """A number that reports what it is told to; not a number where that is an exception."""
    def __init__(self, out):
        self.out = out

    def __float__(self):
        if isinstance(self.out, Exception):
            raise self.out
        return self.out


class Named(type):
    __name__ = 5


class Index:
    def __index__(self):
        return 7


class Unnamed(metaclass=Named):
    """Its type's name is no str."""


class Undecided:
    def __bool__(self):
        raise RuntimeError('no truth')


class NoFloat:
    __float__ = None


class ByMetaclass(metaclass=type('Meta', (type,), {'__float__': lambda cls: 2.0})):
    pass


class Impostor:
    def __init__(self, kind):
        self.kind = kind

    def __float__(self):
        return 2.0

    __class__ = property(lambda self: self.kind)


class Digits(bytes):
    def __float__(self):
        return 2.0


class Sized(float):
    def __len__(self):
        return 1


def instead(mg, attribute, new, function):
    """What a function gives while Value has another attribute by this name."""
    old = getattr(mg.Value, attribute)
    setattr(mg.Value, attribute, new)
    try:
        return function()
    finally:
        setattr(mg.Value, attribute, old)


def counted(mg, attribute):
    """How often one of Value's own methods is called."""
    calls, old = [], getattr(mg.Value, attribute)

    def calculate():
        return mg.Value(2.0), mg.Value(2.0, 'x'), mg.Value(2.0) + mg.Value(3.0), mg.Value(1.0) + 4

    instead(mg, attribute, lambda *args: calls.append(1) or old(*args), calculate)
    return len(calls)


def with_label(v, label):
    v.label = label
    return v


def see(v):
    """All that there is to see of a Value."""
    return v.data.hex(), v.grad.hex(), v._op, list(map(repr, v._prev)), v.label, vars(v)


ALIKE = r"""
instead(mg, "_backward", lambda v: None, lambda: w.backward() or v.grad)
Value('1.5')
Value(b'1.5')
Value(np.str_('1.5'))
Value(np.bytes_(b'1'))
Value(bytearray(b'1'))
Value(Digits(b'2'))
v + Digits(b'2')
Value(None)
Value(1j)
Value(np.complex128(1))
Value([1.0])
Value(v)
Value(Value)
Value(object())
Value(Unnamed())
Value(np.array(3.5))
Value(np.array([3.5]))
Value(np.array([3.5, 1.0]))
Value(np.array(['3.5']))
Value(np.datetime64('2020-01-01'))
Value(np.void(b'abc'))
Value(np.bool_(True))
Value(np.longdouble(2))
Value(Index())
Value(True), Value(-0.0), Value(10**22), Value(Fraction(1, 3)), Value(Decimal('0.1'))
Value(10**400)
Value(Fraction(10**400))
Value(Decimal('snan'))
Value(Odd(2.5))
Value(Odd('2'))
Value(Odd(2))
Value(Odd(KeyError('x')))
Value(NoFloat())
Value(Sized(2.0)), v + Sized(2.0)
v.__init__(10**400)
v.__init__('x', 'label')
v.__init__(7, 'again'); w.__init__(8); w.backward()
Value(2, ''), see(Value(2, label='')), see(Value(data=2, label='x')), see(Value(2, 5))
Value(2, Undecided())
Value(2, np.array([1, 2]))
v.data = 10**400
v.grad = 10**400
v.data = Odd(ValueError('no'))
v.data = '1'
v.grad = None
v.grad = v
v.data = True; v.grad = np.float32(0.1)
w.data = 5; w.grad = 7; w._backward()
v.data += 1; v.grad -= 2
v.label = 'x'; del v.label
del v.label
v.momentum = 0.5; v.momentum += 1; v._color = 'red'; v.label = None
v.momentum = 1; del v.momentum; v.momentum
v.momentum
w._backward = print; w.backward(); v.grad
w.relu = None; w.backward = abs; (w * 2).backward(); v.grad, w.backward is abs
Value.label, Value(1).label
v.__dict__ = {'label': 'by dict', 'data': 3}; v.data
v.__dict__ = 5
vars(v)['label'] = 'x'
setattr(v, 'ä b', 1)
setattr(v, 5, 1)
v._prev, w._prev, (w * 1)._prev, (-w)._prev, (w**2)._prev, (w**w)._prev
[(v**k)._op for k in (2, 2.5, -0.0, 1e16, 1e-7, 0.1 + 0.2, math.nan, -math.inf, np.float32(0.1))]
2**v, (2**v)._op, (v**v)._op
v.__add__('x'), v.__rsub__([]), v.__pow__(None), v.__rpow__({}), v.__truediv__(v), v.__rsub__(5)
v.__rpow__(2), v.__pow__(2), v.__pow__(v), v.__rtruediv__(1)
v + '1'
'1' + v
[1] * v
v * [1]
v * ()
v - None
None / v
v ** 1j
1j ** v
object() + v
v + Unnamed()
v + NoFloat()
v + Odd(RuntimeError('no'))
Odd(RuntimeError('no')) * v
v ** Odd(RuntimeError('no'))
Odd(3) - v, v ** Odd(3), Odd(3) ** v
v % 2
v // 2
v @ v
divmod(v, 2)
pow(v, 2, None)
pow(2, v, 3)
pow(2, 3, v)
v += 1; v
+v
abs(v)
~v
round(v)
int(v)
float(v)
complex(v)
math.sin(v)
math.exp(v)
operator.index(v)
v < v
v == Value(v.data), v == v, v != w, hash(v) == object.__hash__(v), bool(Value(0.0))
len(v)
v()
v[0]
iter(v)
with v: pass
repr(Value(-4)), str(w), f'{Value(1e300)}', repr(Value(math.nan)), repr(Value(-0.0))
f'{v:.3f}'
Value(0.0) / 0
1 / Value(-0.0)
Value(math.nan) / 0
Value(0) ** -1
0.0 ** Value(-1)
Value(-8) ** (1 / 3)
Value(-8) ** Value(0.5)
-8 ** Value(0.5), (-8.0) ** Value(2)
Value(1e200) ** 2
10 ** Value(400)
Value(1000).exp()
Value(0).log()
Value(-1).log()
Value(math.inf).exp(), Value(-math.inf).exp(), Value(math.inf).log(), Value(math.nan).log()
Value(math.nan).relu(), Value(-0.0).relu(), Value(math.inf).relu(), Value(-math.inf).relu()
v.sin()
node(1, 5, v, 1)
node(1, b'x', v, 1)
node(1, 'x', 5, 1)
node(1, 'x', None, 1)
node(1, 'x', v, 1, 5)
node('1', 'x', v, 1)
node(1, 'x', v, '1')
node(1, 'x', v, 1, v, '1')
node(1, 'x', v, 1, None, '1')
node(1, 'x', v, 1, v, None)
node(1, 5, 5, '1', 5, '1')
node(1, 'x', v, 1, db=10**400)
node(True, 'x', v, Fraction(1, 3), b=w, db=np.float32(0.1)), v.grad, w.grad
see(node(op='x', data=1, a=v, da=2)), see(node(3, '**k', v, 1)), node(1, '', v, 1)._op
type(node(1, np.str_('x'), v, 1)._op)
see(node(1, 'x', Sub(2), 1, Slots(3), 1))
sumprod([], [], 'z'), sumprod((), iter(()), None)
sumprod([v], [], v)
sumprod(iter([v, v]), (1,), v)
sumprod(5, [], 0)
sumprod([], 5, 0)
sumprod(None, [], v)
sumprod([1, 2.0], (3, Fraction(1, 2)), 0)
sumprod([v, 2], {3: 1, 4: 2}, 0), sumprod('ab', [1, 2], ''), sumprod(p=[v], q=[w], start=v)
sumprod(['a'], [v], v)
sumprod([v], [None], v)
sumprod([v], [v], 'x')
sumprod([v, w], [w, Odd(OSError('no'))], v)
sumprod((1 / x for x in (1, 0)), [v, v], v)
sumprod([v], (1 / x for x in (0,)), v)
sumprod([v, Sub(2)], [Slots(3), v], Counted(4))
sumprod([v], [w], Reflected(1)), sumprod([v], [Reflected(2)], v)
sumprod(np.array([1.0, 2.0]), [v, w], 0), sumprod(np.array([v, w]), np.array([w, v]), v)
np.float64(2) * v, np.int8(3) ** v, np.bool_(True) - v, np.longdouble(3) / v, np.float16(1) + v
v * np.float64(2), v ** np.int8(3), v - np.bool_(True), v / np.longdouble(3), v + np.float16(1)
np.array([1., 2.]) * v, v * np.array([1., 2.]), v ** np.array([1., 2.]), np.array([1, 2]) ** v
np.array([[1., 2.]]) - v, v - np.array([[1., 2.]]), np.array([]) + v, v / np.array(['a', v])
np.array(2.0) * v, v * np.array(2.0)
np.array([v, w]).sum(), np.array([v, w]) @ np.array([w, v]), np.exp(np.array([v, w]))
np.array([v, w]) > 0
np.array([v], dtype=float)
np.float64(v)
v + np.datetime64('2020-01-01')
np.datetime64('2020-01-01') + v
v + np.complex64(1)
np.complex64(1) * v
v + np.str_('x')
v + np.void(b'abc')
see(Value.__new__(Value)), Value.__new__(Value) + 1, see(Value.__new__(Value, 'any', thing=1))
x = Value.__new__(Value); y = x * 3 + x; y.backward(); see(x), see(y), x.__init__(2), see(x)
Value.__new__(Sub) * v, Bare() + 1, see(Bare()), repr(Bare()), Bare().backward()
Bare(1)
Counted(3), see(Counted(3)), Counted(3) * 2, Counted('x')
Sub(2) + Sub(3), -Sub(2), Sub(2) ** 2, Sub(2).relu(), 2 - Slots(3), see(Slots(1, 'x'))
Value(1) + Reflected(2), 1 + Reflected(2), Reflected(1) + Value(2), Reflected(1) + 2
Value(2) ** Reflected(2), 2 ** Reflected(2), Reflected(1) ** Value(2), Reflected(1) ** 2
Value(1) - Reflected(2), Reflected(1) * Reflected(2), Value(2) * Sub(3), (Value(2) * Sub(3))._prev
isinstance(Sub(1) * 2, Sub), issubclass(Sub, Value), Sub(1).label, Sub('x')
type('S', (Value,), {'__slots__': ('x',)})(2).x
type('S', (Value, float), {})
type('S', (Value, dict), {})
type('S', (Value,), {'__repr__': lambda v: 'mine', '__eq__': lambda v, w: True})(2)
type('S', (Value,), {'data': 5})(2) + 1
x = Sub(2); x.__class__ = type('T', (Sub,), {}); x + 1, type(x).__name__
v.__class__ = int
weakref.ref(v)
weakref.ref(Slots(1))
x = Sub(1); weakref.ref(x)() is x
Value.sin = lambda v: node(math.sin(v.data), 'sin', v, 1); x = v.sin(); del Value.sin; see(x)
Value.label = 'all'; x = see(v); Value.label = ''; x
counted(mg, '__init__')
counted(mg, '__add__')
copy.copy(w), see(copy.copy(w)), copy.copy(with_label(v, 'x')), see(copy.deepcopy(v))
see(copy.deepcopy([with_label(v, 'x'), v])[1]), see(copy.copy(Sub(2))), see(copy.copy(Counted(2)))
x = copy.deepcopy([v, v, w]); x[0] is x[1], x[2]._prev
v.child = [v, w]; x = copy.deepcopy(v); x.child[0] is x, copy.copy(v).child is vars(v).pop('child')
v.child = w; x = copy.deepcopy(v); x.child is w, see(x.child), see(vars(v).pop('child'))
v.__reduce__(), with_label(w, 'x').__reduce__(), Sub(1).__reduce__()
[with_label(v, 'x').__reduce_ex__(protocol) for protocol in range(6)], w.__reduce__()
Value.__module__, Value.__qualname__, Value.__name__, repr(Value), Value.__mro__[1:], Value.__hash__
Value.__doc__.splitlines()[0][:30], bool(node.__doc__), node.__name__, sumprod.__qualname__
v.backward(), v._backward(), w.backward(), w._backward(), v.__init__(3)
sorted(k for k in dir(w) if not k.startswith('_'))
""".strip().splitlines()


def look(line, mg):
    """The outcome of a line in which v is a leaf and w an operation on it; and what became of them.
    """
    v = mg.Value(1.5)
    v.grad = 0.25
    w = v * 3.0
    names = globals() | vars(mg) | {'mg': mg, 'v': v, 'w': w}
    *statements, last = line.split('; ')

    def execute():
        for statement in statements:
            exec(statement, names)
        try:
            code = compile(last, '<line>', 'eval')
        except SyntaxError:
            return exec(last, names)
        return eval(code, names)

    seen = outcome(execute)
    return re.sub(r'0x\w+', '…', repr(seen)), see(v), see(w)


@pytest.mark.filterwarnings('ignore::RuntimeWarning', 'ignore::DeprecationWarning')
@pytest.mark.parametrize('line', ALIKE)
def test_alike(engines, line):
    compiled, pure = (look(line, mg) for mg in engines)
    assert compiled == pure


# Where they cannot agree: mostly texts that Python itself writes, for functions in C and in Python.

DIFFERENT = [  # a line, and what its outcome looks like: compiled, pure
    # A call with the wrong arguments
    ('Value()', 'missing required argument', 'missing 1 required positional'),
    ('Value(label="x")', 'missing required argument', 'missing 1 required positional'),
    ('Value(1, "x", 3)', 'at most 2 arguments', 'takes from 2 to 3 positional arguments'),
    ('Value(1, name="x")', r'TypeError.*name', r'TypeError.*unexpected keyword argument .*name'),
    ('node(1, "x", v)', 'missing required argument', 'missing 1 required positional'),
    ('node(1, "x", v, 1, v, 1, 1)', 'at most 6 arguments', 'takes from 4 to 6 positional'),
    ('sumprod([], [])', 'missing required argument', 'missing 1 required positional'),
    ('sumprod([], [], 0, 0)', 'at most 3 arguments', 'takes 3 positional arguments'),
    ('v.relu(1)', 'takes no arguments', 'takes 1 positional argument'),
    ('v.backward(x=1)', 'takes no keyword arguments', 'unexpected keyword argument'),
    ('v.__add__()', 'TypeError', 'TypeError'),
    ('pow(v, 2, 3)', 'TypeError.*unsupported operand', 'TypeError.*takes 2 positional arguments'),
    # A method of Value called with something else
    ('Value.relu(3)', "TypeError.*'relu' for 'Value' objects", "AttributeError.*'_number'"),
    ('Value.__add__(3, 4)', "TypeError.*requires a 'Value' object", r'Value\(data=7.0'),
    ('Value.__new__()', 'TypeError.*not enough arguments', 'TypeError.*missing 1 required'),
    ('Value.__new__(int)', 'TypeError.*int is not a subtype of Value', 'TypeError.*not safe'),
    ('object.__new__(Value).data', 'TypeError.*not safe', "AttributeError.*'_number'"),
    # What is read-only
    ('v._op = "x"', 'AttributeError.*_op', 'AttributeError'),
    ('v._prev = ()', 'AttributeError.*_prev', 'AttributeError'),
    ('del v._op', 'AttributeError.*_op', 'AttributeError'),
    ('del v.data', 'AttributeError.*data and grad cannot be deleted', 'AttributeError'),
    ('del v.grad', 'AttributeError.*data and grad cannot be deleted', 'AttributeError'),
    # What a type of C's does not allow
    ('del v.__dict__', 'TypeError.*cannot delete __dict__', 'NoneType'),
    ('v.__class__ = Slots', 'TypeError.*deallocator differs', 'NoneType'),
    ('v.__class__ = Sub', 'TypeError.*deallocator differs', 'TypeError.*object layout differs'),
    # What it takes to be a number, or a Value: C looks at the type, Python asks isinstance
    ('Value(ByMetaclass())', 'expected a real number', 'must be a string or a real number'),
    ('v + ByMetaclass()', 'unsupported operand', 'must be a string or a real number'),
    ('Value(Impostor(str))', r'Value\(data=2.0', 'expected a real number, not Impostor'),
    ('node(1, "x", Impostor(Value), 1)', 'expected a Value, not Impostor', r'Value\(data=1.0'),
    # The names that are taken in Python
    ('v._operation = "x"; v._op', "''", "'x'"),
    # Where they live
    ('node.__module__', "'micrograd._engine'", "'micrograd.engine'"),
    ('hasattr(Value, "_number"), hasattr(Value, "__slots__")', '(False, False)', '(True, True)'),
]


@pytest.mark.parametrize(('line', 'compiled', 'pure'), DIFFERENT, ids=[d[0] for d in DIFFERENT])
def test_different(engines, line, compiled, pure):
    for mg, expected in zip(engines, (compiled, pure)):
        text, *after = look(line, mg)
        assert re.search(expected, text), text
        if 'Error' in text:  # and v and w are as they were
            assert after == [*look('None', mg)][1:]


def test_signatures_and_docstrings(engines):
    def parameters(f):
        return [(p.name, p.default, p.kind) for p in inspect.signature(f).parameters.values()]

    compiled, pure = engines
    # By Value.__new__, the one in Python appears to take anything.
    assert parameters(compiled.Value) == parameters(pure.Value.__init__)[1:]
    v, w = compiled.Value(1), pure.Value(1)
    methods = [n for n in dir(v) if callable(getattr(v, n)) and not n.startswith('__')]
    assert {'relu', 'exp', 'log', 'tanh', 'backward', '_backward'} <= set(methods)
    for f, g in [(compiled.node, pure.node), (compiled.sumprod, pure.sumprod),
                 *((getattr(v, n), getattr(w, n)) for n in methods)]:
        assert parameters(f) == parameters(g)
        summary = g.__doc__.splitlines()[0]
        assert f.__doc__.startswith(summary[:40])
    for name in 'data', 'grad':
        assert getattr(compiled.Value, name).__doc__ == getattr(pure.Value, name).__doc__


# Pickling

SENDER_AND_RECEIVER = """
import pickle, random, sys
from micrograd.engine import Value, compiled
from micrograd.nn import MLP


class Sub(Value):
    pass


def see(v):
    own = {k: w for k, w in vars(v).items() if k != 'me'}
    return type(v).__name__, v.data.hex(), v.grad.hex(), v._op, v._prev, v.label, repr(own)


random.seed(1)
v, s, model = Value(1.5, 'v'), Sub(-0.0), MLP(2, [3, 1])
v.momentum, v.me, s.child = 0.1, v, v
w = v * s + 5e-324
w.backward()
model([1.0, 2.0]).backward()
state = [v, w, s, v, Value(float('nan')), [model.parameters()]]
if sys.argv[1] == 'send':
    sys.stdout.buffer.write(pickle.dumps((compiled, state, model), int(sys.argv[2])))
else:
    sender, received, net = pickle.load(sys.stdin.buffer)
    assert sender is not compiled
    assert received[0] is received[3] is received[0].me is received[2].child
    assert [p for n in net.parameters() for p in [n]] == received[5][0] and type(net) is MLP
    for x, y in zip(state[:5] + model.parameters(), received[:5] + net.parameters()):
        x, y = see(x), see(y)
        assert y == (*x[:3], '', (), *x[5:]), (x, y)  # a leaf
    net([1.0, 2.0]).backward(), model([1.0, 2.0]).backward()
    assert [p.grad for p in net.parameters()] == [p.grad for p in model.parameters()]
    (received[0] * received[2] * received[1]).backward()
"""


def python(script, *args, pure, data=b''):
    """The output of a script on one of the engines, in a process of its own."""
    done = subprocess.run([sys.executable, '-c', script, *args], input=data, capture_output=True,
                          env=os.environ | {'MICROGRAD_PURE': str(int(pure))})
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize('protocol', [0, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize('pure', [False, True], ids=['from compiled', 'from pure'])
def test_written_by_one_and_read_by_the_other(engines, pure, protocol):
    data = python(SENDER_AND_RECEIVER, 'send', str(protocol), pure=pure)
    python(SENDER_AND_RECEIVER, 'receive', pure=not pure, data=data)
