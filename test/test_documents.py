"""What the READMEs and the notebooks show is what happens."""
import ast
import re
import shutil
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from conftest import PACKAGE, load, need, python

ROOT = Path(__file__).resolve().parent.parent
READMES = [ROOT / 'README.md', ROOT / 'README.vi.md']
NOTEBOOKS = ['demo.ipynb', 'trace_graph.ipynb', 'demo.vi.ipynb', 'trace_graph.vi.ipynb']


def blocks(path, language=r'\w+'):
    return re.findall(rf'^```({language})\n(.*?)^```', path.read_text('utf-8'), re.M | re.S)


# The READMEs

def printed(line):
    """What a line prints, by its comment: what stands there before a comma and the words."""
    return line.partition('  # ')[2].partition(', ')[0]


@pytest.mark.parametrize('code', [code for _, code in blocks(READMES[0], 'python')],
                         ids=lambda code: re.findall(r'\w+', code)[-1])
def test_a_block_of_python_prints_what_it_says(mg, code, capfd, monkeypatch, tmp_path):
    for module in re.findall(r'^ *(?:import|from) (\w+)', code, re.M):
        pytest.importorskip(module)
    if 'draw_dot' in code:
        pytest.importorskip('graphviz')
        shutil.which('dot') or pytest.skip('dot is missing')
    monkeypatch.chdir(tmp_path)
    exec(compile(code, 'README.md', 'exec'), {'__name__': '__main__'})
    assert capfd.readouterr().out.splitlines() == [
        printed(line) for line in code.splitlines() if 'print(' in line]
    if 'out/gout' in code:
        new, old = Path('out/gout.svg'), ROOT / 'gout.svg'
        assert texts(new.read_text('utf-8')) == texts(old.read_text('utf-8'))


@pytest.mark.yours(5)
def test_the_published_expression_to_all_digits(mg):
    need(mg, 'relu', '__neg__', '__sub__', '__pow__', '__truediv__', '__rtruediv__')
    names = {}
    exec(blocks(READMES[0], 'python')[0][1], names)
    assert (names['g'].data, names['a'].grad, names['b'].grad) == pytest.approx(
        (24.70408163265306, 138.8338192419825, 645.5772594752186), rel=1e-14)


def test_the_code_is_the_same_in_both_languages():
    def plain(code):
        return [(re.sub(' *#.*', '', line), printed(line) if 'print(' in line else '')
                for line in code.replace('.vi.ipynb', '.ipynb').splitlines()]

    english, vietnamese = ([(language, plain(code)) for language, code in blocks(path)]
                           for path in READMES)
    assert english == vietnamese and len(english) > 6


@pytest.mark.parametrize('path', READMES, ids=lambda path: path.name)
def test_a_readme_is_short_and_what_it_links_to_is_there(path):
    text = path.read_text('utf-8')
    links = re.findall(r'\]\((?!https?:)(.*?)\)', text) + re.findall(r'src="(.*?)"', text)
    assert len(links) > 8 and not [link for link in links if not (ROOT / link).exists()]
    assert len(text.splitlines()) <= 220 and (path != READMES[0] or len(text.split()) <= 1300)


# The notebooks

def read(name):
    import nbformat
    return nbformat.read(ROOT / name, as_version=4)


EXECUTE = """
import nbclient, nbformat, sys
notebook = nbformat.read(sys.argv[1], as_version=4)
for cell in notebook.cells:
    if cell.cell_type == 'code':
        cell.outputs, cell.execution_count = [], None
nbclient.NotebookClient(notebook, timeout=600, kernel_name='python3',
                        resources={'metadata': {'path': sys.argv[2]}}).execute()
sys.stdout.write(nbformat.writes(notebook))
"""


@pytest.fixture(scope='session')
def executed(tmp_path_factory):
    """A function that runs a notebook in a copy of the tree: (notebook, folder), once for all."""
    mg = load(False) or load(True)  # here: two threads should not import at once

    def execute(name, folder):
        import nbformat
        shutil.copytree(PACKAGE, folder / 'micrograd',
                        ignore=shutil.ignore_patterns('__pycache__'))
        said = python(mg, EXECUTE, str(ROOT / name), str(folder), timeout=900)
        return nbformat.reads(said.decode(), as_version=4), folder

    with ThreadPoolExecutor(1) as pool:  # kernels that start at once take each other's ports
        running = {name: pool.submit(execute, name, tmp_path_factory.mktemp('tree'))
                   for name in NOTEBOOKS}
        yield lambda name: running[name].result()


def texts(svg):
    """What is written in a picture, and the names of what is drawn in a graph."""
    return sorted(re.findall(r'<(?:text|title)\b[^>]*>(.*?)</', svg, re.S))


def pictures(notebook):
    """Every picture: (its type, its bytes). As an <img>, it is seen in an untrusted notebook, too.

    Beside it are a PNG, for what does not read HTML, and the alternative text.
    """
    for out in [out for cell in notebook.cells for out in cell.get('outputs', [])]:
        if out.output_type != 'stream':
            assert sorted(out.data) == ['image/png', 'text/html', 'text/plain']
            assert b64decode(out.data['image/png']).startswith(b'\x89PNG')
            kind, data, text = re.fullmatch(
                r'<img src="data:image/(\S+);base64,(\S+)" alt="([^"<>&]{30,})"(?: width="\d+")?>',
                out.data['text/html']).groups()
            assert text == out.data['text/plain']
            yield kind, b64decode(data)


def shown(notebook):
    """What is printed, and what is written in the pictures."""
    return [''.join(out.get('text') or out.data['text/plain'] for out in cell.get('outputs', []))
            for cell in notebook.cells], [
        texts(picture.decode()) for kind, picture in pictures(notebook) if kind == 'svg+xml']


def assert_alike(new, old):
    """Two images, but for what another version of a library draws differently."""
    from matplotlib.image import imread
    new, old = imread(new), imread(old)
    assert new.shape == old.shape
    difference = abs(new - old)
    assert difference.mean() < 0.01  # of a scale from 0 to 1
    assert (difference.max(axis=2) > 0.2).mean() < 0.02


needed = pytest.mark.needs('nbclient', 'nbformat', 'ipykernel', 'sklearn', 'matplotlib', 'torch',
                           'graphviz', 'dot')


@pytest.mark.needs('nbformat')
@pytest.mark.parametrize('name', NOTEBOOKS)
def test_a_notebook_is_committed_as_it_was_executed(name):
    import nbformat
    notebook = read(name)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == 'code']
    assert counts == [*range(1, len(counts) + 1)]
    assert len([*pictures(notebook)]) >= 5 and (ROOT / name).stat().st_size < 450_000


@needed
@pytest.mark.parametrize('name', NOTEBOOKS)
def test_a_notebook_shows_what_is_committed(executed, name):
    (notebook, folder), committed = executed(name), read(name)
    assert shown(notebook) == shown(committed)
    for (kind, new), (_, old) in zip(pictures(notebook), pictures(committed), strict=True):
        if kind == 'png':
            assert_alike(BytesIO(new), BytesIO(old))
    assert sorted(path.name for path in folder.iterdir()) == ['micrograd', 'out']
    if name == 'demo.ipynb':
        assert_alike(folder / 'out/moon_mlp.png', ROOT / 'moon_mlp.png')
    if name == 'trace_graph.ipynb':
        gout = (ROOT / 'gout.svg').read_bytes()
        assert texts((folder / 'out/gout.svg').read_text('utf-8')) == texts(gout.decode())
        assert [*pictures(committed)][1] == ('svg+xml', gout)  # the film


@pytest.mark.needs('nbformat')
@pytest.mark.parametrize('name', NOTEBOOKS[:2])
def test_a_notebook_is_the_same_in_both_languages(name):
    class Plain(ast.NodeTransformer):  # what a person reads has blanks, or stands in an f-string
        def visit_JoinedStr(self, node):
            return [x.value for x in node.values if isinstance(x, ast.FormattedValue)]

        def visit_Constant(self, node):
            return ast.Constant('') if ' ' in str(node.value) else node

    def content(cell):
        if cell.cell_type == 'markdown':
            return sorted(re.findall('`[^`\n]+`', cell.source))
        return ast.dump(Plain().visit(ast.parse(cell.source)))

    english, vietnamese = read(name), read(name.replace('.', '.vi.'))
    assert [*map(content, english.cells)] == [*map(content, vietnamese.cells)]
    assert [*pictures(english)] == [*pictures(vietnamese)]
