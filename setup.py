import os
import re
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent

CPYTHON = 'platform_python_implementation == "CPython"'  # some packages have wheels for no other

# Built anew and elsewhere: builds side by side never meet, none finds what an older one left, and
# the sources may be read-only.
scratch = tempfile.TemporaryDirectory()
options = {'build': {'build_base': scratch.name}}
if not os.access(HERE, os.W_OK):
    options['egg_info'] = {'egg_base': scratch.name}


class BuildEngine(build_ext):
    def run(self):
        if self.inplace:  # where this build fails, the engine of an older one must not serve
            (HERE / self.get_ext_filename('micrograd._engine')).unlink(missing_ok=True)
        super().run()

    def build_extension(self, ext):
        if self.compiler.compiler_type == 'msvc':
            ext.extra_compile_args = ['/std:c11', '/utf-8']
        else:  # to the last bit what Python computes: a*b + c is rounded twice, pow is not replaced
            ext.extra_compile_args = ['-std=c11', '-O3', '-ffp-contract=off', '-fno-builtin-pow',
                                      '-fno-fast-math']
            ext.libraries = ['m']
        super().build_extension(ext)

    def warn(self, message):
        super().warn(f'the engine in Python will serve: {message}')
        self.distribution.ext_modules = None
        wheel = self.distribution.get_command_obj('bdist_wheel', create=False)
        if wheel:
            wheel.root_is_pure = True  # for every platform: py3-none-any


def read(name):
    return (HERE / name).read_text(encoding='utf-8')


setup(
    name='micrograd',
    version=re.search("__version__ = '(.+)'", read('micrograd/__init__.py'))[1],
    description='A tiny, exact, fast scalar autograd engine, with a small neural-network library.',
    long_description=read('README.md'),
    long_description_content_type='text/markdown',
    license_expression='MIT',
    author='The micrograd authors',
    project_urls={'The original of 2020': 'https://github.com/karpathy/micrograd'},
    python_requires='>=3.10',
    packages=['micrograd'],
    package_data={'micrograd': ['py.typed', '*.pyi']},
    ext_modules=[Extension('micrograd._engine', ['micrograd/_engine.c'], optional=True)],
    cmdclass={'build_ext': BuildEngine},
    options=options,
    extras_require={
        'demo': ['scikit-learn', 'matplotlib', 'jupyter', 'graphviz'],
        'test': [
            'pytest', 'hypothesis', 'numpy', 'joblib', 'graphviz',
            *(f'{package}; {CPYTHON}'  # the notebooks
              for package in ('nbclient', 'ipykernel', 'scikit-learn', 'matplotlib')),
            f'torch==2.13.0; {CPYTHON}'
            ' and (sys_platform != "darwin" or platform_machine == "arm64")',
        ],
    },
    classifiers=[
        'Development Status :: 5 - Production/Stable',
        'Intended Audience :: Education',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: C',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3 :: Only',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Programming Language :: Python :: 3.14',
        'Programming Language :: Python :: Implementation :: CPython',
        'Programming Language :: Python :: Implementation :: PyPy',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Typing :: Typed',
    ],
)
