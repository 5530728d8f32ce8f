"""The engines against PyTorch on very many random graphs, every disagreement explained.

    python test/exactness.py [--graphs 100000] [--seed 0]

A random program (graphs.py) is one shape of a graph; it runs on a batch of leaves at once in
PyTorch, where a node is a vector, and on one after the other in the engines. The numbers range
from 1e-300 to 1e300, with zeros, subnormal numbers, infinities and nans among them.

Values are compared operation by operation, on the same operands: to the last bit for + - * / neg
relu, to 2 units in the last place for ** exp log tanh. Then PyTorch goes on with the engine's
value, so that its gradients are taken at the same point; those of the leaves are compared to a
relative 1e-12. An operation that raises is a leaf from there on, on both sides.

What disagrees is computed again, step by step, in the way of the one and of the other; what that
does not explain is counted as unexplained, and the exit code is 1.
"""
import argparse
import functools
import itertools
import math
import random
import sys
import time
from collections import Counter
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal

import numpy as np
import torch
from conftest import load
from graphs import OPERATIONS, random_program

BATCH = 10  # graphs of one shape
MAX_STEPS = 250
EXACT = ('+', '-', '*', '/', 'neg', 'relu')
EXPONENTS = (0.0, 0.5, 1.0, 2.0, 3.0, -0.5, -1.0, -2.0, 1.5, 7.0)
SPECIAL = (0.0, -0.0, 5e-324, -5e-324, 1e-310, -3e-320, 2.2250738585072014e-308, math.inf,
           -math.inf, math.nan, 1.7976931348623157e308, -1e300, 1e-300, 1.0, -1.0)
# Decimal numbers that do not overflow nor underflow, and have digits to spare.
WIDE = Context(prec=60, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
TINY = Decimal(5e-324)


# Numbers and graphs

def tame(rng):
    return rng.choice((rng.gauss(0, 1), rng.randrange(-24, 25) / 8))


def wide(rng):
    return rng.choice((-1, 1)) * 10 ** rng.uniform(-300, 300)


def mixed(rng):
    return rng.choices((tame, wide, special), (12, 4, 1))[0](rng)


def special(rng):
    return rng.choice(SPECIAL)


# What the numbers of a graph are, and how large its nodes may get before one becomes a leaf.
REGIMES = [(tame, 1e3), (tame, 1e3), (tame, 1e100), (wide, math.inf), (mixed, 1e100),
           (mixed, math.inf), (special, math.inf)]


def operands(step):
    return [x for x in step[1:] if type(x) is int]


def shape(rng):
    """(calls, steps) of a random program.

    A step is an operation and its operands: an int, the position of a step before it, or a plain
    number. The calls are the same for the engines: there, a sumprod is one call for many steps.
    """
    size = round(math.exp(rng.uniform(math.log(4), math.log(MAX_STEPS))))
    calls, steps, at = [], [], []  # at: where the program's nodes are among the steps
    for op, *args in random_program(rng, size, lambda rng: rng.choice((tame, mixed))(rng)):
        if op == '**' and isinstance(args[1], float) and rng.random() < 0.8:
            args[1] = rng.choice(EXPONENTS)

        def position(x):
            if isinstance(x, tuple):
                return tuple(map(position, x))
            return at[~(x % len(at))] if isinstance(x, int) else x

        args = [] if op == 'leaf' else [position(x) for x in args]
        calls.append((len(steps), op, args))
        if op == 'sumprod':
            p, q, start = args
            for i, j in zip(p, q):
                steps += [('*', i, j), ('+', start, len(steps))]
                start = len(steps) - 1
        else:
            steps.append((op, *args))
        at.append(len(steps) - 1)
    if rng.random() < 0.7:  # the sum of all that leads nowhere: a root that depends on every leaf
        used = {x for step in steps for x in operands(step)}
        for i in sorted({*range(len(steps) - 1)} - used):
            calls.append((len(steps), '+', [len(steps) - 1, i]))
            steps.append(('+', len(steps) - 1, i))
    return calls, steps


def build(calls, numbers, limit, engine):
    """The nodes, and by position the exceptions of the steps that became leaves."""
    nodes, errors = [], {}
    for position, op, args in calls:
        try:
            if op == 'leaf':
                node = engine.Value(next(numbers))
            elif op == 'sumprod':
                p, q, start = args
                node = engine.sumprod([nodes[i] for i in p], [nodes[j] for j in q], nodes[start])
                inner = []
                for _ in p:
                    inner += [node, node._prev[1]]
                    node = node._prev[0]
                nodes += inner[::-1]
                continue
            else:
                node = OPERATIONS[op](*[nodes[x] if type(x) is int else x for x in args])
                if abs(node.data) > limit:
                    errors[position] = None
                    node = engine.Value(next(numbers))
        except (ArithmeticError, ValueError) as error:
            errors[position] = type(error).__name__
            node = engine.Value(next(numbers))
        nodes.append(node)
    return nodes, errors


def run(calls, steps, seeds, engine):
    """By an engine: the values and gradients, a row per step and a column per graph; the errors."""
    values, grads, all_errors = [], [], []
    for seed in seeds:
        rng = random.Random(seed)
        number, limit = rng.choice(REGIMES)
        numbers = iter(lambda: number(rng), None)  # noqa: B023
        nodes, errors = build(calls, numbers, limit, engine)
        nodes[-1].backward()
        values.append([v.data for v in nodes])
        grads.append([v.grad for v in nodes])
        all_errors.append(errors)
    return np.array(values).T.copy(), np.array(grads).T.copy(), all_errors


# The reference

def divide(a, b):
    """By one rounding: PyTorch's `number / tensor` is the number times a reciprocal."""
    return torch.div(a if torch.is_tensor(a) else torch.tensor(a, dtype=torch.float64), b)


def reference(steps, values, cut):
    """By PyTorch: the value of every step on the engine's operands, and the leaves' gradients.

    Where `cut`, a step is a leaf.
    """
    reached = np.zeros(values.shape, bool)
    reached[-1] = True
    for i in reversed(range(len(steps))):
        for x in operands(steps[i]):
            reached[x] |= reached[i] & ~cut[i]

    rows, theirs, tensors, leaves = torch.from_numpy(values), values.copy(), [], {}
    for i, (op, *args) in enumerate(steps):
        if op == 'leaf':
            leaves[i] = rows[i].clone().requires_grad_()
            tensors.append(leaves[i])
            continue
        function = divide if op == '/' else OPERATIONS[op]
        with torch.no_grad():
            theirs[i] = function(*[rows[x] if type(x) is int else x for x in args])
        # A gradient that does not come from the root must not go on as 0 times infinity.
        hidden = torch.from_numpy(cut[i] | ~reached[i])
        hide = bool(hidden.any())
        args = [x if type(x) is not int else
                torch.where(hidden, 1.0, tensors[x]) if hide else tensors[x] for x in args]
        out = function(*args)
        if op not in EXACT:
            out.data.copy_(rows[i])
        if hide:
            leaves[i] = rows[i].clone().requires_grad_()
            out = torch.where(hidden, leaves[i], out)
        tensors.append(out)
    grads = torch.autograd.grad(tensors[-1].sum(), [*leaves.values()], allow_unused=True)
    zero = np.zeros(values.shape[1])
    return theirs, {i: zero if g is None else g.numpy() for i, g in zip(leaves, grads)}


def ulps(x, y):
    """How many floats apart two arrays are."""
    def position(z):
        bits = np.asarray(z, float).view(np.uint64)
        return np.where(bits >> np.uint64(63), ~bits, bits | np.uint64(1 << 63))

    x, y = position(x), position(y)
    return np.maximum(x, y) - np.minimum(x, y)


# Explanations

def true_value(op, a, b):
    """The value of a function, to many more digits than a float has; None where it has none."""
    a, b = Decimal(a), Decimal(b)
    if not (a.is_finite() and b.is_finite()):
        return None
    if op == 'tanh':
        if abs(a) < Decimal('1e-40'):
            return a
        e = WIDE.exp(WIDE.multiply(2, a)) if a < 100 else None
        return Decimal(1) if e is None else WIDE.divide(e - 1, WIDE.add(e, 1))
    return {'exp': WIDE.exp, 'log': WIDE.ln}[op](a) if op != '**' else WIDE.power(a, b)


def value_reason(op, a, b, ours, theirs):
    """Why a value is not PyTorch's; None if there is no reason."""
    if op in EXACT:
        return None
    if op == '**' and a == -math.inf and abs(b) == 0.5 and ours == math.pow(a, b):
        return SQUARE_ROOT
    true = true_value(op, a, b)
    if true is not None and ulps(ours, float(true)) <= 2:
        return f"{op}: ours is within 2 ulp of the true value, PyTorch's is not"
    return None


def local(op, a, b, y):
    """The local derivatives in floats, for each operand."""
    with np.errstate(all='ignore'):
        if op == '**':
            x, k = np.float64(a), np.float64(b)
            return (float(k * np.power(x, k - 1)) if k else 0.0,
                    0.0 if x == 0 and k >= 0 else float(y * np.log(x)))
    return {'+': lambda: (1.0, 1.0), '-': lambda: (1.0, -1.0), '*': lambda: (b, a),
            '/': lambda: (1.0 / b, -(a / b) / b), 'neg': lambda: (-1.0, 0.0),
            'relu': lambda: (0.0 if a <= 0.0 else 1.0, 0.0), 'exp': lambda: (y, 0.0),
            'log': lambda: (1.0 / a, 0.0), 'tanh': lambda: ((1.0 - y) * (1.0 + y), 0.0)}[op]()


class Graph:
    """One graph in plain floats, backpropagated in several ways."""

    def __init__(self, steps, values, cut):
        self.steps = []  # (op, positions of the operands, a, b, y, local derivatives), or None
        for (op, *args), y, leaf in zip(steps, values, cut):
            if leaf or op == 'leaf':
                self.steps.append(None)
                continue
            a, b = [values[x] if type(x) is int else x for x in (*args, 0.0)][:2]
            positions = [x if type(x) is int else None for x in (*args, None)][:2]
            self.steps.append((op, positions, a, b, y, local(op, a, b, y)))

    def depth_first(self):
        """The engine's order, root first."""
        order, done, path = [], set(), [len(self.steps) - 1]
        while path:
            step = self.steps[path[-1]]
            waiting = [x for x in (step[1] if step else []) if x is not None and x not in done]
            if waiting:
                path.append(waiting[0])
            else:
                done.add(path[-1])
                order.append(path.pop())
        return order[::-1]

    def backward(self, ways):
        """The gradients in PyTorch's way, but for the `ways` of the engine."""
        second_first = 'second first' in ways and 'order' not in ways
        grads = [0.0] * len(self.steps)
        grads[-1] = 1.0
        reached = set(self.depth_first())
        order = self.depth_first() if 'order' in ways else sorted(reached, reverse=True)
        for i in order:
            if not self.steps[i]:
                continue
            op, positions, a, b, y, d = self.steps[i]
            g = grads[i]
            terms = [d[0] * g, d[1] * g]
            if op in ('/', 'log'):
                x = b if op == '/' else a
                if 'derivative' not in ways or 3e-308 < abs(1.0 / x) < math.inf:
                    terms[0] = g / x
            if 'mask' not in ways:
                if op == 'relu' and a <= 0.0 or op == '**' and b == 0.0:
                    terms[0] = 0.0
                if op == '**' and a == 0.0 and b >= 0.0:
                    terms[1] = 0.0
            if op == '**' and a == -math.inf and b in (0.5, 1.5) and positions[1] is None:
                terms[0] = terms[0] if 'sqrt' in ways else math.nan
            pairs = zip(positions, terms)
            for x, term in reversed([*pairs]) if second_first else pairs:
                if x is not None:
                    grads[x] += term
        return grads

    def bounds(self):
        """For every step, what rounding can do to its gradient: (by cancellation, by underflow).

        The sum of the magnitudes of all contributions, times 1e-12; and what the smallest float,
        lost in a product or in a local derivative on the way, comes to.
        """
        size = [Decimal(0)] * len(self.steps)
        lost = [Decimal(0)] * len(self.steps)
        size[-1] = Decimal(1)
        times, plus = WIDE.multiply, WIDE.add
        for i in sorted(self.depth_first(), reverse=True):
            if not self.steps[i]:
                continue
            op, positions, a, b, y, d = self.steps[i]
            blur = Decimal(abs(b) if op in ('/', '**') else 0)
            blur = plus(2, WIDE.divide(1, blur) if op == '/' else blur)
            for x, dx in zip(positions, d):
                if x is not None:
                    dx = Decimal(abs(dx))
                    if dx and size[i]:  # 0 times infinity is 0 here, as behind a mask
                        size[x] = plus(size[x], times(dx, size[i]))
                    if dx and lost[i]:
                        lost[x] = plus(lost[x], times(dx, lost[i]))
                    lost[x] = plus(lost[x], times(TINY, plus(times(blur, size[i]), 2)))
        return [[Decimal(0) if z.is_nan() else z for z in (times(Decimal('1e-12'), s), t)]
                for s, t in zip(size, lost)]


SQUARE_ROOT = '(-inf) ** ±0.5: as in IEEE 754 here, by a square root there'
WAYS = {'mask': '0 * inf: a zero derivative of relu or ** is multiplied here, a mask there',
        'derivative': '1/x is out of range: g * (1/x) here, g / x there',
        'sqrt': SQUARE_ROOT,
        'order': 'sums that overflow in one order and not in the other'}
SUBSETS = [ways for n in range(1, len(WAYS) + 1) for ways in itertools.combinations(WAYS, n)]


def distance(x, y):
    return WIDE.abs(WIDE.subtract(Decimal(x), Decimal(y)))


def gradient_reasons(graph, leaves, ours, theirs):
    """For each of these leaves, why the gradient is not PyTorch's; None if there is no reason."""
    bounds = graph.bounds()
    gradients = functools.cache(graph.backward)

    def alike(i, x, y):
        if not (math.isfinite(x) and math.isfinite(y)):
            return math.isfinite(x) == math.isfinite(y)
        return x == y or distance(x, y) <= WIDE.add(*bounds[i])

    def reason(i):
        x, y = ours[i], theirs[i]
        # Where its graph holds another node before an operation, the second operand comes first.
        base = next((base for base in ((), ('second first',)) if alike(i, gradients(base)[i], y)),
                    None)
        if base is None:
            return None
        if not alike(i, x, y):
            ways = next((w for w in SUBSETS if alike(i, gradients(w + base)[i], x)), ())
            if not ways and bounds[i][0] > sys.float_info.max:
                return 'contributions that cancel, and what rounding leaves of them overflows'
            return ' and '.join(WAYS[way] for way in ways) or None
        if distance(x, y) <= bounds[i][0]:
            return 'contributions that cancel: within 1e-12 of the sum of their magnitudes'
        return 'underflow: digits lost below 2.2e-308 on the way'

    return [reason(i) for i in leaves]


# The comparison

def same(x, y):
    """To the last bit, or both nan."""
    return (x.view(np.int64) == y.view(np.int64)) | (np.isnan(x) & np.isnan(y))


class Report:
    def __init__(self):
        self.counts = Counter()
        self.reasons = Counter()
        self.worst = Counter()  # ulps, by function
        self.examples = []  # of what is unexplained

    def disagree(self, what, reason, *example):
        self.counts[f'{what}: disagree'] += 1
        self.reasons[what, reason or 'UNEXPLAINED'] += 1
        if reason is None:
            self.examples.append((what, 'in shape', self.counts['shapes'], *example))

    @property
    def unexplained(self):
        return sum(n for (_, reason), n in self.reasons.items() if reason == 'UNEXPLAINED')

    def print(self):
        for what, n in sorted(self.counts.items()):
            print(f'{n:>14,}  {what}')
        print('\nlargest difference in ulp:',
              ', '.join(f'{op} {n}' for op, n in sorted(self.worst.items())))
        print('\ndisagreements, by reason:')
        for (what, reason), n in sorted(self.reasons.items(), key=lambda item: -item[1]):
            print(f'{n:>14,}  {what}: {reason}')
        for example in self.examples[:10]:
            print(*example)
        print(f'\nunexplained: {self.unexplained}', flush=True)


def check_values(report, steps, ours, theirs, cut, errors):
    ops = np.array([op for op, *_ in steps])
    for column, of_graph in enumerate(errors):
        for i, error in of_graph.items():
            if error is None:
                continue
            report.counts[f'exceptions: {error}'] += 1
            # Python raises where IEEE 754 has inf or nan.
            if np.isfinite(theirs[i, column]):
                report.disagree('exceptions', None, column, i, steps[i], error)
    equal = same(ours, theirs)
    for kind, rows in (('+ - * / neg relu', np.isin(ops, EXACT)),
                       ('** exp log tanh', ~np.isin(ops, [*EXACT, 'leaf']))):
        live = rows[:, None] & ~cut
        report.counts[f'values: {kind}: compared'] += int(live.sum())
        report.counts[f'values: {kind}: equal to the bit'] += int((live & equal).sum())
    for i, column in np.argwhere(~equal & ~cut):
        op, *args = steps[i]
        a, b = [ours[x, column] if type(x) is int else x for x in (*args, 0.0)][:2]
        x, y = float(ours[i, column]), float(theirs[i, column])
        apart = int(ulps(x, y))
        if op not in EXACT and apart <= 2 and not math.isnan(x + y):
            report.worst[op] = max(report.worst[op], apart)
            report.counts['values: ** exp log tanh: within 2 ulp'] += 1
            continue
        report.disagree('values', value_reason(op, float(a), float(b), x, y),
                        column, op, a, b, x, y)


def check_gradients(report, steps, values, cut, ours, theirs):
    leaves = np.array([[step[0] == 'leaf'] for step in steps]) | cut
    off = {}  # by graph
    for i, y in theirs.items():
        x, live = ours[i], leaves[i]
        with np.errstate(all='ignore'):
            both = ~np.isfinite(x) & ~np.isfinite(y)
            near = np.abs(x - y) <= 1e-12 * np.abs(y)
        good = np.where(np.isfinite(y), near, both)
        for name, which in (('compared', live), ('equal to the bit', live & same(x, y)),
                            ('not 0, within 1e-12', live & good & ~both & (y != 0)),
                            ('both inf or nan', live & both),
                            ('one inf, the other nan', live & both & ~same(x, y))):
            report.counts[f'gradients: {name}'] += int(which.sum())
        for column in np.flatnonzero(live & ~good):
            off.setdefault(int(column), []).append(i)
    for column, at in off.items():
        graph = Graph(steps, values[:, column].tolist(), cut[:, column])
        x = {i: float(ours[i, column]) for i in at}
        y = {i: float(theirs[i][column]) for i in at}
        for i, reason in zip(at, gradient_reasons(graph, at, x, y)):
            report.disagree('gradients', reason, column, i, x[i], y[i])


def check(engines, graphs, seed, progress=lambda report: None):
    """Compare the engines with each other, to the bit, and with PyTorch: a Report."""
    report, rng = Report(), random.Random(seed)
    while report.counts['graphs'] < graphs:
        calls, steps = shape(rng)
        seeds = [rng.getrandbits(64) for _ in range(min(BATCH, graphs - report.counts['graphs']))]
        values, grads, errors = run(calls, steps, seeds, engines[0])
        for engine in engines[1:]:
            v, g, e = run(calls, steps, seeds, engine)
            if not (same(values, v).all() and same(grads, g).all() and errors == e):
                report.disagree('engines', None, steps)
        cut = np.array([[i in e for e in errors] for i in range(len(steps))])
        theirs, gradients = reference(steps, values, cut)
        check_values(report, steps, values, theirs, cut, errors)
        check_gradients(report, steps, values, cut, grads, gradients)
        numbers = sum(len(step) - 1 - len(operands(step)) for step in steps)
        report.counts['shapes'] += 1
        report.counts['graphs'] += len(seeds)
        report.counts['nodes'] += (len(steps) + numbers) * len(seeds)
        report.counts['nodes of the largest graph'] = max(
            report.counts['nodes of the largest graph'], len(steps) + numbers)
        progress(report)
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--graphs', type=int, default=100_000)
    parser.add_argument('--seed', type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    engines = [load(pure=False), load(pure=True)]
    if not engines[0].engine.compiled:
        print('the compiled engine has not been built: the pure one alone')
        engines.pop(0)
    start = last = time.monotonic()

    def progress(report):
        nonlocal last
        if time.monotonic() > last + 10:
            last = time.monotonic()
            print(f"{report.counts['graphs']:,} graphs, {report.unexplained} unexplained",
                  file=sys.stderr, flush=True)

    report = check(engines, arguments.graphs, arguments.seed, progress)
    report.print()
    print(f'{time.monotonic() - start:.0f} seconds')
    return 1 if report.unexplained else 0


if __name__ == '__main__':
    sys.exit(main())
