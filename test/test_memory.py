"""Nothing leaks, or is freed too early, or runs too deep; not even when memory runs out."""
import contextlib
import copy
import gc
import math
import numbers
import os
import pickle
import random
import sys
import sysconfig
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from conftest import count, python, without_gc
from programs import describe, random_program, run, subclass

pytestmark = pytest.mark.skipif(not hasattr(gc, 'freeze'), reason='here nothing counts references')
SANITIZED = 'asan' in os.environ.get('LD_PRELOAD', '')  # by .ci/sanitize


@pytest.fixture(scope='module', autouse=True)
def quick():
    """Without what other modules left behind; and threads take turns all the time."""
    gc.collect()
    gc.freeze()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
    gc.unfreeze()


def assert_stays(work, *watched, leak=20):
    """No count of references goes up, or down, each time; nor do so many blocks of memory stay."""
    def measure():
        work()
        gc.collect()  # and it empties Python's own free lists
        return [sys.getallocatedblocks(), *map(sys.getrefcount, watched)]

    with without_gc():
        rounds = [measure() for _ in range(13)][5:]  # by then, caches are full
    blocks, *counts = ([after - before for before, after in zip(column, column[1:])]
                       for column in zip(*rounds))
    assert min(blocks) < leak
    assert all(min(changes) <= 0 <= max(changes) for changes in counts)


@pytest.mark.filterwarnings('ignore::RuntimeWarning')  # NumPy's, about inf and nan
def test_random_programs(mg):
    # Without `rule =`, which makes cycles through operators' nodes, and these stay.
    programs = [random_program(random.Random(seed), 60, 0.3, rules=False, numpy=True, wrong=True)
                for seed in range(60)]
    assert_stays(lambda: [run(program, mg) for program in programs] and None,
                 mg.Value, mg.sumprod, mg.engine, math, numbers.Real, *'+-*/',
                 leak=math.inf)  # Python's own caches fill up for long


@numbers.Real.register
class Fails:
    def __float__(self):
        raise LookupError


def everything(Value, sumprod):
    """What to watch; calls of all that an engine has, right and wrong; more, partly Python's."""
    class Sub(Value):
        __slots__ = ('slot',)

    v, w, s, big, fails = Value(2.0), Value(0.25), Sub(0.5), 10**30, Fails()
    u, many, failing = v * s, Value(1.0, (v, s, v), 'many', 'm', (1, 2, 3)), Value(2.0, (v, s), 'x')
    failing._backward = rule = fails.__float__
    for x in v, s, u, many, failing:
        vars(x)  # a first look makes the dict

    def changed():
        v.data, v.grad, u.data, v.label, v.own = big, True, -1.5, 'another label'[3:], [u, s]
        s.slot, many._backward = u, rule
        v.__init__(2, label='one more label'[4:])
        s.__dict__ = {'z': u}
        del v.own, s.z, s.slot, many._backward

    def backward():
        x = Value(0.0, (u, many, v), slopes=(1, big, 2))
        for _ in range(200):
            x = x * 0.5 + v
        x.backward()
        x._backward()
        (x + failing).backward()

    def made_again():
        x = Value(big, (u, v), 'op' * 9, 'x' * 9, (big, 2))
        x.__init__(1.0, (s,), 'other', slopes=(big,))
        x._backward = lambda: big

    made = [(fails,), (big, (v, 'x'), '+'), (big, (v,), 5), (big, (v, u), '', 'z' * 9, (big,)),
            (big, (v, u), '', '', (big, fails)), (big, [v, w, u], 'y' * 9, 'z' * 9, [.75, 1, big])]
    summed = [([big], [fails], v), ([v, v], [v, 'x'], s), ([v], [v]), ([v, s, u], (big, u, v), big),
              (dict.fromkeys([v, s, u]), [big, s, u], fails)]
    return (v, w, s, u, many, failing, rule, big, fails, Value, Sub), [
        backward, made_again, lambda: v / Value(0.0), w.__repr__, (-w).log, lambda: pow(v, 2, 3),
        lambda: (v ** 3, v ** w, 2 ** v, u.__add__('x')), lambda: (-w) ** 0.5,
        lambda: (v.relu(), v.exp(), v.log(), v.tanh(), v.sigmoid(), -v),
        lambda: ((v + w) * u - 1) / big, lambda: v + fails, lambda: v ** fails,
        lambda: (u._op, (v ** 2.5)._op, u._prev, u._slopes, v._slopes, u._backward, v.data),
        lambda: (many._prev, many._slopes, many._op, many.label, many._backward),
        lambda: (Value.__new__(Value), Sub.__new__(Sub)), lambda: setattr(Value(1), 'm', [v]),
        *(partial(make, *args) for make in (Value, Sub) for args in made),
        *(partial(sumprod, *args) for args in summed), partial(Value, big, label='x', other=(v,)),
        *(partial(setattr, u, *pair) for pair in (('data', fails), ('_op', 'x'), ('data', -1.5))),
        lambda: v.__init__(big, (u, 1)), lambda: u.missing,
    ], [changed, lambda: pickle.loads(pickle.dumps([v, v, u])), lambda: copy.deepcopy([s, failing]),
        lambda: sumprod([v, s], (1 / i for i in (1, 0)), v), lambda: Value.__new__(int)]


WRONG = TypeError, ValueError, ArithmeticError, LookupError, AttributeError


def test_everything_an_engine_has(mg):
    held, calls, more = everything(mg.Value, mg.sumprod)

    def work():
        for call in (calls + more) * 20:
            with contextlib.suppress(*WRONG):
                call()

    assert_stays(work, *held, mg.engine._leaf)


# Dropping

def test_what_is_held_stays_and_all_else_goes(mg):
    Sub = subclass(mg.Value)

    def living():
        return count(mg) + sys.getrefcount(Sub)

    with without_gc():
        base = living()
        for seed in range(100):
            rng, nodes = random.Random(seed), []
            run(random_program(rng, 60, rules=False), mg, lambda i, v: nodes.append(v) or v)  # noqa: B023
            gc.collect()  # run() has a cycle of its own
            nodes = rng.sample(nodes, len(nodes) // 5)
            while nodes:
                assert living() == base + len(describe(*nodes))
                nodes.pop(rng.randrange(len(nodes)))
            assert living() == base


STEPS = """
import gc, resource
from bench import memory
from micrograd import Value, engine

def step(n):
    'Gives how many pages of memory were new to it.'
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    x = Value(1.0)
    for _ in range(n):
        x = x + 1.0
    x.backward()
    x = None
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

gc.disable()
before = memory('VmRSS')
if engine.compiled:
    assert [step(200_000) for _ in range(20)][-1] < 100, 'what each step needs is kept'
    step(2_000_000)
    assert memory('VmRSS') < before + 50e6, 'what was needed once is given back,'
    for n in 100_000, 10_000:
        for _ in range(300):
            step(n)
else:
    step(1_000_000)
assert memory('VmRSS') < before + 16e6, 'and so is what has not been needed for long'
"""


@pytest.mark.skipif(not os.path.exists('/proc/self/status'), reason='here nobody says how much')
def test_memory_is_kept_for_the_next_step_and_given_back(mg):
    if SANITIZED or sysconfig.get_config_var('Py_GIL_DISABLED'):
        pytest.skip('here memory is in the hands of others')
    trim = {'MALLOC_TRIM_THRESHOLD_': '131072'} if mg.pure else {}  # for glibc
    python(mg, STEPS, **trim)


# Cycles: a rule refers to the Value that it is assigned to

def ruled(x, cls):
    out = cls(x.data, (x,), 'ruled')

    def _backward():
        x.grad += out.grad

    out._backward = _backward
    return out


def test_cycles_through_rules_are_collected(mg):
    with without_gc():
        base, x = count(mg), mg.Value(1.0)
        v = x
        for _ in range(50_000):  # an operator's node between any two of them
            v = ruled(v, mg.Value) + 1.0
        gc.collect()  # alive: nothing of it goes
        v.backward()
        assert x.grad == 1.0
        x = v = None
        gc.collect()
        assert count(mg) == base


def test_a_chain_through_own_attributes_is_dropped_without_recursion(mg):
    with without_gc():
        base, v = count(mg), mg.Value(0.0)
        for i in range(200_000):
            w = mg.Value(1.0) + v
            w.child = v if i < 100_000 else [v]
            v = w
        del v, w
        assert count(mg) == base


def test_what_the_collector_has_to_look_at(mg):
    if mg.pure:
        pytest.skip('here Python decides')
    a, b = mg.Value(2.0), mg.Value(3.0)
    plain = [a, a + b, a * 2.0, -a, a.exp(), a ** b, mg.sumprod([a, b], [b, a], a)]
    own = [mg.Value(1.0, (a,)), mg.Value(1.0, (a, b), slopes=(1, 2)), type('S', (mg.Value,), {})(1)]
    assert [gc.is_tracked(v) for v in (*plain, *own, own[0] * 2.0)] == [False] * 7 + [True] * 4


# Finalizers, which run while a graph is being freed

def test_finalizers_may_build_and_drop_graphs(mg):
    class Undead(mg.Value):
        def __del__(self):
            kept.append(self)  # back to life
            if self.data:
                work(self.data - 1.0, 3)

    def work(depth, n):
        x = start = mg.Value(1.0)
        for _ in range(n):
            x = (x + Undead(depth)) * 1.0
        x.backward()
        assert start.grad == 1.0

    kept = []
    with without_gc():
        base = count(mg)
        work(2.0, 100)
        assert len(kept) == 100 * (1 + 3 + 3 * 3)
        kept.clear()
        assert kept == [] and count(mg) == base  # a finalizer runs once


def test_rules_and_finalizers_in_threads(mg):
    class Last(mg.Value):
        def __del__(self):
            met.append(barrier.wait())  # to another thread

    def work(_):
        for _ in range(10):
            x = start = mg.Value(1.0)
            for _ in range(50):
                x = mg.Value(0.0, (ruled(x, mg.Value) * 0.5, x), slopes=(1.0, 0.5)) * 1.0
            x.backward()
            Last(1.0) * 1.0  # it waits for those in other threads
            assert start.grad == 1.0
            shared.backward()  # all at once: what is added is anybody's guess

    barrier, met = threading.Barrier(4, timeout=60), []
    with without_gc(), ThreadPoolExecutor(4) as pool:
        base, shared = count(mg), ruled(mg.Value(1.0), mg.Value) * 1.0
        assert [*pool.map(work, range(4))] == [None] * 4
        shared = None
        gc.collect()
        assert count(mg) == base and met.count(3) == 10


FORK = """
import os, sys
from micrograd import Value

def fork():
    global child
    child = child and os.fork()

class Forks:
    __del__ = lambda self: fork()

def rule():
    fork()
    leaf.grad += out.grad

def right(x):
    leaf.grad = 0.0
    for _ in range(1000):
        x = x * 1.0
    x.backward()
    return leaf.grad == 1.0

leaf, child = Value(1.0), 1
out = Value(1.0, (leaf,))
out._backward = rule
for ruled in False, True:
    first = out if ruled else leaf * 1.0
    if not ruled:
        first.forks = Forks()
    assert right(first)
    first = None
    before = sys.getrefcount(Value)
    assert all([right(leaf * 1.0) for _ in range(10)])
    assert child or sys.getrefcount(Value) < before + 10
    if not child:
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork here')
def test_a_finalizer_and_a_rule_may_fork(mg):
    if mg.pure:
        pytest.skip('Python itself puts off what dies in a finalizer')
    assert python(mg, FORK) == b'0\n' * 2


# Several interpreters

INTERPRETERS = """
import importlib, sys
interpreters = importlib.import_module(sys.argv[1])
use = '''
import os
from micrograd import engine
values = [engine.Value(True) * i for i in range(1000)]
sum(values).backward()
assert [v._prev[0].grad for v in values] == [*range(1000)]
os.write(1, b'compiled ' if engine.compiled else b'pure ')
'''
for _ in range(2):
    sub = interpreters.create()
    interpreters.run_string(sub, use)
    interpreters.destroy(sub)
    exec(use)
"""


def test_the_python_engine_serves_in_a_subinterpreter(mg):
    module = '_interpreters' if sys.version_info >= (3, 13) else '_xxsubinterpreters'
    pytest.importorskip(module)
    here = b'pure ' if mg.pure else b'compiled '
    assert python(mg, INTERPRETERS, module) == (b'pure ' + here) * 2


# No memory left

STARVED = """
import gc, resource, sys
from _testcapi import remove_mem_hooks, set_nomemory
from bench import memory
from micrograd.engine import Value, sumprod
from test_memory import WRONG, everything

def starve(function, check=lambda: None):
    'Call it with the first allocation failing, with the second, … until none is left to fail.'
    failures = calls = 0
    while calls - failures < 20:
        set_nomemory(calls, calls + 1)
        try:
            function()
        except MemoryError:
            failures += 1
        except WRONG:
            pass
        except SystemError as error:  # Python 3.11 has none ready where it has no room for a frame
            remove_mem_hooks()
            assert 'returned NULL' in str(error)
        finally:
            remove_mem_hooks()
        calls += 1
        check()
    return failures

def stays(function):
    starve(function)
    gc.collect()
    before = [sys.getrefcount(x) for x in watched]
    failures = starve(function)
    gc.collect()
    assert [sys.getrefcount(x) for x in watched] == before, function
    return failures

gc.disable()  # or the callbacks of others are starved
watched, calls, _ = everything(Value, sumprod)
for function in calls:
    stays(function)

# Where backward() fails, the next one is right.
v, s = Value(1.5), Value(0.5)
x = v * 1.0
rule = Value(1.0, (x,), 'rule')
rule._backward = lambda first=x: setattr(first, 'grad', first.grad + rule.grad)
for _ in range(200):
    x = Value(1.0, (x, s), slopes=(1.0, 2.0)) * 1.0 + s
x = x + rule

def check():
    v.grad = s.grad = 0.0
    x.backward()
    assert (v.grad, s.grad) == (2.0, 600.0)

assert starve(x.backward, check) and stays(x.backward)

if len(sys.argv) > 1:  # no room for nodes
    room = int(memory('VmSize')) + 40_000_000
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    y = v
    try:
        while True:
            y = y * 1.0 + 1.0
    except MemoryError:
        y = None
    check()
"""


@pytest.mark.needs('_testcapi')
def test_out_of_memory(mg):
    if mg.pure:
        pytest.skip('here all memory is in the hands of Python')
    python(mg, STARVED, *['room'] * (sys.platform == 'linux' and not SANITIZED))
