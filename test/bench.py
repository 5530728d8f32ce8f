"""Benchmarks. A figure is a median over rounds, a ratio the median of those within each round.

    python test/bench.py                   # both engines, and the peers that are installed
    python test/bench.py --peer PATH       # and the package `micrograd` that lies in PATH
    python test/bench.py --only moons tiny --no-peers    # a quick answer, while the engine changes

Each contestant lives in a process of its own, with one thread, and has its turn in every round.
Times are those of the processor; on Windows, and from a cold start, those of the clock.
"""
import argparse
import importlib.util
import math
import os
import random
import sys
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from subprocess import PIPE, Popen
from time import perf_counter, process_time
from timeit import Timer

clock = perf_counter if os.name == 'nt' else process_time
ROOT = str(Path(__file__).resolve().parent.parent)
SHAPES = [(2, 16), (16, 16), (16, 1)]  # of the demo's net: inputs and neurons of each layer
RATE = 0.1
LOSS = {1: 0.9079585915405642, 2: 0.4679091243423272, 100: 0.12912892477256785}  # at a step


def moons():
    """Two noisy half circles: 100 points, and their labels, -1 and 1."""
    rng, labels = random.Random(1337), [-1, 1] * 50
    angles = [math.pi * (i // 2) / 49 for i in range(100)]
    points = [[(1 + y) / 2 - y * math.cos(t) + rng.gauss(0, 0.1),
               (1 + y) / 4 - y * math.sin(t) + rng.gauss(0, 0.1)] for t, y in zip(angles, labels)]
    return points, labels


def loss_of(scores, labels, parameters, relu):
    losses = [relu(1 + -y * score) for y, score in zip(labels, scores)]
    return sum(losses) * (1.0 / len(losses)) + 1e-4 * sum(p * p for p in parameters)


def moons_step(package='micrograd'):
    Value = importlib.import_module(package + '.engine').Value
    model = importlib.import_module(package + '.nn').MLP(2, [16, 16, 1])
    points, labels = moons()

    def step():
        scores = [model([Value(x) for x in point]) for point in points]
        loss = loss_of(scores, labels, model.parameters(), lambda v: v.relu())
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= RATE * p.grad
        return loss.data
    return step


def drawn():
    """The parameters that `MLP` draws, in its order: neuron by neuron, the weights, the bias."""
    return [random.uniform(-1, 1) if i < m else 0.0
            for m, n in SHAPES for _ in range(n) for i in range(m + 1)]


def one_by_one(parameters, points, labels, relu):
    """What computes the loss without a package, in whatever numbers the parameters are."""
    p = iter(parameters)
    layers = [[([next(p) for _ in range(m)], next(p)) for _ in range(n)] for m, n in SHAPES]

    def score(x):
        for layer in layers:
            x = [sum((wi * xi for wi, xi in zip(w, x)), b) for w, b in layer]
            if layer is not layers[-1]:
                x = [relu(v) for v in x]
        return x[0]
    return lambda: loss_of([score(x) for x in points], labels, parameters, relu)


def batched(parameters, points, labels, relu):
    """What computes the loss where each of these is one array."""
    def loss():
        x, rest = points.T, parameters
        for m, n in SHAPES:
            layer, rest = rest[:n * (m + 1)].reshape(n, m + 1), rest[n * (m + 1):]
            x = layer[:, :m] @ x + layer[:, m:]
            x = relu(x) if len(rest) else x[0]
        return relu(1 - labels * x).mean() + 1e-4 * (parameters * parameters).sum()
    return loss


def tiny(a, b):
    c = a + b
    d = a * b + b**3
    e = c - d
    f = e**2
    g = f / 2
    return g


# The peers: each makes of a function what gives its value and its gradient, at an array.

def with_torch(function, numbers):
    import torch
    torch.set_default_dtype(torch.float64)
    data = [*map(torch.tensor, moons()), torch.relu]

    def derivative(p):
        p = p.detach().requires_grad_()
        out = function(p, *data)()
        out.backward()
        return out.item(), p.grad
    return derivative, torch.tensor(numbers)


def with_jax(function, numbers):
    import jax
    data = [*map(jax.numpy.array, moons()), jax.nn.relu]
    compiled = jax.jit(jax.value_and_grad(lambda p: function(p, *data)()))
    p = jax.numpy.array(numbers)
    compiled(p)  # it is now
    return lambda p: jax.block_until_ready(compiled(p)), p


def with_casadi(function, numbers):
    from casadi import SX, Function, fmax, gradient, vertsplit
    from numpy import array
    p = SX.sym('p', len(numbers))
    out = function(vertsplit(p), *moons(), lambda v: fmax(0.0, v))()
    x, value, grad = array(numbers), array([0.0]), array(numbers)
    buffer, replay = Function('derivative', [p], [out, gradient(out, p)]).buffer()
    buffer.set_arg(0, memoryview(x))
    buffer.set_res(0, memoryview(value))
    buffer.set_res(1, memoryview(grad))
    return lambda p, buffer=buffer: replay() or (value[0], grad), x  # where p is x, always


def with_xad(function, numbers):
    from numpy import array
    from xad.adj_1st import Real, Tape
    from xad.math import max as maximum
    data, tape = [*moons(), lambda v: maximum(v, 0.0)], Tape()
    tape.activate()

    def derivative(p):
        tape.clearAll()
        inputs = [Real(x) for x in p]
        tape.registerInputs(inputs)
        tape.newRecording()
        out = function(inputs, *data)()
        tape.registerOutput(out)
        out.derivative = 1.0
        tape.computeAdjoints()
        return out.value, array([x.derivative for x in inputs])
    return derivative, array(numbers)


CONTESTANTS = {  # the module, the parts, how the loss is derived, and what is different
    'Python alone': ('sys', 'cold', None, None, 'and what this program imports'),
    'plain floats': ('math', 'moons tiny nodes', None, None, 'forward alone, or a list'),
    'compiled': ('micrograd.engine', 'moons tiny cold nodes', None, None, ''),
    'pure': ('micrograd.engine', 'moons tiny nodes', None, None, ''),
    'peer': ('micrograd.engine', 'moons tiny', None, None, 'the package of --peer'),
    'PyTorch': ('torch', 'moons tiny', with_torch, one_by_one, 'scalars in float64'),
    'import torch': ('torch', 'cold', None, None, 'and nothing else'),
    'PyTorch, batch': ('torch', 'moons cold', with_torch, batched, 'all points in one tensor'),
    'XAD': ('xad', 'moons tiny', with_xad, one_by_one, 'a tape in C++, with Python bindings'),
    'CasADi': ('casadi', 'moons tiny', with_casadi, one_by_one, 'built at set-up, then replayed'),
    'JAX': ('jax', 'moons tiny cold', with_jax, batched, 'compiled at set-up, one array'),
}


def work_of(who, part):
    """What derives the tiny graph, or else what takes a training step and returns the loss."""
    module, _, with_peer, function, _ = CONTESTANTS[who]
    if module == 'micrograd.engine':
        return 'tiny(Value(-41.0), Value(2.0)).backward()' if part == 'tiny' else moons_step()
    if module == 'math':
        return 'tiny(-41.0, 2.0)' if part == 'tiny' else one_by_one(
            drawn(), *moons(), lambda v: max(0.0, v))
    if part == 'tiny':
        return partial(*with_peer(lambda p, *_: partial(tiny, *p), [-41.0, 2.0]))
    derivative, p = with_peer(function, drawn())

    def step():
        nonlocal p
        value, grad = derivative(p)
        p -= RATE * grad
        return float(value)
    return step


def train(step, n):
    for _ in range(n):
        loss = step()
    assert math.isclose(loss, LOSS[n], rel_tol=1e-9), f'loss {loss}, not {LOSS[n]}'


def contest(part, who):
    """For each line that comes, the microseconds of the work, and the seconds of its set-up."""
    first = sys.stdin.readline()  # its turn
    module = importlib.import_module(CONTESTANTS[who][0])
    start = perf_counter()
    work = work_of(who, part)
    setup = perf_counter() - start
    if part == 'moons':
        train(work, 1 if who == 'plain floats' else 2)
    timer = Timer(work, 'import gc; gc.enable()', clock, {**globals(), **vars(module)})
    calls, _ = timer.autorange()
    number = max(1, calls // 9)
    for _ in chain([first], sys.stdin):
        print(median(timer.repeat(min(calls, 9), number)) / number * 1e6, setup, flush=True)


def cold(who):
    """The most megabytes that an import takes, and a training where there is one."""
    module, parts, *_ = CONTESTANTS[who]
    importlib.import_module(module)
    if parts != 'cold':
        train(work_of(who, 'cold'), 100)
    print(memory('VmHWM') / 2**20)


def nodes(n, who):
    """Per node, the nanoseconds to build, backpropagate and drop a chain of n nodes, and bytes."""
    from micrograd.engine import Value
    n, c, x = int(n), Value(0.999), Value(1.0)
    before, start = memory('VmRSS'), clock()
    if who == 'plain floats':
        x = [i * 0.5 for i in range(n)]
    else:
        for _ in range(n // 2):
            x = x * c + c
    built = clock()
    size, ready = memory('VmRSS') - before, clock()
    if who != 'plain floats':
        x.backward()
    done = clock()
    del x
    seconds = built - start, done - ready, clock() - done
    print(*(t * 1e9 / n for t in (sum(seconds), *seconds)), size / n)


def memory(what):
    """Bytes of memory that this process has in use ('VmRSS'), or had at most ('VmHWM')."""
    status = Path('/proc/self/status')
    if status.exists():
        return int(status.read_text().split(what + ':')[1].split()[0]) * 1024
    if not importlib.util.find_spec('resource'):
        return math.nan  # Windows
    from resource import RUSAGE_SELF, getrusage
    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)


def child(peer, *arguments):
    """A process of this program, for the contestant who comes last among the arguments."""
    who = arguments[-1]
    environment = {**os.environ, 'PYTHONPATH': peer if who == 'peer' else ROOT,
                   'MICROGRAD_PURE': '1' if who == 'pure' else '0',
                   'OMP_NUM_THREADS': '1', 'JAX_ENABLE_X64': '1'}
    return Popen([sys.executable, __file__, '--child', *arguments], stdin=PIPE, stdout=PIPE,
                 text=True, env=environment)


def fresh(*arguments):
    """The seconds that a process of its own takes, and the figures that it prints."""
    start = perf_counter()
    out = child(None, *arguments).communicate()[0]
    return [perf_counter() - start, *map(float, out.split())]


def table(title, heads, contestants, rounds, measure):
    results = {who: [] for who in contestants}
    for who in contestants * rounds:
        results[who].append(measure(who))
    bases = contestants[0], 'compiled'
    print(f'\n{title:<16}', *(f'{head:>14}' for head in [*heads, *(f'÷ {who}' for who in bases)]))
    for who, rows in results.items():
        figures = [median(column) for column in zip(*rows)]
        figures += [median(a[0] / b[0] for a, b in zip(rows, results[base])) for base in bases]
        print(f'{who:<16}', *(f'{x:>14,.2f}' for x in figures), '', CONTESTANTS[who][-1])


def ask(processes, who):
    print(file=processes[who].stdin, flush=True)
    return [float(x) for x in processes[who].stdout.readline().split()]


def main():
    parts = ('moons', 'tiny', 'cold', 'nodes')
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--peer', metavar='PATH', help='where another package `micrograd` lies')
    parser.add_argument('--only', nargs='+', choices=parts, default=parts, help='default: all')
    parser.add_argument('--no-peers', action='store_true', help='no other libraries')
    parser.add_argument('--child', nargs='+', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        random.seed(1337)
        return globals()[options.child[0]](*options.child[1:])

    sys.path.insert(0, ROOT)
    if not importlib.util.find_spec('micrograd._engine'):
        sys.exit('the compiled engine has not been built: see the README on installing')
    if math.isnan(memory('VmRSS')):
        print('No figures of memory: this system has neither /proc nor the module resource.')
    for part in options.only:
        contestants = [who for who, (module, where, with_peer, *_) in CONTESTANTS.items()
                       if part in where and importlib.util.find_spec(module)
                       and (who != 'peer' or options.peer)
                       and not (options.no_peers and (with_peer or module == 'torch'))]
        if part == 'nodes':
            for n in (10**3, 10**4, 10**5, 10**6, 10**7):
                table(f'{n:,} nodes', ['ns', 'build', 'backward', 'drop', 'bytes'], contestants, 5,
                      lambda who, n=str(n): fresh('nodes', n, who)[1:])
        elif part == 'cold':
            table('cold start', ['s', 'MB at most'], contestants, 7, partial(fresh, 'cold'))
        else:
            processes = {who: child(options.peer, 'contest', part, who) for who in contestants}
            table(part, ['µs', 'set-up, s'], contestants, 15, partial(ask, processes))
            for process in processes.values():
                process.communicate()


if __name__ == '__main__':
    main()
