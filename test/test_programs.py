"""Programs of the kind that people build on the engine, each against the same in PyTorch.

They use the public API alone: `Value`, its operators and methods, and `nn`.
"""
import itertools
import math
import random

import pytest
import torch
from graphs import tensor
from test_nn import torch_mlp


def double(x):
    return torch.tensor(x, dtype=torch.float64)


def close(ours, theirs, tolerance=1e-12):
    return torch.allclose(double(ours), theirs, tolerance, tolerance)


def matrix(rng, rows, columns):
    return [[rng.gauss(0, 1) for _ in range(columns)] for _ in range(rows)]


# Adam, with its state kept on the parameters

def adam_step(parameters, t, rate=0.02, beta1=0.9, beta2=0.999, eps=1e-8):
    """The t-th step of Adam, t = 1, 2, …: p.m and p.v are running means of grad and grad²."""
    for p in parameters:
        if t == 1:
            p.m = p.v = 0.0
        p.m = beta1 * p.m + (1 - beta1) * p.grad
        p.v = beta2 * p.v + (1 - beta2) * p.grad ** 2
        m, v = p.m / (1 - beta1 ** t), p.v / (1 - beta2 ** t)
        p.data -= rate * m / (math.sqrt(v) + eps)


def test_adam(mg):
    rng = random.Random(1)
    random.seed(1)
    points = matrix(rng, 12, 2)
    labels = [x * y for x, y in points]
    model = mg.MLP(2, [6, 1])
    matrices, forward = torch_mlp(model)
    theirs = torch.optim.Adam(matrices, lr=0.02)
    first = None
    for t in range(1, 41):
        loss = sum((model(x) - y) ** 2 for x, y in zip(points, labels)) / len(points)
        model.zero_grad()
        loss.backward()
        adam_step(model.parameters(), t)

        outputs = forward(double(points))[:, 0]
        expected = ((outputs - double(labels)) ** 2).mean()
        theirs.zero_grad()
        expected.backward()
        theirs.step()
        first = first or loss.data
        assert loss.data == pytest.approx(expected.item(), rel=1e-10)
    assert loss.data < first / 2
    flat = torch.cat([m.flatten() for m in matrices])
    assert close([p.data for p in model.parameters()], flat, 1e-10)


# Softmax and cross-entropy over three classes

def cross_entropy(logits, label):
    """-log softmax(logits)[label]; what is taken off first keeps exp within range."""
    top = max(v.data for v in logits)
    return top + sum((v - top).exp() for v in logits).log() - logits[label]


def test_three_classes(mg):
    rng = random.Random(2)
    random.seed(2)
    centres = [(0.0, 1.0), (1.0, -1.0), (-1.0, -1.0)]
    labels = [i % 3 for i in range(18)]
    points = [[c + rng.gauss(0, 0.5) for c in centres[label]] for label in labels]
    model = mg.MLP(2, [8, 3])
    matrices, forward = torch_mlp(model)
    for step in range(25):
        scores = [model(x) for x in points]
        losses = [cross_entropy(logits, label) for logits, label in zip(scores, labels)]
        loss = sum(losses) / len(points)
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= 0.5 * p.grad

        expected = torch.nn.functional.cross_entropy(
            forward(double(points)), torch.tensor(labels))
        grads = torch.autograd.grad(expected, matrices)
        with torch.no_grad():
            for m, g in zip(matrices, grads):
                m -= 0.5 * g
        assert loss.data == pytest.approx(expected.item(), rel=1e-12)
        if step == 0:
            flat = torch.cat([g.flatten() for g in grads])
            assert close([p.grad for p in model.parameters()], flat)
    right = sum(max(range(3), key=lambda i: s[i].data) == y for s, y in zip(scores, labels))
    assert right >= 16


@pytest.mark.parametrize('logits', [[1000.0, 0.0, -1000.0], [-2000.0, -2001.0, -2000.5]])
def test_cross_entropy_of_large_logits(mg, logits):
    ours, theirs = [mg.Value(x) for x in logits], tensor(logits)
    loss = cross_entropy(ours, 1)
    loss.backward()
    expected = torch.nn.functional.cross_entropy(theirs, torch.tensor(1))
    expected.backward()
    assert loss.data == pytest.approx(expected.item(), rel=1e-12)
    assert close([v.grad for v in ours], theirs.grad)


# A block of self-attention with RMS normalization, over scalars

def dot(x, y):
    return sum(a * b for a, b in zip(x, y))


def linear(w, x):
    return [dot(row, x) for row in w]


def rms_norm(x, gains, eps=1e-5):
    scale = (dot(x, x) / len(x) + eps) ** -0.5
    return [g * a * scale for g, a in zip(gains, x)]


def softmax(logits):
    top = max(v.data for v in logits)
    exps = [(v - top).exp() for v in logits]
    total = sum(exps)
    return [e / total for e in exps]


def attention_block(tokens, gains, wq, wk, wv, wo, heads):
    """Causal self-attention on the normalized tokens, added to the tokens."""
    normal = [rms_norm(x, gains) for x in tokens]
    q, k, v = ([linear(w, x) for x in normal] for w in (wq, wk, wv))
    size = len(gains) // heads
    out = []
    for t, x in enumerate(tokens):
        mixed = []
        for h in range(0, len(gains), size):
            part = slice(h, h + size)
            weights = softmax([dot(q[t][part], k[s][part]) / size ** 0.5 for s in range(t + 1)])
            mixed += [dot(weights, [v[s][i] for s in range(t + 1)]) for i in range(h, h + size)]
        out.append([a + b for a, b in zip(x, linear(wo, mixed))])
    return out


def torch_attention_block(x, gains, wq, wk, wv, wo, heads):
    n, width = x.shape
    normal = torch.nn.functional.rms_norm(x, (width,), gains, eps=1e-5)
    q, k, v = ((normal @ w.T).view(n, heads, -1).transpose(0, 1) for w in (wq, wk, wv))
    mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return x + mixed.transpose(0, 1).reshape(n, width) @ wo.T


@pytest.mark.parametrize('n, width, heads', [(1, 4, 1), (5, 4, 1), (6, 8, 2)])
def test_self_attention(mg, n, width, heads):
    rng = random.Random(n)
    start = [matrix(rng, n, width), matrix(rng, 1, width)[0],
             *(matrix(rng, width, width) for _ in range(4))]
    target = matrix(rng, n, width)

    def values(x):
        return [values(y) for y in x] if isinstance(x, list) else mg.Value(x)

    ours, theirs = values(start), [tensor(x) for x in start]
    out, expected = attention_block(*ours, heads), torch_attention_block(*theirs, heads)
    loss = sum((a - b) ** 2 for x, y in zip(out, target) for a, b in zip(x, y))
    loss.backward()
    ((expected - double(target)) ** 2).sum().backward()
    assert close([[v.data for v in x] for x in out], expected)
    for x, t in zip(ours, theirs):
        flat = itertools.chain(*x) if isinstance(x[0], list) else x
        assert close([v.grad for v in flat], t.grad.flatten())


# When you have outgrown it: the same network in PyTorch

def to_torch(model):
    """nn.MLP as a torch.nn.Sequential, with the weights copied over."""
    modules = []
    for layer in model.layers:
        linear = torch.nn.Linear(len(layer.neurons[0].w), len(layer.neurons), dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(double([[w.data for w in n.w] for n in layer.neurons]))
            linear.bias.copy_(double([n.b.data for n in layer.neurons]))
        modules += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*modules[:-1])


def from_torch(model, net):
    """The weights of such a net into nn.MLP."""
    for layer, linear in zip(model.layers, net[::2]):
        for n, w, b in zip(layer.neurons, linear.weight.tolist(), linear.bias.tolist()):
            for p, x in zip(n.parameters(), [*w, b]):
                p.data = x


def torch_gradients(net):
    """In the order of nn's parameters: neuron by neuron, the weights and then the bias."""
    return torch.cat([torch.cat([m.weight.grad, m.bias.grad[:, None]], 1).flatten()
                      for m in net[::2]])


@pytest.mark.parametrize('seed', range(30))
def test_the_same_network_in_pytorch(mg, seed):
    rng = random.Random(seed)
    random.seed(seed)
    torch.manual_seed(seed)
    nin, nouts = rng.randint(1, 8), [rng.randint(1, 12) for _ in range(rng.randint(1, 4))]
    points = matrix(rng, rng.randint(1, 5), nin)
    model = mg.MLP(nin, nouts)
    net = to_torch(model)
    for again in range(2):
        outputs = [model(x) for x in points]
        outputs = [out if isinstance(out, list) else [out] for out in outputs]
        model.zero_grad()
        sum(v * v for out in outputs for v in out).backward()
        net.zero_grad()
        expected = net(double(points))
        (expected ** 2).sum().backward()
        assert close([[v.data for v in out] for out in outputs], expected)
        assert close([p.grad for p in model.parameters()], torch_gradients(net))
        if not again:  # and the other way: a net that PyTorch has drawn
            net = torch.nn.Sequential(*(
                m if isinstance(m, torch.nn.ReLU) else
                torch.nn.Linear(m.in_features, m.out_features, dtype=torch.float64) for m in net))
            from_torch(model, net)
