"""Reference counts and memory: whatever is done thousands of times, they are where they were."""
import copy  # noqa: F401 (for the lines of FINE and WRONG)
import copyreg
import gc
import os
import pickle
import subprocess
import sys
from decimal import Decimal  # noqa: F401 (likewise)
from fractions import Fraction
from numbers import Complex, Real

import numpy as np  # noqa: F401 (likewise)
import pytest
from graphs import without_gc

SANITIZED = 'asan' in os.environ.get('LD_PRELOAD', '')  # by .ci/sanitize
ROUNDS = 50 if SANITIZED else 2000  # LeakSanitizer sees a single leak


@pytest.fixture(scope='module', autouse=True)
def frozen():
    """What other modules left behind is no concern of the garbage collector: it is quick then."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Raises:
    """A number that is none after all."""
    def __float__(self):
        raise KeyError('no number')


class Untrue:
    def __bool__(self):
        raise KeyError('no truth')


class Lies:
    def __float__(self):
        return 'no float'


def interrupted(x):
    """Two items, and then Ctrl-C."""
    yield x
    yield x
    raise KeyboardInterrupt


def growing(items):
    """An iterator over a list that gets another item with each that is taken, up to ten."""
    for x in items:
        if len(items) < 10:
            items.append(x)
        yield x


def attempt(function, *args):
    """The exception's type, if any; and whatever was made is dropped."""
    try:
        function(*args)
    except BaseException as error:
        return type(error)


def references(*objects):
    return [sys.getrefcount(x) for x in objects]


# What is done over and over. v and w are leaves, u is an operation, s and t are of subclasses, x is
# a float and y another number; m has the engine's names.

def label_and_own_attributes(m, v, w, u, s, t, x, y):
    v.label, v.momentum, u.child = 'a label of its own'[2:], [x], (v, s)
    del v.momentum, u.child, v.label
    vars(w)['x'] = y
    w.__dict__ = {'z': s}
    w.__dict__ = {}


def backward(m, v, w, u, s, t, x, y):
    out = (v * w + u) ** 2 / (s * s + v.exp()) - t
    for _ in range(3):
        out.backward()
        (out * v).backward()
        out._backward()


def long_backward(m, v, w, u, s, t, x, y):
    for _ in range(35):  # longer than the order that _engine.c keeps on the stack
        u = u * 0.5 + v
    u.backward()


def pickled(m, v, w, u, s, t, x, y):
    a, b, c = pickle.loads(pickle.dumps([v, v, u]))
    assert a is b and c.data == u.data


def assigned(m, v, w, u, s, t, x, y):
    v.data, v.grad, u.data, s.grad = x, y, 7, True


def half_initialised(m, v, w, u, s, t, x, y):
    new = m.Value.__new__(m.Value, x, 'label', any=y)
    (new + v).backward()
    new.__init__(x, 'label')
    new.__init__(data=y)
    type(s).__new__(type(s)) * v


def class_attribute(m, v, w, u, s, t, x, y):
    m.Value.twice = lambda v: m.node(2 * v.data, 'twice', v, 2.0)
    v.twice().backward()
    del m.Value.twice


def resurrected(m, v, w, u, s, t, x, y):
    v.graph = t * s + u
    t.graph = v.graph * 2
    del v.graph, t.graph


FINE = {
    **{f'{a}, {b}': eval(f'lambda m, v, w, u, s, t, x, y: ({a}, {b})') for a, b in [
        ('v + w, v - w, v * w, v / w, v ** w, -v', '-u, -s'),
        ('v + x, v - x, v * x, v / x, v ** x', 'x + u, x - u, x * u, x / u, x ** u'),
        ('v + y, v - y, v * y, v / y, v ** y', 'y + s, y - s, y * s, y / s, y ** s'),
        ('v + 2, v ** 3, 10**30 - v, True / v', 'v * Fraction(1, 3), Decimal("0.1") + v'),
        ('v * np.float64(2), np.float64(2) * v', 'v ** np.int8(2), np.bool_(True) - v'),
        ('v * np.array([1., 2.]), np.array([1., 2.]) - v', 'np.array([v, w, u]).sum()'),
        ('s + v, v * s, s ** s, t - s, -t', 's.relu(), 2 ** t, t ** 2'),
        ('v.relu(), v.exp(), v.log(), v.tanh()', 'v.__add__(None), v.__rsub__(x)'),
        ('u._prev, v._prev, u._op, v._op, (v**2.5)._op', 'repr(u), str(s), v.label'),
        ('v.data, u.grad, s.data', 'vars(v), vars(u), hash(v), v == w'),
        ('m.Value(x), m.Value(y), m.Value(10**30), m.Value(True)', 'm.Value(x, "label")'),
        ('m.Value(data=x), m.Value(data=y, label=5)', 'm.Value(x, label="")'),
        ('type(s)(x), type(s)(x, "label")', 'type(s)(y, label="label")'),
        ('m.node(x, "sin", v, y), m.node(1, "sin", u, 1, s, x)', 'm.node(1, "", v, 2, None)'),
        ('m.node(data=x, op=str(x), a=v, da=y, b=w, db=x)', 'm.node(x, "t", t, 1)'),
        ('m.sumprod([v, w], (u, u), v), m.sumprod((), [], x)', 'm.sumprod([x], [y], 1)'),
        ('m.sumprod([v, s], (x, u), t), m.sumprod(p=[v], q=[w], start=x)',
         'm.sumprod(iter([v] * 10), growing([w]), v)'),
        ('copy.copy(u), copy.copy(s), copy.deepcopy([v, v, u])', 'v.__reduce_ex__(4)'),
        ('v.__reduce__(), s.__reduce__()', 'v.__reduce_ex__(2)'),
    ]},
    **{f.__name__: f for f in (
        label_and_own_attributes, backward, long_backward, pickled, assigned, half_initialised,
        class_attribute, resurrected)},
}

WRONG = {f'{error.__name__}: {line}': (error, eval(f'lambda m, v, w, u, s, t, x, y: {line}'))
         for error, lines in {
    TypeError: """
        v + None
        'x' * v
        v ** 1j
        [] - u
        s / {}
        v < w
        v % 2
        float(v)
        v * Lies()
        Lies() ** v
        v ** Lies()
        pow(v, 2, 3)
        v.relu(1)
        m.Value()
        m.Value('x')
        m.Value(v)
        m.Value(1, 2, 3)
        m.Value(1, name=x)
        m.Value(Lies(), 'label')
        m.Value(None, label='x')
        type(s)(None)
        v.__init__('x')
        setattr(v, 'data', 'x')
        setattr(u, 'grad', v)
        setattr(v, '__dict__', 5)
        m.node(1, 'x', v)
        m.node(1, v, v, 1)
        m.node(1, 'x', 1, 1)
        m.node(1, 'x', v, 1, 1, 1)
        m.node('1', 'x', v, 1)
        m.node(x, 'x', v, Lies())
        m.node(x, 'x', v, y, s, 'x')
        m.node(1, 'x', v, 1, other=2)
        m.sumprod([v], [w])
        m.sumprod(5, [w], v)
        m.sumprod([v], 5, v)
        m.sumprod([v, None], [w, w], v)
        m.sumprod([v, v], [w, 's'], s)
        m.sumprod([v, w], [w, u], 'x')
        m.sumprod([v], [w], starts=v)
        m.Value.__new__(int)
        type('Mixed', (type(v), float), {})
        np.array([v], dtype=float)""",
    ValueError: """
        m.sumprod([v], [w, w], u)
        m.sumprod([x], iter(()), u)
        (v * 0).log()
        (v * 0 - 1).log()
        (-v) ** 0.5
        (-v) ** (w * 0 + 0.5)
        (v * 0 - 8.0) ** y""",
    ZeroDivisionError: """
        v / 0
        1 / (v * 0)
        (v * 0) ** -1
        m.sumprod((1 / i for i in (1, 0)), [v, w], u)
        m.sumprod([v, w], (1 / i for i in (1, 0)), u)""",
    OverflowError: """
        (v * 0 + 1000).exp()
        (v * 0 + 1e300) ** 2
        10.0 ** (v * 0 + 400)
        v + 10**400
        10**400 * v
        v ** 10**400
        m.Value(10**400)
        setattr(v, 'data', 10**400)
        m.node(1, 'x', v, 10**400)
        m.sumprod([v, 10**400], [w, w], u)""",
    KeyError: """
        v + Raises()
        Raises() - u
        s ** Raises()
        m.Value(Raises())
        m.Value(1, Untrue())
        m.Value(1, label=Untrue())
        setattr(s, 'grad', Raises())
        m.node(Raises(), 'x', v, 1)
        m.node(1, 'x', v, x, w, Raises())
        m.sumprod([v, w, x], [w, Raises(), y], u)""",
    KeyboardInterrupt: """
        m.sumprod(interrupted(v), [w] * 3, u)
        m.sumprod([s] * 3, interrupted(x), u)""",
    AttributeError: """
        v.other
        delattr(v, 'other')
        delattr(v, 'label')
        delattr(v, 'data')
        delattr(u, '_op')
        setattr(u, '_prev', ())
        v.sin()""",
}.items() for line in map(str.strip, lines.strip().splitlines())}


def assert_stays(mg, function):
    """Call a function over and over: no count of references moves, no block of memory stays."""
    class Sub(mg.Value):
        pass

    class Undead(mg.Value):  # comes back to life once, while it is being freed
        def __del__(self):
            if len(undead) < 2:
                undead.append(self)

    undead = []
    v, w, s, t = mg.Value(1.5), mg.Value(-0.25), Sub(2.0), Undead(0.5)
    w.label, s.label = 'w', 's'
    u = v * w
    x, y = float('0.75'), Fraction(2, 3)
    names = [(v + w)._op, (v * w)._op, u._op, (-v)._op, v.relu()._op, (v**w)._op]
    watched = [v, w, u, s, t, x, y, mg.Value, Sub, Undead, mg.node, mg.sumprod, *names,
               copyreg.__newobj__, Real, Complex]
    vars(v), vars(w), vars(u), vars(s), vars(t)  # a first look makes the dict
    arguments = mg, v, w, u, s, t, x, y

    def measure():
        undead.clear()
        v.data, w.data, v.grad, w.grad, u.grad = 1.5, 0.25, 0.0, 0.0, 0.0
        counts = references(*watched)
        cycles = gc.collect()  # it empties Python's own free lists, too
        return counts, cycles, sys.getallocatedblocks()

    with without_gc():
        for _ in range(20):  # caches fill
            function(*arguments)
        before, _, blocks = measure()
        leaf_names = sys.getrefcount(v._op)  # '', which all of Python shares: not to the last one
        for _ in range(ROUNDS):
            function(*arguments)
        after, cycles, more = measure()
        leaf_names -= sys.getrefcount(v._op)
    assert after == before
    assert abs(leaf_names) < ROUNDS // 4
    assert cycles == 0
    assert more - blocks < ROUNDS // 4


@pytest.mark.parametrize('name', FINE)
def test_operations(mg, name):
    assert_stays(mg, FINE[name])


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize('name', WRONG)
def test_errors(mg, name):
    error, function = WRONG[name]

    def raising(*args):
        raised = attempt(function, *args)
        assert raised is not None and issubclass(raised, error), raised

    assert_stays(mg, raising)


def python(mg, script, *args):
    """The output of a script on the engine, in a process of its own."""
    # Left alone, glibc keeps the more back the more has been freed before.
    environment = {'MICROGRAD_PURE': str(int(mg.pure)), 'MALLOC_TRIM_THRESHOLD_': '131072'}
    done = subprocess.run([sys.executable, '-c', script, *args], capture_output=True, text=True,
                          env=os.environ | environment)
    assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


# Big graphs

DROPPED = """
import gc
import os

from micrograd.engine import Value

gc.disable()


def resident():
    with open('/proc/self/statm') as f:
        return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def chain(x, c):
    for _ in range(10**6):
        x = x + c
    return x


def reflected(x, c):
    for _ in range(10**6):
        x = c + x
    return x


def tree(x, c):
    nodes = [x + c for _ in range(2**19)]
    while len(nodes) > 1:
        nodes = [a + b for a, b in zip(nodes[::2], nodes[1::2])]
    return nodes[0]


x, c = Value(0.0), Value(1.0)
before = resident()
for graph in chain, reflected, tree:
    root = graph(x, c)
    root.backward()
    peak = resident()
    del root
    print(graph.__name__, c.grad, peak - before, resident() - before)
    c.grad = 0.0
"""


@pytest.mark.skipif(not os.path.exists('/proc/self/statm'), reason='no /proc')
@pytest.mark.skipif(SANITIZED, reason='AddressSanitizer holds back what is freed')
def test_a_graph_of_a_million_nodes_gives_its_memory_back(mg):
    rows = [line.split() for line in python(mg, DROPPED).splitlines()]
    assert [row[:2] for row in rows] == [
        ['chain', '1000000.0'], ['reflected', '1000000.0'], ['tree', '524288.0']]
    for name, _, peak, left in rows:
        assert int(peak) > 60e6, name  # the million were there
        assert int(left) < 12e6, name  # of these, 5 MB are the pool of _engine.c


POOL = """
import sys

from micrograd.engine import Value


def blocks(n):
    before = sys.getallocatedblocks()
    nodes = [Value(0.0) for _ in range(n)]
    return sys.getallocatedblocks() - before


for n in 50 * [10_000] + [200_000] + 50 * [10_000]:
    assert max(0, n - 2**16) <= blocks(n) < max(0, n - 2**16) + 100, blocks(n)
"""


def test_the_pool_is_bounded_and_its_room_is_used_again(mg):
    if mg.pure or SANITIZED:
        pytest.skip('here is no pool')
    python(mg, POOL)


def test_a_chain_through_own_attributes_is_dropped_without_recursion(mg):
    with without_gc():
        before = references(mg.Value)
        for wrap in (lambda v: v), (lambda v: [v]):
            v = mg.Value(0.0)
            for _ in range(100_000):
                w = mg.Value(1.0) + v
                w.child = wrap(v)
                v = w
            del v, w
        after = references(mg.Value)
    assert after == before


class Maker:
    """An own attribute that builds and drops graphs while its node is being freed."""
    def __init__(self, mg, depth, log):
        self.mg, self.depth, self.log = mg, depth, log

    def __del__(self):
        if self.depth:
            v = self.mg.Value(2.0)
            v.maker = Maker(self.mg, self.depth - 1, self.log)
            w = v
            for _ in range(1000):
                w = w * 1.0
            w.backward()
            self.log.append((w.data, v.grad))


def test_python_code_that_runs_while_a_graph_is_freed(mg):
    class Holder(mg.Value):
        def __del__(self):
            (self * 2 + mg.Value(1.0)).backward()
            kept.append(self)  # back to life
            mg.Value(3.0).maker = Maker(mg, 1, log)

    log, kept = [], []
    with without_gc():
        before = references(mg.Value, Holder)
        for _ in range(30):
            v, h = mg.Value(1.0), Holder(1.0)
            v.maker, h.maker, h.own = Maker(mg, 3, log), Maker(mg, 2, log), [v, v * 2]
            w = (v * h).exp() + v
            w.maker = Maker(mg, 2, log)
            del v, h, w
            assert [h.grad for h in kept] == [2.0]
            kept.clear()
        after = references(mg.Value, Holder)
    assert log and set(log) == {(2.0, 1.0)}
    assert after == before


USE = """
from micrograd.engine import Value
values = [Value(i) * 2 for i in range(1000)]
sum(values).backward()
assert [v._prev[0].grad for v in values] == [2.0] * 1000
Sub = type('Sub', (Value,), {})
left = Sub(3) ** 2 * values[-1]
"""

INTERPRETERS = """
import sys
import _xxsubinterpreters as interpreters

order, use = sys.argv[1:]
for interpreter in order.split():
    if interpreter == 'main':
        exec(use)
    else:
        sub = interpreters.create()
        interpreters.run_string(sub, use)
        interpreters.destroy(sub)
"""


@pytest.mark.parametrize('order', ['sub main sub main', 'main sub sub main'])
def test_subinterpreters(mg, order):
    pytest.importorskip('_xxsubinterpreters')
    python(mg, INTERPRETERS, order, USE)


# Lack of memory

STARVED = """
import gc
import sys

from _testcapi import remove_mem_hooks, set_nomemory
from micrograd.engine import Value, compiled, node, sumprod

pool = [Value(0.0) for _ in range(70_000 if compiled else 0)]  # _engine.c's pool is exhausted


def starve(function, check=lambda: None):
    'Call it with the first allocation failing, with the second, … until none is left to fail.'
    failures = calls = 0
    while calls - failures < 20:
        error = None
        set_nomemory(calls, calls + 1)
        try:
            function()
        except MemoryError as e:
            error = MemoryError
        finally:
            remove_mem_hooks()
        calls += 1
        failures += error is not None
        check()
    return failures


v, w, zero, x, big, huge = Value(1.5), Value(0.25), Value(0.0), 0.75, 10**30, 10**400
w.label = 'w'
u = v * w
s = type('Sub', (Value,), {})(2.0)
pairs = [v, w, u], [u, w, v], [v, 2.0, s]
watched = v, w, zero, u, s, x, big, huge, Value, type(s)
before = [sys.getrefcount(x) for x in watched]
total = {}
for name, function in {
    'operators': lambda: ((v + w) * u - x) / big,
    'power': lambda: (v ** 3, v ** w, 2 ** v),
    'functions': lambda: (v.relu(), v.exp(), v.log(), v.tanh(), -v),
    'Value': lambda: (Value(x), Value(big), Value(x, 'a'), Value(data=1), type(s)(x, 'b')),
    'node': lambda: (node(x, 'sin', v, x), node(1, 'y', v, x, b=u, db=big)),
    'sumprod': lambda: (sumprod(pairs[0], pairs[1], v), sumprod(pairs[0], pairs[2], x)),
    'new': lambda: Value.__new__(Value),
    'read': lambda: (u._prev, (v**2.5)._op, repr(u), v.data, v.grad),
    'state': lambda: (w.__reduce__(), u.__reduce__()),
    'own': lambda: setattr(Value(x), 'momentum', [v]),
    'assign': lambda: (setattr(v, 'data', 1.5), setattr(v, 'grad', 0)),
    'number': lambda: Value('x'),
    'operand': lambda: v + None,
    'huge': lambda: v + huge,
    'huge data': lambda: setattr(v, 'data', huge),
    'derivative': lambda: node(1, 'x', v, 'x'),
    'lengths': lambda: sumprod([v], [], v),
    'log': lambda: (-w).log(),
    'division': lambda: x / zero,
    'root': lambda: (-w) ** x,
    'missing': lambda: v.missing,
}.items():
    def attempt():
        try:
            function()
        except (TypeError, ValueError, ArithmeticError, AttributeError):
            pass
        except SystemError as e:  # Python 3.11 has none ready where it has no room for a frame
            assert not (compiled and e.__traceback__.tb_next)
    total[name] = starve(attempt)
    gc.collect()
    after = [sys.getrefcount(x) for x in watched]
    if compiled:  # in Python's own code, a failure here and there loses a reference
        assert after == before, (name, before, after)
assert (v.data, v.grad, w.data, u.data) == (1.5, 0.0, 0.25, 0.375)

# backward(): where it fails, nothing has happened, but to the nodes between.
shared = v * w
root = shared
for _ in range(200):
    root = root * 1.0 + s
root.backward()
grads = v.grad, w.grad, s.grad
assert all(grads)
expected = 1


def check():
    'Either nothing or all of it has been added; and the next one adds it, too.'
    global expected
    now = v.grad, w.grad, s.grad
    if now != tuple(expected * g for g in grads):
        expected += 1
        assert now == tuple(expected * g for g in grads), (now, grads, expected)
    for again in root, root + shared * 0.0:
        again.backward()
        expected += 1
        assert (v.grad, w.grad, s.grad) == tuple(expected * g for g in grads)
    assert (shared._op, root._op, v._op, w.label) == ('*', '+', '', 'w')


total['backward'] = starve(root.backward, check)
assert total['backward'], total
print(total)
"""


def test_out_of_memory(mg):
    pytest.importorskip('_testcapi')
    python(mg, STARVED)
