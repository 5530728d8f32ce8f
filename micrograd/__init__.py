"""micrograd: reverse-mode automatic differentiation over scalars, and small neural networks."""
from micrograd.engine import Value

__version__ = '1.0.0'
__all__ = ['Value']
