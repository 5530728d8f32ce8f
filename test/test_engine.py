"""What a Value promises. (That the numbers and gradients are right, test_programs.py tests.)

First what every engine does, also one of your own: `python -m pytest --engine my_engine.py`.
"""
import copy
import math
import pickle
import random
import re
import signal
from decimal import Decimal
from fractions import Fraction
from numbers import Real

import numpy as np
import pytest
from conftest import load, need, python, tensor
from programs import FUNCTIONS, OPERATORS, describe

inf, nan = math.inf, math.nan

# What every engine does, from easy to hard

FLOATS = {'relu': lambda x: max(x, 0.0), 'exp': math.exp, 'log': math.log, 'tanh': math.tanh,
          'sigmoid': lambda x: 1.0 / (1.0 + math.exp(-x))}
METHODS = {'-a': '__neg__', ' - ': '__sub__', '2 - ': '__rsub__', ' / ': '__truediv__',
           '2 / ': '__rtruediv__', ' ** ': '__pow__', '2 ** ': '__rpow__',
           **{f'{name}(': name for name in FLOATS}}


def expect(came, expected, what):
    if came != pytest.approx(expected, rel=1e-6):
        pytest.fail(f'{what} came out as {came}, and not as {expected:.6g}', pytrace=False)


def check(mg, code, hint='', gradients=True, **numbers):
    """An expression and its gradients, beside what plain floats give when they are nudged."""
    # + and * are asked of every engine.
    need(mg, *(method for sign, method in METHODS.items() if sign in code))
    numbers = {name: x for name, x in numbers.items() if name in re.findall(r'\w+', code)}

    def floats(**nudged):
        return eval(code, {}, {**FLOATS, **numbers, **nudged})

    values = {name: mg.Value(x) for name, x in numbers.items()}
    out = eval(code, {}, {**FUNCTIONS, **values})
    expect(out.data, floats(), f'where {numbers}: {code}')
    if gradients:
        out.backward()
        for name, x in numbers.items():
            slope = (floats(**{name: x + 1e-6}) - floats(**{name: x - 1e-6})) / 2e-6
            expect(values[name].grad, slope,
                   f'where {numbers}: the gradient of {name} in {code}{hint}')


BASIC = ['a + b', 'a * b', 'a - b', 'a / b', 'a ** 2', '-a * b']


@pytest.mark.yours(1)
@pytest.mark.parametrize('code', BASIC)
def test_a_number(mg, code):
    check(mg, code, gradients=False, a=-4.0, b=2.0)


@pytest.mark.yours(2)
@pytest.mark.parametrize('code', BASIC)
def test_one_gradient(mg, code):
    check(mg, code, a=-4.0, b=2.0)


@pytest.mark.yours(3)
@pytest.mark.parametrize('code', ['a + a', 'a * a', 'a * b + a', 'a * b * a * b'])
def test_a_value_used_twice_adds_up(mg, code):
    check(mg, code, ' (a value that is used twice gets both: += for =)', a=3.0, b=-5.0)


@pytest.mark.yours(4)
@pytest.mark.parametrize('code', [
    '(c := a * b) * (c + a)', '((c := a * b) + a) * c', '(c := a + b) + (c * a) * (c * b)'])
def test_a_diamond_goes_back_in_the_right_order(mg, code):
    check(mg, code, ' (c needs all of its own gradient before it hands it on)', a=3.0, b=-5.0)


@pytest.mark.yours(6)
@pytest.mark.parametrize('a', [2.0, -0.5])
@pytest.mark.parametrize('code', [
    'a ** 3', 'a ** -1', 'relu(a)', 'exp(a)', 'tanh(a)', 'sigmoid(a)', 'log(a * a)',
    'a + 2', '2 + a', 'a * 2', '2 * a', 'a - 2', '2 - a', 'a / 2', '2 / a', '2 ** a'])
def test_a_function_and_a_number_on_either_side(mg, code, a):
    check(mg, code, a=a)


@pytest.mark.yours(7)
def test_gradients_of_two_losses_add_up(mg):
    a, b = mg.Value(2.0), mg.Value(-3.0)
    (a * b).backward()
    (a * a + b).backward()
    expect(a.grad, -3.0 + 4.0, "a's gradient in (a * b).backward(); (a * a + b).backward()")
    expect(b.grad, 2.0 + 1.0, "b's gradient in (a * b).backward(); (a * a + b).backward()")


@pytest.mark.yours(8)
def test_each_node_once(mg):
    v = x = mg.Value(1.0)  # 2**200 ways lead from the root to this leaf
    for _ in range(200):
        x = x + x
    x.backward()
    assert v.grad == x.data == 2.0 ** 200


@pytest.mark.yours(9)
@pytest.mark.needs('torch')
def test_a_net_learns_xor_with_the_gradients_of_pytorch(mg):
    name = next((name for name in ('tanh', 'relu') if hasattr(mg.Value, name)), None)
    squash = FUNCTIONS[name or pytest.skip('Value has neither tanh nor relu')]

    def loss(p):
        """For 4 hidden neurons: 2 weights and a bias of each, then the output's."""
        total = 0.0
        for x, y, target in (0, 0, -1), (0, 1, 1), (1, 0, 1), (1, 1, -1):
            hidden = [squash(p[i] * x + p[i + 1] * y + p[i + 2]) for i in range(0, 12, 3)]
            error = sum(w * h for w, h in zip(p[12:], hidden)) + p[16] + -target
            total = error * error + total
        return total

    rng = random.Random(1337)
    numbers = [rng.uniform(-1, 1) for _ in range(17)]
    ours, theirs, first = [*map(mg.Value, numbers)], [*map(tensor, numbers)], None
    for step in range(100):
        out, reference = loss(ours), loss(theirs)
        out.backward()
        reference.backward()
        first = first or out.data
        for p, t in zip(ours, theirs):
            assert p.grad == pytest.approx(t.grad.item(), rel=1e-6, abs=1e-9), f'in step {step}'
            p.data, t.data = p.data - 0.05 * p.grad, t.data - 0.05 * t.grad
            p.grad, t.grad = 0.0, None
    assert out.data < 0.1 * first


@pytest.mark.yours(10)
def test_a_chain_of_ten_thousand(mg):
    a = x = mg.Value(1.0)
    for _ in range(10_000):
        x = x + 1.0
    x.backward()
    assert (x.data, a.grad) == (10_001.0, 1.0)


@pytest.mark.yours(11)
def test_leaves_accumulate_and_nodes_between_do_not(mg):
    a, b = mg.Value(2.0), mg.Value(-3.0)
    c = a * b
    d = c * c + a
    for times in 1, 2:
        assert d.backward() is None
        assert (d.grad, c.grad) == (1.0, -12.0), 'each backward() starts from 0 but for the leaves'
        assert (a.grad, b.grad) == (37.0 * times, -24.0 * times)
    c.backward()  # a root that has been between; d is out of its reach
    assert (c.grad, d.grad, a.grad) == (1.0, 1.0, 74.0 - 3.0), 'each loss by itself'
    b.grad, c.grad, d.grad = 0.5, 100.0, nan  # whatever is there before
    d.backward()
    assert (d.grad, c.grad, b.grad) == (1.0, -12.0, -23.5)


# Operations of ours

NAMES = {'a + b': '+', 'a - b': '-', 'a * b': '*', 'a / b': '/', 'a ** b': '**', 'a ** 3': '**3',
         'a ** (1 / 3)': '**0.333333', '-a': 'neg', 'a.relu()': 'ReLU', 'a.exp()': 'exp',
         'a.log()': 'log', 'a.tanh()': 'tanh', 'a.sigmoid()': 'sigmoid'}


@pytest.mark.parametrize('code', NAMES)
def test_an_operation_is_one_node(mg, code):
    a, b = mg.Value(2), mg.Value(4)
    out = eval(code)
    assert (type(out), out._op, out.grad, out.label) == (mg.Value, NAMES[code], 0.0, '')
    assert out._prev == ((a, b) if 'b' in code else (a,))
    slopes, out.grad, a.data, b.data = out._slopes, 3.0, 100.0, 100.0
    assert out._backward() is None  # one step of the chain rule, by hand
    assert out._slopes == slopes  # they belong to the forward pass
    assert [a.grad, b.grad][:len(slopes)] == [3.0 * slope for slope in slopes]


@pytest.mark.parametrize('code, error', [
    ('1 / v(0)', ZeroDivisionError), ('v(0) ** -1', ZeroDivisionError), ('v(0).log()', ValueError),
    ('v(710).exp()', OverflowError), ('v(-8) ** (1 / 3)', ValueError)])  # none is complex
def test_undefined_is_pythons_own_exception(mg, code, error):
    with pytest.raises(error):
        eval(code, {'v': mg.Value})


# Numbers, and what is none

@Real.register
class OwnReal:
    def __float__(self):
        return 2.5


def takers(mg, v):
    """Whatever takes a number, each in a function."""
    return [mg.Value, lambda x: setattr(v, 'data', x), lambda x: setattr(v, 'grad', x),
            lambda x: mg.Value(x, (v,), 'op'), lambda x: mg.Value(1.0, (v, v), slopes=(1.0, x))]


@pytest.mark.parametrize('x', [
    3, -0.0, True, 2**53 + 1, Fraction(1, 3), np.float64(0.1), np.float32(0.1), np.longdouble(0.1),
    np.uint8(7), OwnReal(), type('Float', (float,), {})(2.5)])
def test_any_real_number(mg, x):
    v = mg.Value(x, (mg.Value(1.0),), slopes=(x,))
    u = mg.Value(0.0)
    u.data = u.grad = x
    left, right = (x * v)._prev[0], (v + x)._prev[1]
    for y in v.data, *v._slopes, u.data, u.grad, left.data, right.data:
        assert type(y) is float and y.hex() == float(x).hex()
    assert left._prev == right._prev == ()


@pytest.mark.parametrize('x', [10**400, Fraction(-10**400)], ids=['int', 'Fraction'])
def test_a_number_that_fails_leaves_the_old_one(mg, x):
    v = mg.Value(1.0)
    for take in *takers(mg, v), v.__add__, v.__rpow__, v.__pow__:
        with pytest.raises(OverflowError):
            take(x)
    assert (v.data, v.grad) == (1.0, 0.0)


@pytest.mark.parametrize('x', [
    None, '1', 1j, [1.0], object(), float, Decimal(1), np.bool_(True),
    np.complex128(1), np.array(1.0)], ids=lambda x: type(x).__name__)
def test_not_a_number(mg, x):
    v = mg.Value(1.0)
    for take in takers(mg, v):
        with pytest.raises(TypeError, match=f'^expected a real number, not {type(x).__name__}$'):
            take(x)
    for method in v.__add__, v.__rsub__, v.__mul__, v.__rtruediv__, v.__pow__, v.__rpow__:
        assert method(x) is NotImplemented


def test_a_value_is_no_number(mg):
    v, u = mg.Value(1), mg.Value(1)
    assert v == v and v != u and v != 1.0 and len({v, u, v}) == 2 and bool(mg.Value(0)) is True
    for take in *takers(mg, v), float, int, round, abs, math.sin, lambda v: v < 1.0:
        with pytest.raises(TypeError):
            take(v)


def test_numpys_arrays(mg):
    v, x = mg.Value(3.0), np.array([1.0, 2.0])
    for array in x, x.reshape(2, 1), x.astype(int):
        for op in OPERATORS.values():
            for out, data in (op(v, array), op(3.0, x)), (op(array, v), op(x, 3.0)):
                assert out.shape == array.shape and {*map(type, out.flat)} == {mg.Value}
                assert [y.data for y in out.flat] == data.tolist()
    w = np.array([mg.Value(i) for i in (1, 2)])
    assert [y.data for y in (np.dot(w, x), w @ x, np.sum(w), np.mean(w))] == [5.0, 5.0, 3.0, 1.5]


# The constructor, arguments, attributes

def test_a_value_is_what_its_constructor_says(mg):
    a, b = mg.Value(2.0), mg.Value(5.0, label='b')
    out = mg.Value(10, (a, b), '*', 'out', (5, Fraction(2)))
    assert (out.data, out._op, out.label, out.grad) == (10.0, '*', 'out', 0.0)
    assert out._prev == (a, b) and out._slopes == (5.0, 2.0)
    by_name = mg.Value(data=10, _children=[a, b], _op='*', label='out', slopes=iter([5, 2]))
    assert describe(by_name) == describe(out) and by_name.label == 'out'
    many = mg.Value(1.0, (a, a, b) * 300, 'many', slopes=range(900))
    assert many._prev == (a, a, b) * 300 and many._slopes == (*range(900),)
    assert {*mg.Value(1.0, {a, b})._prev} == {a, b}


@pytest.mark.parametrize('code, error', [
    ('V(1, (2.0,))', 'expected a Value, not float'), ('V(1, None)', '.* is not iterable'),
    ('V(1, (), None)', 'expected a str, not NoneType'), ('V(1, slopes=1.0)', '.* not iterable'),
    ('V(1, label=["x"])', 'expected a str, not list'), ('V(label="x")', '.*data.*'),
    ('V(1, slopes=[1])', 'expected 0 slopes, got 1'), ('V(1, children=())', ".*'children'.*"),
    ('V(1, [v, v], slopes=[1])', 'expected 2 slopes, got 1'), ('v.exp(1.0)', '.*'),
    ('v.backward(1.0)', '.*'), ('V(1, (), "", "", (), 1)', '.*argument.*'),
    ('sumprod([v], None, v)', '.*'), ('sumprod(v, [v], v)', '.*'), ('sumprod([v], [v])', '.*')])
def test_wrong_arguments(mg, code, error):
    for V in mg.Value, type('Sub', (mg.Value,), {}):
        with pytest.raises(ValueError if 'got' in error else TypeError, match=f'^{error}$'):
            eval(code, {'V': V, 'v': V(1.0), 'sumprod': mg.sumprod})


def test_what_can_be_changed(mg):
    v = mg.Value(2)
    assert (v.data, v.grad, v.label, v._op, v._prev, v._slopes) == (2.0, 0.0, '', '', (), ())
    v.data, v.grad, v.label = 3, 4, 'v'
    assert (v.data, v.grad, v.label, (v + 1).label) == (3.0, 4.0, 'v', '')
    v.data, v.grad = 0.1, -1e300
    assert repr(v) == str(v) == f'{v}' == 'Value(data=0.1, grad=-1e+300)'
    for u in v, v * 2.0, type('Sub', (mg.Value,), {})(1.0, (v,)):
        for name in '_op', '_prev', '_slopes':
            with pytest.raises(AttributeError, match=name):
                setattr(u, name, getattr(u, name))


def test_own_attributes_of_any_name(mg):
    names = ['m', '_grad', '_next', 'op', 'slopes', '_Value__grad', 'Größe', 'a name']
    v, sub = mg.Value(3.0), type('Sub', (mg.Value,), {})(3.0)
    for u in v, sub, v * sub, mg.Value(1.0, (v,), slopes=(1,)):
        before = describe(u)
        assert not [name for name in names if hasattr(u, name)]
        for name in names:
            setattr(u, name, -7.0)
        assert vars(u) == dict.fromkeys(names, -7.0) and describe(u) == before


# Subclasses, and an operation of one's own, as in the lecture

def test_a_subclass_that_cannot_be_assigned_to(mg):
    class Fixed(mg.Value):
        def __setattr__(self, name, x):
            raise AttributeError(name)

    x = Fixed(3.0)
    (x * x).backward()
    assert (x.grad, copy.copy(x).data) == (6.0, 3.0)
    with pytest.raises(AttributeError):
        x.data = 1.0


def test_subclasses(mg):
    class Parameter(mg.Value):
        label = 'p'

        def __new__(cls, data, rate):
            return super().__new__(cls, data)

        def __init__(self, data, rate):
            super().__init__(data * 2)
            self.rate = rate

        def __rsub__(self, other):
            return 'mine'

        def __mul__(self, other):
            return self + other

        __bool__ = __len__ = __iter__ = None

    p, v = Parameter(1.5, rate=0.5), mg.Value(2.0)
    assert (p.data, p.label, p.rate, type(p)) == (3.0, 'p', 0.5, Parameter)
    for out in *(f(p, x) for f in OPERATORS.values() for x in (v, p, 2.0)), -p, p.exp():
        assert type(out) is mg.Value and out._prev[0] is p
    assert v - p == 2.0 - p == 'mine' and (v + p)._prev == (v, p)
    assert mg.sumprod([v, p], [v, v], v).data == 2.0 + 2.0 * 2.0 + (3.0 + 2.0)
    (p + 1.0).backward()
    assert (p.grad, copy.copy(p).data, copy.deepcopy(p).rate) == (1.0, 3.0, 0.5)


def test_a_function_assigned_to_any_value(mg):
    leaf, calls = mg.Value(2.0), []
    leaf._backward = lambda: calls.append(leaf.grad)  # when all its gradient is there
    out = leaf * leaf
    out.backward()
    out._backward = lambda: calls.append('out')
    out.backward()
    assert calls == [4.0, 'out', 4.0] and out._slopes == (2.0, 2.0)
    mg.Value._backward(out)  # what it was by itself
    assert leaf.grad == 8.0
    del out._backward, leaf._backward
    out.backward()
    assert (leaf.grad, len(calls)) == (12.0, 3)
    held = [out * 1.0]
    out._backward = held.clear  # the last reference but that of backward() itself
    del out
    held[0].backward()
    assert held == []


@pytest.mark.parametrize('rule, error', [
    ([].pop, IndexError), (lambda: signal.raise_signal(signal.SIGINT), KeyboardInterrupt)])
def test_a_rule_that_fails(mg, rule, error):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # or the shell has it ignored
    x = mg.Value(3.0)
    inner = x * x
    bad = mg.Value(1.0, (inner, x), 'bad')
    out = bad * 2.0 + inner
    bad._backward = rule
    for root in out, bad:
        with pytest.raises(error):
            root.backward()
    signal.signal(signal.SIGINT, before)
    del bad._backward
    x.grad = 0.0
    out.backward()
    assert (x.grad, bad.grad, inner.grad) == (6.0, 2.0, 1.0)


# sumprod, pickle and copy

@pytest.mark.parametrize('kind', [list, tuple, iter, np.array, dict.fromkeys])
def test_sumprod_of_anything_to_iterate_over(mg, kind):
    w, x = [mg.Value(2.0), mg.Value(-3.0)], [0.5, 7.0]
    assert mg.sumprod(kind(w), kind(x), 1.0).data == -19.0
    for p, q, said in (w, [1.0, 2.0, 3.0], 'longer'), ([], x, 'longer'), (w, [5.0], 'shorter'):
        with pytest.raises(ValueError, match=f'argument 2 is {said} than argument 1$'):
            mg.sumprod(kind(p), kind(q), w[0])
    assert mg.sumprod(kind([]), [], w[0]) is w[0] and mg.sumprod([], kind([]), 2.5) == 2.5


@pytest.mark.parametrize('clone', [
    copy.copy, copy.deepcopy, *(lambda x, p=p: pickle.loads(pickle.dumps(x, p))
                                for p in range(pickle.HIGHEST_PROTOCOL + 1))])
def test_a_copy_is_a_leaf(mg, clone):
    v = x = mg.Value(2.0)
    for _ in range(10_000):
        v = v + 1.0
    v.backward()
    v.label, v.m, v._backward = 'v', [1.5], lambda: None
    twin = clone(v)
    assert type(twin) is mg.Value and twin is not v and (twin.m is v.m) == (clone is copy.copy)
    assert describe(twin) == [['', (10_002.0).hex(), (1.0).hex(), [], []]]
    assert vars(twin) == {'label': 'v', 'm': [1.5]}  # the rule went with the operands
    (twin * 2.0).backward()
    assert (twin.grad, v.grad, x.grad) == (3.0, 1.0, 1.0)


PICKLED = """
import pickle, sys
from micrograd.engine import Value, compiled

class Slots(Value):
    __slots__ = ('rate',)

if len(sys.argv) > 1:
    v = Slots(float('nan'), label='v')
    v.grad, v.rate, v.me = 2.5, 0.25, [v]
    sys.stdout.buffer.write(pickle.dumps((compiled, v), int(sys.argv[1])))
else:
    by, v = pickle.load(sys.stdin.buffer)
    assert by is not compiled and type(v) is Slots and v.data != v.data
    assert (v.grad, v.rate, vars(v)) == (2.5, 0.25, {'label': 'v', 'me': [v]})
"""


@pytest.mark.parametrize('protocol', ['0', str(pickle.HIGHEST_PROTOCOL)])
def test_written_by_one_engine_and_read_by_the_other(mg, protocol):
    other = load(not mg.pure) or pytest.skip('the compiled engine has not been built')
    python(other, PICKLED, stdin=python(mg, PICKLED, protocol))
