"""What is tested, and where:

    test_engine.py     what a Value promises, each promise once, on both engines
    test_nn.py         networks: parameters, training beside PyTorch's, the published run
    test_trace.py      pictures of graphs
    test_programs.py   random programs: both engines to the bit, and PyTorch; programs.py draws them
    test_memory.py     memory given back; threads, forks, Ctrl-C, and when memory runs out
    test_documents.py  the READMEs and the notebooks, run as they stand
    long.py, mutants.py, bench.py   programs: long checks, faults planted to test the tests, speed

Here are the fixture `mg`, which runs a test once on each engine, and what several files share.
"""
import contextlib
import functools
import gc
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import SimpleNamespace

import pytest

os.environ['HYPOTHESIS_STORAGE_DIRECTORY'] = os.devnull  # so that it leaves nothing behind
PACKAGE = Path(importlib.util.find_spec('micrograd').origin).parent


@functools.cache
def load(pure):
    """The package on one of the engines; or None, where that has not been built.

    It stands beside what sys.modules has of it, and is not in there.
    """
    def ours():
        return {name: module for name, module in sys.modules.items()
                if name.split('.')[0] == 'micrograd' and name != 'micrograd._engine'}

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MICROGRAD_PURE', str(int(pure)))
        for name in ours():
            patch.delitem(sys.modules, name)
        nn, trace = map(importlib.import_module, ('micrograd.nn', 'micrograd.trace'))
        modules = ours()
        for name in modules:
            del sys.modules[name]
    engine = modules['micrograd.engine']
    built = PathFinder.find_spec('_engine', [str(PACKAGE)])
    assert engine.compiled == bool(built and not pure)  # or all tests on it would be skipped
    return None if engine.compiled == pure else SimpleNamespace(
        engine=engine, nn=nn, trace=trace, pure=pure, modules=modules, Value=engine.Value,
        node=engine.node, sumprod=engine.sumprod, MLP=nn.MLP, Layer=nn.Layer, Neuron=nn.Neuron)


@pytest.fixture(params=['compiled', 'pure'])
def mg(request, monkeypatch):
    """`micrograd`, with the names of `engine` and `nn` as attributes; imports find it, too."""
    loaded = load(request.param == 'pure') or pytest.skip('the compiled engine has not been built')
    monkeypatch.setenv('MICROGRAD_PURE', str(int(loaded.pure)))
    for name, module in loaded.modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return loaded


def pytest_configure(config):
    config.addinivalue_line('markers', 'needs(*names): skip where a module or program is missing')


def pytest_runtest_setup(item):
    for mark in item.iter_markers('needs'):
        for name in mark.args:
            if not (importlib.util.find_spec(name) or shutil.which(name)):
                pytest.skip(f'{name} is missing')


def python(mg, code, *args, stdin=None, timeout=300, **environment):
    """What a program prints, in a process of its own, on the engine of `mg`."""
    path = os.pathsep.join([str(PACKAGE.parent), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, '-c', code, *args], input=stdin, capture_output=True, timeout=timeout,
        env={**os.environ, 'MICROGRAD_PURE': str(int(mg.pure)), 'PYTHONPATH': path, **environment})
    assert done.returncode == 0, done.stdout.decode()[-2000:] + done.stderr.decode()[-3000:]
    return done.stdout


@contextlib.contextmanager
def without_gc():
    """Without the garbage collector: a graph has no cycles, and is freed when it is dropped."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def count(mg):
    """How many Values there are, and a constant: every one refers to its type."""
    return sys.getrefcount(mg.Value)


def tensor(x):
    """A leaf in PyTorch."""
    import torch
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)
