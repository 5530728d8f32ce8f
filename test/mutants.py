"""Faults planted into the library, one at a time: which of them do the tests not notice?

    python test/mutants.py                              # 100 in each file, two at a time: an hour
    python test/mutants.py nn.py _engine.c --number 20 --seed 1

Works on a copy of the tree. Not every survivor is a gap in the tests: a fault may change nothing
that one could see.
"""
import argparse
import contextlib
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
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from resource import RLIMIT_AS, setrlimit

ROOT = Path(__file__).resolve().parent.parent
TESTS = [f'test/test_{name}.py' for name in (  # those first that are quick and notice most
    'engine', 'programs', 'nn', 'package', 'wild', 'trace', 'memory', 'documents')]
QUICK = 'not published_run and not notebook_shows and not moon_mlp and not gout and not lines_of_'
# What stands there, and what may stand there instead.
IN_BOTH = [
    (r' \+ ', ' - '), (' - ', ' + '), (r' \* ', ' / '), (' / ', ' * '), (r' \+= ', ' = '),
    (' < ', ' <= '), (' <= ', ' < '), (' > ', ' >= '), (' >= ', ' > '), (' == ', ' != '),
    (' != ', ' == '), (r'\b0\.0', '1.0'), (r'\b1\.0', '0.0'), (r'(\w+), (\w+)(?=\))', r'\2, \1'),
    (r'(?<![\w.])\d+(?![\w.])', lambda m: f'{int(m[0]) + 1}')]
IN_PYTHON = [
    (r'\bnot ', ''), (' in ', ' not in '), (' is ', ' is not '), (' and ', ' or '),
    (' or ', ' and '), (r'\bTrue\b', 'False'), (r'\bFalse\b', 'True'), (r'(?<=[(,= ])-(?=\w)', ''),
    (r'\bif (?=.*:)', 'if not '), (r'(?m)(?<=^)( +)(?!return|raise|def|class|@|pass)\w.*[)\w]$',
                                   r'\1pass'), (r' \*\* ', ' * '), (r'\breversed\(', '('),
    (r'(?<=\w)\(\)', ''), (r'\bid\(', '(')]
IN_C = [
    (r'\+\+', '--'), ('--', '++'), (' && ', ' || '), (r' \|\| ', ' && '), (r'!(?=[\w(*])', ''),
    (r'->a\b', '->b'), (r'->b\b', '->a'), (r'\bda\b', 'db'), (r'\bdb\b', 'da'),
    (r'\b(Py_X?NewRef|NEW_REF)\(', '('), (r'\bPy_(X?DECREF|X?INCREF|CLEAR)\(', '(void)('),
    (r'(?<=\n) +(?!return|static|typedef|for|while)\w[^;{}#]*;', ' ;'),
    (r'\bif \(', 'if (0 && '), (r'\bif \(', 'if (1 || '), ('return -1;', 'return 0;'),
    ('break;', ';')]
WORDS = {True: r'(?s)/\*.*?\*/|"(\\.|[^"\\])*"|(?m:^#([^\\\n]|\\.)*$)',
         False: r'(?s)""".*?"""|#[^\n]*|(?m:^ *(raise|import|from) [^\n]*)'}


def mutants(name, source):  # all: (line, in words, the faulty source)
    in_c = name.endswith('.c')
    hidden = re.sub(WORDS[in_c], lambda m: re.sub(r'[^\n]', '~', m[0]), source)
    for pattern, other in IN_BOTH + (IN_C if in_c else IN_PYTHON):
        for m in re.finditer(pattern, hidden):
            new = m.expand(other) if isinstance(other, str) else other(m)
            faulty = source[:m.start()] + new + source[m.end():]
            line = source[:m.start()].count('\n')
            words = f'{m[0].strip()!r}: {new.strip()!r} in {source.splitlines()[line].strip()[:70]}'
            with contextlib.suppress(SyntaxError):
                if '~' not in new != m[0] and (in_c or compile(faulty, name, 'exec')):
                    yield line + 1, words, faulty


def build(tree):  # whether that works
    package = tree / 'micrograd'
    binary = package / f'_engine{sysconfig.get_config_var("EXT_SUFFIX")}'
    binary.unlink(missing_ok=True)
    return not subprocess.run(
        ['cc', '-shared', '-fPIC', '-std=c11', '-O1', '-ffp-contract=off', '-fno-builtin-pow', '-w',
         f'-DENGINE_CHECKSUM={zlib.crc32((package / "engine.py").read_bytes())}u', '-I',
         sysconfig.get_path('include'), package / '_engine.c', '-lm', '-o', binary],
        stderr=subprocess.DEVNULL).returncode


def notice(tree, tests, only, seconds=200):
    """What the tests say in this tree; '' if they pass."""
    process = subprocess.Popen(  # what would grow without end is stopped
        [sys.executable, '-m', 'pytest', '-x', '-q', '--no-header', '--tb=no', '-k',
         f'{only} and {QUICK}', '-p', 'no:randomly', '-p', 'no:cacheprovider', *tests],
        cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, 'PYTHONPATH': str(tree), 'PYTHONDONTWRITEBYTECODE': '1'},
        start_new_session=True, preexec_fn=partial(setrlimit, RLIMIT_AS, (4 * 2**30, 4 * 2**30)))
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return f'no end after {seconds} seconds'
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return said[-300:] or 'a crash' if process.returncode else ''


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('files', nargs='*', help='default: all five',
                        default=['engine.py', '__init__.py', 'nn.py', 'trace.py', '_engine.c'])
    parser.add_argument('--number', type=int, default=100, help='of faults in a file')
    parser.add_argument('--seed', type=int, default=0, help='by which they are drawn')
    parser.add_argument('--tests', nargs='+', default=TESTS, help='files, in their order')
    options = parser.parse_args()

    def attempt(name, faulty_source):
        """What `notice` says; None if it does not compile."""
        tree = trees.get()
        path = tree / 'micrograd' / name
        right = path.read_bytes()
        try:
            path.write_text(faulty_source, encoding='utf-8')
            if not build(tree):
                return None
            tests = sorted(options.tests, key=lambda test: Path(name).stem not in test)
            return notice(tree, tests, 'not compiled' if name == 'engine.py' else 'not pure')
        finally:
            path.write_bytes(right)
            trees.put(tree)

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        trees = queue.Queue()
        for i in range(2):
            trees.put(shutil.copytree(ROOT, Path(folder, str(i)), ignore=shutil.ignore_patterns(
                '.*_cache', '.git', '__pycache__', 'build', '*.so', '.venv')))
        for name in options.files:
            source = (ROOT / 'micrograd' / name).read_text(encoding='utf-8')
            said = attempt(name, source)
            if said or said is None:
                sys.exit(f'{name}: without a fault: {said or "it does not compile"}')
            faults = [*mutants(name, source)]
            random.Random(options.seed).shuffle(faults)
            faults = sorted(faults[:options.number])
            answers = list(pool.map(attempt, [name] * len(faults), [f[2] for f in faults]))
            survivors = [fault for fault, said in zip(faults, answers) if said == '']
            print(*(f'{name}:{line}: {words}\n' for line, words, _ in survivors), sep='', end='')
            planted = len(answers) - answers.count(None)
            print(f'{name}: {planted} planted, {len(survivors)} not noticed', flush=True)


if __name__ == '__main__':
    main()
