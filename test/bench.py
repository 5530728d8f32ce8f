"""Benchmarks. A figure is a median over rounds, a ratio the median of those within each round.

    python test/bench.py                   # both engines, and the peers that are installed
    python test/bench.py --peer PATH       # and the package `micrograd` that lies in PATH
    python test/bench.py moons tiny --no-peers    # a quick answer, while the engine changes

Each contestant has its turn in every round, in a new process with one thread. Times are those of
the processor; on Windows, and where a whole process is timed, those of the clock. Figures of memory
need Linux.
"""
import argparse
import importlib.util
import math
import os
import platform
import random
import sys
from pathlib import Path
from statistics import median
from subprocess import PIPE, run
from time import perf_counter, process_time
from timeit import Timer

from gpt import FLOATS, VALUES, Own, gpt, softmax

clock = perf_counter if os.name == 'nt' else process_time
ROOT = str(Path(__file__).resolve().parent.parent)
DEMO, WIDE = [(2, 16), (16, 16), (16, 1)], [(784, 32), (32, 10)]  # inputs, neurons of each layer
POINTS = 25, 50, 100, 150, 200, 400, 800
LOSS = {  # at a step
    'moons': {1: 0.9079585915405642, 2: 0.4679091243423272, 100: 0.12912892477256785},
    'wide': {1: 38.16008763162441, 2: 31.66405984751825},
    'gpt': {1: 3.1685258701937578, 2: 3.3384077719113776, 1000: 0.3554765456759203},
}


def moons(n=100):
    """Two noisy half circles: n points, and their labels, -1 and 1."""
    rng, labels = random.Random(1337), ([-1, 1] * n)[:n]
    angles = [math.pi * (i // 2) / ((n - 1) // 2) for i in range(n)]
    points = [[(1 + y) / 2 - y * math.cos(t) + rng.gauss(0, 0.1),
               (1 + y) / 4 - y * math.sin(t) + rng.gauss(0, 0.1)] for t, y in zip(angles, labels)]
    return points, labels


def loss_of(scores, labels, parameters, relu):
    losses = [relu(1 + -y * score) for y, score in zip(labels, scores)]
    return sum(losses) * (1.0 / len(losses)) + 1e-4 * sum(p * p for p in parameters)


def descend(model, loss, rate=0.1):
    model.zero_grad()
    loss.backward()
    for p in model.parameters():
        p.data -= rate * p.grad
    return loss.data


def moons_step(n=100):
    from micrograd.engine import Value
    from micrograd.nn import MLP
    model, (points, labels) = MLP(2, [16, 16, 1]), moons(n)
    return lambda: descend(model, loss_of([model([Value(x) for x in point]) for point in points],
                                          labels, model.parameters(), VALUES.relu))


def drawn(shapes):
    """The parameters that `MLP` draws, in its order: neuron by neuron, the weights, the bias."""
    return [random.uniform(-1, 1) if i < m else 0.0
            for m, n in shapes for _ in range(n) for i in range(m + 1)]


def mlp(parameters, shapes, relu):
    """An `MLP` without a package, in whatever numbers the parameters are."""
    p = iter(parameters)
    layers = [[([next(p) for _ in range(m)], next(p)) for _ in range(n)] for m, n in shapes]

    def scores(x):
        for layer in layers:
            x = [sum((wi * xi for wi, xi in zip(w, x)), b) for w, b in layer]
            if layer is not layers[-1]:
                x = [relu(v) for v in x]
        return x
    return scores


def one_by_one(parameters, points, labels, relu):
    """What computes the loss of the moons without a package."""
    scores = mlp(parameters, DEMO, relu)
    return lambda: loss_of([scores(x)[0] for x in points], labels, parameters, relu)


def batched(parameters, points, labels, relu):
    """The same, where each of these is one array."""
    def loss():
        x, rest = points.T, parameters
        for m, n in DEMO:
            layer, rest = rest[:n * (m + 1)].reshape(n, m + 1), rest[n * (m + 1):]
            x = layer[:, :m] @ x + layer[:, m:]
            x = relu(x) if len(rest) else x[0]
        return relu(1 - labels * x).mean() + 1e-4 * (parameters * parameters).sum()
    return loss


def tiny(a, b):
    c, d = a + b, a * b + b**3
    return (c - d)**2 / 2


def wide(Value):
    """What takes a training step; where Value is float, the forward pass alone."""
    x = [Value(math.sin(i) ** 2) for i in range(784)]
    if Value is float:
        scores = mlp(drawn(WIDE), WIDE, FLOATS.relu)
        return lambda: -math.log(softmax(scores(x), FLOATS)[7])
    from micrograd.nn import MLP
    model = MLP(784, [32, 10])
    return lambda: descend(model, -softmax(model(x), VALUES)[7].log(), 0.001)


# The peers: each gives, again and again, the loss of the moons and its gradient at the array p.

def with_torch(function, p):
    import torch
    torch.set_default_dtype(torch.float64)
    data = [*map(torch.tensor, moons()), torch.relu]
    while True:
        leaf = torch.tensor(p, requires_grad=True)
        out = function(leaf, *data)()
        out.backward()
        yield out.item(), leaf.grad


def with_jax(function, p):
    import jax
    data = [*map(jax.numpy.array, moons()), jax.nn.relu]
    compiled = jax.jit(jax.value_and_grad(lambda p: function(p, *data)()))
    while True:
        yield jax.block_until_ready(compiled(p))


def with_casadi(function, p):
    from casadi import SX, Function, fmax, gradient, vertsplit
    x, value, grad = SX.sym('x', len(p)), p[:1].copy(), p.copy()
    out = function(vertsplit(x), *moons(), lambda v: fmax(0.0, v))()
    buffer, replay = Function('derivative', [x], [out, gradient(out, x)]).buffer()
    buffer.set_arg(0, memoryview(p))
    buffer.set_res(0, memoryview(value))
    buffer.set_res(1, memoryview(grad))
    while True:
        replay()
        yield value[0], grad


def with_aadc(function, p):
    from aadc import idouble, math, record_kernel
    with record_kernel() as kernel:
        inputs = [idouble(x) for x in p]
        arguments = [x.mark_as_input() for x in inputs]
        out = function(inputs, *moons(), lambda v: math.max(v, 0.0))().mark_as_output()
    kernel.compile()
    replay = kernel.create_workspace()
    while True:
        for argument, x in zip(arguments, p):
            replay.set_val(argument, x)
        replay.forward()
        replay.set_diff(out, 1.0)
        replay.reverse()
        yield replay.val(out), [replay.diff(argument) for argument in arguments]


def with_autoneuronet(function, p):
    from autoneuronet import Var
    while True:
        inputs = [Var(x) for x in p]
        out = function(inputs, *moons(), Var.relu)()
        out.grad = 1.0
        out.backward()
        yield out.val, [x.grad for x in inputs]


def peer_steps(with_peer, function):
    from numpy import array, asarray
    p = array(drawn(DEMO))
    for value, grad in with_peer(function, p):
        yield float(value)
        p -= 0.1 * asarray(grad)


# What is measured: each prints its figures, in a process of its own.

def work_of(part, who):
    """What derives the tiny graph, or else what takes a training step and returns the loss."""
    module, _, with_peer, function, _ = CONTESTANTS[who]
    if with_peer:
        return peer_steps(with_peer, function).__next__
    own = {'plain floats': float, 'own Value': Own}
    Value = own.get(who) or importlib.import_module(module).Value
    if part == 'tiny':
        return 'tiny(-41.0, 2.0)' if Value is float else 'tiny(Value(-41.0), Value(2.0)).backward()'
    if part == 'moons' and Value is float:
        return one_by_one(drawn(DEMO), *moons(), FLOATS.relu)
    return moons_step() if part == 'moons' else wide(Value) if part == 'wide' else gpt(Value)


def train(part, step, n):
    for _ in range(n):
        loss = step()
    assert math.isclose(loss, LOSS[part][n], rel_tol=1e-9), f'loss {loss}, not {LOSS[part][n]}'


def contest(part, who):
    module, work = importlib.import_module(CONTESTANTS[who][0]), work_of(part, who)
    if part in LOSS:
        train(part, work, 1 if who == 'plain floats' else 2)
    timer = Timer(work, 'import gc; gc.enable()', clock, {'tiny': tiny, **vars(module)})
    calls, _ = timer.autorange()
    number, unit = max(1, calls // 9), 1e6 if part == 'tiny' else 1e3
    print(median(timer.repeat(min(calls, 9), number)) / number * unit)


def whole(part, who):
    """The most megabytes that an import takes, and a training where there is one."""
    module, parts, *_ = CONTESTANTS[who]
    importlib.import_module(module)
    if parts != 'cold':
        part, n = ('moons', 100) if part == 'cold' else ('gpt', 1000)
        train(part, work_of(part, who), n)
    print(memory('VmHWM') / 2**20)


def digits(_, who):
    from sklearn.datasets import load_digits

    from micrograd.nn import MLP
    images, labels = load_digits(return_X_y=True)
    samples = [*zip((images / 16).tolist(), labels.tolist())]
    random.shuffle(samples)
    unseen, samples = samples[:360], samples[360:] * 5
    model, n, start = MLP(64, [32, 10]), 10 if who == 'peer' else len(samples), clock()
    for k, (x, label) in enumerate(samples[:n]):
        scores = model(x)
        loss = (-softmax(scores, VALUES)[label].log() if who != 'peer' else  # it has no log()
                sum((1 + v - scores[label]).relu() for v in scores))
        descend(model, loss, 0.1 * (1 - k / len(samples)))
    seconds = (clock() - start) * len(samples) / n
    scores = [[v.data for v in model(x)] for x, _ in unseen]
    right = sum(v[label] == max(v) for v, (_, label) in zip(scores, unseen)) / 3.6
    assert right >= 95 or who == 'peer', f'{right:.1f} %'
    print(seconds, right)


def points(_, who):
    from micrograd.engine import Value
    living = [Value(0.0) for _ in range(2**20 if who == 'survivors' else 0)]
    random.shuffle(living)
    del living[:len(living) // 256 * 255]  # in no order
    costs = []
    for n in POINTS:
        step, times = moons_step(n), []
        for _ in range(9):
            start = clock()
            step()
            times.append((clock() - start) * 1e9 / (648 * n + 1018))  # the size of the graph
        costs.append(median(times[4:]))
    print(min(costs), *(cost / min(costs) for cost in costs))


def stages(_, who):
    from micrograd.engine import Value
    few, many, kept, sizes = moons_step(10), moons_step(800), [], []
    for work, times in [(few, 9), (many, 9), (few, 99), (None, 1), (kept.clear, 1), (few, 99)]:
        for _ in range(times):
            work() if work else kept.append(sum(map(Value, range(500_000))))
        sizes.append(memory('VmRSS') / 2**20)
    print(*sizes)


def nodes(part, who):
    from micrograd.engine import Value
    n, c, x = int(part.split()[0].replace(',', '')), Value(0.999), Value(1.0)
    before, start = memory('VmRSS'), clock()
    if who == 'plain floats':
        x = [i * 0.5 for i in range(n)]
    else:
        for _ in range(n // 2):
            x = x * c + c
    seconds = clock() - start
    size, start = memory('VmRSS') - before, clock()
    if who != 'plain floats':
        x.backward()
    del x
    print((seconds + clock() - start) * 1e9 / n, size / n)


def memory(what):
    """Bytes of memory that this process has in use ('VmRSS'), or had at most ('VmHWM')."""
    status = Path('/proc/self/status')
    text = status.read_text() if status.exists() else f'{what}: nan'
    return float(text.split(what + ':')[1].split()[0]) * 1024


PARTS = {  # how it is measured, the columns, the rounds, and what it is
    'moons': (contest, ['ms'], 9, "a training step of the demo's net, 100 points"),
    'tiny': (contest, ['µs'], 9, 'a graph of ten nodes, built and backpropagated'),
    'wide': (contest, ['ms'], 9, 'MLP(784, [32, 10]), softmax, cross-entropy; one sample'),
    'gpt': (contest, ['ms'], 9, 'a training step of the GPT of gpt.py, on one word'),
    'thousand': (whole, ['s', 'MB at most'], 1, 'all its 1,000 steps'),
    'cold': (whole, ['s', 'MB at most'], 7, "import, train the demo's net for 100 steps, exit"),
    'digits': (digits, ['s', '% right'], 3, "MLP(64, [32, 10]) learns the digits of scikit-learn"),
    'points': (points, ['ns', *POINTS], 5, 'the least per Value, and each number of points to it'),
    'stages': (stages, ['10 points', '800', '10', '10⁶ nodes', 'dropped', '10 points'], 3,
               'megabytes in use after each stage of a program'),
    **{f'{10**k:,} nodes': (nodes, ['ns', 'bytes'], 5, 'of a chain, per node')
       for k in range(3, 8)},
}
CONTESTANTS = {  # the module, the parts, how the loss is derived, and what is different
    'Python alone': ('sys', 'cold', None, None, 'and what this program imports'),
    'plain floats': ('math', 'moons tiny wide gpt nodes', None, None, 'forward alone, or a list'),
    'compiled': ('micrograd.engine', ' '.join(PARTS), None, None, ''),
    'survivors': ('micrograd.engine', 'points', None, None, 'one of 256 from 2²⁰ Values lives on'),
    'pure': ('micrograd.engine', 'moons tiny wide gpt digits points stages nodes', None, None, ''),
    'own Value': ('math', 'gpt thousand', None, None, 'the class Own of gpt.py'),
    'peer': ('micrograd.engine', 'moons tiny digits', None, None, 'of the digits ten, scaled up'),
    'PyTorch': ('torch', 'moons', with_torch, one_by_one, 'scalars in float64'),
    'import torch': ('torch', 'cold', None, None, 'and nothing else'),
    'PyTorch, batch': ('torch', 'moons cold', with_torch, batched, 'all points in one tensor'),
    'AutoNeuroNet': ('autoneuronet', 'moons', with_autoneuronet, one_by_one, 'nodes in C++'),
    'CasADi': ('casadi', 'moons', with_casadi, one_by_one, 'built once, then replayed'),
    'AADC': ('aadc', 'moons', with_aadc, one_by_one, 'compiled once, then replayed'),
    'JAX': ('jax', 'moons cold', with_jax, batched, 'compiled once, one array'),
}


def fresh(peer, part, who):
    """The seconds that a new process takes, and the figures that it prints."""
    environment = {**os.environ, 'PYTHONPATH': peer if who == 'peer' else ROOT,
                   'MICROGRAD_PURE': '1' if who == 'pure' else '0',
                   'OMP_NUM_THREADS': '1', 'JAX_ENABLE_X64': '1'}
    command, start = [sys.executable, __file__, '--measure', part, who], perf_counter()
    out = run(command, stdout=PIPE, text=True, env=environment, check=True).stdout
    return [perf_counter() - start, *map(float, out.splitlines()[-1].split())]  # AADC prints, too


def table(part, contestants, peer):
    _, heads, rounds, title = PARTS[part]
    results = {who: [] for who in contestants}
    for who in contestants * rounds:
        results[who].append(fresh(peer, part, who)[-len(heads):])
    bases = dict.fromkeys([contestants[0], 'compiled'])
    print(f'\n{part}: {title}\n{"":<16}',
          *(f'{head:>14}' for head in [*heads, *(f'÷ {who}' for who in bases)]))
    for who, rows in results.items():
        figures = [median(column) for column in zip(*rows)]
        figures += [median(a[0] / b[0] for a, b in zip(rows, results[base])) for base in bases]
        print(f'{who:<16}', *(f'{x:>14,.2f}' for x in figures), '', CONTESTANTS[who][-1])


def main():
    names = [*dict.fromkeys(part.split()[-1] for part in PARTS)]
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('parts', nargs='*', metavar='PART', choices=[[], *names],  # []: none
                        help=f'of {", ".join(names)}; default: all')
    parser.add_argument('--peer', metavar='PATH', help='where another package `micrograd` lies')
    parser.add_argument('--no-peers', action='store_true', help='no other libraries')
    parser.add_argument('--measure', nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        random.seed(1337)
        return PARTS[options.measure[0]][0](*options.measure)

    sys.path.insert(0, ROOT)
    if not importlib.import_module('micrograd.engine').compiled:
        sys.exit('the compiled engine has not been built: see the README on installing')
    print(platform.platform(), platform.python_implementation(), platform.python_version())
    for part in PARTS:
        name = part.split()[-1]
        contestants = [who for who, (module, where, with_peer, *_) in CONTESTANTS.items()
                       if name in where.split() and importlib.util.find_spec(module)
                       and (who != 'peer' or options.peer)
                       and not (options.no_peers and (with_peer or module == 'torch'))]
        if name in (options.parts or names) and (
                name != 'digits' or importlib.util.find_spec('sklearn')):
            table(part, contestants, options.peer)


if __name__ == '__main__':
    main()
