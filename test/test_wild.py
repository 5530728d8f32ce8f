"""Programs as people write them for the original and after the lecture, beside PyTorch."""
import math

import pytest
from conftest import tensor

torch = pytest.importorskip('torch')


def agree(ours, theirs):
    """Numbers and gradients of Values, and of tensors."""
    for v, t in zip(ours, theirs, strict=True):
        assert (v.data, v.grad) == pytest.approx((t.item(), t.grad.item()), rel=1e-12, abs=1e-15)


def test_tanh_and_exp_by_closures(mg):
    def exp(x):
        out = mg.Value(math.exp(x.data), (x,), 'exp')

        def _backward():
            x.grad += out.data * out.grad
        out._backward = _backward
        return out

    def tanh(x):
        e = exp(2 * x)
        return (e - 1) / (e + 1)

    x1, x2, w1, w2 = ours = [mg.Value(x) for x in (2.0, 0.0, -3.0, 1.0)]
    b = mg.Value(6.8813735870195432)
    o = tanh(x1 * w1 + x2 * w2 + b)
    o.backward()
    assert [round(v.grad, 10) for v in ours] == [-1.5, 0.5, 1.0, 0.0]  # the figures of the lecture
    assert round(o.data, 4) == 0.7071 and round(b.grad, 10) == 0.5


def test_a_subclass_and_a_patch(mg, monkeypatch):
    class Scalar(mg.Value):
        def __init__(self, data, _children=(), _op='', label=''):
            super().__init__(data, _children, _op)
            self.label = label

        def tanh(self):
            t = math.tanh(self.data)
            out = Scalar(t, (self,), 'tanh')
            out._backward = lambda: setattr(self, 'grad', self.grad + (1 - t * t) * out.grad)
            return out

    monkeypatch.setattr(mg.Value, 'cube', lambda self: mg.Value(
        self.data ** 3, (self,), 'cube', slopes=[3 * self.data ** 2]), raising=False)
    a, t = Scalar(0.7, label='a'), tensor(0.7)
    (a.tanh().tanh() * a.cube()).backward()
    (t.tanh().tanh() * t ** 3).backward()
    agree([a], [t])


def test_a_softmax_of_many_operands(mg):
    def softmax(logits):
        top = max(x.data for x in logits)
        powers = [math.exp(x.data - top) for x in logits]
        p = [e / sum(powers) for e in powers]
        return [mg.Value(p[i], logits, 'softmax', slopes=[
            p[i] * ((i == j) - p[j]) for j in range(len(p))]) for i in range(len(p))]

    def cross_entropy(logits, k):  # by a function, in place of slopes
        p = softmax(logits)
        out = mg.Value(-math.log(p[k].data), logits, 'nll')

        def _backward():
            for i, x in enumerate(logits):
                x.grad += (p[i].data - (i == k)) * out.grad
        out._backward = _backward
        return out

    numbers = [1.5, -0.5, 0.25, 3.0, -2.0]
    for loss in (lambda x: cross_entropy(x, 2)), (lambda x: -softmax(x)[2].log()):
        ours, theirs = [*map(mg.Value, numbers)], [*map(tensor, numbers)]
        loss(ours).backward()
        torch.nn.functional.cross_entropy(torch.stack(theirs)[None], torch.tensor([2])).backward()
        agree(ours, theirs)


def test_a_dot_product_as_one_node(mg):
    class Dot(mg.Value):
        def __init__(self, left, right):
            self.left, self.right = left, right
            super().__init__(sum(x.data * y.data for x, y in zip(left, right)), left + right, 'dot')

        def _backward(self):
            for x, y in zip(self.left, self.right):
                x.grad += y.data * self.grad
                y.grad += x.data * self.grad

    numbers = [0.5, -1.5, 2.0, 0.25]
    w, x = [*map(mg.Value, numbers)], [*map(mg.Value, numbers[::-1])]
    (Dot(w, x).tanh() + Dot(w, w)).backward()
    left, right = tensor(numbers), tensor(numbers[::-1])
    ((left @ right).tanh() + left @ left).backward()
    assert [v.grad for v in w + x] == pytest.approx(
        left.grad.tolist() + right.grad.tolist(), rel=1e-12)


def test_an_adam_with_attributes_of_its_own(mg):
    def loss(x, y):
        return (x * y - 2) ** 2 + (x + y * 3) ** 2 * 0.1

    ours, theirs = [mg.Value(1.5), mg.Value(-0.5)], [tensor(1.5), tensor(-0.5)]
    adam = torch.optim.Adam(theirs, lr=0.1)
    for p in ours:
        p.m, p.v, p.lr = 0.0, 0.0, 0.1
    for step in range(1, 20):
        adam.zero_grad()
        loss(*ours).backward()
        loss(*theirs).backward()
        agree(ours, theirs)
        for p in ours:
            p.m = 0.9 * p.m + 0.1 * p.grad
            p.v = 0.999 * p.v + 0.001 * p.grad ** 2
            p.data -= p.lr * p.m / (1 - 0.9 ** step) / (
                math.sqrt(p.v / (1 - 0.999 ** step)) + 1e-8)
            p.grad = 0
        adam.step()


def test_backward_by_hand(mg):
    a, b, c, f = map(mg.Value, (2.0, -3.0, 10.0, -2.0))
    e = a * b
    d = e + c
    out = d * f
    out.grad = 1.0
    for v in out, d, e:  # the root first, each after what is made of it
        v._backward()
    assert (out.data, d.grad, e.grad, a.grad, b.grad) == (-8.0, -2.0, -2.0, 6.0, -4.0)
    for v in a, b, c, f:
        v.data += 0.01 * v.grad
    assert ((a * b + c) * f).data == pytest.approx(-7.286496)  # the lecture's nudge


def test_a_convolution_and_a_recurrence(mg):
    signal, kernel = [1.0, -2.0, 0.5, 3.0, -1.0], [0.25, -0.5, 1.0]
    ours, theirs = [*map(mg.Value, kernel)], tensor(kernel)
    h, state = mg.Value(0.0), tensor(0.0)
    for i in range(3):
        h = (sum(k * x for k, x in zip(ours, signal[i:])) + h * 0.5).tanh()
    windows = torch.nn.functional.conv1d(torch.tensor(signal, dtype=torch.float64)[None, None],
                                         theirs[None, None])[0, 0]
    for x in windows:
        state = (x + state * 0.5).tanh()
    h.backward()
    state.backward()
    assert [k.grad for k in ours] == pytest.approx(theirs.grad.tolist(), rel=1e-12)


def test_a_rule_reads_what_it_likes_when_it_is_called(mg):
    scale = {}
    a = mg.Value(3.0)
    x = a * a
    loss = mg.Value(x.data, (x,), 'scaled')
    loss._backward = lambda: setattr(x, 'grad', x.grad + loss.grad * scale['loss'])
    for factor in 1.0, 128.0:
        scale['loss'] = factor
        a.grad = 0.0
        loss.backward()
        assert a.grad == 6.0 * factor
