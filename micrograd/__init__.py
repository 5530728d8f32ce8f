"""micrograd: reverse-mode automatic differentiation over scalars, and small neural networks."""
import os
import warnings
import zlib
from importlib import import_module

from micrograd import engine

__version__ = '2.0.0'
__all__ = ['Layer', 'MLP', 'Module', 'Neuron', 'Value', 'draw_dot']


def _use_c() -> None:
    """Put `_engine.c` in the place of engine.py, if it was built from that file as it is now."""
    try:
        _engine = import_module('micrograd._engine')
    except ImportError:  # it has not been built, or this is a sub-interpreter
        return
    try:
        with open(engine.__file__.removesuffix('c'), 'rb') as file:
            source = file.read().replace(b'\r\n', b'\n')
    except (AttributeError, OSError):  # there is none, as in a frozen application
        source = None
    if source is None or zlib.crc32(source) == getattr(_engine, 'checksum', 0) % 2**32:
        for name in '__doc__', '__getstate__', '__reduce__', '__repr__', '__slots__':
            setattr(_engine.Value, name, vars(engine.Value)[name])  # no work for C
        vars(_engine).update(pure_sumprod=engine.sumprod)
        vars(engine).update(Value=_engine.Value, sumprod=_engine.sumprod, compiled=True)
    else:
        warnings.warn('micrograd/engine.py has changed since the engine in C was built, so the one '
                      'in Python serves: what you read there. If you did not change it, build '
                      'again: pip install -e .', RuntimeWarning, stacklevel=3)


if os.environ.get('MICROGRAD_PURE') != '1' and not engine.compiled:
    _use_c()
Value = engine.Value


def __getattr__(name: str) -> object:  # nn and trace are imported when they are asked for
    if name in ('nn', 'trace'):
        return import_module(f'micrograd.{name}')
    if name in __all__:
        home = 'trace' if name == 'draw_dot' else 'nn'
        return getattr(import_module(f'micrograd.{home}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


TYPE_CHECKING = False
if TYPE_CHECKING:
    from micrograd.nn import MLP, Layer, Module, Neuron
    from micrograd.trace import draw_dot
