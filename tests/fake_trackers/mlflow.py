"""What `longtail` calls of MLflow, with its own signatures; keeps what it is told in `RUNS`."""

from contextlib import contextmanager
from types import SimpleNamespace

RUNS = []


def get_tracking_uri():
    return "sqlite:///mlflow.db"


def set_experiment(experiment_name=None, experiment_id=None):
    if experiment_name == "unreachable":
        raise ConnectionError("no such host\nafter 3 tries")


@contextmanager
def start_run(run_id=None, experiment_id=None, run_name=None):
    run = SimpleNamespace(name=run_name, params={}, metrics=[], texts={}, finished=False)
    run.info = SimpleNamespace(run_id=str(len(RUNS)))
    RUNS.append(run)
    yield run
    run.finished = True


def log_params(params, synchronous=None, run_id=None):
    assert all(isinstance(value, str) and len(value) <= 6000 for value in params.values())
    RUNS[-1].params.update(params)


def log_metrics(metrics, step=None, synchronous=None, run_id=None, timestamp=None):
    assert all(isinstance(value, float) for value in metrics.values())
    RUNS[-1].metrics.append((step, metrics))


def log_text(text, artifact_file, run_id=None):
    RUNS[-1].texts[artifact_file] = text
