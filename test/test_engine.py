"""What a Value promises. (That the numbers and gradients are right, test_programs.py tests.)

First what every engine does, also one of your own: `python -m pytest --engine my_engine.py`.
"""
import contextlib
import copy
import math
import operator
import pickle
import random
import re
import signal
import weakref
from abc import ABC, abstractmethod
from decimal import Decimal, localcontext
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
    'a ** 3', 'a ** -1', 'relu(a)', 'relu(a * a) * a', 'exp(a)', 'tanh(a)', 'sigmoid(a)',
    'log(a * a)', 'tanh(exp(a) * 0.1)'])
def test_a_function(mg, code, a):
    check(mg, code, a=a)


@pytest.mark.yours(7)
@pytest.mark.parametrize('code', [
    'a + 2', '2 + a', 'a * 2', '2 * a', '0 + a * 2', 'a - 2', '2 - a', 'a / 2', '2 / a', '2 ** a'])
def test_a_number_on_either_side(mg, code):
    check(mg, code, a=3.0)


@pytest.mark.yours(8)
def test_gradients_of_two_losses_add_up(mg):
    a, b = mg.Value(2.0), mg.Value(-3.0)
    (a * b).backward()
    assert (a.grad, b.grad) == (-3.0, 2.0)
    (a * a + b).backward()
    expect(a.grad, -3.0 + 4.0, "a's gradient in (a * b).backward(); (a * a + b).backward()")
    expect(b.grad, 2.0 + 1.0, "b's gradient in (a * b).backward(); (a * a + b).backward()")


@pytest.mark.yours(9)
def test_each_node_once(mg):
    v = x = mg.Value(1.0)  # 2**200 ways lead from the root to this leaf
    for _ in range(200):
        x = x + x
    x.backward()
    assert v.grad == x.data == 2.0 ** 200


@pytest.mark.yours(10)
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


@pytest.mark.yours(11)
def test_a_chain_of_ten_thousand(mg):
    a = x = mg.Value(1.0)
    for _ in range(10_000):
        x = x + 1.0
    x.backward()
    assert (x.data, a.grad) == (10_001.0, 1.0)


@pytest.mark.yours(12)
def test_leaves_accumulate_and_nodes_between_do_not(mg):
    a, b = mg.Value(2.0), mg.Value(-3.0)
    c = a * b
    d = c * c + a
    for times in 1, 2, 3:
        assert d.backward() is None
        assert (d.grad, c.grad) == (1.0, -12.0), 'each backward() starts from 0 but for the leaves'
        assert (a.grad, b.grad) == (37.0 * times, -24.0 * times)
    b.backward()  # a leaf as its own root
    assert b.grad == -71.0
    b.grad, c.grad, d.grad = 0.5, 100.0, nan  # whatever is there before
    d.backward()
    assert (d.grad, c.grad, b.grad) == (1.0, -12.0, -23.5)


@pytest.mark.yours(13)
def test_two_losses_that_share_a_subgraph(mg):
    a = mg.Value(3.0)
    shared = a * a
    one, two = shared * 2.0, shared * 5.0 + a
    one.backward()
    assert (shared.grad, a.grad) == (2.0, 12.0)
    two.backward()
    assert (shared.grad, a.grad) == (5.0, 12.0 + 31.0), 'each loss by itself'
    shared.backward()  # a root that has been between
    assert (shared.grad, a.grad) == (1.0, 12.0 + 31.0 + 6.0)
    assert one.grad == two.grad == 1.0  # out of reach: as they were


# Operations of ours

@pytest.mark.parametrize('make, name, data, slopes', [
    (lambda a, b: a + b, '+', 7.0, (1.0, 1.0)),
    (lambda a, b: a - b, '-', -3.0, (1.0, -1.0)),
    (lambda a, b: a * b, '*', 10.0, (5.0, 2.0)),
    (lambda a, b: a / b, '/', 0.4, (0.2, -0.08)),
    (lambda a, b: a ** b, '**', 32.0, (80.0, 32.0 * math.log(2.0))),
    (lambda a, b: a ** 3, '**3', 8.0, (12.0,)),
    (lambda a, b: a ** -0.5, '**-0.5', 2 ** -0.5, (-0.5 * 2 ** -1.5,)),
    (lambda a, b: a ** (1 / 3), '**0.333333', 2 ** (1 / 3), (2 ** (-2 / 3) / 3,)),
    (lambda a, b: -a, 'neg', -2.0, (-1.0,)),
    (lambda a, b: a.relu(), 'ReLU', 2.0, (1.0,)),
    (lambda a, b: a.exp(), 'exp', math.exp(2.0), (math.exp(2.0),)),
    (lambda a, b: a.log(), 'log', math.log(2.0), (0.5,)),
    (lambda a, b: a.tanh(), 'tanh', math.tanh(2.0), (1 / math.cosh(2.0) ** 2,)),
    (lambda a, b: a.sigmoid(), 'sigmoid', 1 / (1 + math.exp(-2.0)), (0.25 / math.cosh(1.0) ** 2,)),
])
def test_an_operation_is_one_node(mg, make, name, data, slopes):
    a, b = mg.Value(2), mg.Value(5)
    out = make(a, b)
    assert (type(out), out._op, out.grad, out.label) == (mg.Value, name, 0.0, '')
    assert [x is y for x, y in zip(out._prev, (a, b))] == [True] * len(slopes)
    assert (out.data, *out._slopes) == pytest.approx((data, *slopes), rel=1e-15)
    out.grad = 3.0
    assert out._backward() is None  # one step of the chain rule, by hand
    assert [a.grad, b.grad][:len(slopes)] == [3.0 * slope for slope in out._slopes]
    a.data = b.data = 100.0
    assert out._slopes == pytest.approx(slopes, rel=1e-15)  # they belong to the forward pass


@pytest.mark.parametrize('op', OPERATORS)
def test_a_plain_number_becomes_a_leaf(mg, op):
    v = mg.Value(2.0)
    for number in 3, 3.0, True, Fraction(1, 2), np.float64(0.5), np.int8(3), np.float32(0.1):
        for left, right in (v, number), (number, v):
            out = OPERATORS[op](left, right)
            a, b = (x.data if x is v else float(x) for x in (left, right))
            assert type(out) is mg.Value and out.data == OPERATORS[op](a, b)
            if op != '**' or right is v:
                assert [(x.data, x._prev) for x in out._prev] == [(a, ()), (b, ())]
            else:
                assert out._prev == (v,)


@pytest.mark.parametrize('x, k, data, slope', [
    (0.0, 0.5, 0.0, inf), (0.0, 0, 1.0, 0.0), (0.0, 1, 0.0, 1.0), (-0.0, 2**-53, 0.0, inf),
    # out of range: the limits, with their signs
    (1e-200, -1, 1e200, -inf), (-1e-200, -1, -1e200, -inf), (-1e-150, -2, 1e300, inf),
    (5e-324, 1e-3, 5e-324 ** 1e-3, inf), (-inf, 3, -inf, inf), (-inf, 0.5, inf, 0.0)])
def test_power(mg, x, k, data, slope):
    base, exponent = mg.Value(x), mg.Value(k)
    for out in base ** k, base ** exponent, x ** exponent:
        assert (out.data, out._slopes[0]) == pytest.approx((data, slope), rel=1e-12)


@pytest.mark.parametrize('k', [-1, -1.0, Fraction(-1), np.int8(-1), 2, 3, 0.5, -0.5])
def test_a_power_is_to_the_bit_what_python_computes(mg, k):
    # Compilers like to make 1 / x of x ** -1, which has another last digit for numbers like these.
    for x in 8.385908518869641, 8.84179473681791, 8.149252442099986, 1.1997916111909197:
        for out in mg.Value(x) ** k, mg.Value(x) ** mg.Value(k), x ** mg.Value(k):
            slope = float(k) * x ** (float(k) - 1.0)
            assert (out.data, out._slopes[0]) == (x ** float(k), slope)


def test_sigmoid_at_both_ends(mg):
    with localcontext() as context:
        context.prec = 400
        for size in 0.0, 5e-324, 1e-9, 0.5, 1.0, 17.0, 36.5, 37.0, 40.0, 708.0, 709.0, 720.0, 744.0:
            for x in size, -size:
                v, e = mg.Value(x).sigmoid(), Decimal(-x).exp()
                data, slope = 1 / (1 + e), e / (1 + e) ** 2  # in 400 digits
                assert v.data == pytest.approx(float(data), rel=4e-16, abs=1e-323)
                assert v._slopes[0] == pytest.approx(float(slope), rel=1e-15, abs=1e-323)
    for x in 750.0, 1e300, inf:
        far = mg.Value(x).sigmoid(), mg.Value(-x).sigmoid()
        assert [(v.data, v._slopes) for v in far] == [(1.0, (0.0,)), (0.0, (0.0,))]


@pytest.mark.parametrize('ours, floats', [
    (lambda v: v(1) / v(0), lambda: 1.0 / 0.0), (lambda v: 1 / v(0), lambda: 1.0 / 0.0),
    (lambda v: v(0) ** -1, lambda: 0.0 ** -1.0), (lambda v: v(0).log(), lambda: math.log(0.0)),
    (lambda v: v(-inf).log(), lambda: math.log(-inf)),
    (lambda v: v(710).exp(), lambda: math.exp(710.0)),
    (lambda v: (-10) ** v(401), lambda: (-10.0) ** 401.0),
    (lambda v: v(10**400), lambda: float(10**400)),
    (lambda v: 10**400 * v(1), lambda: float(10**400)), (lambda v: v(-8) ** (1 / 3), None),
    (lambda v: (-1e-300) ** v(-1.5), None)])
def test_undefined_is_pythons_own_exception(mg, ours, floats):
    with pytest.raises((ArithmeticError, ValueError)) as expected:
        if not floats:  # Python would go on with a complex number
            raise ValueError('a negative number to a fractional power')
        floats()
    with pytest.raises(expected.type) as error:
        ours(mg.Value)
    assert (error.type, error.value.args) == (expected.type, expected.value.args)


# Numbers, and what is none

class Own:
    def __init__(self, out):
        self.out = out

    def __float__(self):
        if isinstance(self.out, Exception):
            raise self.out
        return self.out


OwnReal = type('OwnReal', (Own,), {})
Real.register(OwnReal)
NONE = [None, '1', b'1', 1j, [1.0], (1.0,), {}, object(), float, Decimal(1), Own(1.0),
        np.bool_(True), np.str_('1'), np.complex128(1), np.array(1.0), np.array([1.0]),
        np.datetime64('2020-01-01')]


def takers(mg):
    """Whatever takes a number, each in a function."""
    v = mg.Value(2.0)
    return [mg.Value, lambda x: setattr(v, 'data', x), lambda x: setattr(v, 'grad', x),
            lambda x: mg.Value(x, (v,), 'op'), lambda x: mg.Value(1.0, (v,), slopes=(x,)),
            lambda x: mg.Value(1.0, (v, v, v), 'op', '', [1.0, x, 1])]


@pytest.mark.parametrize('x', [
    3, -0.0, True, 2**53 + 1, Fraction(1, 3), np.float64(0.1), np.float32(0.1), np.longdouble(0.1),
    np.float16(0.1), np.uint8(7), np.int64(-7), OwnReal(2.5), type('Float', (float,), {})(2.5)])
def test_any_real_number(mg, x):
    v = mg.Value(x)
    v.grad = x
    u = mg.Value(x, (v, v), slopes=(x, x))
    assert {float.hex(y) for y in (v.data, v.grad, u.data, *u._slopes)} == {float(x).hex()}
    assert {*map(type, (v.data, v.grad, u.data, *u._slopes))} == {float}


@pytest.mark.parametrize('x', NONE, ids=lambda x: type(x).__name__)
def test_not_a_number(mg, x):
    for take in takers(mg):
        with pytest.raises(TypeError, match=f'^expected a real number, not {type(x).__name__}$'):
            take(x)
    v = mg.Value(1.0)
    for method in v.__add__, v.__rsub__, v.__mul__, v.__rtruediv__, v.__pow__, v.__rpow__:
        assert method(x) is NotImplemented
    if not isinstance(x, (np.generic, np.ndarray)):
        for left, right in (v, x), (x, v):
            with pytest.raises(TypeError, match='unsupported operand type'):
                left - right


def test_a_value_is_no_number(mg):
    v = mg.Value(2.0)
    for take in takers(mg):
        with pytest.raises(TypeError, match='^expected a real number, not Value$'):
            take(v)
    for function in float, int, complex, round, abs, math.sin, operator.index, '{:.2f}'.format:
        with pytest.raises(TypeError):
            function(v)
    for compare in operator.lt, operator.le, operator.gt, operator.ge:
        with pytest.raises(TypeError, match='not supported between'):
            compare(v, 1.0)


def test_a_number_that_fails(mg):
    v = mg.Value(1.0)
    for take in [*takers(mg), v.__add__, v.__rpow__, v.__pow__, lambda x: v - x, lambda x: x - v]:
        for error in LookupError, TypeError:
            with pytest.raises(error, match='^mine$'):
                take(OwnReal(error('mine')))
        with pytest.raises(TypeError, match='float'):
            take(OwnReal('a str'))
    for name in 'data', 'grad':
        for x in 10**400, OwnReal(LookupError()), 'a str':
            with pytest.raises((OverflowError, LookupError, TypeError)):
                setattr(v, name, x)
    assert (v.data, v.grad) == (1.0, 0.0)


def test_the_other_side_may_know_what_to_do(mg):
    class Other:
        def __radd__(self, v):
            return 'reflected', v

        __rpow__ = __radd__

    v, other = mg.Value(1), Other()
    assert v + other == v ** other == ('reflected', v)
    with pytest.raises(TypeError):
        pow(v, 2, 3)


def test_numpys_arrays(mg):
    v, x = mg.Value(3.0), np.array([1.0, 2.0])
    for array in x, x.reshape(2, 1), x.astype(int), np.ma.masked_array(x, [0, 1]):
        for name, op in OPERATORS.items():
            for left, right in (v, array), (array, v):
                if name in ('/', '**') and isinstance(array, np.ma.MaskedArray):
                    continue  # for these it wants to know whether a number is finite
                out = op(left, right)
                assert isinstance(out, type(array)) and out.dtype == object
                numbers = [3.0 if y is v else np.asarray(y, float) for y in (left, right)]
                assert out.shape == array.shape and type(out.ravel()[0]) is mg.Value
                assert out.ravel()[0].data == op(*numbers).flat[0]
    w = np.array([mg.Value(i) for i in (1, 2)])
    for out, data in (np.dot(w, x), 5.0), (w @ x, 5.0), (np.sum(w), 3.0), (np.mean(w), 1.5):
        assert type(out) is mg.Value and out.data == data
    for function in np.exp, np.log, np.tanh:
        assert [y.data for y in function(w)] == pytest.approx(function(x), rel=1e-15)
    np.dot(w, x).backward()
    assert [y.grad for y in w] == [1.0, 2.0]


# The constructor

def test_a_value_is_what_its_constructor_says(mg):
    a, b = mg.Value(2.0), mg.Value(5.0, label='b')
    out = mg.Value(10, (a, b), '*', 'out', (5, Fraction(2)))
    assert (out.data, out._op, out.label, out.grad) == (10.0, '*', 'out', 0.0)
    assert out._prev == (a, b) and out._slopes == (5.0, 2.0) and type(out._slopes[0]) is float
    by_name = mg.Value(data=10, _children=[a, b], _op='*', label='out', slopes=iter([5, 2]))
    assert describe(by_name) == describe(out) != describe(a * b + 0)
    out.backward()
    assert (a.grad, b.grad) == (5.0, 2.0)
    assert mg.Value(2.0, _op='input')._op == 'input' and mg.Value(2.0, (), 'input')._prev == ()
    many = mg.Value(1.0, (a, a, b) * 300, slopes=range(900))
    assert many._prev == (a, a, b) * 300 and many._slopes == (*range(900),)
    assert {*mg.Value(1.0, {a, b})._prev} == {*mg.Value(1.0, (v for v in (a, b)))._prev} == {a, b}
    silent = mg.Value(1.0, (a,), 'silent')  # it has no slopes, and hands nothing on
    silent.backward()
    assert (silent._slopes, a.grad) == ((), 5.0)


@pytest.mark.parametrize('args, names, error', [
    (((2.0,),), {}, 'expected a Value, not float'), ((([],),), {}, 'expected a Value, not list'),
    ((None,), {}, "'NoneType' object is not iterable"), ((5,), {}, "'int' object is not iterable"),
    (('label',), {}, 'expected a Value, not str'), (((), None), {}, 'expected a str, not NoneType'),
    (((), b'+'), {}, 'expected a str, not bytes'), (((), '', 5), {}, 'expected a str, not int'),
    ((), {'label': ['x']}, 'expected a str, not list'),
    ((), {'slopes': 1.0}, "'float' object is not iterable"),
    ((), {'slopes': ['1']}, 'expected a real number, not str'),
    ((), {'children': ()}, ".*'children'.*"), (((), '', '', (), 1), {}, '.*argument.*'),
    ((), {'slopes': [1]}, ValueError('expected 0 slopes, got 1')),
    ((), {'_children': 'vv', 'slopes': [1]}, ValueError('expected 2 slopes, got 1')),
    ((), {'_children': 'v', 'slopes': [1, 2, 3]}, ValueError('expected 1 slopes, got 3')),
])
def test_what_the_constructor_refuses(mg, args, names, error):
    if '_children' in names:
        names = {**names, '_children': [mg.Value(1.0) for _ in names['_children']]}
    for make in mg.Value, type('Sub', (mg.Value,), {}):
        with pytest.raises(ValueError if isinstance(error, ValueError) else TypeError,
                           match=f'^{error}$'):
            make(1, *args, **names)


def test_what_changes_while_it_is_read(mg):
    class Meddler(OwnReal):
        def __float__(self):
            for x in p, q, names:
                x.clear()
            return 2.0

    p, q, names = [mg.Value(3.0)] * 2, [Meddler(None), mg.Value(5.0)], {}
    assert mg.sumprod(p, q, 1.0).data == 7.0
    for data in 1.0, Meddler(None):
        p, q = [mg.Value(1.0) for _ in range(3)], [1.0, Meddler(None), 3.0]
        names = {'data': data, '_children': p, '_op': 'op' * 2, 'label': 'x' * 9, 'slopes': q}
        with contextlib.suppress(ValueError):  # fewer slopes than operands
            out = mg.Value(**names)
            assert out._op == 'opop' and out.label == 'x' * 9


# A Value by itself

def test_data_grad_and_label(mg):
    v = mg.Value(2)
    assert (v.data, v.grad, v.label, v._op, v._prev, v._slopes) == (2.0, 0.0, '', '', (), ())
    out = v * 2.0
    out.label = 'out'
    assert (out.label, (out + 1).label, [x.label for x in out._prev]) == ('out', '', ['', ''])
    for u in v, out, type('Sub', (mg.Value,), {})(1.0, (v,)):
        for name in '_op', '_prev', '_slopes':
            with pytest.raises(AttributeError, match=name):
                setattr(u, name, getattr(u, name))
    assert describe(out)[-1] == ['*', (4.0).hex(), (0.0).hex(), [0, 1], [(2.0).hex()] * 2]


NAMES = ['m', '_color', '_grad', '_data', '_a', '_b', '_da', '_visited', '_next', '_own', '_name',
         'a', 'b', 'da', 'db', 'op', 'prev', 'next', 'own', 'slopes', 'children', '_children',
         '_number', '_node', '_state', '__grad', '_Value__grad', 'Größe', 'not a name', '']


def test_own_attributes_of_any_name(mg):
    plain, sub = mg.Value(3.0), type('Sub', (mg.Value,), {})(3.0)
    for v in plain, sub, plain * sub, mg.Value(1.0, (plain,), slopes=(1,)):
        before = describe(v)
        assert not [name for name in NAMES if hasattr(v, name)]
        for name in NAMES:
            setattr(v, name, -7.0)
        assert vars(v) == dict.fromkeys(NAMES, -7.0) and describe(v) == before
        v.m += 1.5
        v.backward()
        assert (v.grad, v.m, (v + 1)._op) == (1.0, -5.5, '+')
        for name in NAMES:
            delattr(v, name)
        with pytest.raises(AttributeError, match='m'):
            v.m  # noqa: B018


def test_comparison_and_hash_are_identity(mg):
    a, b = mg.Value(1), mg.Value(1)
    assert a == a and a != b and a != 1.0 and len({a, b, a}) == 2
    a.data = 5.0
    assert a in {a} and bool(mg.Value(0)) is True


@pytest.mark.parametrize('data', [-4, 0.1, 1e300, nan, -0.0, -inf, 1 / 3])
def test_repr(mg, data):
    v = mg.Value(data)
    (v * -1.5).backward()
    assert repr(v) == str(v) == f'{v}' == f'Value(data={float(data)!r}, grad=-1.5)'


# Subclasses

def test_subclasses(mg):
    class Parameter(mg.Value):
        label = 'p'

        def __init__(self, data, rate=0.5):
            super().__init__(data * 2)
            self.rate = rate

        def __rsub__(self, other):
            return 'mine'

    p, v = Parameter(1.5), mg.Value(2.0)
    assert (p.data, p.label, p.rate, type(p)) == (3.0, 'p', 0.5, Parameter)
    for op, f in OPERATORS.items():
        for left, right in (p, v), (v, p), (p, p), (p, 2.0), (2.0, p):
            if op == '-' and right is p and left is not p:
                assert f(left, right) == 'mine'
                continue
            out = f(left, right)
            assert type(out) is mg.Value and p in out._prev
    for f in FUNCTIONS.values():
        assert type(f(p)) is mg.Value and f(p)._prev == (p,)
    assert weakref.ref(p)() is p


def test_graphs_go_by_identity(mg):
    class Same(mg.Value):
        def __eq__(self, other):
            return True

        def __setattr__(self, name, x):
            raise AttributeError('mine')

        def __bool__(self):
            raise TypeError('mine')

        __len__ = __iter__ = __bool__

    p, q = Same(2.0), Same(3.0)
    with pytest.raises(TypeError, match='unhashable'):
        hash(p)
    out = Same(5.0, (p * q, p, q), 'own', slopes=(1, 10, 100))
    for times in 1, 2:
        (out * 2.0).backward()
        assert (p.grad, q.grad, out.grad) == (26.0 * times, 204.0 * times, 2.0)
    assert len(mg.trace.trace(out)[0]) == 4
    assert mg.sumprod([p, q], [q, p], p).data == 14.0
    assert (copy.copy(p).data, copy.deepcopy(q).grad) == (2.0, 408.0)


def test_a_class_says_how_it_is_made(mg):
    class Shape(mg.Value, ABC):
        @abstractmethod
        def area(self):
            pass

    class Handed(mg.Value):
        made = 0

        def __new__(cls, *args, **names):
            Handed.made += 1
            return super().__new__(cls, *args, **names) if args != ('',) else 'nothing'

    with pytest.raises(TypeError, match='abstract'):
        Shape(1.0)
    v = Handed(1.0, (mg.Value(2.0),), label='x')
    assert (Handed(''), Handed.made, v.data, v.label, len(v._prev)) == ('nothing', 2, 1.0, 'x', 1)
    assert (copy.copy(v).data, copy.deepcopy(v).label) == (1.0, 'x')


# An operation of one's own, as in the lecture

def test_a_function_assigned_to_any_value(mg):
    leaf, calls = mg.Value(2.0), []
    leaf._backward = lambda: calls.append(leaf.grad)  # when all its gradient is there
    out = leaf * leaf
    out.backward()
    assert calls == [4.0]
    out._backward = lambda: calls.append('out')
    out.backward()
    assert calls == [4.0, 'out', 4.0] and out._slopes == (2.0, 2.0)
    mg.Value._backward(out)  # what it was by itself
    assert leaf.grad == 8.0
    del out._backward, leaf._backward
    out.backward()
    assert (leaf.grad, len(calls)) == (12.0, 3)
    out._backward = None
    with pytest.raises(TypeError, match='not callable'):
        out.backward()

    class Twice(mg.Value):
        def _backward(self):
            self._prev[0].grad += 2.0 * self.grad

    leaf.grad = 0.0
    (Twice(0.0, (leaf,)) * 5.0).backward()
    assert leaf.grad == 10.0


@pytest.mark.parametrize('error', [LookupError, KeyboardInterrupt])
def test_a_rule_that_fails(mg, error):
    x = mg.Value(3.0)
    inner = x * x
    bad = mg.Value(1.0, (inner, x), 'bad')
    out = bad * 2.0 + inner

    def _backward():
        if error is KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)  # Ctrl-C
        raise error('mine')

    bad._backward = _backward
    for root in out, bad:
        with pytest.raises(error):
            root.backward()
    del bad._backward
    x.grad = 0.0
    out.backward()
    assert (x.grad, bad.grad, inner.grad) == (6.0, 2.0, 1.0)


def test_a_rule_that_calls_backward(mg):
    x, y = mg.Value(3.0), mg.Value(5.0)
    other = x * y
    node = mg.Value(0.0, (x * 2.0,), 'node')
    out = node * 7.0 + x

    def _backward():
        other.backward()
        if node.grad == 7.0:
            node._prev[0].grad += 1.0
            out.grad = 0.0
            node._backward = lambda: None
            out.backward()  # this very graph, within
            node._backward = _backward

    node._backward = _backward
    out.backward()
    # other, out within: x + 1; node's operand starts at 0 there; then x gets its own 1.
    assert (x.grad, y.grad, node._prev[0].grad) == (5.0 + 1.0 + 1.0, 3.0, 0.0)


def test_a_rule_that_drops_the_graph(mg):
    x, held = mg.Value(2.0), []
    for deep in 1, 3000:
        v = x * 1.0
        v._backward = held.clear  # the last reference but that of backward() itself
        for _ in range(deep):
            v = v * 1.0
        held.append(v)
        del v
        held[0].backward()
        assert held == []


# sumprod

@pytest.mark.parametrize('kind', [
    list, tuple, iter, np.array, dict.fromkeys, lambda x: (v for v in x)])
def test_sumprod_of_anything_to_iterate_over(mg, kind):
    w, x = [mg.Value(2.0), mg.Value(-3.0)], [0.5, 7.0]
    assert mg.sumprod(kind(w), kind(x), 1.0).data == mg.sumprod(w, x, 1.0).data == -19.0
    for p, q in (w, [1.0, 2.0, 3.0]), ([], x), (w, [mg.Value(1.0)]):
        with pytest.raises(ValueError) as expected:
            [*zip(p, q, strict=True)]
        with pytest.raises(ValueError) as error:
            mg.sumprod(kind(p), kind(q), w[0])
        assert str(error.value) == str(expected.value)
    assert mg.sumprod(kind([]), [], w[0]) is w[0] and mg.sumprod([], kind([]), 2.5) == 2.5


def test_sumprod_asks_a_subclass_how_to_multiply(mg):
    class Log(mg.Value):
        def __mul__(self, other):
            return self + other

    w = mg.Value(2.0)
    for p in [Log(3.0)], [w, Log(3.0)]:
        assert mg.sumprod(p, [w] * len(p), w).data == 7.0 + 4.0 * (len(p) - 1)


@pytest.mark.parametrize('call', [
    lambda mg, v: mg.Value(), lambda mg, v: mg.Value(label='x'),
    lambda mg, v: mg.sumprod(5.0, [v], v), lambda mg, v: mg.sumprod([v], None, v),
    lambda mg, v: mg.sumprod(v, [v], v),
    lambda mg, v: mg.sumprod([v], [v]), lambda mg, v: mg.sumprod([v], [v], v, v),
    lambda mg, v: mg.sumprod(p=[v], q=[v], start=v), lambda mg, v: v.backward(1.0),
    lambda mg, v: v.exp(1.0), lambda mg, v: v._backward(1),
])
def test_wrong_arguments(mg, call):
    with pytest.raises(TypeError):
        call(mg, mg.Value(1.0))


# pickle and copy

COPIES = {f'pickle {p}': lambda v, p=p: pickle.loads(pickle.dumps(v, p))
          for p in range(pickle.HIGHEST_PROTOCOL + 1)} | {
              'copy': copy.copy, 'deepcopy': copy.deepcopy}


@pytest.mark.parametrize('clone', COPIES)
def test_a_copy_is_a_leaf(mg, clone):
    v = x = mg.Value(2.0)
    for _ in range(10_000):
        v = v + 1.0
    v.backward()
    v.label, v.m, v._backward = 'v', [1.5], lambda: None
    twin = COPIES[clone](v)
    assert type(twin) is mg.Value and twin is not v
    assert describe(twin) == [['', (10_002.0).hex(), (1.0).hex(), [], []]]
    assert (twin.label, twin.m, twin.m is v.m) == ('v', [1.5], clone == 'copy')
    assert vars(twin) == {'label': 'v', 'm': [1.5]}  # the rule went with the operands
    (twin * 2.0).backward()
    twin.data, twin.n = 1.0, 2
    assert (twin.grad, v.grad, v.data, x.grad) == (3.0, 1.0, 10_002.0, 1.0)
    assert not hasattr(v, 'n')
    if clone != 'copy':
        one, two, three = COPIES[clone]([x, x, mg.Value(2.0)])
        assert one is two is not three


PICKLED = """
import pickle, sys
from micrograd.engine import Value, compiled
from micrograd.nn import MLP

class Sub(Value):
    pass

class Slots(Value):
    __slots__ = ('rate', 'unset')

class State(Value):
    text = 'state'

    def __getstate__(self):
        return self.text + '!'

    def __setstate__(self, state):
        self.text = state

if len(sys.argv) > 1:
    v, s, state = Value(1.5) * 3.0, Sub(float('nan'), label='s'), State(2.5, (Value(1.0),))
    slots = Slots(0.5)
    for x in v, slots, state:
        x.backward()
    v.momentum, v.me, s.child, model, slots.rate, slots.m = 0.1, v, v, MLP(2, [3, 1]), 0.25, 'm'
    model([1.0, 2.0]).backward()
    grads = [p.grad for p in model.parameters()]
    sys.stdout.buffer.write(pickle.dumps((compiled, v, s, slots, state, model, grads),
                                         int(sys.argv[1])))
else:
    by, v, s, slots, state, model, grads = pickle.load(sys.stdin.buffer)
    assert by is not compiled
    assert (type(v), v.data, v.grad, v.label, v._prev) == (Value, 4.5, 1.0, '', ())
    assert v.momentum == 0.1 and v.me is s.child is v
    assert (type(s), s.data != s.data, s.label) == (Sub, True, 's')
    assert (slots.data, slots.grad, slots.rate, slots.m) == (0.5, 1.0, 0.25, 'm')
    assert not hasattr(slots, 'unset') and vars(slots) == {'m': 'm'}
    assert (state.data, state.grad, state.text, state._prev) == (2.5, 1.0, 'state!', ())
    assert [p.grad for p in model.parameters()] == grads
    model.zero_grad()
    (model([1.0, 2.0]) * v).backward()
    assert [p.grad for p in model.parameters()] == [4.5 * grad for grad in grads]
"""


@pytest.mark.parametrize('protocol', ['0', str(pickle.HIGHEST_PROTOCOL)])
def test_written_by_one_engine_and_read_by_the_other(mg, protocol):
    other = load(not mg.pure) or pytest.skip('the compiled engine has not been built')
    python(other, PICKLED, stdin=python(mg, PICKLED, protocol))


def test_the_state_is_the_own_attributes(mg):
    v = mg.Value(2.0, (mg.Value(1.0),), 'op', 'v')
    v.m, v._backward = 1.0, print
    assert v.__getstate__() == ({'label': 'v', 'm': 1.0}, {})
