"""What is tested, and where:

    test_engine.py     what a Value promises, each promise once, on both engines
    test_package.py    what is imported, edited, pickled and documented; the engine that is chosen
    test_wild.py       programs as people write them for the original
    test_nn.py         networks: parameters, outputs and gradients beside PyTorch's, training
    test_trace.py      pictures of graphs
    test_programs.py   random programs: both engines to the bit, and PyTorch; programs.py draws them
    test_memory.py     memory given back; threads, forks, and when memory runs out
    test_documents.py  the READMEs and the notebooks, run as they stand
    long.py, elsewhere.py, mutants.py, bench.py and its gpt.py   programs: each says what for
"""
import contextlib
import functools
import gc
import importlib
import os
import shutil
import subprocess
import sys
import traceback
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import pytest

os.environ['HYPOTHESIS_STORAGE_DIRECTORY'] = os.devnull  # so that it leaves nothing behind
PACKAGE = Path(find_spec('micrograd').origin).parent
HELP = """
Test an engine of your own:

    python -m pytest --engine my_engine.py

The file defines a class Value: Value(2.0) makes a number, + and * make new ones, x.data is the
number, y.backward() sets x.grad to dy/dx. The tests go from easy to hard. What your class does not
have (-, /, **, relu, exp, log, tanh, sigmoid) is skipped: the list at the end says what.

    -x                      stop at the first failure
    -k diamond              only tests with this word in their names
    --engine=../engine.py   with = where the file is not in this folder
"""


@functools.cache
def load(pure):
    """The package on one of the engines, not in sys.modules; None, where that is not built."""
    def take():
        return {name: sys.modules.pop(name) for name in [*sys.modules]
                if name.split('.')[0] == 'micrograd' and name != 'micrograd._engine'}

    before = take()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MICROGRAD_PURE', str(int(pure)))
        nn, trace = map(importlib.import_module, ('micrograd.nn', 'micrograd.trace'))
    modules = take()
    sys.modules.update(before)
    engine = modules['micrograd.engine']
    built = PathFinder.find_spec('_engine', [str(PACKAGE)])
    assert engine.compiled == bool(built and not pure)  # or all tests on it would be skipped
    return None if engine.compiled == pure else SimpleNamespace(
        engine=engine, nn=nn, trace=trace, pure=pure, modules=modules, Value=engine.Value,
        sumprod=engine.sumprod, MLP=nn.MLP, Layer=nn.Layer, Neuron=nn.Neuron)


@functools.cache
def yours(path):
    sys.path.insert(0, str(path.parent))
    module = module_from_spec(spec_from_file_location(path.stem, path))
    sys.modules.setdefault(path.stem, module)
    module.__spec__.loader.exec_module(module)
    return SimpleNamespace(pure=True, Value=module.Value,
                           modules={'micrograd': module, 'micrograd.engine': module})


@contextlib.contextmanager
def imported(loaded):  # as if it were what is installed
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MICROGRAD_PURE', str(int(loaded.pure)))
        for name, module in loaded.modules.items():
            patch.setitem(sys.modules, name, module)
        yield loaded


@pytest.fixture
def mg(request):
    """`micrograd`, with the names of `engine` and `nn` as attributes; imports find it, too."""
    file = request.config.option.engine
    with imported(yours(Path(file)) if file else load(request.param == 'pure') or pytest.skip(
            'the compiled engine has not been built')) as loaded:
        yield loaded


def pytest_generate_tests(metafunc):
    if 'mg' in metafunc.fixturenames:
        file = metafunc.config.option.engine
        metafunc.parametrize('mg', [Path(file).stem] if file else ['compiled', 'pure'],
                             indirect=True)


def pytest_addoption(parser):
    parser.addoption('--engine', nargs='?', const='', metavar='FILE',
                     help='test an engine of your own; without a file: how that goes')


def pytest_cmdline_main(config):
    config.addinivalue_line('markers', 'needs(*names): skip where a module or program is missing')
    config.addinivalue_line('markers', 'yours(n): also for --engine, in this order')
    if 'test' in config.args:  # .pytest.ini gives it, before what the user gives
        config.args = [x for x in config.args if x != 'test'] or [str(Path(__file__).parent)]
    if config.option.engine == '':
        print(HELP)
        return 0
    if config.option.engine:
        try:
            yours(Path(config.option.engine)).Value  # noqa: B018
        except Exception:
            raise pytest.UsageError(traceback.format_exc(limit=-1)) from None
        config.option.tbstyle, config.option.reportchars = 'short', 's'
        config.option.verbose += 1  # each test with its name


def pytest_collection_modifyitems(config, items):
    if config.option.engine:
        chosen = [item for item in items if item.get_closest_marker('yours')]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = sorted(chosen, key=lambda item: item.get_closest_marker('yours').args)


def pytest_runtest_setup(item):
    names = (name for mark in item.iter_markers('needs') for name in mark.args)
    for name in (x for x in names if not (find_spec(x) or shutil.which(x))):
        pytest.skip(f'{name} is missing')


def need(mg, *methods):
    for method in (x for x in methods if not hasattr(mg.Value, x)):
        pytest.skip(f'Value has no {method}')


def python(mg, code, *args, stdin=None, timeout=300, **environment):
    """What a program prints, in a process of its own, on the engine of `mg`."""
    path = os.pathsep.join([str(PACKAGE.parent), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, '-c', code, *args], input=stdin, capture_output=True, timeout=timeout,
        env={**os.environ, 'MICROGRAD_PURE': str(int(mg.pure)), 'PYTHONPATH': path, **environment})
    assert done.returncode == 0, done.stdout.decode()[-2000:] + done.stderr.decode()[-3000:]
    return done.stdout


@contextlib.contextmanager
def without_gc():  # a graph has no cycles, and is freed when it is dropped
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def count(mg):  # of Values, and a constant: every one refers to its type
    return sys.getrefcount(mg.Value)


def tensor(x):
    import torch
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)
