"""A graph as a picture: a box for every value, an oval for every operation.

    >>> a, b = Value(2.0, 'a'), Value(-3.0, 'b')
    >>> dot = draw_dot(a * b + a)  # shows itself in a notebook
    >>> dot.render('graph')  # writes the picture
    'graph.svg'

`draw_dot` needs the package graphviz and, to render, the program `dot`. Where one is missing, the
error says how to install it.
"""
from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from micrograd.engine import Value

if TYPE_CHECKING:
    import graphviz  # type: ignore

NO_PACKAGE = 'drawing needs the Python package graphviz. Install it: pip install graphviz'
NO_PROGRAM = """rendering needs the program `dot`, and it is not on the PATH. Install Graphviz:
    Debian, Ubuntu   sudo apt install graphviz
    macOS            brew install graphviz
    Windows          choco install graphviz
                     (or winget install graphviz, and put its folder bin on the PATH)
Then start Python, or the notebook's kernel, again."""

OVAL = {'shape': 'oval', 'width': '0.4', 'margin': '0.04', 'style': 'filled',
        'fillcolor': '#dceaf5'}


def trace(root: Value) -> tuple[list[Value], list[tuple[Value, Value]]]:
    """All values of a graph, and what leads from where to where.

    Returns:
        nodes: every value once, operands before what is made of them, `root` last.
        edges: (operand, result) pairs, in the order of the nodes and of each one's `_prev`. In
            `x * x` there are two from x: the gradient comes back along both.

    Raises:
        TypeError: `root` is not a Value.
    """
    if not isinstance(root, Value):
        raise TypeError(f'expected a Value, not {type(root).__name__}')
    nodes: list[Value] = []
    seen: set[Value] = set()
    path = [root]  # a stack of our own: recursion would end at a thousand nodes
    while path:
        unseen = [x for x in path[-1]._prev if x not in seen]
        if unseen:
            path.append(unseen[0])
        else:
            seen.add(path[-1])
            nodes.append(path.pop())
    return nodes, [(x, v) for v in nodes for x in v._prev]


def draw_dot(root: Value, format: str = 'svg', rankdir: str = 'LR',
             slopes: bool = False) -> graphviz.Digraph:
    """The graph that ends in `root`, as a picture. Equal graphs give equal text, `dot.source`.

    A box reads `label | data | grad`, the label only where there is one. With slopes, the chain
    rule can be checked by eye: a gradient is what stands on the arrow that leaves its box, times
    the gradient behind the operation, summed over the arrows.

    Args:
        root: the result, such as a loss.
        format: 'svg', 'png', 'pdf', or whatever else `dot` can write.
        rankdir: where the arrows lead: 'LR' (left to right), 'RL', 'TB' (top to bottom) or 'BT'.
        slopes: whether every arrow into an operation bears the local derivative.

    Raises:
        ImportError: the package graphviz is missing.
        TypeError: `root` is not a Value.
        ValueError: `format` or `rankdir` is none of these.

    Rendering, not before, raises graphviz.ExecutableNotFound where there is no program `dot`.
    """
    if rankdir not in ('LR', 'RL', 'TB', 'BT'):
        raise ValueError(f"rankdir is 'LR', 'RL', 'TB' or 'BT', not {rankdir!r}")
    digraph, escape = _graphviz()
    dot = digraph(
        format=format, graph_attr={'rankdir': rankdir, 'ranksep': '0.2', 'nodesep': '0.2'},
        node_attr={'shape': 'record', 'height': '0.3', 'margin': '0.08,0.05',
                   'fontname': 'Helvetica', 'fontsize': '10'},
        edge_attr={'arrowsize': '0.7', 'fontname': 'Helvetica', 'fontsize': '8',
                   'fontcolor': '#666666'})
    fields = '%s' if rankdir in ('LR', 'RL') else '{%s}'  # one below the other, either way
    nodes, edges = trace(root)
    number = {v: i for i, v in enumerate(nodes)}
    for v, i in number.items():
        # In a record, these characters mean something. So does & in every label: &lt; is <.
        label = re.sub(r'[\\|{}<>]', r'\\\g<0>', str(v.label)).replace('&', '&amp;')
        label = ' '.join(label.split())  # a record drops the other kinds of white space
        text = f'data {v.data:.4f} | grad {v.grad:.4f}'
        dot.node(f'v{i}', fields % (f'{label} | {text}' if label else text))
        if v._prev:
            dot.node(f'op{i}', escape(v._op.replace('&', '&amp;')), **OVAL)
            dot.edge(f'op{i}', f'v{i}')
    for (x, v), slope in zip(edges, [slope for node in nodes for slope in node._slopes]):
        # The space keeps a minus clear of an upright arrow.
        dot.edge(f'v{number[x]}', f'op{number[v]}', label=f' {slope:.4g}' if slopes else None)
    return dot


@functools.cache
def _graphviz() -> tuple[Any, Any]:
    """The package's Digraph, made to say what to install where `dot` is missing; its `escape`."""
    try:
        import graphviz
    except ImportError as e:
        raise ImportError(NO_PACKAGE) from e

    def advise(render: Any) -> Any:
        @functools.wraps(render)
        def advised(*args: Any, **kwargs: Any) -> Any:
            try:
                return render(*args, **kwargs)
            except graphviz.ExecutableNotFound as e:
                e.args = (NO_PROGRAM,)
                raise e.with_traceback(None) from None
        return advised

    # What a notebook shows comes from `pipe`, what `view` shows from `render`.
    methods = {name: advise(getattr(graphviz.Digraph, name)) for name in ('pipe', 'render')}
    return type('Digraph', (graphviz.Digraph,), methods), graphviz.escape
