"""Pictures of graphs: what is in them, that Graphviz can read it, and what happens without it."""
import html
import math
import re
import sys

import pytest
from conftest import python

pytestmark = pytest.mark.needs('graphviz')


def chain_rule(mg):
    """c = a * b + a, after backward()."""
    a, b = mg.Value(2.0, label='a'), mg.Value(-3.0)
    c = a * b + a
    c.label = 'c'
    c.backward()
    return a, b, c


def parts(dot):
    """What is in the text: the boxes and the ovals by name, and the arrows, each with its label."""
    boxes, ovals, arrows = {}, {}, []
    for line in dot.source.splitlines():
        label = re.search(r'label=(?:"((?:\\.|[^"\\])*)"|(\w+))', line)
        label = label and (label[1] if label[2] is None else label[2]).strip()
        if arrow := re.match(r'\s*(\w+) -> (\w+)', line):
            arrows.append((*arrow.groups(), label))
        elif name := re.match(r'\s*(v\d+|op\d+) \[', line):
            (ovals if 'shape=oval' in line else boxes)[name[1]] = label
    return boxes, ovals, arrows


# trace

def test_operands_come_before_results(mg):
    a, b, c = chain_rule(mg)
    ab = c._prev[0]
    assert mg.trace.trace(c) == ([a, b, ab, c], [(a, ab), (b, ab), (ab, c), (a, c)])
    assert mg.trace.trace(a) == ([a], [])
    aa = a * a  # the gradient comes back along both edges
    assert mg.trace.trace(aa) == ([a, aa], [(a, aa), (a, aa)])


def test_each_value_once(mg):
    x = y = mg.Value(1.0)  # 2**200 ways lead to this leaf
    for _ in range(200):
        y = y + y
    nodes, edges = mg.trace.trace(y)
    assert (len(nodes), len(edges), nodes[0], nodes[-1]) == (201, 400, x, y)


def test_a_deep_graph(mg):
    y, one = mg.Value(0.0), mg.Value(1.0)
    for i in range(20_000):
        y = (y + one if i % 2 else one + y).relu()
    nodes, edges = mg.trace.trace(y)
    assert (len(nodes), len(edges)) == (40_002, 60_000)


# draw_dot

def test_the_chain_rule_drawn(mg):
    a, b, c = chain_rule(mg)
    boxes, ovals, arrows = parts(mg.trace.draw_dot(c))
    assert boxes == {'v0': 'a | data 2.0000 | grad -2.0000', 'v1': 'data -3.0000 | grad 2.0000',
                     'v2': 'data -6.0000 | grad 1.0000', 'v3': 'c | data -4.0000 | grad 1.0000'}
    assert ovals == {'op2': '*', 'op3': '+'}
    out = [('op2', 'v2', None), ('op3', 'v3', None)]
    into = [('v0', 'op2', '-3'), ('v1', 'op2', '2'), ('v2', 'op3', '1'), ('v0', 'op3', '1')]
    assert arrows == out + [(x, op, None) for x, op, _ in into]
    assert parts(mg.trace.draw_dot(c, slopes=True)) == (boxes, ovals, out + into)
    assert (a.grad, b.grad, c.grad) == (-2.0, 2.0, 1.0)  # drawn, not changed


@pytest.mark.parametrize('number, box, arrow', [
    (1 / 3, '0.3333', '0.3333'), (-1.0, '-1.0000', '-1'), (0.00005001, '0.0001', '5.001e-05'),
    (123456.78, '123456.7800', '1.235e+05'), (math.inf, 'inf', 'inf'), (math.nan, 'nan', 'nan')])
def test_numbers(mg, number, box, arrow):
    out = mg.node(number, 'op', mg.Value(0.0), number)
    boxes, _, arrows = parts(mg.trace.draw_dot(out, slopes=True))
    assert boxes['v1'] == f'data {box} | grad 0.0000' and arrows[-1] == ('v0', 'op1', arrow)


@pytest.mark.parametrize('slopes', [False, True])
def test_every_operation(mg, slopes):
    x, y = mg.Value(2.0, label='x'), mg.Value(0.5, label='y')
    shared = x * y
    results = [x + y, x - y, shared, x / y, x ** y, x ** 3, 2 ** x, -x, shared.relu(), x.exp(),
               shared.log(), x.tanh(), mg.node(1.0, '', x, 0.1), mg.node(1.0, 'atan2', x, 1, y, 2)]
    total = sum(results)
    dot = mg.trace.draw_dot(total, slopes=slopes)
    boxes, ovals, arrows = parts(dot)
    nodes, edges = mg.trace.trace(total)
    assert len(boxes) == len(nodes)  # a shared part is drawn once
    assert sorted(ovals.values()) == sorted(v._op for v in nodes if v._prev)
    assert len(arrows) == len(edges) + len(ovals)
    labels = [label for _, end, label in arrows if end.startswith('op')]
    assert labels == [f'{slope:.4g}' if slopes else None for v in nodes for slope in v._slopes]


def test_rankdir(mg):
    # One field below the other: braces turn a record by a right angle, and so does LR.
    for rankdir, around in ('LR', '%s'), ('RL', '%s'), ('TB', '{%s}'), ('BT', '{%s}'):
        dot = mg.trace.draw_dot(mg.Value(1.0, label='x'), rankdir=rankdir)
        assert f'rankdir={rankdir}' in dot.source
        assert parts(dot)[0] == {'v0': around % 'x | data 1.0000 | grad 0.0000'}


def test_what_is_refused(mg):
    for function in mg.trace.trace, mg.trace.draw_dot:
        with pytest.raises(TypeError, match='^expected a Value, not float$'):
            function(1.0)
    for wrong in '', 'lr', 'LRTB', None, 1:
        with pytest.raises(ValueError, match=f"'LR', 'RL', 'TB' or 'BT', not {wrong!r}"):
            mg.trace.draw_dot(mg.Value(1.0), rankdir=wrong)
    with pytest.raises(ValueError, match='papyrus'):
        mg.trace.draw_dot(mg.Value(1.0), format='papyrus')


DRAW = """
import random, sys
from micrograd.nn import MLP
from micrograd.trace import draw_dot
random.seed(1)
y = MLP(3, [4, 1])([1.0, -2.0, 3.0])
y.backward()
sys.stdout.buffer.write(draw_dot(y, slopes=True).source.encode())
"""


def test_the_same_graph_gives_the_same_bytes(mg):
    one, other = (python(mg, DRAW, PYTHONHASHSEED=seed) for seed in '14')
    assert one == other and one.count(b'->') > 50
    assert mg.trace.draw_dot(chain_rule(mg)[2]).source == mg.trace.draw_dot(
        chain_rule(mg)[2]).source  # other addresses


def texts(dot):
    """What a reader of the picture reads."""
    svg = dot.pipe(format='svg', encoding='utf-8')
    found = re.findall(r'<text[^>]*>(.*?)</text>', svg, re.DOTALL)
    return sorted(html.unescape(text).replace('\xa0', ' ').strip() for text in found)


@pytest.mark.needs('dot')
@pytest.mark.parametrize('rankdir', ['LR', 'TB'])
def test_labels_are_read_as_they_are_written(mg, rankdir):
    labels = ['|', '{', '}', '<', '>', '"', '\\', '\\n', '\\N', '\\l\\r', '\\\\', '\\"', 'a\\',
              '\\{', 'a|b', '{x}', '<p>', '<b>bold</b>', '"quoted"', "it's", '&', '&lt;', '&#60;',
              'R&D', '%s', '%', 'Đạo hàm ở đây', '∂L/∂w₀', 'node', 'v1:x', 'x;y', '->', '[x]',
              '# no', '// no', '/*']
    x = mg.Value(2.0)
    for label in labels:  # as the name of an operation, too
        x = mg.node(1.0, label, x, 1.0)
        x.label = label
    assert texts(mg.trace.draw_dot(x, rankdir=rankdir)) == sorted(
        2 * labels + ['data 2.0000'] + ['data 1.0000', 'grad 0.0000'] * len(labels)
        + ['grad 0.0000'])
    x = mg.Value(1.0, ' two\n\twords ')
    assert texts(mg.trace.draw_dot(x, rankdir=rankdir))[-1] == 'two words'
    assert parts(mg.trace.draw_dot(mg.Value(1.0, ' ')))[0] == {'v0': 'data 1.0000 | grad 0.0000'}


@pytest.mark.needs('dot')
def test_the_picture_is_written(mg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for suffix in 'svg', 'png':
        dot = mg.trace.draw_dot(mg.Value(2.0) * 3.0, format=suffix, slopes=True)
        assert dot.render('graph', cleanup=True) == f'graph.{suffix}'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['graph.png', 'graph.svg']
    assert mg.trace.draw_dot(mg.Value(2.0))._repr_mimebundle_().keys() == {'image/svg+xml'}


# What is missing

def test_without_the_package(mg, monkeypatch):
    x = mg.Value(1.0)
    monkeypatch.setitem(sys.modules, 'graphviz', None)
    mg.trace._graphviz.cache_clear()
    with pytest.raises(ImportError, match='pip install graphviz'):
        mg.trace.draw_dot(x)
    assert mg.trace.trace(x) == ([x], [])
    monkeypatch.undo()
    assert mg.trace.draw_dot(x).source  # once it is there, it works


@pytest.mark.parametrize('render', [
    lambda dot: dot.render('gout'), lambda dot: dot.view('gout'), lambda dot: dot.pipe(),
    lambda dot: dot._repr_mimebundle_(),  # what a notebook calls
    lambda dot: dot.copy().pipe(format='png'),
], ids=['render', 'view', 'pipe', 'notebook', 'copy'])
def test_without_the_program(mg, monkeypatch, tmp_path, render):
    import graphviz
    monkeypatch.setenv('PATH', '')
    monkeypatch.chdir(tmp_path)
    dot = mg.trace.draw_dot(mg.Value(2.0) * 3.0)
    with pytest.raises(graphviz.ExecutableNotFound) as error:
        render(dot)
    for command in 'apt install', 'brew install', 'choco install', 'winget install':
        assert f'{command} graphviz' in str(error.value)
    assert error.value.__suppress_context__  # nothing but this advice
