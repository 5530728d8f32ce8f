"""The long checks: very many random graphs, and memory over a long time and at a large size.

    python test/long.py                                          # all of it: 90 minutes
    python test/long.py --graphs 1000 --steps 200 --nodes 100000

Random programs run on both engines and on PyTorch; each engine trains the demo's net, and makes and
drops a chain of nodes. Exits with 1 where something disagrees, or memory grew or was kept.
"""
import argparse
import gc
import json
import random
import sys
import warnings
from types import SimpleNamespace

from bench import memory, moons_step
from conftest import load, python
from test_programs import LIMITS, Comparison, program, same

MB = 2 ** 20
BYTES = {'compiled': (84, 40), 'pure': (300, 120)}  # a node: the graph, and for backward()


def compare(graphs):
    """How many random programs disagree, on both engines or with PyTorch."""
    import torch
    torch.set_num_threads(1)
    warnings.simplefilter('ignore', RuntimeWarning)  # NumPy's, about inf and nan
    pure, compiled = load(True), load(False)
    comparison, differ = Comparison(pure), 0
    for seed in range(graphs):
        steps = program(random.Random(seed), 250)
        if compiled and not same(pure, compiled, steps):
            differ += 1
            print('the engines differ:', steps)
        comparison.add(program(random.Random(seed), 250, hands=False), LIMITS[seed % len(LIMITS)])
        if seed % 1000 == 999 or seed == graphs - 1:
            comparison.check_operations()
            comparison.operations.clear()
    unexplained = len(comparison.unexplained)
    print(dict(comparison.counts), *comparison.unexplained[:10], sep='\n')
    print(f'{graphs:,} programs: {differ} differ, {unexplained} unexplained beside PyTorch')
    return differ + unexplained


def train(steps):
    """What is in use after the first tenth of the steps, and the most after any later one."""
    from micrograd.engine import Value
    gc.disable()
    random.seed(1337)
    step, warm, most = moons_step(), None, [0, 0, 0]
    for k in range(steps):
        step()
        if k >= steps // 10:
            now = [memory('VmRSS'), sys.getallocatedblocks(), sys.getrefcount(Value)]  # instances
            warm = warm or now
            most = list(map(max, most, now))
    return warm, most


def chain(nodes):
    """The memory in use before a chain of so many nodes, with it, the most of all, and after it."""
    from micrograd.engine import Value
    gc.disable()
    c, x = Value(0.999), Value(1.0)
    seen = [memory('VmRSS')]
    for _ in range(nodes // 2):
        x = x * c + c
    seen.append(memory('VmRSS'))
    x.backward()
    seen.append(memory('VmHWM'))
    del x
    return *seen, memory('VmRSS')


def fresh(engine, call):  # in a process of its own
    code = f'import json, long; print(json.dumps(long.{call}))'
    return json.loads(python(SimpleNamespace(pure=engine == 'pure'), code, timeout=None,
                             MALLOC_TRIM_THRESHOLD_='131072'))  # glibc gives back what it can


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    for name, n in ('--graphs', 100_000), ('--steps', 10_000), ('--nodes', 10_000_000):
        parser.add_argument(name, type=int, default=n)
    options = parser.parse_args()
    failures = compare(options.graphs)
    for engine, (graph, extra) in BYTES.items():
        before, built, most, after = fresh(engine, f'chain({options.nodes})')
        warm, later = fresh(engine, f'train({options.steps})')
        grown, blocks, values = (b - a for a, b in zip(warm, later))
        for what, got, limit in [
                ('bytes a node', (built - before) / options.nodes, graph),
                ('bytes a node more in backward()', (most - built) / options.nodes, extra),
                ('MB kept when it is dropped', (after - before) / MB, 10),
                ('MB more in later steps', grown / MB, 4),
                ('blocks more', blocks, 500), ('Values more', values, 0)]:
            failures += got > limit
            print(f'{engine}: {got:.1f} {what}, of {limit}{"  FAILED" * (got > limit)}', flush=True)
    return int(failures > 0)


if __name__ == '__main__':
    sys.exit(main())
