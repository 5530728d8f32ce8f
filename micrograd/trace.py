"""A graph as a picture: a box for every value, an oval for every operation.

    >>> a, b = Value(2.0, label='a'), Value(-3.0, label='b')
    >>> dot = draw_dot(a * b + a)  # shows itself in a notebook
    >>> dot.render('graph')  # writes the picture
    'graph.svg'

`draw_dot` needs the package graphviz and, to render, the program `dot`. Where one is missing, it
says how to install it.
"""
import re
import shutil
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from micrograd import engine

BOX = {'shape': 'record', 'height': '0.3', 'fontname': 'Helvetica', 'fontsize': '10'}
LEAF, CONSTANT = {'style': 'filled', 'fillcolor': '#fbeecb'}, {'style': 'dashed'}
OVAL = {'shape': 'oval', 'width': '.4', 'margin': '.04', 'style': 'filled', 'fillcolor': '#dceaf5'}
ARROW = {'arrowsize': '0.7', 'fontname': 'Helvetica', 'fontsize': '9', 'fontcolor': '#1f4e8c'}
SILENT = {'color': '#757575', 'fontcolor': '#757575'}
SLOPE = '< %s<br/><font point-size="4"> </font>>'  # the blanks keep it clear of the arrow
# Where the arrow from the first operand ends, those between, and that from the last.
PORTS = {'LR': 'nw w sw', 'RL': 'ne e se', 'TB': 'nw n ne', 'BT': 'sw s se'}
EFFECTS = {'lit': 'stroke:#c40;stroke-width:3', 'new': 'fill:#c40;font-weight:bold',
           'show': 'visibility:visible'}  # of the film, each for a time


def trace(root: engine.Value) -> tuple[list[engine.Value], list[tuple[engine.Value, engine.Value]]]:
    """All values of a graph, and what leads from where to where.

    Returns:
        nodes: every value once, operands before what is made of them, `root` last.
        edges: (operand, result) pairs, in the order of the nodes and of each one's `_prev`. In
            `x * x` there are two from x: the gradient comes back along both.

    Raises:
        TypeError: `root` is not a Value.
    """
    if not isinstance(root, engine.Value):
        raise TypeError(f'expected a Value, not {type(root).__name__}')
    nodes: dict[int, Any] = {}  # by id: a subclass may have its own == and hash
    path: list[Any] = [(root, False)]
    while path:
        v, ready = path.pop()  # ready: all its operands are there
        if ready:
            nodes[id(v)] = v
        elif id(v) not in nodes:
            path += [(v, True), *((x, False) for x in reversed(v._prev))]
    return [*nodes.values()], [(x, v) for v in nodes.values() for x in v._prev]


def draw_dot(root: engine.Value, format: str = 'svg', rankdir: str = 'LR', slopes: bool = False,
             animate: bool = False) -> Any:
    """The graph that ends in `root`, as a picture: a graphviz.Digraph.

    A box reads `label | data | grad`. Leaves with a label are tinted, those without have dashed
    lines; grey is what has gradient 0, where the root has another. Of two operands, the first is
    above, or on the left. Equal graphs give equal pictures, byte for byte.

    Args:
        root: the result, such as a loss.
        format: 'svg', 'png', 'pdf', or whatever else `dot` can write.
        rankdir: where the arrows lead: 'LR' (left to right), 'RL', 'TB' (top to bottom) or 'BT'.
        slopes: whether every arrow into an operation bears the local derivative. Then the chain
            rule can be checked by eye: a gradient is what stands on the arrow that leaves its box,
            times the gradient behind the operation, summed over the arrows.
        animate: whether the SVG is a film of `root.backward()`. It shows the gradients of this one
            call, from zero, and so does the picture in other formats; the Values keep theirs.

    Raises:
        ImportError: the package graphviz is missing, or too old.
        TypeError: `root` is not a Value.
        ValueError: `format` or `rankdir` is none of these, or the graph is too large to look at.

    Warns where the program `dot` is missing. Rendering then raises graphviz.ExecutableNotFound.
    """
    if rankdir not in PORTS:
        raise ValueError(f"rankdir is 'LR', 'RL', 'TB' or 'BT', not {rankdir!r}")
    nodes, _ = trace(root)
    if len(nodes) > 1000:  # `dot` needs a second or two; for 2,000 it is 15
        raise ValueError(f'{len(nodes):,} values are too many to draw: draw a neuron, one output')
    try:
        from graphviz import Digraph, escape  # type: ignore  # noqa: F401  (escape: not in old versions)
    except ImportError as e:
        raise ImportError('drawing needs the package graphviz: pip install -U graphviz') from e
    if not shutil.which('dot'):
        warnings.warn('no program `dot`: apt (brew, choco, winget) install graphviz', stacklevel=2)

    dot = Digraph('graph', format=format, node_attr=BOX, edge_attr=ARROW, graph_attr={
        'rankdir': rankdir, 'ranksep': '.2', 'ordering': 'in', 'dpi': {'png': '192'}.get(format)})
    frames = _frames(nodes) if animate else [[v.grad for v in nodes]]
    looks = [SILENT if grad == 0.0 != frames[-1][-1] else {} for grad in frames[-1]]
    if animate:
        for k, i in enumerate([i for i, v in enumerate(nodes) if v._prev][::-1], 2):
            looks[i] = {**looks[i], 'class': f'step{k}of{len(frames)}'}
        dot.pipe, dot.render = partial(_pipe, dot, frames), partial(_render, dot, frames)
    fields = '%s' if rankdir in ('LR', 'RL') else '{%s}'  # one below the other, either way
    index = {id(v): i for i, v in enumerate(nodes)}
    for i, (v, look) in enumerate(zip(nodes, looks)):
        label, text = _escape(v.label), f'data {_decimal(v.data)} | grad {_decimal(frames[-1][i])}'
        text = f'{label} | {text}' if label else text.replace(' | ', '\\n')
        dot.node(f'v{i}', fields % text, **({} if v._prev else LEAF if label else CONSTANT), **look)
        if v._prev or v._op:
            dot.node(f'op{i}', _escape(v._op), **OVAL, **look)
            dot.edge(f'op{i}', f'v{i}', **look)
        for k, j in enumerate(index[id(x)] for x in v._prev):
            port = PORTS[rankdir].split()[1 - (k == 0) + (k == len(v._prev) - 1)]
            slope = SLOPE % _decimal(v._slopes[k]) if slopes and v._slopes else None
            dot.edge(f'v{j}', f'op{i}', slope, headport=port, **{**looks[j], **look})
    return dot


def _decimal(x: float) -> str:
    """Four decimals where they show the number, else four digits and its size."""
    return f'{x:.4f}' if 0.01 <= abs(x) < 1e6 else f'{x:.4g}' if x else '0.0000'


def _escape(name: object) -> str:
    """A name as `dot` reads it; of a very long one, the beginning."""
    # A record drops white space but for single blanks; XML has no place for other characters.
    text = re.sub(r'[\0-\x1f\ud800-\udfff\ufffe\uffff]', '\ufffd', ' '.join(str(name).split()))
    text = text[:50] + '…' if len(text) > 50 else text
    # In a record, these characters mean something. So does & in every label: &lt; is <.
    return re.sub(r'[\\|{}<>]', r'\\\g<0>', text).replace('&', '&amp;')


def _frames(nodes: list[Any]) -> list[list[float]]:
    """All gradients, as backward() goes: at zero, with the root's 1, and after each step."""
    # A subclass may have its own __setattr__.
    before, put = [v.grad for v in nodes], vars(engine.Value)['grad'].__set__
    frames = [[0.0] * len(nodes), [0.0] * len(nodes[1:]) + [1.0]]
    try:
        for v, grad in zip(nodes, frames[1]):
            put(v, grad)
        for v in reversed(nodes):
            v._backward()
            if v._prev:
                frames.append([])
            frames[-1] = [x.grad for x in nodes]
    finally:
        for v, grad in zip(nodes, before):
            put(v, grad)
    return frames


def _pipe(dot: Any, frames: Any, *args: Any, encoding: str | None = None, **kwargs: Any) -> Any:
    picture = _animate(type(dot).pipe(dot, *args, **kwargs), frames)
    return picture.decode(encoding) if encoding else picture


def _render(dot: Any, frames: Any, *args: Any, **kwargs: Any) -> Any:
    path = type(dot).render(dot, *args, **kwargs)
    Path(path).write_bytes(_animate(Path(path).read_bytes(), frames))
    return path


def _animate(svg: bytes, frames: list[list[float]]) -> bytes:
    """An SVG by `dot` becomes a film, with a tick for each frame. Other pictures stay as they are.

    Every animation lasts for a whole round. What it does, it does in the last part of it, which a
    delay moves to its time.
    """
    n, rules = len(frames), {'': 'text.grad{visibility:hidden}'}

    def effect(kind: str, start: int, end: int) -> str:
        name, begin = f'{kind}{end - start}of{n}', 100 - 100 * (end - start) / (n + 2)
        rules[name] = f'@keyframes {name}{{{begin:.3f}%{{{EFFECTS[kind]}}}}}'
        return f'{name} {(n + 2) * 1.4:.1f}s {(end - n - 2) * 1.4:.1f}s step-end infinite'

    def texts(match: re.Match[bytes]) -> bytes:
        """A box's gradient, one after the other; without the animation, the last."""
        grads = [f'grad {_decimal(frame[int(match[2])])}' for frame in frames]
        starts = [k for k in range(n) if k == 0 or grads[k] != grads[k - 1]]
        return match[1] + ''.join(
            f'<text class="grad" style="animation:{effect("show", a, b)},{effect("new", a, a + 1)}"'
            f'{match[3].decode()}' + ' visibility="hidden"' * (b < n) + f'>{grads[a]}</text>'
            for a, b in zip(starts, [*starts[1:], n + 2])).encode()

    svg = re.sub(rb'(?s)(<title>v(\d+)<.*?)<text([^>]*)>grad [^<]*</text>(?=\s*</g>)', texts, svg)
    for k in range(2, n):
        part, lit, new = f'.step{k}of{n}', effect('lit', k, k + 1), effect('new', k, k + 1)
        rules[part] = f'{part} :not(text){{animation:{lit}}}{part}.edge text{{animation:{new}}}'
    css = '@media screen and (prefers-reduced-motion:no-preference){' + '\n'.join(rules.values())
    return re.sub(rb'(?=</svg>\s*\Z)', f'<style>{css}}}</style>\n'.encode(), svg)
