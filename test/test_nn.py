"""The networks, and the published run of the demo."""
import copy
import math
import pickle
import random

import numpy as np
import pytest
import torch
from graphs import tensor, train, without_gc


@pytest.fixture
def seeded(mg):
    random.seed(1337)
    return mg


def torch_mlp(model):
    """The model in PyTorch: a matrix per layer, rows of weights and a bias, and the function."""
    matrices = [tensor([[p.data for p in n.parameters()] for n in layer.neurons])
                for layer in model.layers]

    def forward(x):
        for m in matrices:
            x = x @ m[:, :-1].T + m[:, -1]
            if m is not matrices[-1]:
                x = x.relu()
        return x

    return matrices, forward


# Parameters

def test_parameters_and_their_order(seeded):
    model = seeded.MLP(2, [3, 1])
    random.seed(1337)
    drawn = [[random.uniform(-1, 1) for _ in range(nin)] for nin in (2, 2, 2, 3)]
    assert [p.data for p in model.parameters()] == [x for w in drawn for x in (*w, 0.0)]
    assert all(type(p) is seeded.Value and p._prev == () for p in model.parameters())
    neurons = [n for layer in model.layers for n in layer.neurons]
    by_hand = [p for n in neurons for p in (*n.w, n.b)]
    by_layer = [p for layer in model.layers for p in layer.parameters()]
    for parameters in by_hand, by_layer, model.parameters():
        assert list(map(id, parameters)) == list(map(id, model.parameters()))


def test_the_demo_has_337_parameters(mg):
    assert len(mg.MLP(2, [16, 16, 1]).parameters()) == 337


def test_a_seed_gives_the_model(mg):
    def model(seed):
        random.seed(seed)
        return [p.data for p in mg.MLP(3, [4, 2]).parameters()]

    assert model(1) == model(1) != model(2)


def test_zero_grad(mg):
    model = mg.MLP(2, [3, 1])
    x = mg.Value(2.0)
    loss = model([x, -1.0]) ** 2
    loss.backward()
    assert model.layers[-1].neurons[0].b.grad == 2.0 * model([2.0, -1.0]).data != 0.0
    seen = x.grad
    model.zero_grad()
    assert [p.grad for p in model.parameters()] == [0.0] * 13
    assert x.grad == seen  # not a parameter


def test_a_module_of_ones_own(mg):
    class Scale(mg.nn.Module):
        def __init__(self):
            self.k = mg.Value(3.0)

        def parameters(self):
            return [self.k]

    assert mg.nn.Module().parameters() == []
    mg.nn.Module().zero_grad()
    scale = Scale()
    (scale.k * 2).backward()
    assert scale.k.grad == 2.0
    scale.zero_grad()
    assert scale.k.grad == 0.0


@pytest.mark.parametrize('make, text', [
    (lambda mg: mg.Neuron(2), 'ReLUNeuron(2)'),
    (lambda mg: mg.Neuron(3, nonlin=False), 'LinearNeuron(3)'),
    (lambda mg: mg.Neuron(1, nonlin='tanh'), 'tanhNeuron(1)'),
    (lambda mg: mg.Layer(2, 1), 'Layer of [ReLUNeuron(2)]'),
    (lambda mg: mg.Layer(2, 2, nonlin=False), 'Layer of [LinearNeuron(2), LinearNeuron(2)]'),
    (lambda mg: mg.MLP(2, [2, 1]),
     'MLP of [Layer of [ReLUNeuron(2), ReLUNeuron(2)], Layer of [LinearNeuron(2)]]'),
])
def test_repr(mg, make, text):
    assert repr(make(mg)) == text


# Forward

@pytest.mark.parametrize('nonlin, function', [
    (True, lambda x: max(x, 0.0)), (False, lambda x: x), ('relu', lambda x: max(x, 0.0)),
    ('tanh', math.tanh), ('exp', math.exp),
])
@pytest.mark.parametrize('x', [[1.0, -2.0], [-1.0, 2.0]])
def test_neuron(seeded, nonlin, function, x):
    n = seeded.Neuron(2, nonlin=nonlin)
    n.b.data = 0.25
    act = 0.25 + n.w[0].data * x[0] + n.w[1].data * x[1]
    assert n(x).data == function(act)
    layer = seeded.Layer(2, 3, nonlin=nonlin)
    assert [y.data for y in layer(x)] == [n(x).data for n in layer.neurons]


@pytest.mark.parametrize('inputs', [
    tuple, iter, np.array, lambda x: (i for i in x), lambda x: np.array(x, dtype=np.float32),
])
def test_inputs_of_any_kind(seeded, inputs):
    x = [1.0, -2.0]  # float32 has both
    for model in seeded.Neuron(2), seeded.Layer(2, 1), seeded.MLP(2, [3, 1]):
        assert model(inputs(x)).data == model(x).data == model(map(seeded.Value, x)).data


@pytest.mark.parametrize('nouts', [[1], [3, 1], [4, 1, 2], [1, 1, 1], [5, 4, 3]])
def test_against_torch(seeded, nouts):
    # A layer of one neuron returns a Value, not a list, also in the middle.
    model = seeded.MLP(2, nouts)
    for p in model.parameters():
        p.data += 0.125  # biases that matter
    matrices, forward = torch_mlp(model)
    x, x_torch = [seeded.Value(1.5), seeded.Value(-0.5)], tensor([1.5, -0.5])
    out = model(x)
    assert isinstance(out, list) == (nouts[-1] > 1)
    out = out if isinstance(out, list) else [out]
    out_torch = forward(x_torch)
    assert [y.data for y in out] == pytest.approx(out_torch.tolist(), rel=1e-12)
    sum(y * y for y in out).backward()
    (out_torch * out_torch).sum().backward()
    assert [p.grad for p in (*x, *model.parameters())] == pytest.approx(
        [g for t in (x_torch, *matrices) for g in t.grad.flatten().tolist()], rel=1e-12)
    assert any(p.grad for p in model.parameters())


def test_a_model_of_one_input_takes_the_output_of_another(seeded):
    first, second = seeded.MLP(2, [3, 1]), seeded.MLP(1, [3, 1])
    hidden = first([1.0, -2.0])
    assert second(hidden).data == second([hidden.data]).data


# Errors

@pytest.mark.parametrize('size', [0, -1, 1.0, 2.5, '2', None])
@pytest.mark.parametrize('make', [
    lambda mg, n: mg.Neuron(n), lambda mg, n: mg.Layer(n, 2), lambda mg, n: mg.Layer(2, n),
    lambda mg, n: mg.MLP(n, [2, 1]), lambda mg, n: mg.MLP(2, [n, 1]),
    lambda mg, n: mg.MLP(2, [2, n]),
])
def test_wrong_sizes(mg, make, size):
    with pytest.raises(ValueError, match=rf'positive whole number.* {size!r}'):
        make(mg, size)


def test_numpy_sizes(mg):
    assert len(mg.MLP(np.int64(2), np.array([3, 1])).parameters()) == 13


def test_no_layers(mg):
    with pytest.raises(ValueError, match='nouts is empty'):
        mg.MLP(2, [])


@pytest.mark.parametrize('nonlin', ['tan', '', None, 'data', 'label'])
def test_wrong_nonlin(mg, nonlin):
    with pytest.raises(ValueError, match=f'no method {nonlin!r}'):
        mg.Neuron(2, nonlin=nonlin)


@pytest.mark.parametrize('make', [
    lambda mg: mg.Neuron(2), lambda mg: mg.Layer(2, 1), lambda mg: mg.Layer(2, 3),
    lambda mg: mg.MLP(2, [3, 1]), lambda mg: mg.MLP(2, [1, 3]),
])
@pytest.mark.parametrize('x', [[], [1.0], [1.0, 2.0, 3.0]])
def test_wrong_number_of_inputs(mg, make, x):
    for inputs in x, iter(x), np.array(x):
        with pytest.raises(ValueError, match=f'expected 2 inputs, got {len(x)}'):
            make(mg)(inputs)


@pytest.mark.parametrize('x', [['1', '2'], [None, 1.0], [1j, 1.0], 5.0, None])
def test_wrong_inputs(mg, x):
    with pytest.raises(TypeError):
        mg.MLP(2, [3, 1])(x)


# Training

@pytest.mark.parametrize('clone', [
    *(lambda m, protocol=p: pickle.loads(pickle.dumps(m, protocol))
      for p in range(2, pickle.HIGHEST_PROTOCOL + 1)),
    copy.deepcopy,
])
def test_a_trained_model_arrives_whole_and_trains_on(seeded, clone):
    data = [([x, y], x * y) for x in (-1.0, 0.5) for y in (-0.5, 1.0, 2.0)]
    model = seeded.MLP(2, [4, 1])
    before = train(model, data, 5)
    twin = clone(model)
    assert repr(twin) == repr(model)
    assert [vars(p) for p in twin.parameters()] == [{'m': p.m} for p in model.parameters()]
    assert [(p.data, p.grad) for p in twin.parameters()] == [
        (p.data, p.grad) for p in model.parameters()]
    after = train(model, data, 5)
    assert train(twin, data, 5) == after
    assert after[-1] < before[0]


def moons():
    datasets = pytest.importorskip('sklearn.datasets')
    np.random.seed(1337)
    random.seed(1337)
    x, y = datasets.make_moons(n_samples=100, noise=0.1)
    return x, y * 2 - 1


def run_on_torch(model, x, y):
    """The losses of the demo's 100 steps, from the model's weights, all points at once."""
    matrices, forward = torch_mlp(model)
    x, y = torch.tensor(x), torch.tensor(y)
    for k in range(100):
        data_loss = (1 - y * forward(x)[:, 0]).relu().mean()
        loss = data_loss + 1e-4 * sum((m * m).sum() for m in matrices)
        yield loss.item()
        grads = torch.autograd.grad(loss, matrices)
        with torch.no_grad():
            for m, grad in zip(matrices, grads):
                m -= (1.0 - 0.9 * k / 100) * grad


def run_on_engine(model, x, y):
    """The loss of each of the 100 steps, and the percentage of points on the right side."""
    for k in range(100):
        scores = [model(xi) for xi in x]
        margins = [(1 + -yi * si).relu() for yi, si in zip(y, scores)]
        loss = sum(margins) * (1.0 / len(margins)) + 1e-4 * sum(p * p for p in model.parameters())
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= (1.0 - 0.9 * k / 100) * p.grad
        yield loss.data, sum((yi > 0) == (si.data > 0) for yi, si in zip(y, scores))


def test_the_published_run(mg):
    x, y = moons()
    model = mg.MLP(2, [16, 16, 1])
    theirs = list(run_on_torch(model, x, y))
    with without_gc():
        ours = list(run_on_engine(model, x.tolist(), y.tolist()))
    for k, loss, accuracy in [
        (0, 0.8958441028683222, 50), (1, 1.7235905336972022, 81), (2, 0.7429006313851131, 77),
        (5, 0.313545481918522, 86), (9, 0.2704862551637922, 91), (99, 0.010978370135492717, 100),
    ]:
        assert ours[k] == (pytest.approx(loss, rel=1e-9), accuracy), k
    assert [loss for loss, _ in ours] == pytest.approx(theirs, rel=1e-9)
