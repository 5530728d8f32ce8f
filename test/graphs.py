"""Random graphs, written down as programs that run on any engine, and on PyTorch.

A program is a list of steps, plain tuples of an operation and its operands:

    [('leaf', 2.0), ('leaf', -3.0), ('*', 0, 1), ('+', 0, 1.5), ('relu', 0), ('sumprod', …)]

An int says how many nodes back the operand is, 0 for the newest, around the corner where there
are not as many; so any list of steps that starts with a leaf is a program, also with steps taken
out. A float is that plain number. The operands of 'sumprod' are two tuples and the start.
"""
import contextlib
import gc
import operator
import sys

OPERATORS = {'+': operator.add, '-': operator.sub, '*': operator.mul, '/': operator.truediv,
             '**': operator.pow}
FUNCTIONS = {'neg': operator.neg,
             **{name: operator.methodcaller(name) for name in ('relu', 'exp', 'log', 'tanh')}}
OPERATIONS = OPERATORS | FUNCTIONS


def sumprod_by_operators(p, q, start):
    for x, y in zip(p, q):
        start = start + x * y
    return start


def run(program, leaf, sumprod=sumprod_by_operators, check=lambda v: v, use=lambda v: v):
    """Run a program: (nodes, errors).

    A step that raises makes no node; `errors` has the exception or None of every step.

    Args:
        leaf: makes a leaf of a float: an engine's Value, or `tensor`.
        sumprod: the engine's.
        check: is given every new node and returns the one to go on with, or raises.
        use: the same, for every operand that is a node, each time.
    """
    nodes, errors = [], []

    def operand(x):
        if isinstance(x, tuple):
            return tuple(map(operand, x))
        return use(nodes[~(x % len(nodes))]) if isinstance(x, int) else x

    operations = {'sumprod': sumprod, 'leaf': leaf, **OPERATIONS}
    for op, *args in program:
        try:
            nodes.append(check(operations[op](*map(operand, args))))
            errors.append(None)
        except (ArithmeticError, ValueError) as error:
            errors.append(error)
    return nodes, errors


def without_errors(program, errors):
    """The program that runs on an engine that has other errors (PyTorch: none)."""
    return [step for step, error in zip(program, errors) if error is None]


def random_program(rng, size, number):
    """A program of `size` steps by a `random.Random`; `number(rng)` draws a number."""
    def back():
        return int(rng.expovariate(0.2))  # mostly new nodes: deep graphs

    def pair():
        n = rng.randrange(1, 4)
        return tuple(back() for _ in range(n)), tuple(back() for _ in range(n))

    steps = [
        lambda: ('leaf', number(rng)),
        lambda: (rng.choice([*FUNCTIONS]), back()),
        lambda: (rng.choice([*OPERATORS]), back(), back()),
        lambda: (rng.choice([*OPERATORS]), back(), number(rng)),
        lambda: (rng.choice([*OPERATORS]), number(rng), back()),
        lambda: ('sumprod', *pair(), back()),
    ]
    return [('leaf', number(rng))] + [
        rng.choices(steps, (2, 3, 5, 1, 1, 1))[0]() for _ in range(size - 1)]


def programs(numbers, max_size=40):
    """A hypothesis strategy; `numbers` is one of floats."""
    from hypothesis import strategies as st
    back = st.integers(0, 15)
    operators, functions = st.sampled_from([*OPERATORS]), st.sampled_from([*FUNCTIONS])
    pairs = st.lists(st.tuples(back, back), min_size=1, max_size=3).map(
        lambda ij: (tuple(i for i, _ in ij), tuple(j for _, j in ij)))
    binary = st.tuples(operators, back, back)
    step = st.one_of(
        binary, binary, st.tuples(functions, back), st.tuples(functions, back),
        st.tuples(operators, back, numbers), st.tuples(operators, numbers, back),
        st.tuples(st.just('leaf'), numbers),
        st.builds(lambda pq, start: ('sumprod', *pq, start), pairs, back))
    return st.tuples(numbers, st.lists(step, min_size=1, max_size=max_size)).map(
        lambda drawn: [('leaf', drawn[0]), *drawn[1]])


def tensor(x):
    """A leaf in PyTorch."""
    import torch
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


def torch_gradients(root, nodes):
    """∂root/∂node for every node by PyTorch, None where root does not depend on it."""
    import torch
    grads = torch.autograd.grad(root, nodes, retain_graph=True, allow_unused=True)
    return [None if g is None else g.item() for g in grads]


def describe(*roots):
    """Everything about the graphs below: a tuple (op, data, grad, operands) per node, to the bit.

    Operands are positions in this list; so equal lists are equal graphs, shared nodes and all.
    """
    position, rows, path = {}, [], list(roots)[::-1]
    while path:
        v = path[-1]
        waiting = [x for x in v._prev if id(x) not in position]
        if waiting:
            path += waiting[::-1]
            continue
        path.pop()
        if id(v) not in position:
            position[id(v)] = len(rows)
            operands = tuple(position[id(x)] for x in v._prev)
            rows.append((v._op, v.data.hex(), v.grad.hex(), operands))
    return rows


@contextlib.contextmanager
def without_gc():
    """Without the garbage collector: a graph has no cycles and is freed when it is dropped."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def count(mg):
    """How many Values there are, and a constant: every one refers to its type."""
    return sys.getrefcount(mg.Value)


def train(model, data, steps):
    """A few steps of gradient descent with momentum; the losses."""
    losses = []
    for _ in range(steps):
        loss = sum((model(x) - y) ** 2 for x, y in data) * (1.0 / len(data))
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.m = 0.5 * getattr(p, 'm', 0.0) + p.grad
            p.data -= 0.05 * p.m
        losses.append(loss.data)
    return losses
