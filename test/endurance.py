"""Memory, over a long time and at a large size, without the garbage collector.

    python test/endurance.py                # both engines, 10,000 steps: 15 minutes
    python test/endurance.py --steps 500

Trains the demo's net and watches the memory; builds, backpropagates and drops a graph of ten
million nodes. Prints what it measured. Exits with 1 where memory grew, or was not given back.
"""
import argparse
import gc
import json
import random
import resource
import subprocess
import sys

from bench import command, moons_step, resident

MB = 2 ** 20
NODES = 10 ** 7
LIMIT = {'compiled': (96, 40), 'pure': (165, 80)}  # bytes a node: the graph, and for backward()


def train(steps):
    """What is in use after the first tenth of the steps, and the most after any later one."""
    from micrograd.engine import Value
    gc.disable()
    random.seed(1337)
    step, warm, most = moons_step('micrograd'), None, [0, 0, 0]
    for k in range(steps):
        step()
        if k >= steps // 10:
            # A type counts its instances: every one of them refers to it.
            now = [resident(), sys.getallocatedblocks(), sys.getrefcount(Value)]
            warm = warm or now
            most = list(map(max, most, now))
    return warm, most


def large(n):
    """Resident bytes before a chain of n nodes, with it, the most of all, and without it."""
    from micrograd.engine import Value
    gc.disable()
    c, x = Value(0.999), Value(1.0)
    before = resident()
    for _ in range(n // 2):
        x = x * c + c
    built = resident()
    x.backward()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    del x
    return [before, built, peak * (1 if sys.platform == 'darwin' else 1024), resident()]


def fresh(engine, *arguments):
    """What one call of this program printed, in a process of its own, with that engine."""
    return json.loads(subprocess.run(
        [sys.executable, __file__, *map(str, arguments)], check=True, env=command(engine, None),
        stdout=subprocess.PIPE, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--steps', type=int, default=10_000, help='of training; default 10,000')
    parser.add_argument('--train', type=int, help=argparse.SUPPRESS)
    parser.add_argument('--large', type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train or arguments.large:
        print(json.dumps(train(arguments.train) if arguments.train else large(arguments.large)))
        return 0

    failures = 0
    for engine, (graph, extra) in LIMIT.items():
        before, built, peak, after = fresh(engine, '--large', NODES)
        held, most, kept = (built - before) / NODES, (peak - built) / NODES, (after - before) / MB
        ok = held <= graph and most <= extra and kept <= 10
        failures += not ok
        print(f'{engine}: {NODES:,} nodes: {held:.1f} bytes a node, {most:.1f} more in backward(),'
              f' {(peak - before) / MB:,.0f} MB at most; dropped: {kept:.1f} MB kept'
              f'{"" if ok else "  FAILED"}', flush=True)

        warm, end = fresh(engine, '--train', arguments.steps)
        grown, blocks, values = (after - before for before, after in zip(warm, end))
        ok = grown <= 4 * MB and blocks <= 500 and values == 0
        failures += not ok
        print(f'{engine}: {arguments.steps:,} steps: {warm[0] / MB:.1f} MB after a tenth of them; '
              f'then at most {grown / 1024:,.0f} kB, {blocks} blocks, {values} Values more'
              f'{"" if ok else "  FAILED"}', flush=True)
    return int(failures > 0)


if __name__ == '__main__':
    sys.exit(main())
