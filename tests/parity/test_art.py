"""Attacks compared with those of the Adversarial Robustness Toolbox, on the same net."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn.robust import fgsm, pgd

pytest.importorskip("art.attacks.evasion")
torch = pytest.importorskip("torch")

from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent  # noqa: E402
from art.estimators.classification import PyTorchClassifier  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's tensors within ART
LIMITS = (0.0, 1.0)


@pytest.fixture(scope="module")
def nets():
    """A net that was trained on the digits, here and there, and rows that both classify right."""
    X, y, X_test, y_test = fastnn.datasets.load_digits()
    model = fastnn.Model([fastnn.Dense(32, "tanh"), 10], loss="softmax_crossentropy", seed=0)
    model.fit(X, y, epochs=15)
    net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10))
    with torch.no_grad():
        for layer, w, b in zip((net[0], net[2]), model.weights, model.biases, strict=True):
            layer.weight.copy_(torch.tensor(w.T.copy()))
            layer.bias.copy_(torch.tensor(b.copy()))
    right = np.flatnonzero(model.predict_classes(X_test) == y_test)[:400]
    classifier = PyTorchClassifier(
        net, loss=torch.nn.CrossEntropyLoss(), input_shape=(64,), nb_classes=10, clip_values=LIMITS, device_type="cpu"
    )
    return model, classifier, X_test[right].astype(np.float32), y_test[right]


def share_turned(model, rows, y, *, targeted=False):
    reached = model.predict_classes(rows) == y
    return np.mean(reached if targeted else ~reached)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(("norm", "eps"), [(np.inf, 0.05), (np.inf, 0.1), (2, 0.3), (2, 0.6)])
def test_one_step(nets, norm, eps, targeted):
    model, classifier, X, y = nets
    goal = (y + 1) % 10 if targeted else y
    theirs = FastGradientMethod(classifier, norm=norm, eps=eps, targeted=targeted, batch_size=512).generate(X, goal)
    ours = fgsm(model, X, goal, eps=eps, norm=norm, targeted=targeted, clip_values=LIMITS)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert share_turned(model, ours, goal, targeted=targeted) == pytest.approx(
        share_turned(model, theirs, goal, targeted=targeted), abs=0.01
    )


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("starts", [0, 3])
@pytest.mark.parametrize(("norm", "eps"), [(np.inf, 0.06), (np.inf, 0.12), (2, 0.3), (2, 0.6)])
def test_many_steps(nets, norm, eps, starts, targeted):
    model, classifier, X, y = nets
    goal = (y + 1) % 10 if targeted else y
    np.random.seed(0)  # which its starts are drawn by
    theirs = ProjectedGradientDescent(
        classifier, norm=norm, eps=eps, eps_step=eps / 8, max_iter=20, targeted=targeted, num_random_init=starts,
        batch_size=512, verbose=False,
    ).generate(X, goal)  # fmt: skip
    ours = pgd(
        model, X, goal, eps=eps, eps_step=eps / 8, max_iter=20, norm=norm, targeted=targeted, num_random_init=starts,
        clip_values=LIMITS,
    )  # fmt: skip
    assert 0.1 < share_turned(model, ours, goal, targeted=targeted) < 1 or targeted
    assert share_turned(model, ours, goal, targeted=targeted) == pytest.approx(
        share_turned(model, theirs, goal, targeted=targeted), abs=0.02 if starts else 0.01
    )
