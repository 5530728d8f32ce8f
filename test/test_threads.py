"""Threads that share nothing, and threads that share parameters."""
import random
import sys
import threading

import pytest
from graphs import count, train, without_gc

THREADS = 8


@pytest.fixture(autouse=True)
def switch_all_the_time():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def at_once(work):
    """[work(0), work(1), …], each in a thread of its own, all started at the same moment."""
    results, errors = [None] * THREADS, []
    barrier = threading.Barrier(THREADS)

    def run(i):
        barrier.wait()
        try:
            results[i] = work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(THREADS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    return results


def trained(model, steps=30):
    """The losses, and the gradients at the end."""
    data = [([x, 1.0], x * x) for x in (-1.0, -0.25, 0.5, 1.5)]
    return train(model, data, steps), [p.grad for p in model.parameters()]


def test_models_of_their_own(mg):
    def models():
        random.seed(1337)
        return [mg.MLP(2, [4, 3, 1]) for _ in range(THREADS)]

    with without_gc():
        base = count(mg)
        expected = [trained(model) for model in models()]
        shared_by_none = models()
        assert at_once(lambda i: trained(shared_by_none[i])) == expected
        shared_by_none = None
        assert count(mg) == base


def test_shared_parameters(mg):
    # Eighths and few of them, so that sums are exact and do not depend on their order.
    random.seed(1337)
    model = mg.MLP(2, [3, 1])
    for p in model.parameters():
        p.data = round(p.data * 8) / 8
    lock = threading.Lock()

    def steps(i, lock=None):
        for k in range(30):
            loss = model([i - 3, k % 4]) * 0.5
            if lock:
                with lock:
                    loss.backward()
            else:
                loss.backward()

    def gradients(work, *args):
        model.zero_grad()
        work(*args)
        return [p.grad for p in model.parameters()]

    with without_gc():
        base = count(mg)
        expected = gradients(lambda: [steps(i) for i in range(THREADS)])
        assert gradients(at_once, lambda i: steps(i, lock)) == expected
        together = gradients(at_once, steps)
        # The compiled backward() is one step to other threads. The pure one is many, so that no
        # sum is promised; but nothing of it is left behind.
        assert together == expected or mg.pure
        assert gradients(lambda: [steps(i) for i in range(THREADS)]) == expected
        assert count(mg) == base
