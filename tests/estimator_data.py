"""Rows and targets of every kind that an estimator takes, for the tests of estimators."""

from __future__ import annotations

import numpy as np

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4))
Y = np.sin(X[:, 0]) + X[:, 1]
TWO = np.c_[Y, X[:, 2] ** 2]
COUNTS = RNG.poisson(np.exp(X[:, 0] / 2))
LABELS = np.array(["a", "b", "c"])[np.digitize(X[:, 0], [-0.5, 0.5])]
BINARY = np.where(X[:, 0] > 0, "yes", "no")
MULTI = (X[:, :3] > 0).astype(int)
