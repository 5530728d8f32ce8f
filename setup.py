import os
import re
import sys
import sysconfig
import tempfile
import zlib
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent

CPYTHON = 'platform_python_implementation == "CPython"'  # some packages have wheels for no other

# pip's builds are made elsewhere: two side by side do not meet, and the sources may be read-only.
# What `setup.py build` makes is for another command, as `setup.py install --skip-build`.
scratch = tempfile.TemporaryDirectory()
options = {}
if {'build', 'build_ext', 'build_py', '--skip-build'}.isdisjoint(sys.argv):
    options['build'] = {'build_base': scratch.name}
if not os.access(HERE, os.W_OK):
    options['egg_info'] = {'egg_base': scratch.name}


class BuildEngine(build_ext):
    def run(self):
        self.force = True
        try:  # always anew: where that fails, an older engine must not serve
            Path(self.get_ext_fullpath('micrograd._engine')).unlink(missing_ok=True)
            if sys.implementation.name != 'cpython' or sysconfig.get_config_var('Py_GIL_DISABLED'):
                raise RuntimeError('it is for CPython with its global lock')
            super().run()
        except Exception as error:
            print('micrograd: the engine in C was not built, the one in Python will serve:', error)
            self.extensions = self.distribution.ext_modules = []
            wheel = self.distribution.get_command_obj('bdist_wheel', create=False)
            if wheel:
                wheel.root_is_pure = True  # for every platform: py3-none-any

    def build_extension(self, ext):
        if self.compiler.compiler_type == 'msvc':
            ext.extra_compile_args = ['/std:c11', '/utf-8', '/fp:precise']
        else:  # to the last bit what Python computes: a*b + c is rounded twice, pow is not replaced
            ext.extra_compile_args = ['-std=c11', '-O3', '-ffp-contract=off', '-fno-builtin-pow',
                                      '-fno-fast-math']
            ext.libraries = ['m']
            # In the linker's hands these change the whole process: it has no subnormals any more.
            self.compiler.linker_so = [option for option in self.compiler.linker_so
                                       if not re.match('-(Ofast|f.*math|mdaz|mpc)', option)]
        super().build_extension(ext)


def read(name):
    return (HERE / name).read_bytes().replace(b'\r\n', b'\n').decode()


setup(
    name='micrograd',
    version=re.search("__version__ = '(.+)'", read('micrograd/__init__.py'))[1],
    description='A tiny, exact, fast scalar autograd engine, with a small neural-network library.',
    long_description=read('README.md'),
    long_description_content_type='text/markdown',
    license='MIT',
    author='The micrograd authors',
    project_urls={'The original of 2020': 'https://github.com/karpathy/micrograd'},
    python_requires='>=3.11',
    packages=['micrograd'],
    package_dir={'': '.'},  # what `pip install -e` installs is then found beside the clone, too
    package_data={'micrograd': ['py.typed', '*.pyi']},
    ext_modules=[Extension(
        'micrograd._engine', ['micrograd/_engine.c'],
        define_macros=[('ENGINE_CHECKSUM', f'{zlib.crc32(read("micrograd/engine.py").encode())}u')],
    )],
    cmdclass={'build_ext': BuildEngine},
    options=options,
    extras_require={
        'demo': ['scikit-learn', 'matplotlib', 'jupyter', 'graphviz'],
        'test': [
            'pytest', 'hypothesis', 'numpy', 'joblib', 'graphviz',
            *(f'{package}; {CPYTHON}'  # the notebooks
              for package in ('nbclient', 'ipykernel', 'scikit-learn', 'matplotlib')),
            f'torch==2.13.0; {CPYTHON} and python_version < "3.15"'
            ' and (sys_platform != "darwin" or platform_machine == "arm64")',
        ],
    },
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Education',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: C',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3 :: Only',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Programming Language :: Python :: 3.14',
        'Programming Language :: Python :: 3.15',
        'Programming Language :: Python :: Implementation :: CPython',
        'Programming Language :: Python :: Implementation :: PyPy',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Typing :: Typed',
    ],
)
