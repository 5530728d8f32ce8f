"""A few hundred of the graphs of exactness.py, and that it notices what is wrong."""
import exactness
import pytest


def test_values_and_gradients(mg):
    report = exactness.check([mg], 200, seed=1)
    assert report.unexplained == 0, report.examples
    assert report.counts['gradients: not 0, within 1e-12'] > 500
    assert sum(report.reasons.values()) < 0.1 * report.counts['gradients: compared']


@pytest.mark.parametrize('operation, mistake', [
    ('tanh', lambda y, d: (y, d * (1 + 1e-11))),
    ('exp', lambda y, d: (y * (1 + 1e-15), d)),
    ('relu', lambda y, d: (y, 1.0)),
    ('log', lambda y, d: (y, -d)),
])
def test_a_mistake_is_found(mg, monkeypatch, operation, mistake):
    rules = {'tanh': lambda y, x: (1.0 - y) * (1.0 + y), 'exp': lambda y, x: y,
             'relu': lambda y, x: float(x > 0), 'log': lambda y, x: 1.0 / x}
    right = getattr(mg.Value, operation)

    def wrong(v):
        y = right(v).data
        y, d = mistake(y, rules[operation](y, v.data))
        return mg.node(y, operation, v, d)

    monkeypatch.setattr(mg.Value, operation, wrong)
    report = exactness.check([mg], 40, seed=2)
    assert report.unexplained > 0
