import os
import re
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent


class BuildEngine(build_ext):
    def warn(self, message):
        super().warn(f'the engine in Python will serve: {message}')


engine = Extension(
    'micrograd._engine', ['micrograd/_engine.c'], optional=True, libraries=['m'],
    # To the last bit what Python computes: a*b + c is rounded twice.
    extra_compile_args=[] if os.name == 'nt' else ['-std=c11', '-O3', '-ffp-contract=off'],
)

setup(
    name='micrograd',
    version=re.search("__version__ = '(.+)'", (HERE / 'micrograd/__init__.py').read_text())[1],
    description='A tiny, exact, fast scalar autograd engine, with a small neural-network library.',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='MIT',
    python_requires='>=3.10',
    packages=['micrograd'],
    package_data={'micrograd': ['py.typed']},
    ext_modules=[engine],
    cmdclass={'build_ext': BuildEngine},
    extras_require={
        'demo': ['scikit-learn', 'matplotlib', 'jupyter', 'graphviz'],
        'test': [
            'pytest', 'hypothesis', 'torch==2.13.0', 'numpy', 'dask[distributed]', 'joblib',
            'nbclient', 'ipykernel', 'scikit-learn', 'matplotlib', 'graphviz',  # the notebooks
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
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Typing :: Typed',
    ],
)
