"""Random programs: the same on both engines, to the bit; and the numbers and gradients of PyTorch.

Beside PyTorch, every operation by itself (the number and the local derivatives), the chain rule
(every gradient is the sum of what the nodes above hand down), and the gradients of whole graphs.
These may differ where

- a local derivative is inf or nan, or leaves the range of floats, and PyTorch's formula has no such
  factor: it multiplies by a mask, or divides by x instead of multiplying by 1/x;
- tanh is close to ±1, or sigmoid to 1, and PyTorch's formula for the slope has lost its digits;
- contributions cancel, so that the order of a sum shows.

`Comparison` counts these as explained, and all else as unexplained, of which there must be none.
"""
import functools
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
    """A random program, tame or wild."""
    return random_program(rng, rng.randrange(4, size), rng.choice((0.0, 0.02, 0.3)), **options)


def examples(n, **options):
    """Run a test with the `steps` of n programs; where it fails, show the shortest that does."""
    calm = settings(max_examples=n, deadline=None, database=None, derandomize=True,
                    suppress_health_check=[*HealthCheck])
    steps = strategies.randoms(use_true_random=False).map(lambda rng: program(rng, **options))
    return lambda test: calm(given(steps=steps)(test))


def same(mg, other, steps):
    records = []
    with np.errstate(all='ignore'):
        for engine in mg, other:
            with imported(engine):
                records.append(run(steps, engine))
    return records[0] == records[1]


@examples(600, numpy=True, wrong=True)
def test_both_engines(steps):
    assert same(load(True), load(False) or pytest.skip('the compiled engine is not built'), steps)


def sumprod(p, q, start):
    return functools.reduce(lambda out, xy: out + xy[0] * xy[1], zip(p, q, strict=True), start)


@examples(100, numpy=True, wrong=True)
def test_sumprod_is_the_graph_of_the_operators(mg, steps):
    assert same(mg, SimpleNamespace(**{**vars(mg), 'sumprod': sumprod}), steps)


# PyTorch

@functools.cache
def own_rule():
    """Tensors with a backward of one's own: what the slopes are is said from outside."""
    import torch

    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx, slopes, *operands):
            ctx.slopes = slopes or [None] * len(operands)
            return tensor(0.0).detach()

        @staticmethod
        def backward(ctx, grad):
            return None, *(slope if slope is None else grad * slope for slope in ctx.slopes)

    return Own.apply


def apply(op, *operands):
    """An operation on tensors."""
    if op == 'sumprod':
        return sumprod(*operands)
    if op in OWN:
        return own_rule()(operands[2], *operands[1])
    return (FUNCTIONS | OPERATORS)[op](*operands)


def slopes(v):
    """Of a node, also where they are in a function assigned by programs.py."""
    return getattr(v._backward, 'slopes', v._slopes)


def near(x, y, units, slack=0.0):
    """Where floats agree, sign and all, to so many units in the last place, or to `slack`."""
    with np.errstate(all='ignore'):
        unit = np.spacing(np.maximum(abs(x), abs(y)))
        close = (x == y) | (abs(x - y) <= np.maximum(units * unit, slack))
    return close & (np.signbit(x) == np.signbit(y)) | np.isnan(x) & np.isnan(y)


class Comparison:
    """Counts what was compared; `unexplained` has what disagrees."""
    def __init__(self, mg):
        self.mg, self.counts, self.unexplained = mg, Counter(), []
        self.operations = defaultdict(list)  # by name: rows of operands, number, local derivatives

    def add(self, program, limit):
        """Compare a program's graphs, in which a node that is larger than `limit` is left out."""
        made = {}

        def settle(i, v):
            if not abs(v.data) <= limit:
                raise OverflowError('too large')
            made[i] = v, v.data
            self.counts['nodes'] += 1
            a, b, *_ = *(x.data for x in v._prev), 1.0, 1.0
            op, *exponent = program[i][0], *program[i][2:]
            if op in OPERATORS or op in FUNCTIONS:
                if op == '**' and len(v._prev) == 1:
                    b = float(constant(*exponent))
                self.operations[op].append((a, b, v.data, *v._slopes, 0.0)[:5])
            return v

        record = run(program, self.mg, settle)
        self.gradients(program, made, record['steps'])
        if made:
            self.chain_rule(made[max(made)][0], program)

    def check(self, what, good, *example):
        self.counts[what] += 1
        if not good:
            self.unexplained.append((what, *example))

    def gradients(self, program, made, steps):
        """The leaves' gradients in the end, against those of the same program in PyTorch."""
        import torch
        values, tensors, leaves, roots = [None], [tensor(1.0)], [], []
        expected, size, odd = Counter(), Counter(), set()

        def operand(x):
            if isinstance(x, (int, list)):
                return tensors[~(x % len(tensors))] if isinstance(x, int) else [*map(operand, x)]
            try:
                return torch.tensor(float(constant(x)), dtype=torch.float64)
            except (OverflowError, ValueError):  # too large, beside 0 in a sumprod; or a name
                return torch.tensor(math.inf, dtype=torch.float64)

        for i, (op, *operands) in enumerate(program):
            if i in made:
                v, data = made[i]
                values.append(v)
                if op in OWN and not v._prev:
                    tensors.append(tensor(data))
                    leaves.append((v, tensors[-1]))
                else:
                    tensors.append(apply(op, *map(operand, operands)))
                    tensors[-1].data.fill_(data)  # go on from the same point
            elif steps[i] != 'None':
                self.exception(op, operands, operand, steps[i])
            elif op == 'data =':
                old, x = map(operand, operands)  # what was made of the old number keeps it
                new = old.clone()
                new.data.copy_(x)
                tensors = [new if t is old else t for t in tensors]
            elif op == 'backward':
                at = ~(operands[0] % len(tensors))
                if leaves and values[at] is not None and tensors[at].requires_grad:
                    roots.append((values[at], tensors[at]))
        for root, out in roots:
            sizes, unlike = bounds(self.mg, root)
            size.update(sizes)
            odd |= unlike
            grads = torch.autograd.grad(out, [t for _, t in leaves], retain_graph=True,
                                        allow_unused=True)
            for (v, _), g in zip(leaves, grads):
                expected[id(v)] += 0.0 if g is None else g.item()
        for v, _ in leaves:
            theirs = expected[id(v)]
            if id(v) in odd:
                self.counts['gradients explained'] += 1
            elif v.grad or theirs:
                self.check('gradients', abs(v.grad - theirs) <= 1e-12 * size[id(v)],
                           v.grad, theirs, program)

    def exception(self, op, operands, operand, said):
        """Where Python raises, IEEE 754 has inf or nan."""
        if 'Error' in said and 'too large' not in said and op in OPERATORS | FUNCTIONS:
            out = apply(op, *map(operand, operands)).item()
            self.check('exceptions', not math.isfinite(out), op, operands, said)

    def chain_rule(self, root, program):
        """Every gradient is the sum of what the nodes above hand down."""
        nodes, _ = self.mg.trace.trace(root)
        for v in nodes:
            v.grad = 0.0
        root.backward()
        terms = defaultdict(list, {id(root): [1.0]})
        for v in reversed(nodes):
            for x, slope in zip(v._prev, slopes(v)):
                terms[id(x)].append(slope * v.grad)
            total, size = sum(terms[id(v)]), sum(map(abs, terms[id(v)]))
            if math.isfinite(size):
                self.check('sums', abs(v.grad - total) <= 1e-14 * size, v.grad, total, program)
            elif not math.isfinite(total):
                self.check('sums', not math.isfinite(v.grad), v.grad, total, program)

    def check_operations(self):
        """All operations there were, each at its point: the number, and the local derivatives."""
        import torch
        for op, rows in self.operations.items():
            a, b, data, *ours = np.array(rows).T
            x, y = map(tensor, (a, b))
            operands = (x,) if op in FUNCTIONS else (x, y)
            out = apply(op, *operands)
            theirs = [g.numpy() for g in torch.autograd.grad(out.sum(), operands)]
            # Where x < -709, PyTorch's sigmoid is 0.
            good = near(data, out.detach().numpy(), 3 if op in INEXACT else 0,
                        1e-307 if op == 'sigmoid' else 0.0)
            self.check(f'number: {op}', good.all(), *[rows[i] for i in np.flatnonzero(~good)][:3])
            for slope, g, operand in zip(ours, theirs, 'ab'):
                # 2 units of tanh are up to 4.4e-16 of 1 - y²; of a power near 0, they are 1e-323.
                slack = {'tanh': 6e-16, 'sigmoid': 3e-16,
                         '**': 1e-323 * np.fmax(np.fmin(abs(b), 1e20), 745.0)}
                good = near(slope, g, 6, slack.get(op, 0.0))
                if op == '**' and operand == 'b':  # of a plain exponent there is none
                    good |= slope == 0.0
                self.check(f'slope: {op} {operand}', good.all(), *[
                    (rows[i], g[i]) for i in np.flatnonzero(~good)][:3])


def bounds(mg, root):
    """For each node, by id, the sum of the magnitudes of all contributions to its gradient; and the
    nodes whose gradient has a reason to be another one in PyTorch."""
    nodes, _ = mg.trace.trace(root)
    size, odd = Counter({id(root): 1.0}), set()
    for v in reversed(nodes):
        for x, slope in zip(v._prev, map(abs, slopes(v))):
            term = slope * size[id(v)]
            usual = min(slope, term) > 1e-250 and max(slope, term) < 1e250
            usual |= 0.0 in (slope, size[id(v)]) and term == 0.0
            size[id(x)] += term
            lost = slope < 1e-3 and v._op in ('tanh', 'sigmoid')
            if id(v) in odd or not usual or lost:
                odd.add(id(x))
    return size, odd


@pytest.mark.needs('torch')
def test_pytorch(mg):
    @examples(150, hands=False, numpy=True)
    def beside(steps):
        for limit in LIMITS:
            comparison = Comparison(mg)
            comparison.add(steps, limit)
            comparison.check_operations()
            assert comparison.unexplained == []

    beside()


KNOWN = [
    ['Value', '2.0'], ['Sub', '-0.5'], ['*', 1, 0], ['rule', '3.0', [2, 0], ['7', '0.25']],
    ['sumprod', [0, 1], [3, '0.5'], 2], ['Value', '1', [0, 0, 4], []], ['log', 3], ['backward', 2],
    ['data =', 5, '4'], ['-', 1, 2], ['tanh', 0], ['backward', 0], ['backward', 0]]


@pytest.mark.needs('torch')
def test_what_is_compared_beside_pytorch(mg):
    right, wrong = Comparison(mg), Comparison(SimpleNamespace(**{
        **vars(mg), 'sumprod': lambda p, q, start: mg.sumprod(p, q, start * 1.001)}))
    for comparison in right, wrong:
        comparison.add(KNOWN, math.inf)
        comparison.check_operations()
    assert right.unexplained == [] and [x[0] for x in wrong.unexplained] == ['gradients']
    assert right.counts == {
        'nodes': 8, 'gradients': 2, 'sums': 11, 'exceptions': 1, 'number: *': 1, 'number: -': 1,
        'number: tanh': 1, 'slope: * a': 1, 'slope: * b': 1, 'slope: - a': 1, 'slope: - b': 1,
        'slope: tanh a': 1}
    right.operations['*'].append((2.0, 3.0, 6.0, 3.0, 2.0 + 1e-14))
    right.check_operations()
    assert [what for what, _ in right.unexplained] == ['slope: * b']


EDGES = ['-inf', '-1e308', '-3', '-2.0', '-1', '-0.5', '-5e-324', '-0.0', '0', '5e-324', '0.5', '1',
         '2', '3.0', '710.0', '1e308', 'inf', 'nan']


@pytest.mark.needs('torch')
def test_edges_beside_pytorch(mg):
    comparison = Comparison(mg)
    for x in EDGES:
        steps = [step for op in FUNCTIONS for step in (['Value', x], [op, 0])]
        for op in OPERATORS:
            for y in EDGES:
                steps += [['Value', x], ['Value', y], [op, 1, 0], ['Value', x], [op, 0, y]]
        comparison.add(steps, math.inf)
    comparison.check_operations()
    assert comparison.unexplained == []
    assert sum(map(len, comparison.operations.values())) > 1000
