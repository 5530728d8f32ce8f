"""A GPT out of scalars, for bench.py: of the kind of microgpt, with the Value that it brings along.

It has one layer, 4 heads and 4,192 parameters, and learns to tell the next letter of a word.
"""
import math
import random
from functools import partial
from itertools import count
from operator import methodcaller
from types import SimpleNamespace

SHAPES = {'token': (27, 16), 'place': (16, 16), 'query': (16, 16), 'key': (16, 16),
          'value': (16, 16), 'mix': (16, 16), 'up': (64, 16), 'down': (16, 64), 'score': (27, 16)}
WORDS = ['amarin', 'belcho', 'dufexi', 'gajoki', 'hylque', 'mavrez', 'norwin', 'pelota', 'quirza',
         'sambor', 'tavish', 'wenzyl']  # of one length, so that each step costs the same
FLOATS = SimpleNamespace(relu=lambda v: max(0.0, v), exp=math.exp, log=math.log)
VALUES = SimpleNamespace(**{name: methodcaller(name) for name in vars(FLOATS)})


def softmax(scores, of):
    powers = [of.exp(score) for score in scores]  # small ones, that do not overflow
    total = sum(powers)
    return [power / total for power in powers]


def gpt(Value):
    """What takes a training step and returns the loss; where Value is float, a forward pass."""
    of = FLOATS if Value is float else VALUES
    matrices = {name: [[Value(random.gauss(0, 0.08)) for _ in range(n)] for _ in range(m)]
                for name, (m, n) in SHAPES.items()}

    def added(x, y): return [a + b for a, b in zip(x, y)]
    def dot(x, y): return sum(a * b for a, b in zip(x, y))
    def linear(name, x): return [dot(row, x) for row in matrices[name]]

    def normed(x):
        scale = (dot(x, x) / len(x) + 1e-5) ** -0.5
        return [v * scale for v in x]

    def loss_at(word):
        tokens = [26, *(ord(letter) - ord('a') for letter in word), 26]  # 26: where a word ends
        keys, values, losses = [], [], []
        for place, (token, following) in enumerate(zip(tokens, tokens[1:])):
            x = normed(added(matrices['token'][token], matrices['place'][place]))
            y = normed(x)
            query, key, value = (linear(name, y) for name in ('query', 'key', 'value'))
            keys, values, heads = [*keys, key], [*values, value], []
            for head in (slice(i, i + 4) for i in range(0, 16, 4)):
                weights = softmax([dot(query[head], key[head]) / 2 for key in keys], of)
                heads += [dot(weights, column) for column in zip(*(v[head] for v in values))]
            x = added(x, linear('mix', heads))
            x = added(x, linear('down', [of.relu(v) for v in linear('up', normed(x))]))
            losses.append(-of.log(softmax(linear('score', x), of)[following]))
        return sum(losses) / len(losses)

    if Value is float:
        return partial(loss_at, WORDS[0])
    parameters = [p for matrix in matrices.values() for row in matrix for p in row]
    means, squares, steps = [0.0] * len(parameters), [0.0] * len(parameters), count()

    def step():  # of Adam
        t = next(steps)
        loss = loss_at(WORDS[t % len(WORDS)])
        loss.backward()
        for i, p in enumerate(parameters):
            means[i] = 0.85 * means[i] + 0.15 * p.grad
            squares[i] = 0.99 * squares[i] + 0.01 * p.grad ** 2
            mean, square = means[i] / (1 - 0.85 ** (t + 1)), squares[i] / (1 - 0.99 ** (t + 1))
            p.data -= 0.01 * (1 - t / 1000) * mean / (square ** 0.5 + 1e-8)
            p.grad = 0.0
        return loss.data
    return step


class Own:
    """A Value as a program in one file brings it along, in the manner of microgpt."""
    __slots__ = ('data', 'grad', 'operands', 'slopes')

    def __init__(self, data, operands=(), slopes=()):
        self.data, self.grad, self.operands, self.slopes = data, 0.0, operands, slopes

    def __add__(self, other):
        other = other if isinstance(other, Own) else Own(other)
        return Own(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        other = other if isinstance(other, Own) else Own(other)
        return Own(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, k): return Own(self.data ** k, (self,), (k * self.data ** (k - 1),))
    def exp(self): return Own(math.exp(self.data), (self,), (math.exp(self.data),))
    def log(self): return Own(math.log(self.data), (self,), (1 / self.data,))
    def relu(self): return Own(max(0.0, self.data), (self,), (float(self.data > 0),))
    def __neg__(self): return self * -1
    def __radd__(self, other): return self + other
    def __truediv__(self, other): return self * other ** -1

    def backward(self):
        order, visited = [], set()

        def visit(v):
            visited.add(v)
            for x in v.operands:
                if x not in visited:
                    visit(x)
            order.append(v)
        visit(self)
        self.grad = 1.0
        for v in reversed(order):
            for x, slope in zip(v.operands, v.slopes):
                x.grad += slope * v.grad
