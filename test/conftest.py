"""The fixture `mg`: every test that takes it runs once on each engine."""
import importlib
import os
import sys
from types import SimpleNamespace

import pytest


def load(pure):
    """The package's modules, imported anew on one of the engines, and left in sys.modules."""
    for name in [name for name in sys.modules if name.split('.')[0] == 'micrograd']:
        if name != 'micrograd._engine':
            del sys.modules[name]
    os.environ['MICROGRAD_PURE'] = '1' if pure else '0'
    engine, nn = map(importlib.import_module, ('micrograd.engine', 'micrograd.nn'))
    return SimpleNamespace(engine=engine, nn=nn, pure=pure, Value=engine.Value, node=engine.node,
                           sumprod=engine.sumprod, MLP=nn.MLP, Layer=nn.Layer, Neuron=nn.Neuron)


@pytest.fixture(scope='module', params=['compiled', 'pure'])
def mg(request):
    """`micrograd`, with the names of `engine` and `nn` as attributes."""
    loaded = load(request.param == 'pure')
    if loaded.engine.compiled == loaded.pure:
        pytest.skip('the compiled engine has not been built')
    return loaded
