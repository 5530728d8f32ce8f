"""Faults planted into the library, one at a time: which of them do the tests not notice?

    python test/mutants.py                              # 100 in each file, two at a time: an hour
    python test/mutants.py nn.py _engine.c --number 20 --seed 1
    python test/mutants.py --tree ELSEWHERE --tests test/test_a.py --tests test/test_b.py

Works on a copy of the tree. Prints what survived, and how many faults were planted in each file.
Not every survivor is a gap in the tests: a fault may change nothing that one could see.
"""
import argparse
import ast
import contextlib
import copy
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from resource import RLIMIT_AS, setrlimit

ROOT = Path(__file__).resolve().parent.parent
TESTS = [  # in groups, those first that are quick and notice most
    ['test/test_engine.py', 'test/test_programs.py', 'test/test_nn.py', 'test/test_package.py',
     'test/test_wild.py', 'test/test_trace.py'],
    ['test/test_memory.py', 'test/test_documents.py'],
]
LIMIT = 4 * 2**30, 4 * 2**30  # of memory, for what would grow without end
QUICK = 'not published_run and not notebook_shows and not moon_mlp and not gout and not lines_of_'
# The engine that a file's faults concern: without the tests on the other one.
ONLY = {'engine.py': 'not compiled', '_engine.c': 'not pure'}

# In C: what stands there, and what may stand there instead.
IN_C = [
    (r' \+ ', ' - '), (' - ', ' + '), (r' \* ', ' / '), (' / ', ' * '), (r' \+= ', ' = '),
    (r'\+\+', '--'), ('--', '++'), (' < ', ' <= '), (' <= ', ' < '), (' > ', ' >= '),
    (' >= ', ' > '), (' == ', ' != '), (' != ', ' == '), (' && ', ' || '), (r' \|\| ', ' && '),
    (r'!(?=[\w(*])', ''), (r'\b0\.0', '1.0'), (r'\b1\.0', '0.0'),
    (r'(?<![\w.])\d+(?![\w.])', lambda m: f'{int(m[0]) + 1}'),
    (r'->a\b', '->b'), (r'->b\b', '->a'), (r'\bda\b', 'db'), (r'\bdb\b', 'da'),
    (r'\b(Py_X?NewRef|NEW_REF)\(', '('), (r'\bPy_(X?DECREF|X?INCREF|CLEAR)\(', '(void)('),
    (r'(?<=\n) +(?!return|static|typedef|for|while)\w[^;{}#]*;', ' ;'),
    (r'\bif \(', 'if (0 && '), (r'\bif \(', 'if (1 || '), ('return -1;', 'return 0;'),
    ('break;', ';')]

SWAPPED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
           ast.Pow: ast.Mult, ast.Mod: ast.Mult, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
           ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot,
           ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or,
           ast.Or: ast.And}
KEPT = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.Pass, ast.Raise)


def faulty(node, field):
    """What may stand in place of this part of a syntax tree: (in words, the other part)."""
    def text(x):
        return isinstance(x, ast.Constant) and isinstance(x.value, str)

    if isinstance(node, ast.stmt):
        if not isinstance(node, KEPT) and not (isinstance(node, ast.Expr) and text(node.value)):
            yield 'deleted', ast.Pass()
    elif type(node) in SWAPPED:
        other = SWAPPED[type(node)]
        yield f'{type(node).__name__} → {other.__name__}', other()
    elif isinstance(node, ast.UnaryOp):
        yield 'without its sign', node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str)):
        x = node.value
        other = not x if isinstance(x, bool) else x + type(x)(1)  # of a text: with a 1 behind it
        yield f'{other!r}', ast.Constant(other)
    elif isinstance(node, (ast.Call, ast.Tuple)):
        name = 'args' if isinstance(node, ast.Call) else 'elts'
        items = getattr(node, name)
        if len(items) > 1 and field != 'type' and not all(map(text, items)):
            other = copy.copy(node)
            setattr(other, name, [*items[:-2], items[-1], items[-2]])
            yield 'the last two exchanged', other
    if field in ('test', 'ifs'):
        yield 'negated', ast.UnaryOp(ast.Not(), node)


def mutants(source):
    """(line, in words, the faulty source), for every fault that can be planted here."""
    tree = ast.parse(source)

    def plant(parent, field, many, i, node):
        many[i] = node
        setattr(parent, field, many if isinstance(getattr(parent, field), list) else node)

    def below(parent):
        for field, value in ast.iter_fields(parent):
            if field in ('annotation', 'returns'):
                continue  # of no effect
            many = value if isinstance(value, list) else [value]
            for i, node in enumerate(many):
                # What is said to the user is words, and no fault that a test should notice.
                if not isinstance(node, ast.AST) or isinstance(node, (ast.JoinedStr, ast.Raise)):
                    continue
                line = getattr(node, 'lineno', getattr(parent, 'lineno', 0))
                for words, other in faulty(node, field):
                    plant(parent, field, many, i, other)
                    yield line, f'{ast.unparse(node)[:60]!r}: {words}', ast.unparse(
                        ast.fix_missing_locations(tree))
                    plant(parent, field, many, i, node)
                if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
                    yield from below(node)

    yield from below(tree)


def mutants_in_c(source):
    hidden = re.sub(r'(?s)/\*.*?\*/|"(\\.|[^"\\])*"|(?m:^#([^\\\n]|\\.)*$)',
                    lambda m: re.sub(r'[^\n]', '~', m[0]), source)
    for pattern, other in IN_C:
        for m in re.finditer(pattern, hidden):
            new = other if isinstance(other, str) else other(m)
            line = source[:m.start()].count('\n')
            yield (line + 1, f'{m[0]!r}: {new!r} in {source.splitlines()[line].strip()[:60]}',
                   source[:m.start()] + new + source[m.end():])


def build(tree):
    """Compile the extension; whether that worked."""
    for old in (tree / 'micrograd').glob('_engine*.so'):
        old.unlink()
    python = (tree / 'micrograd' / 'engine.py').read_bytes()
    return not subprocess.run(
        ['cc', '-shared', '-fPIC', '-std=c11', '-O1', '-ffp-contract=off', '-fno-builtin-pow', '-w',
         f'-DENGINE_CHECKSUM={zlib.crc32(python)}u', '-I', sysconfig.get_path('include'),
         tree / 'micrograd' / '_engine.c', '-lm', '-o',
         tree / 'micrograd' / f'_engine{sysconfig.get_config_var("EXT_SUFFIX")}'],
        stderr=subprocess.DEVNULL).returncode


def notice(tree, groups, only, seconds):
    """What the tests say in this tree: '' if they pass, or the line of the first failure."""
    for group in groups:
        process = subprocess.Popen(
            [sys.executable, '-m', 'pytest', '-x', '-q', '--no-header', '--tb=no', '-k',
             f'{only} and {QUICK}', '-p', 'no:randomly', '-p', 'no:cacheprovider', *group],
            cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, 'PYTHONPATH': str(tree), 'PYTHONDONTWRITEBYTECODE': '1'},
            start_new_session=True, preexec_fn=partial(setrlimit, RLIMIT_AS, LIMIT))
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return f'no end after {seconds} seconds'
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode:
            failures = re.findall('^(?:FAILED|ERROR) .*', said, re.M)
            return failures[0] if failures else f'exit code {process.returncode}: {said[-300:]}'
    return ''


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('files', nargs='*', help='default: all five')
    parser.add_argument('--number', type=int, default=100, help='of faults in a file')
    parser.add_argument('--seed', type=int, default=0, help='by which they are drawn')
    parser.add_argument('--tree', type=Path, default=ROOT, help='another checkout than this one')
    parser.add_argument('--tests', nargs='+', action='append', help='groups of files, in order')
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--seconds', type=int, default=120, help='that a group of tests may take')
    parser.add_argument('--verbose', action='store_true', help='show also what was noticed')
    options = parser.parse_args()
    groups = options.tests or TESTS

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        trees = queue.Queue()
        for i in range(options.jobs):
            tree = Path(folder, str(i))
            shutil.copytree(options.tree, tree, ignore=shutil.ignore_patterns(
                '.git', '__pycache__', 'build', '*.so', '.venv'))
            trees.put(tree)
            if not build(tree):
                sys.exit('the compiled engine cannot be built')

        def attempt(name, faulty_source):
            tree = trees.get()
            files = [tree / 'micrograd' / name, *(tree / 'micrograd').glob('_engine*.so')]
            right = [path.read_bytes() for path in files]
            try:
                files[0].write_text(faulty_source, encoding='utf-8')
                if name.endswith('.c') and not build(tree):
                    return None
                if name == 'engine.py':
                    for binary in files[1:]:  # it is of another engine.py
                        binary.unlink()
                first = [sorted(group, key=lambda path: Path(name).stem not in path)
                         for group in groups]
                return notice(tree, first, ONLY.get(name, 'not pure'), options.seconds)
            finally:
                for path, content in zip(files, right):
                    path.write_bytes(content)
                trees.put(tree)

        for name in options.files or ['engine.py', '__init__.py', 'nn.py', 'trace.py', '_engine.c']:
            start = time.monotonic()
            source = (options.tree / 'micrograd' / name).read_text(encoding='utf-8')
            said = attempt(name, source)
            if said or said is None:
                sys.exit(f'{name}: without a fault: {said or "it does not compile"}')
            faults = list((mutants_in_c if name.endswith('.c') else mutants)(source))
            random.Random(options.seed).shuffle(faults)
            faults = sorted(faults[:options.number], key=lambda fault: fault[0])
            planted = survivors = 0
            for (line, words, _), said in zip(faults, pool.map(
                    lambda fault, name=name: attempt(name, fault[2]), faults)):
                planted += said is not None
                survivors += said == ''
                if options.verbose or said == '':
                    print(f'{name}:{line}: {words}', said and f'({said})', flush=True)
            print(f'{name}: {planted} planted, {planted - survivors} noticed, '
                  f'{time.monotonic() - start:.0f} seconds', flush=True)


if __name__ == '__main__':
    main()
