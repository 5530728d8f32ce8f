"""Networks: their parameters, their outputs and gradients beside PyTorch's, and their training."""
import copy
import math
import pickle
import random
import re

import numpy as np
import pytest
from conftest import load, tensor


def seeded(make, *args, **kwargs):
    """A model that is the same each time, in whatever order the tests run."""
    random.seed(1337)
    return make(*args, **kwargs)


# Parameters

def test_parameters_and_their_order(mg):
    model = seeded(mg.MLP, 2, [3, 1])
    random.seed(1337)
    drawn = [[random.uniform(-1, 1) for _ in range(nin)] for nin in (2, 2, 2, 3)]
    assert [p.data for p in model.parameters()] == [x for w in drawn for x in (*w, 0.0)]
    assert all(type(p) is mg.Value and p._prev == () for p in model.parameters())
    neurons = [n for layer in model.layers for n in layer.neurons]
    by_hand = [p for n in neurons for p in (*n.w, n.b)]
    by_layer = [p for layer in model.layers for p in layer.parameters()]
    assert by_hand == by_layer == model.parameters()  # identity


def test_a_shared_parameter_is_listed_once(mg):
    class Same(mg.Value):
        def __eq__(self, other):
            return True

    model = seeded(mg.MLP, 2, [2, 2, 1])
    one, two = model.layers[0].neurons
    two.w, two.b = one.w, one.b
    model.layers[1].neurons[0].w = [one.w[0], Same(1.0)]
    model.layers[1].neurons[1] = one
    assert [len(x.parameters()) for x in (*model.layers, model)] == [3, 5, 3, 8]
    (model([1.0, 2.0]) + one([0.0, 0.0])).backward()
    model.zero_grad()
    assert {p.grad for p in model.parameters()} == {0.0}


def test_a_plain_number_becomes_a_leaf_once(mg):
    model = seeded(mg.MLP, 2, [3, 2])
    out = model([1.5, -2.5])
    nodes, _ = mg.trace.trace(mg.Value(0.0, out))
    assert sorted(v.data for v in nodes if not v._prev and v.data in (1.5, -2.5)) == [-2.5, 1.5]
    assert len(nodes) == 2 + 17 + 3 * 5 + 2 * 6 + 1  # inputs, parameters, neurons


def test_zero_grad(mg):
    class Scale(mg.nn.Module):
        k = mg.Value(3.0)

        def parameters(self):
            return [self.k]

    model, x = seeded(mg.MLP, 2, [3, 1]), mg.Value(2.0)
    (model([x, -1.0]) * Scale.k).backward()
    grads = [p.grad for p in (*model.parameters(), Scale.k)]
    assert grads[-2:] == [3.0, model([2.0, -1.0]).data] and x.grad != 0.0
    seen = x.grad
    assert model.zero_grad() is Scale().zero_grad() is mg.nn.Module().zero_grad() is None
    assert [p.grad for p in (*model.parameters(), Scale.k)] == [0.0] * 14
    assert x.grad == seen and mg.nn.Module().parameters() == []  # not a parameter


@pytest.mark.parametrize('make, text', [
    (lambda mg: mg.Neuron(2), 'ReLUNeuron(2)'),
    (lambda mg: mg.Neuron(3, nonlin=False), 'LinearNeuron(3)'),
    (lambda mg: mg.Neuron(1, 'tanh'), 'tanhNeuron(1)'),
    (lambda mg: mg.Layer(2, 2, nonlin=False), 'Layer of [LinearNeuron(2), LinearNeuron(2)]'),
    (lambda mg: mg.MLP(2, [2, 1]),
     'MLP of [Layer of [ReLUNeuron(2), ReLUNeuron(2)], Layer of [LinearNeuron(2)]]'),
    (lambda mg: mg.MLP(2, (1, 1), nonlin='tanh'),
     'MLP of [Layer of [tanhNeuron(2)], Layer of [LinearNeuron(1)]]'),
    (lambda mg: mg.MLP(2, [1, 1], False),
     'MLP of [Layer of [LinearNeuron(2)], Layer of [LinearNeuron(1)]]'),
    (lambda mg: mg.Neuron(2, math.sin), 'sinNeuron(2)'),
    (lambda mg: mg.MLP(np.int64(2), np.array([1])), 'MLP of [Layer of [LinearNeuron(2)]]'),
])
def test_repr(mg, make, text):
    assert repr(make(mg)) == text


# What is refused

@pytest.mark.parametrize('size', [0, -1, 1.0, 2.5, '2', None, [2], np.float64(2)], ids=repr)
@pytest.mark.parametrize('name, make', [
    ('nin', lambda mg, n: mg.Neuron(n)), ('nin', lambda mg, n: mg.Layer(n, 2)),
    ('nout', lambda mg, n: mg.Layer(2, n)), ('nin', lambda mg, n: mg.MLP(n, [2, 1])),
    ('nout', lambda mg, n: mg.MLP(2, [n])), ('nout', lambda mg, n: mg.MLP(2, [2, n])),
])
def test_sizes_that_are_none(mg, make, name, size):
    with pytest.raises(ValueError, match=rf'^{name} is .*{re.escape(repr(size))}$'):
        make(mg, size)


@pytest.mark.parametrize('nouts', [16, 1.5, None, [], ()], ids=repr)
def test_nouts_that_is_no_list_of_sizes(mg, nouts):
    with pytest.raises(ValueError) as error:
        mg.MLP(2, nouts)
    for words in 'nouts', '[16, 16, 1]', repr(nouts):  # what is right, and what came
        assert words in str(error.value)


@pytest.mark.parametrize('nonlin', ['tan', '', None, 'label', 1.5])
def test_a_nonlinearity_that_is_none(mg, nonlin):
    for make in mg.Neuron, lambda n, nonlin: mg.MLP(n, [2, 1], nonlin=nonlin):
        with pytest.raises(ValueError, match='no method'):
            make(2, nonlin)


@pytest.mark.parametrize('nonlin', [
    'backward', '__repr__', 'data', print, lambda v: v.data, lambda v: [v]])
def test_a_nonlinearity_that_gives_no_value(mg, nonlin):
    with pytest.raises((TypeError, ValueError)) as error:
        mg.MLP(2, [2, 1], nonlin=nonlin)([1.0, 2.0])
    assert re.search(r'expected a Value, not \w+|not callable|no method', str(error.value))


def test_inputs_that_are_none(mg):
    models = mg.Neuron(2, nonlin=False), mg.Layer(2, 1), mg.Layer(2, 3), mg.MLP(2, [3, 1])
    for model in models:
        for kind in list, iter, np.array, tuple:
            for n in 0, 1, 3:
                with pytest.raises(ValueError, match=f'^expected 2 inputs, got {n}$'):
                    model(kind([1.0] * n))
        matrix = [[1.0, 2.0], [3.0, 4.0]]
        for x in (['1', '2'], [None, 1.0], [1j, 1.0], [np.True_, 1.0], 5.0, None, np.float64(2.0),
                  matrix, (*matrix,), np.array(matrix), (*np.array(matrix),), [(1.0,), 2.0]):
            with pytest.raises(TypeError, match='^a model takes one point, a list of 2 inputs: '):
                model(x)


@pytest.mark.needs('torch')
def test_a_tensor_is_refused_by_its_name(mg):
    with pytest.raises(TypeError, match='not Tensor$'):
        mg.MLP(2, [1])(tensor([1.0, 2.0]))


# Outputs

@pytest.mark.parametrize('nonlin, function', [
    (True, lambda x: max(x, 0.0)), (False, lambda x: x), ('relu', lambda x: max(x, 0.0)),
    ('tanh', math.tanh), ('exp', math.exp), (lambda v: v * v + 1, lambda x: x * x + 1.0),
])
@pytest.mark.parametrize('x', [[1.0, -2.0], [-1.0, 2.0]])
def test_neuron(mg, nonlin, function, x):
    n = seeded(mg.Neuron, 2, nonlin=nonlin)
    n.b.data = 0.25
    assert n(x).data == function(0.25 + n.w[0].data * x[0] + n.w[1].data * x[1])
    layer = seeded(mg.Layer, 2, 3, nonlin=nonlin)
    assert [y.data for y in layer(x)] == [n(x).data for n in layer.neurons]


@pytest.mark.parametrize('inputs', [tuple, iter, np.array, np.float32, lambda x: (i for i in x)])
def test_inputs_of_any_kind(mg, inputs):
    x = [1.0, -2.0]  # float32 has both
    for model in mg.Neuron(2), mg.Layer(2, 1), mg.MLP(2, [3, 1]):
        assert model(inputs(x)).data == model(x).data == model(map(mg.Value, x)).data
    hidden = model(x)  # a model of one input takes the output of another
    assert mg.MLP(1, [3, 1])(hidden)._prev
    with pytest.raises(TypeError, match='one point'):
        mg.MLP(1, [1])(0.5)


# Training

@pytest.mark.parametrize('clone', [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_model_arrives_whole_and_trains_on(mg, clone):
    model = seeded(mg.MLP, 2, [4, 1], nonlin='tanh')
    model([1.0, -0.5]).backward()
    twin = clone(model)
    assert repr(twin) == repr(model)
    for m in model, twin:
        m([0.5, 2.0]).backward()
        for p in m.parameters():
            p.data -= 0.1 * p.grad
    assert [(p.data, p.grad) for p in twin.parameters()] == [
        (p.data, p.grad) for p in model.parameters()]


@pytest.mark.needs('torch')
@pytest.mark.parametrize('nonlin', [True, 'tanh'])
@pytest.mark.parametrize('nouts', [[1], [3, 1], [4, 1, 2], [1, 1, 1], [5, 4, 3, 2]])
def test_beside_pytorch(mg, nouts, nonlin):
    # A layer of one neuron returns a Value, not a list, also in the middle.
    model = seeded(mg.MLP, 2, nouts, nonlin=nonlin)
    for p in model.parameters():
        p.data += 0.125  # biases that matter
    x = [mg.Value(1.5), mg.Value(-0.5)]
    out = model(x)
    assert isinstance(out, list) == (nouts[-1] > 1)
    out = out if isinstance(out, list) else [out]
    sum(y * y for y in out).backward()
    inputs = theirs = tensor([1.5, -0.5])
    matrices = [tensor([[p.data for p in n.parameters()] for n in layer.neurons])
                for layer in model.layers]  # of weights, and a column of biases
    for m in matrices:
        theirs = theirs @ m[:, :-1].T + m[:, -1]
        if m is not matrices[-1]:
            theirs = theirs.relu() if nonlin is True else theirs.tanh()
    (theirs * theirs).sum().backward()
    assert [y.data for y in out] == pytest.approx(theirs.tolist(), rel=1e-12)
    assert [p.grad for p in (*x, *model.parameters())] == pytest.approx(
        [g for t in (inputs, *matrices) for g in t.grad.flatten().tolist()], rel=1e-12)


# The published run

PUBLISHED = {  # step: loss, accuracy in %
    0: (0.8958441028683222, 50), 1: (1.7235905336972022, 81), 2: (0.7429006313851131, 77),
    5: (0.313545481918522, 86), 9: (0.2704862551637922, 91), 99: (0.010978370135492717, 100)}


@pytest.mark.needs('sklearn')
def test_the_published_run(mg):
    from sklearn.datasets import make_moons
    np.random.seed(1337)
    x, y = make_moons(n_samples=100, noise=0.1)
    points, labels = x.tolist(), (y * 2 - 1).tolist()
    model = seeded(mg.MLP, 2, [16, 16, 1])
    assert len(model.parameters()) == 337
    for k in range(10 if mg.pure and load(False) else 100):  # on the one the same as on the other
        scores = [model(x) for x in points]
        margins = [(1 + -y * score).relu() for y, score in zip(labels, scores)]
        loss = sum(margins) * (1.0 / len(margins)) + 1e-4 * sum(p * p for p in model.parameters())
        right = sum((y > 0) == (score.data > 0) for y, score in zip(labels, scores))
        if k in PUBLISHED:
            assert (loss.data, right) == (pytest.approx(PUBLISHED[k][0], rel=1e-9), PUBLISHED[k][1])
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= (1.0 - 0.9 * k / 100) * p.grad
