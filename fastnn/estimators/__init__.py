"""Estimators with scikit-learn's interface (extra ``sklearn``)."""

from fastnn.estimators._mlp import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]


def __dir__() -> list[str]:
    return __all__

