"""Networks: their parameters, their outputs and gradients beside PyTorch's, and their training."""
import copy
import itertools
import math
import pickle
import random
import re

import numpy as np
import pytest
from conftest import load, tensor
from programs import subclass


def seeded(make, *args, **kwargs):
    random.seed(1337)
    return make(*args, **kwargs)


def test_parameters_and_their_order(mg):
    model = seeded(mg.MLP, 2, [3, 1])
    random.seed(1337)
    drawn = [[random.uniform(-1, 1) for _ in range(nin)] for nin in (2, 2, 2, 3)]
    assert [p.data for p in model.parameters()] == [x for w in drawn for x in (*w, 0.0)]
    assert all(type(p) is mg.Value and p._prev == () for p in model.parameters())
    by_hand = [p for layer in model.layers for n in layer.neurons for p in (*n.w, n.b)]
    assert by_hand == model.parameters()  # identity


def test_a_shared_parameter_is_listed_once(mg):
    model = seeded(mg.MLP, 2, [2, 2, 1])
    one, two = model.layers[0].neurons
    two.w, two.b = one.w, one.b
    model.layers[1].neurons[0].w = [one.w[0], subclass(mg.Value)(1.0)]
    model.layers[1].neurons[1] = one
    assert [len(x.parameters()) for x in (*model.layers, model)] == [3, 5, 3, 8]
    (model([1.0, 2.0]) + one([0.0, 0.0])).backward()
    model.zero_grad()
    assert {p.grad for p in model.parameters()} == {0.0}


def test_a_plain_number_becomes_a_leaf_once(mg):
    model = seeded(mg.MLP, 2, [3, 2])
    nodes, _ = mg.trace.trace(mg.Value(0.0, model([1.5, -2.5])))
    assert sorted(v.data for v in nodes if v.data in (1.5, -2.5)) == [-2.5, 1.5]


def test_zero_grad(mg):
    class Scale(mg.nn.Module):
        k = mg.Value(3.0)

        def parameters(self):
            return [self.k]

    model, x = seeded(mg.MLP, 2, [3, 1]), mg.Value(2.0)
    (model([x, -1.0]) * Scale.k).backward()
    assert model.parameters()[-1].grad == 3.0 and Scale.k.grad == model([2.0, -1.0]).data
    assert model.zero_grad() is Scale().zero_grad() is mg.nn.Module().zero_grad() is None
    assert {p.grad for p in (*model.parameters(), Scale.k)} == {0.0} != {x.grad}
    assert mg.nn.Module().parameters() == []


def test_repr(mg):
    for model, text in (
            (mg.Neuron(2), 'ReLUNeuron(2)'), (mg.Neuron(3, nonlin=False), 'LinearNeuron(3)'),
            (mg.Neuron(1, 'tanh'), 'tanhNeuron(1)'), (mg.Neuron(2, math.sin), 'sinNeuron(2)'),
            (mg.Layer(2, 2, nonlin=False), 'Layer of [LinearNeuron(2), LinearNeuron(2)]'),
            (mg.MLP(np.int64(2), np.array([2, 1]), 'tanh'),
             'MLP of [Layer of [tanhNeuron(2), tanhNeuron(2)], Layer of [LinearNeuron(2)]]')):
        assert repr(model) == text


@pytest.mark.parametrize('n', [0, -1, 1.0, 2.5, '2', None, [2], np.float64(2)], ids=repr)
def test_sizes_that_are_none(mg, n):
    for name, make, *args in (
            ('nin', mg.Neuron, n), ('nin', mg.Layer, n, 2), ('nin', mg.MLP, n, [2, 1]),
            ('nout', mg.Layer, 2, n), ('nout', mg.MLP, 2, [n]), ('nout', mg.MLP, 2, [2, n])):
        with pytest.raises(ValueError, match=rf'^{name} is .*{re.escape(repr(n))}$'):
            make(*args)


def test_nouts_that_is_no_list_of_sizes(mg):
    for nouts in 16, 1.5, None, [], ():
        with pytest.raises(ValueError, match=rf'nouts.*\[16, 16, 1\].*{re.escape(repr(nouts))}'):
            mg.MLP(2, nouts)


def test_nonlinearities_that_are_none(mg):
    for nonlin in 'tan', '', None, 'label', 1.5:
        with pytest.raises(ValueError, match='no method'):
            mg.MLP(2, [2, 1], nonlin=nonlin)
    for nonlin in 'backward', '__repr__', print, lambda v: v.data, lambda v: [v]:
        model = mg.MLP(2, [2, 1], nonlin=nonlin)
        with pytest.raises(TypeError, match=r'expected a Value, not \w+'):
            model([1.0, 2.0])


def test_inputs_that_are_none(mg):
    models = mg.Neuron(2, nonlin=False), mg.Layer(2, 1), mg.Layer(2, 3), mg.MLP(2, [3, 1])
    for model in models:
        for n, kind in itertools.product((0, 1, 3), (list, iter, np.array)):
            with pytest.raises(ValueError, match=f'^expected 2 inputs, got {n}$'):
                model(kind([1.0] * n))
        for x in (['1', '2'], [None, 1.0], [1j, 1.0], [np.True_, 1.0], 5.0, None, np.float64(2.0),
                  [[1.0, 2.0], [3.0, 4.0]], np.eye(2), (*np.eye(2),), [(1.0,), 2.0]):
            with pytest.raises(TypeError, match='^a model takes one point, a list of 2 inputs: '):
                model(x)


@pytest.mark.parametrize('nonlin, function', [
    (True, lambda x: max(x, 0.0)), (False, lambda x: x), ('relu', lambda x: max(x, 0.0)),
    ('tanh', math.tanh), (lambda v: v * v + 1, lambda x: x * x + 1.0),
])
def test_neuron(mg, nonlin, function):
    n = seeded(mg.Neuron, 2, nonlin=nonlin)
    n.b.data = 0.25
    for x in [1.0, -2.0], [-1.0, 2.0]:
        assert n(x).data == function(0.25 + n.w[0].data * x[0] + n.w[1].data * x[1])


@pytest.mark.parametrize('inputs', [tuple, iter, np.array, np.float32, lambda x: (i for i in x)])
def test_inputs_of_any_kind(mg, inputs):
    x = [1.0, -2.0]  # float32 has both
    for model in mg.Neuron(2), mg.Layer(2, 1), mg.MLP(2, [3, 1]):
        assert model(inputs(x)).data == model(x).data == model(map(mg.Value, x)).data
    assert mg.MLP(1, [3, 1])(model(x))._prev  # a model of one input takes another's output
    assert mg.MLP(1, [3, 1])(subclass(mg.Value)(2.0))._prev
    with pytest.raises(TypeError, match='one point'):
        mg.MLP(1, [1])(0.5)


@pytest.mark.parametrize('clone', [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_model_arrives_whole_and_trains_on(mg, clone):
    model = seeded(mg.MLP, 2, [4, 1], nonlin='tanh')
    model([1.0, -0.5]).backward()
    models = model, clone(model)
    for m in models:
        m([0.5, 2.0]).backward()
        for p in m.parameters():
            p.data -= 0.1 * p.grad
    ours, theirs = ((repr(m), [(p.data, p.grad) for p in m.parameters()]) for m in models)
    assert ours == theirs


@pytest.mark.needs('torch')
@pytest.mark.parametrize('nonlin', [True, 'tanh'])
@pytest.mark.parametrize('nouts', [[1], [3, 1], [4, 1, 2], [1, 1, 1], [5, 4, 3, 2]])
def test_beside_pytorch(mg, nouts, nonlin):
    # A layer of one neuron returns a Value, not a list, also in the middle.
    model = seeded(mg.MLP, 2, nouts, nonlin=nonlin)
    for p in model.parameters():
        p.data += 0.125  # biases that matter
    x, inputs = [mg.Value(1.5), mg.Value(-0.5)], tensor([1.5, -0.5])
    out = model(x) if nouts[-1] > 1 else [model(x)]
    sum(y * y for y in out).backward()
    with pytest.raises(TypeError, match='not Tensor$'):
        model(inputs)
    theirs = inputs
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


PUBLISHED = {  # step: loss, accuracy in %
    0: (0.8958441028683222, 50), 1: (1.7235905336972022, 81), 2: (0.7429006313851131, 77),
    5: (0.313545481918522, 86), 9: (0.2704862551637922, 91), 99: (0.010978370135492717, 100)}


@pytest.mark.needs('sklearn')
def test_the_published_run(mg):
    from sklearn.datasets import make_moons
    np.random.seed(1337)
    points, labels = (x.tolist() for x in make_moons(n_samples=100, noise=0.1))
    model = seeded(mg.MLP, 2, [16, 16, 1])
    assert len(model.parameters()) == 337
    for k in range(10 if mg.pure and load(False) else 100):  # on the one the same as on the other
        scores = [model(x) for x in points]
        margins = [(1 + (1 - 2 * y) * score).relu() for y, score in zip(labels, scores)]
        loss = sum(margins) * (1.0 / len(margins)) + 1e-4 * sum(p * p for p in model.parameters())
        if k in PUBLISHED:
            right = sum((y > 0) == (score.data > 0) for y, score in zip(labels, scores))
            assert (loss.data, right) == (pytest.approx(PUBLISHED[k][0], rel=1e-9), PUBLISHED[k][1])
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= (1.0 - 0.9 * k / 100) * p.grad
