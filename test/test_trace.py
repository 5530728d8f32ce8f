"""Pictures of graphs: what is in them, how they move, and what happens without Graphviz."""
import html
import math
import pickle
import re
import sys
import types

import pytest

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
        label = re.search(r'label=(?:"((?:\\.|[^"\\])*)"|< (.*?)<br/>.*>|(\w+))', line)
        label = label and next(text for text in label.groups() if text is not None)
        if arrow := re.match(r'\s*(\w+) -> (\w+)', line):
            arrows.append((*arrow.groups(), label))
        elif name := re.match(r'\s*(v\d+|op\d+) \[', line):
            (ovals if 'shape=oval' in line else boxes)[name[1]] = label
    return boxes, ovals, arrows


def texts(dot):
    """What a reader of the picture reads, where nothing moves."""
    svg = dot.pipe(format='svg', encoding='utf-8')
    found = re.findall(r'<text(?![^>]*visibility="hidden")[^>]*>(.*?)</text>', svg, re.DOTALL)
    found = [html.unescape(text).replace('\xa0', ' ').strip() for text in found]
    return sorted(text for text in found if text)


def test_operands_come_before_results(mg):
    a, b, c = chain_rule(mg)
    ab = c._prev[0]
    assert mg.trace.trace(c) == ([a, b, ab, c], [(a, ab), (b, ab), (ab, c), (a, c)])
    x = y = mg.Value(1.0)  # 2**20000 ways lead to this leaf
    for _ in range(20_000):
        y = (y + y).relu()
    nodes, edges = mg.trace.trace(y)
    assert (len(nodes), len(edges), nodes[0], nodes[-1]) == (40_001, 60_000, x, y)
    with pytest.raises(ValueError, match='^40,001 values are too many'):
        mg.trace.draw_dot(y)


def test_the_chain_rule_drawn(mg):
    a, b, c = chain_rule(mg)
    boxes, ovals, arrows = parts(mg.trace.draw_dot(c))
    assert boxes == {'v0': 'a | data 2.0000 | grad -2.0000', 'v1': r'data -3.0000\ngrad 2.0000',
                     'v2': r'data -6.0000\ngrad 1.0000', 'v3': 'c | data -4.0000 | grad 1.0000'}
    assert ovals == {'op2': '*', 'op3': '+'}
    slopes = [('op2', 'v2', None), ('v0', 'op2', '-3.0000'), ('v1', 'op2', '2.0000'),
              ('op3', 'v3', None), ('v2', 'op3', '1.0000'), ('v0', 'op3', '1.0000')]
    assert arrows == [(x, y, None) for x, y, _ in slopes]
    assert parts(mg.trace.draw_dot(c, slopes=True)) == (boxes, ovals, slopes)
    assert (a.grad, b.grad, c.grad) == (-2.0, 2.0, 1.0)  # drawn, not changed


@pytest.mark.parametrize('number, text', [
    (-1.0, '-1.0000'), (0.01, '0.0100'), (0.0012345, '0.001234'), (123456.78, '123456.7800'),
    (-0.0, '0.0000'), (-1e-9, '-1e-09'), (1e300, '1e+300'), (math.inf, 'inf'), (math.nan, 'nan')])
def test_numbers(mg, number, text):
    x = mg.Value(0.0)
    x.grad = number
    y = mg.Value(number, (x,), 'op', slopes=(number,))
    boxes, _, arrows = parts(mg.trace.draw_dot(y, slopes=True))
    assert boxes == {'v0': rf'data 0.0000\ngrad {text}', 'v1': rf'data {text}\ngrad 0.0000'}
    assert arrows[-1] == ('v0', 'op1', text)


def test_nodes_of_every_kind(mg):
    Same = type('Same', (mg.Value,), {'__eq__': lambda self, other: True, '__hash__': None})
    x, y = Same(2.0, label='x'), Same(3.0, label='y')
    three = mg.Value(1.0, (x, y, x), 'mine', slopes=(1, 2, 3))
    closure = mg.Value(5.0, (three, mg.Value(1.0, _op='input')))  # no name, no slopes
    boxes, ovals, arrows = parts(mg.trace.draw_dot(closure, slopes=True))
    assert len(boxes) == 5 and ovals == {'op2': 'mine', 'op3': 'input', 'op4': ''}
    into = [('v0', 'op2', '1.0000'), ('v1', 'op2', '2.0000'), ('v0', 'op2', '3.0000')]
    assert arrows[1:4] == into and arrows[-2:] == [('v2', 'op4', None), ('v3', 'op4', None)]


def test_what_stands_out(mg):
    y = (mg.Value(-2.0, label='x') * mg.Value(3.0, label='w')).relu() + 1.0
    before = mg.trace.draw_dot(y).source
    looks = dict(re.findall(r'(v\d) \[.*style=(\w+)', before))
    assert looks == {'v0': 'filled', 'v1': 'filled', 'v4': 'dashed'}  # labelled, or constant
    assert '#757575' not in before
    y.backward()  # the ReLU is silent
    grey = re.findall(r'\t(\w+(?: -> \w+)?).* \[.*color="#757575"', mg.trace.draw_dot(y).source)
    assert grey == ['v0', 'v1', 'v2', 'op2', 'op2 -> v2', 'v0 -> op2', 'v1 -> op2', 'v2 -> op3']


@pytest.mark.needs('dot')
@pytest.mark.parametrize('rankdir, axis', [('LR', 1), ('RL', 1), ('TB', 0), ('BT', 0)])
def test_arrows_come_in_the_order_of_the_operands(mg, rankdir, axis):
    a, b, f = mg.Value(3.0, label='a'), mg.Value(7.0, label='b'), mg.Value(49.0, label='f')
    y = f / 2 + 10 / f + (b - a) + (a - b) + a ** b + b ** a
    y += mg.Value(1.0, (b, f, a), 'three', slopes=(1, 2, 3))
    nodes = mg.trace.trace(y)[0]
    for slopes in False, True:
        svg = mg.trace.draw_dot(y, rankdir=rankdir, slopes=slopes).pipe(encoding='utf-8')
        tips = {tip[:2]: float(tip[2 + axis]) for tip in re.findall(
            r'<title>(v\d+)&#45;&gt;(op\d+).*?points="\S+ ([^,]+),(\S+) ', svg, re.DOTALL)}
        for i, v in enumerate(nodes):
            order = [tips[f'v{nodes.index(x)}', f'op{i}'] for x in v._prev]
            assert order == sorted(set(order))
    # One field below the other: braces turn a record by a right angle, and so does LR.
    box = parts(mg.trace.draw_dot(a, rankdir=rankdir))[0]['v0']
    assert box == ('%s' if axis else '{%s}') % 'a | data 3.0000 | grad 0.0000'


def test_what_is_refused(mg):
    for function in mg.trace.trace, mg.trace.draw_dot:
        with pytest.raises(TypeError, match='^expected a Value, not float$'):
            function(1.0)
    for wrong in 'LRTB', None:
        with pytest.raises(ValueError, match=f"'LR', 'RL', 'TB' or 'BT', not {wrong!r}"):
            mg.trace.draw_dot(mg.Value(1.0), rankdir=wrong)
    with pytest.raises(ValueError, match='papyrus'):
        mg.trace.draw_dot(mg.Value(1.0), format='papyrus')


@pytest.mark.needs('dot')
@pytest.mark.parametrize('rankdir', ['LR', 'TB'])
def test_labels_are_read_as_they_are_written(mg, rankdir):
    labels = ['|', '{', '<', '"', '\\', '\\n', '\\N', '\\l\\r', '\\"', 'a\\', '\\{', 'a|b', '{x}',
              '<b>bold</b>', "it's", '&', '&lt;', '&#60;', '%s', '%', 'Đạo hàm ở đây', '∂L/∂w₀',
              'node', 'v1:x', 'x;y', '->', '[x]', '# no', '// no', '/*', 'grad 5']
    x = mg.Value(2.0)
    for label in labels:  # as the name of an operation, too
        x = mg.Value(1.0, (x,), label, label, (1.0,))
    numbers = ['data 2.0000'] + ['data 1.0000', 'grad 1.0000'] * len(labels) + ['grad 1.0000']
    dot = mg.trace.draw_dot(x, rankdir=rankdir, animate=True)
    assert texts(dot) == sorted(2 * labels + numbers)
    for label in ' two\n\twords ', 'a\x00b\ud800\x1b', 'x' * 20_000:
        x = mg.Value(1.0, (x,), label, label, (1.0,))
    dot = mg.trace.draw_dot(x, rankdir=rankdir)
    assert {'two words', 'a\ufffdb\ufffd\ufffd', 'x' * 50 + '…'} <= set(texts(dot))


@pytest.mark.needs('dot')
@pytest.mark.parametrize('animate', [False, True])
def test_the_picture_is_written(mg, tmp_path, monkeypatch, animate):
    monkeypatch.chdir(tmp_path)
    files = {}
    for suffix in 'svg', 'png', 'pdf':
        dot = mg.trace.draw_dot(mg.Value(2.0) * 3.0, format=suffix, animate=animate)
        assert dot.render('graph', cleanup=True) == f'graph.{suffix}'
        files[suffix] = (tmp_path / f'graph.{suffix}').read_bytes()
    assert len([*tmp_path.iterdir()]) == 3
    assert (b'@keyframes' in files['svg']) == animate and b'<title>graph</title>' in files['svg']
    width = re.search(rb'<svg width="(\d+)pt"', files['svg'])[1]
    assert int.from_bytes(files['png'][16:20], 'big') > 2.6 * int(width)  # 192 dots an inch
    dot = pickle.loads(pickle.dumps(dot))
    assert dot._repr_mimebundle_() == {'image/svg+xml': files['svg'].decode()}


def film(dot, *times):
    """What it shows after so many seconds: the gradients in the boxes, and what is lit."""
    svg = dot.pipe(encoding='utf-8')
    begin = dict(re.findall(r'@keyframes (\w+){([\d.]+)%', svg))
    texts = re.findall(
        r'class="grad" style="animation:(show\w+) (\S+)s (\S+)s [^>]*>grad ([^<]*)<', svg)
    steps = re.findall(r'\.(step\w+) :not\(text\){animation:(\w+) (\S+)s (\S+)s step-end infinite}'
                       r'\.\1.edge text{animation:new', svg)
    for time in times:
        def runs(name, length, delay, time=time):
            return (time - float(delay)) / float(length) % 1 > float(begin[name]) / 100
        lit = {html.unescape(title) for step, *animation in steps if runs(*animation)
               for title in re.findall(rf' {step}">\s*<title>([^:<]*)', svg)}
        yield [float(grad) for *animation, grad in texts if runs(*animation)], lit


@pytest.mark.needs('dot')
def test_the_film_goes_as_backward_does(mg):
    a, b, c = chain_rule(mg)
    c.backward()  # the leaves hold sums, which it neither shows nor changes
    dot = mg.trace.draw_dot(c, slopes=True, animate=True)
    assert [v.grad for v in (a, b, c._prev[0], c)] == [-4.0, 4.0, 1.0, 1.0]
    assert list(film(dot, 0.7, 2.1, 3.5, 4.9, 7.7, 8.4 + 0.7)) == [  # once round, and on
        ([0, 0, 0, 0], set()), ([0, 0, 0, 1], set()),
        ([1, 0, 1, 1], {'v3', 'op3', 'op3->v3', 'v2->op3', 'v0->op3'}),
        ([-2, 2, 1, 1], {'v2', 'op2', 'op2->v2', 'v0->op2', 'v1->op2'}),
        ([-2, 2, 1, 1], set()), ([0, 0, 0, 0], set())]
    again = mg.trace.draw_dot(chain_rule(mg)[2], slopes=True, animate=True)  # at other addresses
    assert again.pipe() == dot.pipe()
    assert texts(dot) == texts(mg.trace.draw_dot(chain_rule(mg)[2], slopes=True))
    still = b'@media screen and (prefers-reduced-motion:no-preference){text.grad{visibility:hidden}'
    assert dot.pipe().count(still) == 1  # for all others, the last picture


@pytest.mark.needs('dot')
def test_a_film_of_functions_assigned(mg):
    x = type('Fixed', (mg.Value,), {'__setattr__': None})(3.0)
    y = mg.Value(9.0, (x, x), 'mine')
    z, leaf = y * x, mg.Value(5.0)
    y._backward = lambda: mg.Value.grad.__set__(x, x.grad + 6.0 * y.grad)
    shown = film(mg.trace.draw_dot(z, animate=True), 2.1, 3.5, 4.9)
    assert [gradients for gradients, _ in shown] == [[0, 0, 1], [9, 3, 1], [27, 3, 1]]
    z, leaf.grad = y * leaf, 4.0
    y._backward = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        mg.trace.draw_dot(z, animate=True)
    assert [v.grad for v in (x, y, leaf, z)] == [0.0, 0.0, 4.0, 0.0]  # as they were


def test_without_the_package(mg, monkeypatch):
    old = types.ModuleType('graphviz')
    old.Digraph = object
    for found in None, types.ModuleType('graphviz'), old:  # nothing, a folder, an old version
        monkeypatch.setitem(sys.modules, 'graphviz', found)
        with pytest.raises(ImportError, match='pip install -U graphviz'):
            mg.trace.draw_dot(mg.Value(1.0))


def test_without_the_program(mg, monkeypatch):
    import graphviz
    monkeypatch.setenv('PATH', '')
    with pytest.warns(UserWarning, match=r'apt \(brew, choco, winget\) install graphviz'):
        dot = mg.trace.draw_dot(mg.Value(2.0) * 3.0, animate=True)
    with pytest.raises(graphviz.ExecutableNotFound):
        dot._repr_mimebundle_()
