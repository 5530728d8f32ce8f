"""Whether another Python computes the same: random programs, and every gradient in them.

    python3.11 test/elsewhere.py write results
    pypy3 test/elsewhere.py read results

Where C libraries differ (`exp`, `log`, `tanh`, `sigmoid`, `**`), the numbers are compared by
`close` and replaced by the first one's: all else is the same to the bit.
"""
import math
import pickle
import random
import sys
from pathlib import Path

from programs import INEXACT, random_program, run

from micrograd import engine


def close(op, here, there):
    """Whether steps [data, *slopes] agree, to units in the last place (for tanh's 1 - y², of 1)."""
    def near(units, x, y, at_least=0.0):
        return x == y or x != x != y != y or abs(x - y) <= units * math.ulp(max(abs(x), at_least))

    (x, *da), (y, *db) = (map(float.fromhex, step) for step in (here, there))
    return len(da) == len(db) and near(2, x, y) and all(
        near(8, s, t, at_least=op == 'tanh') for s, t in zip(da, db))


def replay(program, there):
    """What differs, here, from what was recorded there; None if nothing does."""
    def settle(i, v):
        if program[i][0] not in INEXACT:
            return v
        step = there['steps'][i]
        here = [v.data.hex(), *map(float.hex, v._slopes)]
        if 'Overflow' in step and math.isinf(v.data) and sys.implementation.name == 'pypy':
            raise OverflowError  # there x ** 2 is x * x, which is no error
        if isinstance(step, str) or not close(program[i][0], here, step):
            raise AssertionError(f'{here} for {step}')
        data, *slopes = map(float.fromhex, step)
        return engine.Value(data, v._prev, v._op, slopes=slopes)

    here = run(program, engine, settle)
    for step, x, y in zip(program, here['steps'], there['steps']):
        same = str(x).partition(':')[0] == str(y).partition(':')[0]  # errors, by type, not by text
        if not (same or step[0] in INEXACT and isinstance(x, list)):
            return step, x, y
    return next((rows for rows in zip(here['nodes'], there['nodes']) if rows[0] != rows[1]), None)


def main(action, path):
    if action == 'write':
        rng = random.Random(0)
        programs = [random_program(rng, 40, rng.choice((0.0, 0.2))) for _ in range(3000)]
        records = [(program, run(program, engine)) for program in programs]
        Path(path).write_bytes(pickle.dumps(records, protocol=4))
    records = pickle.loads(Path(path).read_bytes())
    for program, there in records:
        different = replay(program, there)
        assert not different, (program, different)
    print(sys.version, f'compiled: {engine.compiled}', f'{len(records)} programs: the same')


if __name__ == '__main__':
    main(*sys.argv[1:])
