"""The package: its names, which engine it chooses, what it says of itself, and how long it is."""
import doctest
import inspect
import py_compile
import re
import shutil
import zlib

import pytest
from conftest import PACKAGE, load, python


@pytest.fixture
def copied(mg, tmp_path):
    """A copy of the package, and a function that runs a program on it: (its output, its errors)."""
    folder = tmp_path / 'micrograd'
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns('__pycache__'))

    def run(code):
        code = f'import sys; sys.stderr = sys.stdout; {code}'
        return python(mg, code, PYTHONPATH=str(tmp_path), PYTHONSAFEPATH='1').decode()

    run.folder = folder
    return run


# Its names

def test_names(mg):
    import micrograd
    assert micrograd.Value is mg.Value and mg.Value.__module__ == 'micrograd.engine'
    assert (micrograd.MLP, micrograd.Module, micrograd.nn) == (mg.MLP, mg.nn.Module, mg.nn)
    assert (micrograd.draw_dot, micrograd.trace) == (mg.trace.draw_dot, mg.trace)
    assert {*micrograd.__all__} == {'Value', 'Neuron', 'Layer', 'MLP', 'Module', 'draw_dot'}
    exec('from micrograd import *', {})
    assert re.fullmatch(r'\d+\.\d+\.\d+', micrograd.__version__)


def test_what_is_imported(mg):
    code = 'import sys; print(*sys.modules)'
    bare, light, names = ({*python(mg, text + code).decode().split()} for text in (
        '', 'import micrograd; ', 'from micrograd import MLP, draw_dot; '))
    assert not {'micrograd.nn', 'micrograd.trace', 'random', 'typing'} & light - bare
    assert not {'numpy', 'graphviz'} & names and {'micrograd.nn', 'micrograd.trace'} <= names
    python(mg, 'import micrograd; micrograd.nn.MLP(2, [1]); micrograd.trace.draw_dot')


# The engine that is chosen

def test_to_edit_engine_py_is_to_change_the_engine(mg, copied):
    path = copied.folder / 'engine.py'
    path.write_text(path.read_text('utf-8').replace(
        '    def relu(', '    def double(self): return self + self\n\n    def relu(', 1), 'utf-8')
    *warned, said = copied(
        'from micrograd import MLP, engine; u = MLP(1, [1])([1.0]); v = engine.Value(2.0); '
        'print(engine.compiled, hasattr(u, "double"), v.double().data)').splitlines()
    assert said == 'False True 4.0'
    assert ''.join(warned).count('RuntimeWarning') == ('pip install -e .' in ''.join(warned)) \
        == (not mg.pure)
    assert mg.pure or '<string>:1' in warned[0]  # the line that imports it


@pytest.mark.parametrize('case', ['older', 'right', 'no source'])
def test_another_binary(mg, copied, case):
    """Taken whole, or not at all: where its checksum is right, or there is no source to compare."""
    folder, source = copied.folder, copied.folder / 'engine.py'
    for binary in folder.glob('_engine.*'):
        binary.unlink()
    crc = zlib.crc32(source.read_bytes()) if case == 'right' else 1
    (folder / '_engine.py').write_text(f'class Value: pass\ndef sumprod(): pass\nchecksum = {crc}')
    source.write_bytes(source.read_bytes().replace(b'\n', b'\r\n'))  # they make no difference
    if case == 'no source':
        py_compile.compile(source, folder / 'engine.pyc')
        source.unlink()
    *warned, said = copied(
        'from micrograd import Value, engine; '
        'print(engine.compiled, Value.__module__, engine.sumprod.__module__)').splitlines()
    trusted = case != 'older' and not mg.pure
    name = 'micrograd._engine' if trusted else 'micrograd.engine'
    assert said == f'{trusted} {name} {name}'
    assert bool(warned) == (case == 'older' and not mg.pure)


PATCHED = """
from micrograd import Neuron, Value
from micrograd.engine import sumprod
calls, a, b = [], Value(2.0), Value(3.0)

def patch(name):
    method = getattr(Value, name)
    def patched(self, *others, **kw):
        calls.append(name)
        return method(self, *others, **kw)
    setattr(Value, name, patched)
    return method

def called(work):
    calls.clear()
    work()
    return calls.copy()

mul, add = patch('__mul__'), patch('__add__')
assert called(lambda: a * b) == called(lambda: 2 * a) == ['__mul__']
assert called(lambda: sumprod([a, b], [b, 2.0], a)) == ['__mul__', '__add__'] * 2
assert called(lambda: Neuron(3)([a, b, a])) == ['__mul__', '__add__'] * 3
Value.__mul__ = mul
assert called(lambda: sumprod([2.0], [b], a)) == ['__add__'] == called(lambda: sum([a]))
Value.__add__ = add
assert called(lambda: sumprod([a], [b], a)) == []

for name in 'relu', '_backward', 'backward', '__neg__', '__pow__', '__rsub__':
    patch(name)
assert called(lambda: (2 - -a ** 2).relu()) == '__pow__ __neg__ __rsub__ relu'.split()
assert called((a * b).backward) == ['backward'] + ['_backward'] * 3
patch('__init__')
assert '__init__' in called(lambda: Value(1.0)) and Value(1.0, (a,), '+')._prev == (a,)
"""


def test_what_is_patched_is_seen_everywhere(mg):
    python(mg, PATCHED)  # in a process of its own: a class in C stays another one afterwards


# What it says of itself

def test_both_engines_have_the_same_names_and_say_the_same():
    pure, compiled = load(True), load(False) or pytest.skip('the compiled engine is not built')
    lines = {'__firstlineno__', '__static_attributes__'}  # CPython 3.13 has them
    assert {*dir(pure.Value)} - lines == {*dir(compiled.Value)}

    def said(x):
        signature = str(inspect.signature(x)).replace(', /', '') if callable(x) else None
        return inspect.getdoc(x), signature

    for name in (name for name in dir(pure.Value) if not name.startswith('__')):
        assert said(getattr(pure.Value, name)) == said(getattr(compiled.Value, name)), name
    for name in 'Value', 'sumprod':
        assert said(getattr(pure, name)) == said(getattr(compiled, name)), name


@pytest.mark.parametrize('name', ['engine', 'nn', pytest.param(
    'trace', marks=pytest.mark.needs('graphviz', 'dot'))])
def test_docstrings(mg, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    module = getattr(mg, name)
    public = [x for key, x in vars(module).items() if key[0] != '_' and callable(x)
              and x.__module__ in (f'micrograd.{name}', 'micrograd._engine')]
    for x in [module, *public]:
        assert x.__doc__ and x.__doc__.isascii(), x  # consoles exist that can show no more
    names = {**vars(mg.engine), **vars(mg.nn), **vars(mg.trace)}
    failed, tried = doctest.testmod(module, extraglobs=names, optionflags=doctest.ELLIPSIS)
    assert failed == 0 < tried


# How long it is

@pytest.mark.parametrize('name, limit', [
    ('engine.py', 115), ('nn.py', 60), ('trace.py', 110), ('_engine.c', 700)])
def test_lines_of_code(name, limit):
    """Lines that are neither blank nor comment nor docstring."""
    text = (PACKAGE / name).read_text('utf-8')
    if name == 'engine.py':
        assert len(text.splitlines()) <= 190
    text = re.sub(r'(?s)/\*.*?\*/' if name.endswith('.c') else r'(?s)""".*?"""|#[^\n]*', '', text)
    assert sum(map(bool, map(str.strip, text.splitlines()))) <= limit
