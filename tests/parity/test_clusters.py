"""Ensembles and searches on the engines of others: a cluster of Dask by joblib, and studies of Optuna."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn.search import Search

X = np.random.default_rng(0).uniform(-2, 2, (120, 2)).astype(np.float32)
Y = np.sin(X[:, 0] * X[:, 1])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Dask, about ports and files of its own
def test_workers_of_a_dask_cluster_change_no_bit(tmp_path):
    distributed = pytest.importorskip("distributed")
    import joblib

    def run():
        ensemble = fastnn.Ensemble([6, 1], 4, loss="squared_error", seed=0)
        ensemble.fit(X, Y, epochs=3)
        space = {"width": [4, 6], "learning_rate": [1e-3, 1e-2]}
        result = Search(space, loss="squared_error", method="halving", max_epochs=9, seed=0).fit(X, Y)
        return ensemble, result

    alone, alone_result = run()
    settings = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with (
        distributed.LocalCluster(**settings, local_directory=str(tmp_path)) as cluster,
        distributed.Client(cluster) as client,
    ):
        with joblib.parallel_config(backend="dask"):
            assert joblib.effective_n_jobs() == 2
            shared, shared_result = run()
        computed = client.run(lambda dask_worker: dask_worker.state.executed_count)
    assert len(computed) == 2
    assert min(computed.values()) >= 2  # each worker has trained nets
    assert np.array_equal(alone.predict_all(X), shared.predict_all(X))
    assert alone_result.curves() == shared_result.curves()
    assert np.array_equal(alone_result.model.predict(X), shared_result.model.predict(X))


def test_a_study_of_optuna_prunes():
    optuna = pytest.importorskip("optuna")
    optuna.logging.disable_default_handler()

    def objective(trial):
        rate = trial.suggest_float("learning_rate", 1e-6, 1e-1, log=True)
        model = fastnn.Model([8, 1], loss="squared_error", optimizer=fastnn.Adam(rate), seed=0)
        pruning = fastnn.callbacks.OptunaPruning(trial)
        history = model.fit(X[:80], Y[:80], epochs=20, validation_data=(X[80:], Y[80:]), callbacks=pruning)
        return history["val_loss"][-1]

    pruner = optuna.pruners.SuccessiveHalvingPruner()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner)
    study.optimize(objective, n_trials=20)
    states = [trial.state.name for trial in study.trials]
    assert {"COMPLETE", "PRUNED"} == set(states)
    pruned = study.trials[states.index("PRUNED")]
    assert 1 <= len(pruned.intermediate_values) < 20
    assert study.best_value == min(t.value for t in study.trials if t.state.name == "COMPLETE")
