"""Pictures of graphs: what is in them, Graphviz can read it, and what happens without it."""
import html
import importlib
import math
import os
import re
import shutil
import subprocess
import sys

import pytest

graphviz = pytest.importorskip('graphviz')
needs_dot = pytest.mark.skipif(shutil.which('dot') is None, reason='no program `dot`: Graphviz')

LABELS = [
    '|', '{', '}', '<', '>', '"', '\\', '\\n', '\\N', '\\l\\r', '\\\\', '\\"', '\\|', 'a\\', '\\{',
    'a|b', '{x}', '<p>', '<b>bold</b>', '"quoted"', "it's", '&', '&lt;', '&#60;', 'R&D', '%s', '%',
    'Đạo hàm ở đây', '∂L/∂w₀', 'ưỡẫệ', 'node', 'v1:x', 'x;y', '->', '[x]', '# no', '// no', '/*',
]


@pytest.fixture(scope='module')
def tracing(mg):
    """`micrograd.trace`, on the same engine as `mg`."""
    return importlib.import_module('micrograd.trace')


@pytest.fixture
def trace(tracing):
    return tracing.trace


@pytest.fixture
def draw_dot(tracing):
    return tracing.draw_dot


def svg_texts(dot):
    """What a reader of the picture reads."""
    svg = dot.pipe(format='svg', encoding='utf-8')
    texts = re.findall(r'<text[^>]*>(.*?)</text>', svg, re.DOTALL)
    return [html.unescape(t).replace('\xa0', ' ') for t in texts]


def test_trace_gives_operands_before_results(mg, trace):
    a, b = mg.Value(2.0), mg.Value(-3.0)
    c = a * b
    d = c + a
    nodes, edges = trace(d)
    assert [*map(id, nodes)] == [*map(id, (a, b, c, d))]
    assert [(id(x), id(v)) for x, v in edges] == [(id(x), id(v)) for x, v in
                                                  ((a, c), (b, c), (c, d), (a, d))]


def test_trace_of_a_leaf(mg, trace):
    x = mg.Value(1.0)
    assert trace(x) == ([x], [])


def test_trace_changes_nothing(mg, trace, draw_dot):
    x = mg.Value(3.0)
    y = (x * x).exp()
    y.backward()
    before = [(v.data, v.grad) for v in trace(y)[0]]
    draw_dot(y)
    assert [(v.data, v.grad) for v in trace(y)[0]] == before
    y.backward()
    assert x.grad == 2 * before[0][1]


def test_trace_of_a_million_nodes(mg, trace):
    one = mg.Value(1.0)
    y = x = mg.Value(0.0)
    for i in range(500_000):
        y = (y + one if i % 2 else one + y).relu()
    nodes, edges = trace(y)
    assert len(nodes) == 1_000_002
    assert len(edges) == 1_500_000
    assert nodes[-1] is y
    assert {id(nodes[0]), id(nodes[1])} == {id(x), id(one)}


def test_trace_of_many_paths(mg, trace):
    """2^200 paths lead to the leaf; each value is visited once all the same."""
    x = y = mg.Value(1.0)
    for _ in range(200):
        y = y + y
    nodes, edges = trace(y)
    assert len(nodes) == 201
    assert len(edges) == 400
    assert nodes[0] is x


@pytest.mark.parametrize('root', [None, 1.0, [], 'x'])
def test_a_root_that_is_no_value(tracing, root):
    for function in tracing.trace, tracing.draw_dot:
        with pytest.raises(TypeError, match=f'^expected a Value, not {type(root).__name__}$'):
            function(root)


def test_a_subclass_and_own_attributes(mg, trace, draw_dot):
    class Weight(mg.Value):
        pass

    w = Weight(2.0, label='w')
    w._color = 'red'
    assert trace(w * 3.0)[0][0] is w
    assert 'w | data 2.0000 | grad 0.0000' in draw_dot(w * 3.0).source


def test_the_text(mg, draw_dot):
    a, b = mg.Value(2.0, label='a'), mg.Value(-3.0)
    c = a * b + a
    c.label = 'c'
    c.backward()
    body = [line.strip() for line in draw_dot(c).source.splitlines()[4:-1]]
    oval = 'fillcolor="#dceaf5" margin=0.04 shape=oval style=filled width=0.4'
    assert body == [
        'v0 [label="a | data 2.0000 | grad -2.0000"]',
        'v1 [label="data -3.0000 | grad 2.0000"]',
        'v2 [label="data -6.0000 | grad 1.0000"]',
        f'op2 [label="*" {oval}]',
        'op2 -> v2',
        'v3 [label="c | data -4.0000 | grad 1.0000"]',
        f'op3 [label="+" {oval}]',
        'op3 -> v3',
        'v0 -> op2',
        'v1 -> op2',
        'v2 -> op3',
        'v0 -> op3',
    ]


def test_numbers(mg, draw_dot):
    for x, text in ((0.00004, '0.0000'), (0.00005001, '0.0001'), (-1.0, '-1.0000'),
                    (math.inf, 'inf'), (math.nan, 'nan'), (123456.78, '123456.7800')):
        assert f'"data {text} | grad 0.0000"' in draw_dot(mg.Value(x)).source


@pytest.mark.parametrize('rankdir', ['LR', 'RL', 'TB', 'BT'])
def test_rankdir(mg, draw_dot, rankdir):
    source = draw_dot(mg.Value(1.0, label='x').tanh(), rankdir=rankdir).source
    assert f'rankdir={rankdir}' in source
    # One field below the other: braces turn a record by a right angle, and so does LR.
    label = 'x | data 1.0000 | grad 0.0000'
    assert f'[label="{label if rankdir in ("LR", "RL") else "{" + label + "}"}"]' in source


@pytest.mark.parametrize('rankdir', ['', 'lr', 'XX', 'LRTB', None, 1])
def test_a_bad_rankdir(mg, draw_dot, rankdir):
    with pytest.raises(ValueError, match="rankdir is 'LR', 'RL', 'TB' or 'BT', not ") as e:
        draw_dot(mg.Value(1.0), rankdir=rankdir)
    assert repr(rankdir) in str(e.value)


def test_a_bad_format(mg, draw_dot):
    with pytest.raises(ValueError, match='format'):
        draw_dot(mg.Value(1.0), format='papyrus')


def operations(mg):
    """A value of each operation there is, over shared operands; and what is read in the ovals."""
    x, y = mg.Value(2.0, label='x'), mg.Value(0.5, label='y')
    own = mg.node(math.sin(2.0), 'sin', x, math.cos(2.0))
    two = mg.node(1.0, 'atan2', x, 0.1, y, 0.2)
    return [x + y, x - y, x * y, x / y, x ** y, x ** 3, 2 ** x, -x, x.relu(), x.exp(), x.log(),
            x.tanh(), own, two]


def test_all_operations(mg, trace, draw_dot):
    results = operations(mg)
    ops = [v._op for v in results]
    assert ops == ['+', '-', '*', '/', '**', '**3', '**', 'neg', 'ReLU', 'exp', 'log', 'tanh',
                   'sin', 'atan2']
    total = sum(results)
    total.backward()
    nodes, edges = trace(total)
    dot = draw_dot(total)
    assert isinstance(dot, graphviz.Digraph)
    assert dot.source.count('shape=oval') == sum(bool(v._prev) for v in nodes) == 28
    assert dot.source.count('->') == len(edges) + 28
    for op in {*ops, '+'}:
        shown = op if op.isidentifier() else f'"{op}"'
        assert f'label={shown} ' in dot.source, op


@needs_dot
def test_all_operations_rendered(mg, draw_dot):
    total = sum(operations(mg))
    texts = svg_texts(draw_dot(total))
    assert texts.count('x') == texts.count('y') == 1
    for op in '+', '-', '*', '/', '**', '**3', 'neg', 'ReLU', 'exp', 'log', 'tanh', 'sin', 'atan2':
        assert op in texts
    for rankdir in 'TB', 'RL', 'BT':
        assert sorted(svg_texts(draw_dot(total, rankdir=rankdir))) == sorted(texts)


def test_a_value_that_feeds_an_operation_twice(mg, trace, draw_dot):
    x = mg.Value(3.0)
    y = x * x
    assert trace(y) == ([x, y], [(x, y), (x, y)])
    source = draw_dot(y).source
    assert source.count('v0 -> op1') == 2
    assert source.count('op1 -> v1') == 1
    assert source.count('shape=oval') == 1


def test_a_shared_subgraph_is_drawn_once(mg, draw_dot):
    a = mg.Value(1.0)
    shared = (a + 2.0).exp()
    source = draw_dot(shared * 2.0 + shared / 3.0).source
    assert source.count('label=exp') == 1
    assert len(re.findall(r'^\tv\d+ \[', source, re.MULTILINE)) == 9
    assert len(re.findall(r'^\tv3 -> op\d+$', source, re.MULTILINE)) == 2  # v3: a, 2, their sum


def test_an_operation_without_a_name_is_an_oval_all_the_same(mg, draw_dot):
    source = draw_dot(mg.node(1.0, '', mg.Value(1.0), 1.0)).source
    assert 'op1 [label="" ' in source
    assert 'v0 -> op1' in source


@needs_dot
@pytest.mark.parametrize('rankdir', ['LR', 'TB'])
@pytest.mark.parametrize('text', LABELS)
def test_special_characters(mg, draw_dot, recwarn, text, rankdir):
    y = mg.node(1.0, text, mg.Value(2.0, label=text), 1.0)
    y.label = text
    assert sorted(svg_texts(draw_dot(y, rankdir=rankdir))) == sorted([
        text, 'data 2.0000', 'grad 0.0000', text, text, 'data 1.0000', 'grad 0.0000'])
    assert not [w for w in recwarn if 'graphviz' in w.category.__module__]


def test_special_characters_in_the_text(mg, draw_dot):
    source = draw_dot(mg.Value(1.0, label='|{}<>"\\&')).source
    assert r'label="\|\{\}\<\>\"\\&amp; | data' in source


def test_white_space_in_a_label_is_a_space(mg, draw_dot):
    assert '"two words | data' in draw_dot(mg.Value(1.0, label=' two\n\twords ')).source
    assert '"data' in draw_dot(mg.Value(1.0, label=' ')).source


SCRIPT = '''
import random, sys
from micrograd.nn import MLP
from micrograd.trace import draw_dot
random.seed(1)
y = MLP(3, [4, 4, 1])([1.0, -2.0, 3.0])
y.backward()
sys.stdout.buffer.write(draw_dot(y).source.encode())
'''


def test_the_same_bytes_in_every_process(mg, draw_dot):
    sources = set()
    for seed in '0', '1', '4242':
        run = subprocess.run([sys.executable, '-c', SCRIPT], capture_output=True, check=True,
                             env={**os.environ, 'PYTHONHASHSEED': seed})
        sources.add(run.stdout)
    assert len(sources) == 1
    assert sources.pop().count(b'->') > 100


def test_the_same_bytes_in_one_process(mg, draw_dot):
    def draw():
        x = mg.Value(2.0)
        return draw_dot((x * x + x).tanh()).source

    clutter = [draw() for _ in range(3)]
    assert len({*clutter}) == 1


def test_import_needs_no_graphviz(mg):
    code = 'import sys, micrograd.trace; sys.exit("graphviz" in sys.modules)'
    subprocess.run([sys.executable, '-c', code], check=True)


def test_without_the_package(mg, tracing, monkeypatch):
    monkeypatch.setitem(sys.modules, 'graphviz', None)
    tracing._graphviz.cache_clear()
    x = mg.Value(1.0)
    with pytest.raises(ImportError, match='pip install graphviz'):
        tracing.draw_dot(x)
    assert tracing.trace(x) == ([x], [])
    monkeypatch.undo()
    assert 'v0' in tracing.draw_dot(x).source  # once it is there, it works


@pytest.mark.parametrize('render', [
    lambda dot: dot.render('gout'),
    lambda dot: dot.view('gout'),
    lambda dot: dot.pipe(),
    lambda dot: dot.pipe(format='png'),
    lambda dot: dot._repr_image_svg_xml(),
    lambda dot: dot._repr_mimebundle_(),  # what a notebook calls
    lambda dot: dot.copy().pipe(),
], ids=['render', 'view', 'pipe', 'png', 'svg', 'mimebundle', 'copy'])
def test_without_the_program(mg, draw_dot, monkeypatch, tmp_path, render):
    monkeypatch.setenv('PATH', '')
    monkeypatch.chdir(tmp_path)
    dot = draw_dot(mg.Value(2.0) * 3.0)
    assert 'data 6.0000' in dot.source
    with pytest.raises(graphviz.ExecutableNotFound) as e:
        render(dot)
    for command in ('apt install graphviz', 'brew install graphviz', 'choco install graphviz',
                    'winget install graphviz'):
        assert command in str(e.value)
    assert [entry.name for entry in e.traceback].count('advised') == 1  # nothing from below it


def test_without_the_program_in_a_notebook(mg, draw_dot, monkeypatch, capsys):
    """The advice is shown, and the cell goes on."""
    InteractiveShell = pytest.importorskip('IPython.core.interactiveshell').InteractiveShell
    monkeypatch.setenv('PATH', '')
    shell = InteractiveShell(history_manager=None)
    shell.display_formatter.format(draw_dot(mg.Value(2.0)))
    out, err = capsys.readouterr()
    assert 'apt install graphviz' in out + err


@needs_dot
def test_render_writes_the_picture(mg, draw_dot, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert draw_dot(mg.Value(2.0)).render('gout', cleanup=True) == 'gout.svg'
    assert draw_dot(mg.Value(2.0), format='png').render('gout', cleanup=True) == 'gout.png'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['gout.png', 'gout.svg']
    assert draw_dot(mg.Value(2.0))._repr_mimebundle_().keys() == {'image/svg+xml'}
