"""The package: its names, which engine it chooses, what it says of itself, and how long it is."""
import ast
import doctest
import inspect
import py_compile
import re
import shutil
import zlib

import pytest
from conftest import PACKAGE, load, python
from programs import FUNCTIONS


@pytest.fixture
def copied(mg, tmp_path):
    """A copy of the package, and a function that runs a program on it: (its output, its errors)."""
    folder = tmp_path / 'micrograd'
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns('__pycache__'))

    def run(code, path=tmp_path):
        code = f'import sys; sys.stderr = sys.stdout; {code}'
        return python(mg, code, PYTHONPATH=str(path), PYTHONSAFEPATH='1',
                      PYTHONDONTWRITEBYTECODE='1').decode()

    run.folder = folder
    return run


# Its names

def test_names(mg):
    import micrograd
    assert micrograd.Value is mg.Value and mg.Value.__module__ == 'micrograd.engine'
    assert (micrograd.MLP, micrograd.Module, micrograd.nn) == (mg.MLP, mg.nn.Module, mg.nn)
    assert (micrograd.draw_dot, micrograd.trace) == (mg.trace.draw_dot, mg.trace)
    names = {}
    exec('from micrograd import *', names)
    assert {*names} - {'__builtins__'} == {*micrograd.__all__} == {
        'Value', 'Neuron', 'Layer', 'MLP', 'Module', 'draw_dot'}
    with pytest.raises(AttributeError, match="^module 'micrograd' has no attribute 'node'$"):
        micrograd.node  # noqa: B018
    assert re.fullmatch(r'\d+\.\d+\.\d+', micrograd.__version__)


def test_what_is_imported(mg):
    code = 'import micrograd, sys; print(*sys.modules)'
    bare, light = ({*python(mg, text).decode().split()}
                   for text in (code.replace('micrograd, ', ''), code))
    assert not {'micrograd.nn', 'micrograd.trace', 'random', 'typing'} & light - bare
    names = {*python(mg, f'from micrograd import MLP, draw_dot; {code}').decode().split()}
    assert not {'numpy', 'graphviz'} & names and {'micrograd.nn', 'micrograd.trace'} <= names
    python(mg, 'import micrograd; micrograd.nn.MLP(2, [1]); micrograd.trace.draw_dot')


# The engine that is chosen

DOUBLE = '    def double(self): return self + self\n\n    def relu(self):'
OTHER = 'class Value: pass\ndef sumprod(): pass\n'
CHOSEN = ('from micrograd import Value, engine; '
          'print(engine.compiled, Value.__module__, engine.sumprod.__module__)')
OURS, THEIRS = ([f'{compiled} {name} {name}'] for compiled, name in (
    (False, 'micrograd.engine'), (True, 'micrograd._engine')))


@pytest.mark.parametrize('again', [False, True])
def test_to_edit_engine_py_is_to_change_the_engine(mg, copied, again):
    path = copied.folder / 'engine.py'
    code = ('from micrograd import MLP; u = MLP(1, [1])([1.0]); v = engine.Value(2.0); '
            'print(engine.compiled, hasattr(u, "double"), v.double().data)')
    source = path.read_text('utf-8').replace('    def relu(self):', DOUBLE, 1)
    if again:
        code = ('import importlib, pathlib; from micrograd import engine\n'
                f'pathlib.Path(engine.__file__).write_text({source!r}, "utf-8")\n'
                f'importlib.reload(engine); {code}')
    else:
        path.write_text(source, 'utf-8')
        code = f'from micrograd import engine; {code}'
    *warned, said = copied(code).splitlines()
    assert said == 'False True 4.0'
    assert ''.join(warned).count('RuntimeWarning') == ('pip install -e .' in ''.join(warned)) \
        == (not mg.pure and not again)
    assert mg.pure or again or '<string>:1' in warned[0]  # the line that imports it


def test_other_ends_of_lines_are_no_other_engine(mg, copied):
    path = copied.folder / 'engine.py'
    path.write_bytes(path.read_bytes().replace(b'\n', b'\r\n'))
    assert copied(CHOSEN).startswith(str(not mg.pure))


@pytest.mark.parametrize('case', ['', 'checksum = 1', 'right', 'import nowhere', 'frozen', 'zip'])
def test_another_binary(mg, copied, case):
    """Taken whole, or not at all: where its checksum is right, or there is no source to compare."""
    folder, path = copied.folder, copied.folder.parent
    for binary in folder.glob('_engine.*'):
        binary.unlink()
    right = f'checksum = {zlib.crc32((folder / "engine.py").read_bytes())}'
    last = {'right': right, 'frozen': '', 'zip': ''}.get(case, case)
    (folder / '_engine.py').write_text(OTHER + last)
    if case == 'frozen':
        py_compile.compile(folder / 'engine.py', folder / 'engine.pyc')
        (folder / 'engine.py').unlink()
    elif case == 'zip':
        path = shutil.make_archive(folder.parent / 'package', 'zip', folder.parent, 'micrograd')
    *warned, said = copied(CHOSEN, path).splitlines()
    trusted = case in ('right', 'frozen', 'zip') and not mg.pure
    assert [said] == (THEIRS if trusted else OURS)
    assert bool(warned) == (case in ('', 'checksum = 1') and not mg.pure)


PATCHED = """
from micrograd import Neuron, Value
from micrograd.engine import sumprod
calls, a, b = [], Value(2.0), Value(3.0)

def patch(name, *arity):
    method = getattr(Value, name)
    def patched(self, *others):
        calls.append(name)
        return method(self, *others)
    setattr(Value, name, patched)
    return method

def called(work):
    calls.clear()
    work()
    return calls.copy()

mul, add = patch('__mul__'), patch('__add__')
assert called(lambda: a * b) == called(lambda: a * 2) == called(lambda: 2 * a) == ['__mul__']
assert called(lambda: 2 + a) == ['__add__']
assert a.__radd__('2') is a.__rmul__(None) is NotImplemented
assert called(lambda: sumprod([a, b], [b, 2.0], a)) == ['__mul__', '__add__'] * 2
assert called(lambda: Neuron(3)([a, b, a])) == ['__mul__', '__add__'] * 3
Value.__mul__ = mul
assert called(lambda: sumprod([a], [b], a)) == ['__add__'] == called(lambda: sum([a]))
assert called(lambda: sumprod([2.0], [b], a)) == ['__add__']
Value.__add__ = add
assert called(lambda: sumprod([a], [b], a)) == []

for name in 'relu', '_backward', 'backward', '__neg__', '__pow__', '__rsub__':
    patch(name)
assert called(lambda: (2 - -a ** 2).relu()) == '__pow__ __neg__ __rsub__ relu'.split()
assert called((a * b).backward) == ['backward'] + ['_backward'] * 3
assert called(lambda: Neuron(1)([a])) == ['relu']
Value.cube = lambda self: self ** 3
assert Neuron(1, 'cube')([a])._op == '**3'

init = Value.__init__
Value.__init__ = lambda self, *args, **kw: calls.append('init') or init(self, *args, **kw)
assert 'init' in called(lambda: Value(1.0)) and Value(1.0, (a,), '+')._prev == (a,)
Value.__init__ = init
assert called(lambda: Value(1.0)) == []
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

    names = [name for name in dir(pure.Value) if not name.startswith('__')]
    assert {*names} >= {'data', 'grad', 'label', 'backward', '_backward', *FUNCTIONS} - {'neg'}
    for name in names:
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
    tests = doctest.DocTestFinder().find(module, module.__name__, module, extraglobs=names)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in tests:
        runner.run(test)
    assert runner.failures == 0 < runner.tries


# How long it is

@pytest.mark.parametrize('name, limit', [
    ('engine.py', 115), ('nn.py', 60), ('trace.py', 110), ('_engine.c', 700)])
def test_lines_of_code(name, limit):
    """Lines that are neither blank nor comment nor docstring."""
    text = (PACKAGE / name).read_text('utf-8')
    if name == 'engine.py':
        assert len(text.splitlines()) <= 190
    if name.endswith('.c'):
        text = re.sub(r'(?s)/\*.*?\*/', '', text)
    else:
        lines = [line.partition('#')[0] for line in text.splitlines()]
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                lines[node.lineno - 1:node.end_lineno] = [''] * (node.end_lineno - node.lineno + 1)
        text = '\n'.join(lines)
    assert sum(map(bool, map(str.strip, text.splitlines()))) <= limit
