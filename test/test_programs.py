"""Random programs: the same on both engines, to the bit; and the numbers and gradients of PyTorch.

The gradients of whole graphs may differ from PyTorch's where a local derivative is no usual float,
and where tanh or sigmoid is flat and their slopes lose digits. These are counted as explained.
"""
import functools
import itertools
import math
from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import imported, load, tensor
from hypothesis import HealthCheck, given, settings, strategies
from programs import FUNCTIONS, INEXACT, OPERATORS, OWN, constant, random_program, run

LIMITS = [1e3, 1e100, math.inf]  # beyond which a node is left out beside PyTorch


def program(rng, size=40, **options):
    return random_program(rng, rng.randrange(4, size), rng.choice((0.0, 0.02, 0.3)), **options)


def examples(n, **options):  # where a test fails, it shows the shortest program that does
    calm = settings(max_examples=n, deadline=None, database=None, derandomize=True,
                    suppress_health_check=[*HealthCheck])
    steps = strategies.randoms(use_true_random=False).map(lambda rng: program(rng, **options))
    return lambda test: calm(given(steps=steps)(test))


@np.errstate(all='ignore')
def same(mg, other, steps):
    with imported(mg):
        record = run(steps, mg)
    with imported(other):
        return record == run(steps, other)


@examples(600, numpy=True, wrong=True)
def test_both_engines(steps):
    assert same(load(True), load(False) or pytest.skip('the compiled engine is not built'), steps)


def sumprod(p, q, start):
    return functools.reduce(lambda out, xy: out + xy[0] * xy[1], zip(p, q, strict=True), start)


@examples(100, numpy=True, wrong=True)
def test_sumprod_is_the_graph_of_the_operators(mg, steps):
    assert same(mg, SimpleNamespace(**{**vars(mg), 'sumprod': sumprod}), steps)


def apply(op, *operands):
    if op == 'sumprod':
        return sumprod(*operands)
    if op in OWN:  # the number is filled in; the slopes are those that were given
        return sum((x * slope for x, slope in zip(*operands[1:])), tensor(0.0))
    return (FUNCTIONS | OPERATORS)[op](*operands)


def slopes(v):  # also where they are in a function that programs.py assigned
    return getattr(v._backward, 'slopes', v._slopes)


@np.errstate(all='ignore')
def near(x, y, units, slack):
    """Where floats agree, sign and all, to so many units in the last place, or to `slack`."""
    unit = np.spacing(np.maximum(abs(x), abs(y)))
    close = (x == y) | (abs(x - y) <= np.maximum(units * unit, slack))
    return close & (np.signbit(x) == np.signbit(y)) | np.isnan(x) & np.isnan(y)


class Comparison:
    def __init__(self, mg):
        self.mg, self.counts, self.unexplained = mg, Counter(), []
        self.operations = defaultdict(list)  # by name: rows of operands, number, local derivatives

    def add(self, program, limit):
        """Compare a program's graphs, without the nodes that are larger than `limit`."""
        made = {}

        def settle(i, v):
            if not abs(v.data) <= limit:
                raise OverflowError('too large')
            made[i] = v, v.data
            self.counts['nodes'] += 1
            op, *operands = program[i]
            if op in OPERATORS or op in FUNCTIONS:
                a, b, *_ = *(x.data for x in v._prev), 1.0
                if op == '**' and len(v._prev) == 1:
                    b = float(constant(operands[1]))
                self.operations[op].append((a, b, v.data, *v._slopes, 0.0)[:5])
            return v

        self.gradients(program, made, run(program, self.mg, settle)['steps'])

    def check(self, what, good, *example):
        self.counts[what] += 1
        if not good:
            self.unexplained.append((what, *example))

    def gradients(self, program, made, steps):
        """The leaves' gradients in the end, against those of the same program in PyTorch."""
        values, tensors, leaves, size, odd = [None], [tensor(1.0)], [], Counter(), set()

        def operand(x):
            if isinstance(x, (int, list)):
                return tensors[~(x % len(tensors))] if isinstance(x, int) else [*map(operand, x)]
            try:
                return tensor(float(constant(x)))
            except OverflowError:  # beside 0 in a sumprod
                return tensor(math.inf)

        for i, (op, *operands) in enumerate(program):
            if i in made:
                v, data = made[i]
                values.append(v)
                tensors.append(apply(op, *map(operand, operands)))
                tensors[-1].data.fill_(data)  # go on from the same point
                if op in OWN and not v._prev:
                    leaves.append((v, tensors[-1]))
            elif op in OPERATORS | FUNCTIONS and 'too large' not in steps[i]:
                out = apply(op, *map(operand, operands)).item()  # an exception is inf or nan there
                self.check('exceptions', not math.isfinite(out), op, operands, steps[i])
            elif op == 'data =' and steps[i] == 'None':
                old, x = map(operand, operands)  # what was made of the old number keeps it
                new = old.clone()
                new.data.fill_(x.item())
                tensors = [new if t is old else t for t in tensors]
            elif op == 'backward':
                at = ~(operands[0] % len(tensors))
                if values[at] is not None:
                    tensors[at].backward(retain_graph=True)
                    self.bounds(values[at], size, odd)
        for v, t in leaves:
            theirs = 0.0 if t.grad is None else t.grad.item()
            if id(v) in odd:
                self.counts['gradients explained'] += 1
            elif v.grad or theirs:
                self.check('gradients', abs(v.grad - theirs) <= 1e-12 * size[id(v)],
                           v.grad, theirs, program)

    def bounds(self, root, size, odd):
        """By id: how large all is that makes up a gradient; and what has a reason to differ."""
        nodes, _ = self.mg.trace.trace(root)
        sizes = Counter({id(root): 1.0})
        for v in reversed(nodes):
            for x, slope in zip(v._prev, map(abs, slopes(v))):
                term = slope * sizes[id(v)]
                usual = min(slope, term) > 1e-250 and max(slope, term) < 1e250
                usual |= 0.0 in (slope, sizes[id(v)]) and term == 0.0
                sizes[id(x)] += term
                if id(v) in odd or not usual or slope < 1e-3 and v._op in ('tanh', 'sigmoid'):
                    odd.add(id(x))
        size.update(sizes)

    def check_operations(self):
        """All operations there were, each at its point: the number, and the local derivatives."""
        for op, rows in self.operations.items():
            a, b, data, *ours = np.array(rows).T
            operands = [*map(tensor, (a, b))][:1 if op in FUNCTIONS else 2]
            out = apply(op, *operands)
            out.sum().backward()
            agree = {f'number: {op}': near(data, out.detach().numpy(), 3 if op in INEXACT else 0,
                                           1e-307 if op == 'sigmoid' else 0.0)}  # 0 if x < -709
            # 2 units of tanh are up to 4.4e-16 of 1 - y²; of a power near 0, they are 1e-323.
            slack = {'tanh': 6e-16, 'sigmoid': 3e-16,
                     '**': 1e-323 * np.fmax(np.fmin(abs(b), 1e20), 745.0)}.get(op, 0.0)
            for slope, x, name in zip(ours, operands, 'ab'):
                agree[f'slope: {op} {name}'] = near(slope, x.grad.numpy(), 6, slack) | (
                    op == '**' and name == 'b') & (slope == 0.0)  # a plain exponent has none
            for what, good in agree.items():
                self.check(what, good.all(), [rows[i] for i in np.flatnonzero(~good)][:3])


@pytest.mark.needs('torch')
@examples(150, hands=False, numpy=True)
def test_pytorch(mg, steps):
    for limit in LIMITS:
        comparison = Comparison(mg)
        comparison.add(steps, limit)
        comparison.check_operations()
        assert comparison.unexplained == []


@pytest.mark.needs('torch')
def test_what_is_wrong_is_found_beside_pytorch(mg):
    comparison = Comparison(SimpleNamespace(**{
        **vars(mg), 'sumprod': lambda p, q, start: mg.sumprod(p, q, start * 1.001)}))
    comparison.operations['*'].append((2.0, 3.0, 6.0, 3.0, 2.0 + 1e-14))
    comparison.add([['Value', '2.0'], ['sumprod', [0], [0], 0], ['backward', 0]], math.inf)
    comparison.check_operations()
    assert [what for what, *_ in comparison.unexplained] == ['gradients', 'slope: * b']


@pytest.mark.needs('torch')
def test_edges_beside_pytorch(mg):
    edges = ['-inf', '-1e308', '-3', '-2.0', '-1', '-0.5', '-5e-324', '-0.0', '0', '5e-324', '0.5',
             '1', '2', '3.0', '710.0', '1e308', 'inf', 'nan']
    comparison = Comparison(mg)
    for x in edges:
        steps = [step for op in FUNCTIONS for step in (['Value', x], [op, 0])]
        for op, y in itertools.product(OPERATORS, edges):
            steps += [['Value', x], ['Value', y], [op, 1, 0], ['Value', x], [op, 0, y]]
        comparison.add(steps, math.inf)
    comparison.check_operations()
    assert comparison.unexplained == []
    assert sum(map(len, comparison.operations.values())) > 1000
