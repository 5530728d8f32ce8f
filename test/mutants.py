"""Faults planted into the library, one at a time: which of them do the tests not notice?

    python test/mutants.py                       # all of them, two at a time: some 50 minutes
    python test/mutants.py nn.py trace.py        # those in these files alone
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
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from resource import RLIMIT_AS, setrlimit

ROOT = Path(__file__).resolve().parent.parent
TESTS = [  # in groups, those first that are quick and notice most
    ['test/test_programs.py', 'test/test_engine.py', 'test/test_nn.py', 'test/test_trace.py'],
    ['test/test_memory.py', 'test/test_documents.py'],
]
LIMIT = 4 * 2**30, 4 * 2**30  # of memory, for what would grow without end
QUICK = 'not published_run and not notebook_shows and not moon_mlp and not gout and not no_more'
# The engine that a file's faults concern: without the tests on the other one.
ONLY = {'engine.py': 'not compiled', '_engine.c': 'not pure'}

# Faults in _engine.c: what stands there, and what stands there instead.
IN_C = [
    ('x <= 0.0 ? 0.0 : 1.0', 'x < 0.0 ? 0.0 : 1.0'),
    ('-(a / b) / b}', '-a / (b * b)}'),
    ('return b == 0.0 ?', 'return 0 ?'),
    ('to_the_power(x, k);', 'k == -1.0 ? 1.0 / x : to_the_power(x, k);'),
    ('s->da = k == 0.0 ? 0.0 : ', 's->da = '),
    ('isfinite(s->out) || !finite', '1'),
    ('x == 0.0 ? -INFINITY : NAN', 'NAN'),
    ('x == 0.0 && k >= 0.0 ? 0.0 : ', ''),
    ('if (isinf(y) && isfinite', 'if (0 && isfinite'),
    ('x <= 0.0 && by_python', 'x < 0.0 && by_python'),
    ('(1.0 - y) * (1.0 + y)', '1.0 - y * y'),
    ('v->b->grad += v->db', 'v->b->grad += v->da'),
    ('        v->op &= ~VISITED;\n        if (!error)', '        if (!error)'),
    ('if (!error) chain(v);', 'chain(v);'),
    ('            v->grad = 0.0;\n', ''),
    ('        v->grad = 0.0;\n        v->op &= ~VISITED;\n    }',
     '        v->op &= ~VISITED;\n    }'),
    ('if (!x->a || x->op', 'if (x->op'),
    ('NULL : order, 2 * room', 'NULL : order, room'),
    ('if (order == few) memcpy(more, few, sizeof few);', ''),
    ('    if (order != few) PyMem_Free(order);\n', ''),
    ('if (!--live[i] &&', 'if (--live[i] <= 1 &&'),
    ('page) next = pool[i];', 'page) next = end;'),
    ('else if (!live[i]) empty[empties++] = (int)i;', ''),
    ('        Py_XDECREF(a);\n        Py_XDECREF(b);\n        return NULL;',
     '        return NULL;'),
    ('        Py_XDECREF(y);\n', ''),
    ('number == -1.0 && PyErr', '0 && PyErr'),
    ('        Py_XDECREF(a);\n        return not', '        return not'),
    ('    Py_DECREF(a);\n    Py_DECREF(b);\n', '    Py_DECREF(a);\n'),
    ('    Py_XDECREF(m);\n', ''),
    ('Py_REFCNT(x) == 1 && IS_PLAIN(x)', 'Py_REFCNT(x) == 1'),
    ('else Py_XDECREF(x);', ''),
    ('        Py_XDECREF(own);\n', ''),
    ('        Py_DECREF(type);\n    }', '    }'),
    ('Py_XNewRef(op)', 'op'),
    ('names[POWER_OF], NEW_REF(x)', 'names[POWER_OF], (Value *)x'),
    ('self->b ? "(dd)"', 'self->a ? "(dd)"'),
    ('self->b ? 2 : self->a ? 1 : 0, self', 'self->b ? 2 : 1, self'),
    ('&& Value_Type->tp_init == value_init', ''),
    ('Value_Type->tp_new == PyBaseObject_Type.tp_new\n        && ', ''),
    ('(db && real(db, &slope_b))', '0'),
    ('            Py_XDECREF(xy);\n', ''),
    ('    Py_XDECREF(q);\n', ''),
    ('if (!IS_PLAIN(PySequence', 'if (!IS_VALUE(PySequence'),
    ('PyInterpreterState_Get() != ', '0 && PyInterpreterState_Get() != '),
]

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
    for old, new in IN_C:
        if source.count(old) != 1:
            sys.exit(f'{source.count(old)} times in _engine.c: {old}')
        line = source[:source.index(old)].count('\n') + 1
        yield line, f'{old!r}: {new!r}', source.replace(old, new)


def build(tree):
    """Compile the extension; whether that worked."""
    for old in (tree / 'micrograd').glob('_engine*.so'):
        old.unlink()
    subprocess.run([sys.executable, 'setup.py', '-q', 'build_ext', '--inplace', '--force'],
                   cwd=tree, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return any((tree / 'micrograd').glob('_engine*.so'))


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
    parser.add_argument('files', nargs='*', help='default: all four')
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
                    return 'does not compile'
                first = [sorted(group, key=lambda path: Path(name).stem not in path)
                         for group in groups]
                return notice(tree, first, ONLY.get(name, 'not pure'), options.seconds)
            finally:
                for path, content in zip(files, right):
                    path.write_bytes(content)
                trees.put(tree)

        for name in options.files or ['engine.py', 'nn.py', 'trace.py', '_engine.c']:
            start = time.monotonic()
            source = (options.tree / 'micrograd' / name).read_text(encoding='utf-8')
            said = attempt(name, source)
            if said:
                sys.exit(f'{name}: the tests fail without a fault: {said}')
            planted = list((mutants_in_c if name.endswith('.c') else mutants)(source))
            survivors = 0
            for (line, words, _), said in zip(planted, pool.map(
                    lambda mutant, name=name: attempt(name, mutant[2]), planted)):
                survivors += not said
                if options.verbose or not said:
                    print(f'{name}:{line}: {words}', said and f'({said})', flush=True)
            print(f'{name}: {len(planted)} planted, {len(planted) - survivors} noticed, '
                  f'{time.monotonic() - start:.0f} seconds', flush=True)


if __name__ == '__main__':
    main()
