"""Files of skops with our estimators."""

from __future__ import annotations

import numpy as np
import pytest
from models import labels, table

import fastnn
from fastnn.interchange import SKOPS_TRUSTED_TYPES

pytest.importorskip("sklearn")
skops = pytest.importorskip("skops.io")

from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SETTINGS = {
    "defaults": {},
    "lbfgs": {"solver": "lbfgs"},
    "optimizer": {"solver": fastnn.AdamW(0.01, weight_decay=0.1)},
    "activation": {"activation": fastnn.elu(0.5)},
    "schedule": {"schedule": fastnn.schedules.OneCycle(0.01, epochs=3)},
    "callbacks": {
        "callbacks": [fastnn.EarlyStopping("loss"), fastnn.ReduceLROnPlateau("loss"), fastnn.TerminateOnNaN()]
    },
    "early stopping": {"early_stopping": True},
    "single precision": {"dtype": np.float32},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("kind", [fastnn.MLPClassifier, fastnn.MLPRegressor])
def test_pipelines_are_read_with_the_published_types(kind, several, settings):
    X = table(d=4)
    y = labels(classes=3) if not several else (table(d=2, seed=3) > 0).astype(int)
    given = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0, **settings}
    pipeline = make_pipeline(StandardScaler(), kind(**given)).fit(X, y)
    data = skops.dumps(pipeline)
    assert set(skops.get_untrusted_types(data=data)) <= set(SKOPS_TRUSTED_TYPES)
    again = skops.loads(data, trusted=SKOPS_TRUSTED_TYPES)
    call = "predict_proba" if kind is fastnn.MLPClassifier else "predict"
    assert np.array_equal(getattr(again, call)(X), getattr(pipeline, call)(X))
    again[-1].set_params(warm_start=True)
    again.fit(X, y)


def test_the_list_holds_what_exists_and_nothing_that_writes_files_or_holds_functions():
    import importlib

    for name in SKOPS_TRUSTED_TYPES:
        module, _, cls = name.rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), cls), type)
    assert not {name.rpartition(".")[2] for name in SKOPS_TRUSTED_TYPES} & {
        "CSVLogger", "Callback", "LambdaCallback", "LearningRateScheduler", "ModelCheckpoint",
    }  # fmt: skip


def test_other_types_stay_untrusted():
    X, y = table(d=4), labels(classes=3)
    callback = fastnn.LambdaCallback(on_epoch_end=print)
    data = skops.dumps(fastnn.MLPClassifier((5,), max_iter=3, callbacks=[callback]).fit(X, y))
    assert "fastnn.callbacks.LambdaCallback" in skops.get_untrusted_types(data=data)
    with pytest.raises(skops.exceptions.UntrustedTypesFoundException):
        skops.loads(data, trusted=SKOPS_TRUSTED_TYPES)
