"""The engine against PyTorch, on random graphs of all operations."""
import math
import random

from graphs import describe, programs, run, tensor, torch_gradients, without_errors
from hypothesis import assume, given, settings
from hypothesis import strategies as st

many = settings(max_examples=500, deadline=None)
# Multiples of 1/64: equal numbers, zeros and small integers come often, and nothing is tiny.
tame_programs = programs(st.integers(-192, 192).map(lambda n: n / 64))


def tame(v):
    """Refuse a node where rounding or overflow would leave little to compare."""
    if not abs(v.data) < 1e6 or v._op == 'tanh' and abs(v.data) > 0.999:  # tanh' = 1 - tanh²
        raise OverflowError(v.data)
    return v


def expected(program, roots, **hooks):
    """By PyTorch: the number of every node, and its gradient after backward() on all the roots."""
    tensors, _ = run(program, tensor, **hooks)
    grads = [0.0] * len(tensors)
    for root in roots:
        for i, g in enumerate(torch_gradients(tensors[root], tensors)):
            if g is not None:  # leaves accumulate, the nodes between do not
                grads[i] = g + grads[i] * (program[i][0] == 'leaf')
    return [t.item() for t in tensors] + grads


def jittered(program, roots, size):
    """The same with an error of about `size` in every number and every product of the chain rule.

    How far the results move tells what cancels in this graph: what their last digits are worth.
    """
    rng = random.Random(0)

    def error():
        return 1.0 + size * rng.uniform(-1.0, 1.0)

    def use(t):
        t, factor = t.clone(), error()
        t.register_hook(lambda grad: grad * factor)
        return t

    return expected(program, roots, check=lambda t: t * error(), use=use)


@many
@given(tame_programs, st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_values_and_gradients(mg, program, roots):
    # Several backward()s: on one loss again, on losses that share a subgraph, on inner nodes.
    nodes, errors = run(program, mg.Value, mg.sumprod, tame)
    program = without_errors(program, errors)
    roots = [~(root % len(nodes)) for root in roots]
    theirs = expected(program, roots)
    assume(all(map(math.isfinite, theirs)))  # test_engine.py has the infinite derivatives
    for root in roots:
        nodes[root].backward()
    ours = [v.data for v in nodes] + [v.grad for v in nodes]
    off = [i for i, (x, y) in enumerate(zip(ours, theirs)) if not abs(x - y) <= 1e-10 * abs(y)]
    if off:
        one, other = (jittered(program, roots, size) for size in (1e-13, -1e-13))
        for i in off:
            noise = max(abs(one[i] - theirs[i]), abs(other[i] - theirs[i]))
            assert not abs(ours[i] - theirs[i]) > noise, (i, ours[i], theirs[i])


@many
@given(programs(st.floats()), st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_sumprod_is_the_graph_of_the_operators(mg, program, roots):
    def graph(*sumprod):
        nodes, errors = run(program, mg.Value, *sumprod)
        for root in roots:
            nodes[root % len(nodes)].backward()
        return describe(*nodes), list(map(repr, errors))

    assert graph(mg.sumprod) == graph()
