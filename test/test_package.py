"""The package: its names, which engine it chooses, what it says of itself, and how long it is."""
import ast
import doctest
import importlib
import inspect
import py_compile
import re
import shutil
import zipfile
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
CHANGED = ('from micrograd import MLP, Value, engine; v = Value(2.0); u = MLP(1, [1])([1.0]); '
           'print(engine.compiled, hasattr(v, "double"), hasattr(u, "double"), v.double().data)')


def edit(path):
    source = path.read_text('utf-8').replace('    def relu(self):', DOUBLE, 1)
    assert DOUBLE in source
    path.write_text(source, 'utf-8')


def test_to_edit_engine_py_is_to_change_the_engine(mg, copied):
    edit(copied.folder / 'engine.py')
    *warned, said = copied(CHANGED).splitlines()
    assert said == 'False True True 4.0'
    assert ''.join(warned).count('RuntimeWarning') == ('pip install -e .' in ''.join(warned)) \
        == (not mg.pure)
    assert mg.pure or '<string>:1' in warned[0]  # the line that imports it


def test_to_edit_it_and_load_it_again(mg, copied):
    said = copied('import importlib, pathlib, micrograd; from micrograd import engine\n'
                  'path = pathlib.Path(engine.__file__); source = path.read_text("utf-8")\n'
                  f'path.write_text(source.replace("    def relu(self):", {DOUBLE!r}), "utf-8")\n'
                  f'importlib.reload(engine); Value = engine.Value\n'
                  + CHANGED.replace('Value, ', ''))
    assert said.splitlines() == ['False True True 4.0']


def test_other_ends_of_lines_are_no_other_engine(mg, copied):
    path = copied.folder / 'engine.py'
    path.write_bytes(path.read_bytes().replace(b'\n', b'\r\n'))
    assert copied('from micrograd import engine; print(engine.compiled)').split() == [
        str(not mg.pure)]


OTHER = """
class Value: pass
def sumprod(): pass
"""
CHOSEN = ('from micrograd import Value, engine; '
          'print(engine.compiled, Value.__module__, engine.sumprod.__module__)')
OURS = ['False micrograd.engine micrograd.engine']
THEIRS = ['True micrograd._engine micrograd._engine']


@pytest.mark.parametrize('checksum', ['', 'checksum = 1', 'right', 'import nowhere'])
def test_another_binary(mg, copied, checksum):
    """It is taken whole, or not at all: where its checksum is that of engine.py."""
    for binary in copied.folder.glob('_engine.*'):
        binary.unlink()
    source = (copied.folder / 'engine.py').read_bytes()
    right = f'checksum = {zlib.crc32(source)}'
    (copied.folder / '_engine.py').write_text(OTHER + checksum.replace('right', right))
    *warned, said = copied(CHOSEN).splitlines()
    assert [said] == (THEIRS if checksum == 'right' and not mg.pure else OURS)
    assert bool(warned) == (checksum in ('', 'checksum = 1') and not mg.pure)


@pytest.mark.parametrize('way', ['frozen', 'zipped'])
def test_without_a_source_the_binary_is_trusted(mg, copied, way):
    folder = copied.folder
    for binary in folder.glob('_engine.*'):
        binary.unlink()
    (folder / '_engine.py').write_text(OTHER)
    path = folder.parent
    if way == 'frozen':
        py_compile.compile(folder / 'engine.py', folder / 'engine.pyc')
        (folder / 'engine.py').unlink()
    else:
        path = folder.parent / 'package.zip'
        with zipfile.ZipFile(path, 'w') as file:
            for source in folder.glob('*.py'):
                file.write(source, f'micrograd/{source.name}')
    assert copied(CHOSEN, path).splitlines() == (OURS if mg.pure else THEIRS)


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

for name in 'relu', 'tanh', '_backward', 'backward', '__neg__', '__pow__', '__rsub__':
    patch(name)
assert called(lambda: (2 - -a ** 2).relu().tanh()) == '__pow__ __neg__ __rsub__ relu tanh'.split()
assert called((a * b).backward) == ['backward'] + ['_backward'] * 3
assert called(lambda: Neuron(1)([a])) == ['relu']
assert called(lambda: Neuron(1, 'tanh')([a])) == ['tanh']
Value.cube = lambda self: self ** 3
assert Neuron(1, 'cube')([a])._op == '**3' and (a * 2).cube().data == 64.0

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


def test_docstrings(mg):
    public = [mg.engine, mg.nn, mg.trace, mg.Value, mg.sumprod, mg.trace.trace, mg.trace.draw_dot,
              *(getattr(mg.Value, name) for name in ('backward', '_backward', *FUNCTIONS)
                if name != 'neg'),
              mg.nn.Module, mg.nn.Module.zero_grad,
              *(x for cls in (mg.Neuron, mg.Layer, mg.MLP) for x in (cls, cls.__call__))]
    for x in public:
        assert x.__doc__ and x.__doc__.isascii(), x  # consoles exist that can show no more


@pytest.mark.parametrize('name', ['engine', 'nn', 'trace', 'programs'])
def test_examples_in_docstrings(mg, name, monkeypatch, tmp_path):
    if name == 'trace':
        pytest.importorskip('graphviz')
        shutil.which('dot') or pytest.skip('dot is missing')
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module('programs') if name == 'programs' else getattr(mg, name)
    names = {**vars(mg.engine), **vars(mg.nn), **vars(mg.trace), **vars(module)}
    if name == 'programs':
        names |= {'random': importlib.import_module('random'), 'micrograd': mg}
    tests = doctest.DocTestFinder().find(module, module.__name__, module, extraglobs=names)
    examples = [example for test in tests for example in test.examples]
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in tests:
        runner.run(test)
    assert runner.failures == 0 < len(examples) == runner.tries


# How long it is

@pytest.mark.parametrize('name, limit', [
    ('engine.py', 115), ('nn.py', 60), ('trace.py', 110), ('_engine.c', 580)])
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
