import os
from pathlib import Path

from setuptools import Extension, setup

engine = Extension(
    'micrograd._engine', ['micrograd/_engine.c'], optional=True,  # engine.py serves without it
    extra_compile_args=[] if os.name == 'nt' else ['-std=c11', '-O3', '-ffp-contract=off'],
)

setup(
    name='micrograd',
    version='1.0.0',
    description='A tiny, exact, fast scalar autograd engine, with a small neural-network library.',
    long_description=Path(__file__).with_name('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='MIT',
    python_requires='>=3.10',
    packages=['micrograd'],
    ext_modules=[engine],
    package_data={'micrograd': ['py.typed']},
    extras_require={
        'demo': ['scikit-learn', 'matplotlib', 'jupyter', 'graphviz'],
        'test': [
            'pytest', 'hypothesis', 'torch==2.13.0', 'numpy',
            'nbclient', 'ipykernel', 'scikit-learn', 'matplotlib', 'graphviz',  # the notebooks
        ],
    },
    classifiers=[
        'Development Status :: 5 - Production/Stable',
        'Intended Audience :: Education',
        'Intended Audience :: Science/Research',
        'License :: OSI Approved :: MIT License',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3 :: Only',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Typing :: Typed',
    ],
)
