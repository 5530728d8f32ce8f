"""Growing out of one core: a training step split over processes, and over a Dask cluster.

As users do it: a script of its own, whose functions are in `__main__`.
"""
import json
import os
import subprocess
import sys

import pytest

pytest.importorskip('joblib')

SCRIPT = """
import json
import random
import sys

from joblib import Parallel, delayed, parallel_config
from micrograd import engine
from micrograd.nn import MLP


def gradients(model, points, labels):
    model.zero_grad()
    loss = sum((model(x) - y) ** 2 for x, y in zip(points, labels))
    loss.backward()
    return [loss.data, *(p.grad for p in model.parameters())]


def losses(workers):
    random.seed(1337)
    points = [(random.uniform(-1, 1), random.uniform(-1, 1)) for _ in range(60)]
    labels = [x * y for x, y in points]
    model = MLP(2, [8, 8, 1])
    shards = [(points[i::workers], labels[i::workers]) for i in range(workers)]
    with Parallel(n_jobs=min(2, workers)) as parallel:
        for _ in range(8):
            results = parallel(delayed(gradients)(model, *shard) for shard in shards)
            loss, *grads = map(sum, zip(*results))
            for p, grad in zip(model.parameters(), grads):
                p.data -= 0.1 * grad / len(points)
            yield loss / len(points)


def main(backend):
    result = {'compiled': engine.compiled, 'one process': [*losses(1)]}
    if backend == 'dask':
        from dask.distributed import Client, LocalCluster
        with LocalCluster(n_workers=2, threads_per_worker=1, host='127.0.0.1',
                          dashboard_address=None) as cluster, Client(cluster):
            with parallel_config(backend='dask'):
                result['2 shards'] = [*losses(2)]
    else:
        for workers in 2, 3:
            result[f'{workers} shards'] = [*losses(workers)]
    print(json.dumps(result))


if __name__ == '__main__':
    main(sys.argv[1])
"""


@pytest.mark.parametrize('backend', ['loky', 'dask'])
def test_shards_give_the_same_losses(mg, tmp_path, backend):
    if backend == 'dask':
        pytest.importorskip('distributed')
    script = tmp_path / 'train.py'
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), backend], cwd=tmp_path, check=True, timeout=300,
        env={**os.environ, 'MICROGRAD_PURE': str(int(mg.pure))}, stdout=subprocess.PIPE, text=True)
    result = json.loads(done.stdout)
    assert result.pop('compiled') != mg.pure
    alone = result.pop('one process')
    assert alone[-1] < alone[0] / 2
    for losses in result.values():
        assert losses == pytest.approx(alone, rel=1e-12)
