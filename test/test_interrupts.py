"""Ctrl-C at any moment: gradients are those before it or those after, and the next are right.

In the compiled engine it waits for the end of the operation: C code is not interrupted.
"""
import _thread
import itertools
import os
import random
import signal
import sys
import time

import pytest
from graphs import count, describe, without_gc

ROUNDS = 40  # of each test, on each engine, for each kind of interruption


def timer(seconds):
    signal.setitimer(signal.ITIMER_REAL, seconds)


def kill(seconds):
    _thread.start_new_thread(
        lambda: (time.sleep(seconds), os.kill(os.getpid(), signal.SIGINT)), ())


def interrupt_main(seconds):
    _thread.start_new_thread(lambda: (time.sleep(seconds), _thread.interrupt_main()), ())


@pytest.fixture(params=[timer, kill, interrupt_main])
def ctrl_c(request):
    """A function that does `work` again and again, until a KeyboardInterrupt somewhere in it."""
    if request.param is not interrupt_main and not hasattr(signal, 'setitimer'):
        pytest.skip('this system sends no such signal')

    def interrupted(work, seconds):
        with pytest.raises(KeyboardInterrupt):
            request.param(seconds)
            for _ in range(10 ** 6):
                work()

    with without_gc():
        interval = sys.getswitchinterval()
        handlers = {number: signal.signal(number, signal.default_int_handler)
                    for number in {signal.SIGINT, getattr(signal, 'SIGALRM', signal.SIGINT)}}
        sys.setswitchinterval(1e-6)  # a thread is to interrupt when it wakes up, and not later
        yield interrupted
        sys.setswitchinterval(interval)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def moments(work, rng):
    """Random times to interrupt at, in seconds: within work(), or soon after."""
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    return [1e-6 + rng.uniform(0, 2 * seconds) for _ in range(ROUNDS)]


def grads(nodes):
    return [v.grad for v in nodes]


def clear(leaves):
    for leaf in leaves:
        leaf.grad = 0.0


def added(before, gain):
    return [x + y for x, y in zip(before, gain)]


def grow(leaves, n, seed, nodes):
    """Make `nodes` the nodes of a random graph, one after the other."""
    rng = random.Random(seed)
    nodes[:] = leaves
    for _ in range(n):
        x, y = nodes[-1], rng.choice(nodes[-50:])
        nodes.append(rng.choice((lambda x, y: x + y, lambda x, y: (x - y) * 0.5,
                                 lambda x, y: x.tanh() * y))(x, y))
    return nodes


def test_backward(mg, ctrl_c):
    base = count(mg)
    leaves = [mg.Value(x / 8) for x in range(-10, 10)]
    shared = grow(leaves, 300, 1, [])
    graphs = [grow(shared[-20:], 300, seed, []) for seed in (2, 3)]  # their nodes
    gains, inner = [], []
    for nodes in graphs:
        clear(leaves)
        nodes[-1].backward()
        gains.append(grads(leaves))
        inner.append(grads(nodes))

    before = grads(leaves)

    def work():
        nonlocal before
        before = grads(leaves)
        graphs[0][-1].backward()

    for seconds in moments(work, random.Random(4)):
        ctrl_c(work, seconds)
        assert grads(leaves) in (before, added(before, gains[0]))
        for i in 1, 0:
            before = grads(leaves)
            graphs[i][-1].backward()
            assert grads(leaves) == added(before, gains[i])
            assert grads(graphs[i]) == inner[i]
    leaves = shared = graphs = nodes = None
    assert count(mg) == base


def test_building_and_dropping(mg, ctrl_c):
    base = count(mg)
    leaves, part = [mg.Value(x / 8) for x in range(-3, 5)], []

    def work():
        part.clear()
        grow(leaves, 300, 5, part)

    for seconds in moments(work, random.Random(6)):
        ctrl_c(work, seconds)
        graphs = []
        for nodes in part, grow(leaves, max(0, len(part) - len(leaves)), 5, []):
            clear(leaves)
            if part:
                nodes[-1].backward()
                graphs.append(describe(nodes[-1]))
        assert not part or graphs[0] == graphs[1]
        part.clear()
        nodes.clear()
        assert count(mg) == base + len(leaves)
    leaves = None
    assert count(mg) == base


def test_training(mg, ctrl_c):
    model = mg.MLP(2, [6, 6, 1])

    def step():
        model.zero_grad()
        loss = sum(((model([x, 1.0]) - x) ** 2 for x in (-1.0, 0.5, 2.0)), mg.Value(0.0))
        loss.backward()
        return loss.data, grads(model.parameters())

    expected, base = step(), count(mg)
    for seconds in moments(step, random.Random(7)):
        ctrl_c(step, seconds)
        assert count(mg) == base
        assert step() == expected


def test_at_every_instruction(mg):
    # Of the pure engine, one after the other, more than a signal could meet. The compiled engine
    # has none.
    def interrupted(work, left):
        """Whether work() was interrupted, before its instruction number `left` in engine.py."""
        def trace(frame, event, _):
            nonlocal left
            if frame.f_code.co_filename != mg.engine.__file__:
                return None
            frame.f_trace_opcodes = True
            left -= event == 'opcode'
            if left < 0:
                raise KeyboardInterrupt
            return trace

        old = sys.gettrace()
        sys.settrace(trace)
        try:
            work()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(old)
        return False

    def build():
        return mg.sumprod([x, y], [y, 2.0], -x) * (x / y) ** y + x.tanh()

    base = count(mg)
    x, y = mg.Value(2.0), mg.Value(3.0)
    z, other = build(), build() * (x * y).exp()
    other.backward()
    gains = {other: grads((x, y))}
    x.grad = y.grad = 0.0
    z.backward()
    gains[z] = grads((x, y))
    for n in itertools.count():
        before = grads((x, y))
        hit = interrupted(z.backward, n)
        assert grads((x, y)) in ([before] if hit else []) + [added(before, gains[z])]
        for root in other, z:
            x.grad = y.grad = 0.0
            root.backward()
            assert grads((x, y)) == gains[root]
        if not hit:
            break
    assert n > 500 or not mg.pure
    for n in itertools.count():
        if not interrupted(build, n):
            break
    assert n > 500 or not mg.pure
    del z, other, root, gains
    assert count(mg) == base + 2
    assert describe(build()) == describe(build())
