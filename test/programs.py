"""Random programs over an engine: the one source of all that is random in these tests.

    ['Value', '2.0'], ['*', 0, 'Fraction(1, 3)'], ['sumprod', [0, 1], [1, '-1'], 0], ['relu', 0],
    ['Value', '2.0', [1, 0], ['0.5', '3']], ['rule', '2.0', [1, 0], ['0.5', '3']]

A program is a list of such steps, each an operation and its operands: an int says how many nodes
back it stands, from 0 for the newest; a str is Python for any other. The slopes of a 'rule' are in
a function assigned to `_backward`; 'Sub' makes one of a subclass. It also runs on PyPy.
"""
import copy
import functools
import math
import operator
from decimal import Decimal
from fractions import Fraction

OPERATORS = {'+': operator.add, '-': operator.sub, '*': operator.mul, '/': operator.truediv,
             '**': operator.pow}
FUNCTIONS = {'neg': operator.neg, **{name: operator.methodcaller(name) for name in (
    'relu', 'exp', 'log', 'tanh', 'sigmoid')}}
OWN = ('Value', 'Sub', 'rule', 'Sub rule')
INEXACT = ('**', 'exp', 'log', 'tanh', 'sigmoid')  # C libraries differ by a bit or two

SPECIAL = ['0.0', '-0.0', '1.0', '-1.0', '0.5', 'inf', '-inf', 'nan', '5e-324', '-3e-320', '1e-308',
           '2.2250738585072014e-308', '1.7976931348623157e308', '-1e300', '1e-300', '710.0', '0',
           '-1', '2**53 + 1', '10**30', '10**400', 'False', 'Fraction(10**400)']
NUMPY = ['np.float64(0.7)', 'np.float64(-0.0)', 'np.float32(0.1)', 'np.float16(3)', 'np.int8(3)',
         'np.int64(-2)', 'np.uint8(1)', 'np.longdouble(0.3)']
WRONG = ['None', "'2'", "b'2'", '1j', '[]', '{}', '...', "Decimal('0.1')"]


def random_program(rng, size=30, wild=0.2, hands=True, rules=True, numpy=False, wrong=False):
    """A program of `size` steps; so many of its numbers are `wild` (extreme), from 0 to 1.

    With `hands`, it sets `grad`, calls `_backward()`, copies nodes; with `rules`, assigns rules.
    """
    def plain():
        if wrong and rng.random() < 0.1:
            return rng.choice(WRONG)
        kind = rng.random()
        if kind < wild / 2:
            return rng.choice(SPECIAL)
        if kind < wild:
            return repr(rng.choice((-1, 1)) * 10 ** rng.uniform(-300, 300))
        x, n = rng.gauss(0, 1), rng.randrange(-24, 25)
        return rng.choice((repr(x), repr(n / 8), str(n // 8), str(n > 0), f'Fraction({n}, 7)',
                           rng.choice(NUMPY) if numpy else repr(0.5 + abs(x))))

    def node():
        return rng.randrange(3 ** rng.randrange(4))  # mostly a new one: graphs become deep

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

    steps = {
        sumprod: 2,
        own: 3,
        lambda: ['Value', plain()]: 3,
        lambda: [rng.choice([*FUNCTIONS]), node()]: 4,
        lambda: [rng.choice([*OPERATORS]), node(), any_operand()]: 8,
        lambda: [rng.choice([*OPERATORS]), any_operand(), node()]: 3,
        lambda: ['backward', node()]: 2,
        lambda: ['data =', node(), plain()]: 1,
        lambda: ['grad =', node(), plain()]: hands,
        lambda: [rng.choice(('_backward', 'copy')), node()]: 2 * hands,
        lambda: ['del rule', node()]: hands and rules,
        lambda: ['rule =', node(), many(2, plain), *many(rng.randrange(2), node)]: hands and rules,
    }
    bag = [step for step, n in steps.items() for _ in range(n)]
    return [rng.choice(bag)() for _ in range(size - 2)] + [['backward', 0], ['backward', 1]]


@functools.cache
def constant(text):
    np = __import__('numpy') if 'np.' in text else None
    return eval(text, {**vars(math), 'Fraction': Fraction, 'Decimal': Decimal, 'np': np})


@functools.cache
def subclass(Value):
    return type('Sub', (Value,), {'__eq__': lambda self, other: True})  # so it has no hash


def run(program, engine, settle=lambda i, v: v):
    """What one can see of a program: {'steps': …, 'nodes': what `describe` says of them}.

    `settle` gets the number of a step and its node; it returns the node to go on with, or raises.
    """
    nodes, steps, depth, Sub = [engine.Value(1.0)], [], 0, subclass(engine.Value)

    def operand(x):
        xs = [constant(y) if isinstance(y, str) else nodes[~(y % len(nodes))]
              for y in (x if isinstance(x, list) else [x])]
        return xs if isinstance(x, list) else xs[0]

    def own(kind, data, operands=(), slopes=()):
        make = functools.partial(Sub if 'Sub' in kind else engine.Value, data, operands,
                                 'own' if operands else '')
        return assign(make(), slopes) if 'rule' in kind else make(slopes=slopes)

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

    operations = {
        **OPERATORS, **FUNCTIONS, 'sumprod': engine.sumprod, 'copy': copy.copy,
        **{kind: functools.partial(own, kind) for kind in OWN},
        'rule =': lambda *args: repr(assign(*args)), 'del rule': lambda v: delattr(v, '_backward'),
        'backward': engine.Value.backward, '_backward': lambda v: v._backward(),
        'data =': lambda v, x: setattr(v, 'data', x), 'grad =': lambda v, x: setattr(v, 'grad', x)}
    for i, (op, *operands) in enumerate(program):
        try:
            out = operations[op](*map(operand, operands))
            if isinstance(out, engine.Value):
                nodes.append(settle(i, out))
                steps.append([out.data.hex(), *map(float.hex, out._slopes)])
            else:
                steps.append(repr(out))
        except Exception as error:
            steps.append(f'{type(error).__name__}: {error}')
    return {'steps': steps, 'nodes': describe(*nodes)}


def describe(*roots):
    """[op, data, grad, operands' rows, slopes] of every node below these roots, operands first."""
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
