"""Benchmarks. Every figure is a ratio of times taken in turn in one run, or counted per node.

    python test/bench.py                # both engines, and PyTorch where it is installed
    python test/bench.py --peer PATH    # and the package `micrograd` that lies in PATH
    python test/bench.py --only moons tiny --no-peers   # the engines and plain floats, at once

Each contestant lives in a process of its own and they take turns, so that what else the machine
does falls on all of them alike. A figure is the median over the rounds.
"""
import argparse
import gc
import importlib
import importlib.util
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

ROUNDS, SLICE = 15, 0.1  # so many turns for each, of so many seconds at least
SIZES = (2, [16, 16, 1])
PARTS = ('moons', 'tiny', 'nodes')


# The workloads: a function that does the work once, for the engine that it is given.

def moons():
    """Two noisy half circles: 100 points, and their labels, -1 and 1."""
    points, labels = [], []
    rng = random.Random(1337)
    for i in range(100):
        t, side = math.pi * (i // 2) / 49, i % 2
        x, y = (1 - math.cos(t), 0.5 - math.sin(t)) if side else (math.cos(t), math.sin(t))
        points.append([x + rng.gauss(0, 0.1), y + rng.gauss(0, 0.1)])
        labels.append(2 * side - 1)
    return points, labels


def loss_of(scores, labels, parameters, relu):
    losses = [relu(1 + -y * score) for y, score in zip(labels, scores)]
    return sum(losses) * (1.0 / len(losses)) + 1e-4 * sum(p * p for p in parameters)


def moons_step(package):
    """One training step with a package that has `engine.Value` and `nn.MLP`."""
    Value = importlib.import_module(package + '.engine').Value
    model = importlib.import_module(package + '.nn').MLP(*SIZES)
    points, labels = moons()

    def step():
        scores = [model([Value(x) for x in point]) for point in points]
        loss = loss_of(scores, labels, model.parameters(), lambda v: v.relu())
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= 0.1 * p.grad
    return step


def plain_net(number):
    """The net in numbers without a package: layers of (weights, bias), and its forward pass."""
    sizes = [SIZES[0], *SIZES[1]]
    layers = [[([number(random.uniform(-1, 1)) for _ in range(m)], number(0.0)) for _ in range(n)]
              for m, n in zip(sizes, sizes[1:])]

    def forward(x, relu):
        for layer in layers:
            x = [sum((wi * xi for wi, xi in zip(w, x)), b) for w, b in layer]
            if layer is not layers[-1]:
                x = [relu(v) for v in x]
        return x[0]
    return [p for layer in layers for w, b in layer for p in [*w, b]], forward


def moons_floats():
    """The forward pass and the loss alone, in plain floats."""
    parameters, forward = plain_net(float)
    points, labels = moons()

    def relu(v):
        return max(0.0, v)

    return lambda: loss_of([forward(x, relu) for x in points], labels, parameters, relu)


def moons_torch():
    import torch
    torch.set_num_threads(1)

    def number(x):
        return torch.tensor(x, dtype=torch.float64, requires_grad=True)

    parameters, forward = plain_net(number)
    points, labels = moons()

    def step():
        scores = [forward([torch.tensor(v, dtype=torch.float64) for v in x], torch.relu)
                  for x in points]
        loss = loss_of(scores, labels, parameters, torch.relu)
        for p in parameters:
            p.grad = None
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                p -= 0.1 * p.grad
    return step


def tiny(number):
    def expression():
        a = number(-41.0)
        b = number(2.0)
        c = a + b
        d = a * b + b**3
        e = c - d
        f = e**2
        g = f / 2
        g.backward()
    return expression


def tiny_floats():
    def expression():
        a = -41.0
        b = 2.0
        c = a + b
        d = a * b + b**3
        e = c - d
        f = e**2
        g = f / 2
        return g
    return expression


def tiny_torch():
    import torch
    torch.set_num_threads(1)
    return tiny(lambda x: torch.tensor(x, dtype=torch.float64, requires_grad=True))


def tiny_value(package):
    return tiny(importlib.import_module(package + '.engine').Value)


# A contestant: a process that does a slice of a workload whenever it is told to.

def contestant(who):
    workloads = {'plain floats': (moons_floats, tiny_floats), 'PyTorch': (moons_torch, tiny_torch)}
    moons_, tiny_ = workloads.get(who, (lambda: moons_step('micrograd'),
                                        lambda: tiny_value('micrograd')))
    random.seed(1337)
    work = {'moons step': moons_(), 'tiny graph': tiny_()}
    many = {'moons step': 1, 'tiny graph': 1000}
    for line in sys.stdin:
        name = line.strip()
        times, end = [], perf_counter() + SLICE
        while not times or perf_counter() < end:
            start = perf_counter()
            for _ in range(many[name]):
                work[name]()
            times.append((perf_counter() - start) / many[name])
        print(median(times), flush=True)


def resident():
    """Bytes of memory that this process has in use."""
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    try:
        return int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize()
    except OSError:  # no /proc: the most that it ever had
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
            1 if sys.platform == 'darwin' else 1024)


def chain(n):
    """Prints, for a chain of n nodes, the seconds to build, backpropagate and drop it, and the
    bytes that it takes."""
    from micrograd.engine import Value
    c, x = Value(0.999), Value(1.0)
    before, start = resident(), perf_counter()
    for _ in range(n // 2):
        x = x * c + c
    built, size = perf_counter(), resident() - before
    x.backward()
    backpropagated = perf_counter()
    del x
    end = perf_counter()
    print(json.dumps([built - start, backpropagated - built, end - backpropagated, size]))


def floats(n):
    """Prints the seconds to build and to drop a list of n new floats."""
    start = perf_counter()
    numbers = [i * 0.5 for i in range(n)]
    del numbers
    print(json.dumps([perf_counter() - start]))


# The table.

def command(who, peer):
    """The environment that makes a process of this program that contestant."""
    root = str(Path(__file__).resolve().parent.parent)
    return {**os.environ, 'PYTHONPATH': peer if who == 'peer' else root,
            'MICROGRAD_PURE': '1' if who == 'pure' else '0'}


def fresh(who, *arguments):
    """What one call of this program printed, in a process of its own."""
    out = subprocess.run([sys.executable, __file__, *map(str, arguments)], check=True,
                         env=command(who, None), stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out)


def compare(contestants, peer, parts):
    processes = {
        who: subprocess.Popen([sys.executable, __file__, '--contestant', who], text=True,
                              env=command(who, peer), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
        for who in contestants}
    for name in ('moons step', 'tiny graph'):
        if name.split()[0] not in parts:
            continue
        times = {who: [] for who in contestants}
        for _ in range(ROUNDS):
            for who, process in processes.items():
                process.stdin.write(name + '\n')
                process.stdin.flush()
                times[who].append(float(process.stdout.readline()))
        floats_take = median(times['plain floats'])
        for who in contestants:
            ratios = [t / own for t, own in zip(times[who], times['compiled'])]
            print(f'{name:<12}{who:<14}{median(times[who]) * 1e6:>13,.2f} µs'
                  f'{median(times[who]) / floats_take:>12,.2f}{median(ratios):>16,.2f}')
        print()
    for process in processes.values():
        process.stdin.close()
        process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--peer', help='a directory with another package `micrograd`')
    parser.add_argument('--only', nargs='+', choices=PARTS, default=PARTS, metavar='PART',
                        help=f'of {", ".join(PARTS)}')
    parser.add_argument('--no-peers', action='store_true', help='no PyTorch')
    parser.add_argument('--contestant', help=argparse.SUPPRESS)
    parser.add_argument('--chain', type=int, help=argparse.SUPPRESS)
    parser.add_argument('--floats', type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        return contestant(arguments.contestant)
    if arguments.chain:
        return chain(arguments.chain)
    if arguments.floats:
        return floats(arguments.floats)

    sys.path.insert(0, command('compiled', None)['PYTHONPATH'])
    from micrograd import engine
    contestants = ['plain floats', 'compiled', 'pure']
    if not getattr(engine, 'compiled', 'micrograd._engine' in sys.modules):
        sys.exit('the compiled engine has not been built: see the README on installing')
    if importlib.util.find_spec('torch') and not arguments.no_peers:
        contestants += ['PyTorch']
    contestants += ['peer'] if arguments.peer else []

    if set(arguments.only) & {'moons', 'tiny'}:
        print(f'{"":<12}{"":<14}{"median":>16}{"÷ floats":>12}{"÷ compiled":>16}')
        compare(contestants, arguments.peer, arguments.only)
    if 'nodes' not in arguments.only:
        return

    print(f'{"a chain":<12}{"nodes":<14}{"build":>10}{"backward":>10}{"drop":>10}  ns a node'
          f'{"bytes a node":>16}')
    for who in ('compiled', 'pure'):
        for n in (10**3, 10**4, 10**5, 10**6, 10**7):
            runs = [fresh(who, '--chain', n) for _ in range(3 if n > 10**5 else 9)]
            built, backward, dropped, size = (median(column) / n for column in zip(*runs))
            print(f'{who:<12}{n:<14,}{built * 1e9:>10.1f}{backward * 1e9:>10.1f}'
                  f'{dropped * 1e9:>10.1f}{"":>11}{size:>16.1f}')
    n, ratios = 10**7, []
    for _ in range(5):
        *seconds, _ = fresh('compiled', '--chain', n)
        ratios.append(sum(seconds) / fresh('compiled', '--floats', n)[0])
    print(f'\n{n:,} nodes built, backpropagated, dropped ÷ as many floats: {median(ratios):.2f}')


if __name__ == '__main__':
    gc.enable()
    main()
