"""The notebooks, run from the start in a copy of the tree: they give what is committed."""
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

nbformat = pytest.importorskip('nbformat')
nbclient = pytest.importorskip('nbclient')
pytest.importorskip('ipykernel')

ROOT = Path(__file__).parents[1]
PUBLISHED = {  # step: loss, accuracy in %
    0: (0.8958441028683222, 50), 1: (1.7235905336972022, 81), 2: (0.7429006313851131, 77),
    5: (0.313545481918522, 86), 9: (0.2704862551637922, 91), 99: (0.010978370135492717, 100),
}


def needs(name):
    """Skip where a notebook's tools are missing."""
    if name == 'demo.ipynb':
        pytest.importorskip('sklearn')
        pytest.importorskip('matplotlib')
    else:
        pytest.importorskip('graphviz')
        if shutil.which('dot') is None:
            pytest.skip('no program `dot`: Graphviz')


def read(name):
    return nbformat.read(ROOT / name, as_version=4)


def execute(name, pure, folder):
    """The notebook, executed on one of the engines in a folder with a copy of the package."""
    shutil.copytree(ROOT / 'micrograd', folder / 'micrograd',
                    ignore=shutil.ignore_patterns('__pycache__'))
    notebook = read(name)
    for cell in notebook.cells:
        if cell.cell_type == 'code':
            cell.outputs, cell.execution_count = [], None
    client = nbclient.NotebookClient(notebook, timeout=600, kernel_name='python3',
                                     resources={'metadata': {'path': str(folder)}})
    client.execute(env={**os.environ, 'MICROGRAD_PURE': str(int(pure))})
    return notebook, folder


@pytest.fixture(scope='session')
def runs(tmp_path_factory):
    """All runs, side by side, since they take the longest of all tests."""
    with ThreadPoolExecutor() as pool:
        yield {(name, pure): pool.submit(execute, name, pure, tmp_path_factory.mktemp('tree'))
               for name in ('demo.ipynb', 'trace_graph.ipynb') for pure in (True, False)}


@pytest.fixture
def run(mg, runs):
    """Execute a notebook on the engine of `mg`, once; returns it and the folder it was run in."""
    def run(name):
        needs(name)
        return runs[name, mg.pure].result()

    return run


def printed(notebook):
    return [''.join(out.text for out in cell.outputs if out.get('name') == 'stdout')
            for cell in notebook.cells if cell.cell_type == 'code']


def drawn(svg):
    """The graph in an SVG, whatever version of Graphviz put it where: names and their texts."""
    groups = re.findall(r'class="(?:node|edge)">\s*<title>(.*?)</title>(.*?)</g>', svg, re.DOTALL)
    return sorted((title, *re.findall(r'<text[^>]*>(.*?)</text>', body)) for title, body in groups)


def pictures(notebook):
    return [drawn(''.join(out.data['image/svg+xml']))
            for cell in notebook.cells if cell.cell_type == 'code'
            for out in cell.outputs if 'image/svg+xml' in out.get('data', {})]


def check_losses(notebook):
    lines = re.findall(r'^step +(\d+) +loss ([\d.]+) +accuracy +(\d+)%$',
                       '\n'.join(printed(notebook)), re.MULTILINE)
    shown = {int(step): (float(loss), int(accuracy)) for step, loss, accuracy in lines}
    for step, (loss, accuracy) in PUBLISHED.items():
        assert shown[step] == (pytest.approx(loss, rel=1e-9), accuracy)
    assert 10 <= len(lines) <= 20  # one can follow it, and need not scroll


@pytest.mark.parametrize('name', ['demo.ipynb', 'trace_graph.ipynb'])
def test_committed_as_executed(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == 'python3'
    code = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    assert not [out for cell in code for out in cell.outputs if out.output_type == 'error']


def test_committed_losses():
    check_losses(read('demo.ipynb'))


def test_demo_losses(run):
    check_losses(run('demo.ipynb')[0])


@pytest.mark.parametrize('name', ['demo.ipynb', 'trace_graph.ipynb'])
def test_prints_what_is_committed(run, name):
    assert printed(run(name)[0]) == printed(read(name))


def test_moon_mlp(run):
    folder = run('demo.ipynb')[1]
    from matplotlib.image import imread
    new, old = imread(folder / 'moon_mlp.png'), imread(ROOT / 'moon_mlp.png')
    assert new.shape == old.shape
    difference = abs(new - old)
    assert difference.mean() < 0.01  # of a scale from 0 to 1
    assert (difference.max(axis=2) > 0.2).mean() < 0.02


def test_gout(run):
    folder = run('trace_graph.ipynb')[1]
    new = drawn((folder / 'gout.svg').read_text(encoding='utf-8'))
    assert new == drawn((ROOT / 'gout.svg').read_text(encoding='utf-8'))
    assert len(new) == 10 + 5 + 5 + 9  # values, operations, arrows out of these and into them
    assert sorted(path.name for path in folder.iterdir()) == ['gout.svg', 'micrograd']


def test_pictures_in_trace_graph(run):
    new = pictures(run('trace_graph.ipynb')[0])
    assert new == pictures(read('trace_graph.ipynb'))
    assert len(new) == 9


def test_gout_is_the_graph_that_draw_dot_gives(mg, run):
    """The committed picture against the graph's text of today, name by name and arrow by arrow."""
    needs('trace_graph.ipynb')
    import random

    from micrograd.trace import draw_dot
    random.seed(1337)
    neuron = mg.Neuron(2)
    for p, label in zip(neuron.parameters(), ['w₀', 'w₁', 'b']):
        p.label = label
    y = neuron([mg.Value(1.0, label='x₀'), mg.Value(-2.0, label='x₁')])
    y.label = 'y'
    y.backward()
    svg = draw_dot(y).pipe(encoding='utf-8')
    assert drawn(svg) == drawn((ROOT / 'gout.svg').read_text(encoding='utf-8'))
