"""Random programs over an engine: the one source of all that is random in these tests.

    >>> program = random_program(random.Random(1), 20)  # plain data, for pickle or JSON
    >>> record = run(program, micrograd.engine)         # so is this: all there is to see of it

A program is a list of steps, each an operation and its operands:

    ['Value', '2.0'], ['*', 0, 'Fraction(1, 3)'], ['sumprod', [0, 1], [1, '-1'], 0], ['relu', 0],
    ['Value', '2.0', [1, 0], ['0.5', '3']], ['rule', '2.0', [1, 0], ['0.5', '3']]

An int operand says how many nodes back it stands, 0 for the newest and 1 for the one before, around
the corner where there are not as many. A str is Python for any other operand. A 'rule' is a Value
whose slopes are in a function assigned to `_backward`; 'Sub' and 'Sub rule' are of a subclass.

This file needs nothing but the standard library, and runs on PyPy, too; but a seed need not give
the same program there, so hand over the program itself. Errors are told by type and text; the text
may be Python's own, which changes from version to version. `INEXACT` operations differ by a bit or
two between C libraries: `settle` can compare and replace them, step by step.
"""
import contextlib
import copy
import functools
import math
import operator
from decimal import Decimal
from fractions import Fraction

OPERATORS = {'+': operator.add, '-': operator.sub, '*': operator.mul, '/': operator.truediv,
             '**': operator.pow}
FUNCTIONS = {'neg': operator.neg,
             **{name: operator.methodcaller(name)
                for name in ('relu', 'exp', 'log', 'tanh', 'sigmoid')}}
OWN = ('Value', 'Sub', 'rule', 'Sub rule')
# As good as the C library's; all else is the same anywhere.
INEXACT = ('**', 'exp', 'log', 'tanh', 'sigmoid')

SPECIAL = ['0.0', '-0.0', '1.0', '-1.0', '0.5', 'inf', '-inf', 'nan', '5e-324', '-3e-320', '1e-308',
           '2.2250738585072014e-308', '1.7976931348623157e308', '-1e300', '1e-300', '710.0', '0',
           '-1', '2**53 + 1', '10**30', '10**400', 'False', 'Fraction(10**400)']
NUMPY = ['np.float64(0.7)', 'np.float64(-0.0)', 'np.float32(0.1)', 'np.float16(3)', 'np.int8(3)',
         'np.int64(-2)', 'np.uint8(1)', 'np.longdouble(0.3)']
WRONG = ['None', "'2'", "b'2'", '1j', '[]', '{}', '...', "Decimal('0.1')"]


def random_program(rng, size=30, wild=0.2, hands=True, rules=True, numpy=False,
                   wrong=False):
    """A program of `size` steps.

    Args:
        rng: a random.Random, or what `hypothesis` has in its place.
        wild: how many of the numbers are extreme, from 0 to 1.
        hands: whether it also does by hand what `backward()` does: `_backward()`, `grad = …`; gives
            nodes that are there another rule, or one that calls `backward()`; and copies them.
        rules: whether functions are assigned to `_backward`.
        numpy, wrong: whether NumPy's scalars, and what is no number, are among the operands.
    """
    def number():
        kind = rng.random()
        if kind < wild / 2:
            return rng.choice(SPECIAL)
        if kind < wild:
            return repr(rng.choice((-1, 1)) * 10 ** rng.uniform(-300, 300))
        return rng.choice((
            lambda: repr(rng.gauss(0, 1)), lambda: repr(rng.randrange(-24, 25) / 8),
            lambda: str(rng.randrange(-3, 4)), lambda: rng.choice(('True', 'False')),
            lambda: f'Fraction({rng.randrange(-9, 10)}, {rng.randrange(1, 8)})',
            lambda: rng.choice(NUMPY) if numpy else repr(rng.uniform(0.5, 2)),
        ))()

    def node():
        return rng.randrange(3 ** rng.randrange(4))  # mostly a new one: graphs become deep

    def plain():
        return rng.choice(WRONG) if wrong and rng.random() < 0.1 else number()

    def any_operand():
        return rng.choice((node, node, plain))()

    def many(n, operand):
        return [operand() for _ in range(n)]

    def sumprod():
        n, operand = rng.randrange(5), rng.choice((node, any_operand))
        more = wrong and rng.random() < 0.1
        return ['sumprod', many(n, operand), many(n + more, operand), operand()]

    def own():
        n, operand = rng.randrange(6), any_operand if wrong and rng.random() < 0.05 else node
        slopes = rng.choice((n, n, n, n, 0, n + (wrong and rng.random() < 0.3)))
        return [rng.choice(OWN[:4 if rules else 2]), plain(), many(n, operand), many(slopes, plain)]

    def another_rule():
        return ['rule =', node(), many(2, number), *rng.choice(([], [node()]))]

    steps = {
        lambda: ['Value', plain()]: 3,
        lambda: [rng.choice([*FUNCTIONS]), node()]: 4,
        lambda: [rng.choice([*OPERATORS]), node(), node()]: 7,
        lambda: [rng.choice([*OPERATORS]), node(), plain()]: 2,
        lambda: [rng.choice([*OPERATORS]), plain(), node()]: 2,
        sumprod: 2,
        own: 3,
        lambda: ['backward', node()]: 2,
        lambda: ['data =', node(), plain()]: 1,
        lambda: ['grad =', node(), plain()]: hands,
        lambda: ['_backward', node()]: hands,
        lambda: ['copy', node()]: hands,
        lambda: ['del rule', node()]: hands and rules,
        another_rule: hands and rules,
    }
    bag = [step for step, n in steps.items() for _ in range(n)]
    return [rng.choice(bag)() for _ in range(size - 2)] + [['backward', 0], ['backward', 1]]


@functools.lru_cache(None)
def constant(text):
    names = {'inf': math.inf, 'nan': math.nan, 'Fraction': Fraction, 'Decimal': Decimal}
    if 'np.' in text:
        import numpy
        names['np'] = numpy
    return eval(text, names)


@functools.cache
def subclass(Value):
    class Sub(Value):
        def __eq__(self, other):  # and so it has no hash
            return True

    return Sub


def run(program, engine, settle=lambda i, v: v):
    """What one can see of a program that runs on an engine: {'steps': …, 'nodes': …}.

    Args:
        engine: has `Value` and `sumprod`.
        settle: is called with the number of a step and the node that it made; gives the node to go
            on with, or raises.

    Returns:
        steps: for each, the exception ('TypeError: …'), or [data, *slopes] of the node that it
            made, or the repr of another result.
        nodes: [op, data, grad, operands, slopes] for every node, also those that plain numbers and
            `sumprod` made, operands first. An operand is a position here, and a float a text.
    """
    nodes, steps, depth, Sub = [engine.Value(1.0)], [], 0, subclass(engine.Value)

    def single(x):
        return constant(x) if isinstance(x, str) else nodes[~(x % len(nodes))]

    def operand(x):
        return [*map(single, x)] if isinstance(x, list) else single(x)

    def own(cls, data, operands=(), slopes=()):
        return cls(data, operands, 'own' if operands else '', slopes=slopes)

    def ruled(cls, data, operands, slopes):
        return assign(cls(data, operands, 'own'), slopes)

    def assign(v, slopes, then=None):
        def _backward():
            nonlocal depth
            for x, slope in zip(v._prev, _backward.slopes):
                x.grad += slope * v.grad
            if then is not None and depth < 2:  # within this backward(), that one
                depth += 1
                then.backward()
                depth -= 1

        _backward.slopes = [float(x) for x in slopes]
        v._backward = _backward
        return v

    def forget(v):
        with contextlib.suppress(AttributeError):
            del v._backward

    operations = {
        'Value': functools.partial(own, engine.Value), 'Sub': functools.partial(own, Sub),
        'rule': functools.partial(ruled, engine.Value), 'Sub rule': functools.partial(ruled, Sub),
        'rule =': lambda *args: repr(assign(*args)), 'del rule': forget, 'copy': copy.copy,
        'sumprod': engine.sumprod,
        'backward': engine.Value.backward, '_backward': lambda v: v._backward(),
        'data =': lambda v, x: setattr(v, 'data', x), 'grad =': lambda v, x: setattr(v, 'grad', x),
        **OPERATORS, **FUNCTIONS}
    for i, (op, *operands) in enumerate(program):
        try:
            out = operations[op](*map(operand, operands))
            if isinstance(out, engine.Value):
                steps.append([out.data.hex(), *map(float.hex, out._slopes)])
                nodes.append(settle(i, out))
            else:
                steps.append(repr(out))
        except Exception as error:
            del steps[i:]
            steps.append(f'{type(error).__name__}: {error}')
    return {'steps': steps, 'nodes': describe(*nodes)}


def describe(*roots):
    """The rows `nodes` of `run`, for the graphs below these roots. Equal rows, equal graphs."""
    position, rows, path = {}, [], [*reversed(roots)]
    while path:
        v = path[-1]
        waiting = [x for x in v._prev if id(x) not in position]
        if waiting:
            path += reversed(waiting)
        elif id(path.pop()) not in position:
            position[id(v)] = len(rows)
            rows.append([v._op, v.data.hex(), v.grad.hex(), [position[id(x)] for x in v._prev],
                         [*map(float.hex, v._slopes)]])
    return rows
