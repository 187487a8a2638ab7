"""Estimators with scikit-learn's interface (extra ``sklearn``)."""

from fastnn.estimators._classifier import MLPClassifier
from fastnn.estimators._of_model import estimator_of as estimator_of  # for `search`
from fastnn.estimators._regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]


def __dir__() -> list[str]:
    return __all__
