"""Loss and metrics of nets by name, of the sums that an engine returned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastnn._population.sums import METRICS, Numbers, Sums
from fastnn._training.net import Net
from fastnn._training.objective import names_of


def values_of(nets: Sequence[Net], sums: Sums, n_steps: int) -> dict[str, Numbers]:
    """Return loss and compiled metrics by name, (epochs, N); NaN where a net has no such metric.

    Parameters
    ----------
    nets : sequence of Net
        Those of the sums.
    sums : Sums
    n_steps : int
        Steps per epoch.
    """
    weight = np.where(sums.weight == 0.0, 1.0, sums.weight)  # all rows may have the weight 0
    is_sum = np.array([net.spec.loss.rule.reduction == "sum" for net in nets])
    found = {"loss": np.where(is_sum, sums.loss, sums.loss / weight) + sums.penalty / n_steps}
    columns: dict[tuple[str, str], list[int]] = {}  # nets of a metric, by its name and field
    for k, net in enumerate(nets):
        compiled = [metric.name for metric in net.spec.metrics if metric.compiled]
        for column in zip(compiled, METRICS, strict=False):
            columns.setdefault(column, []).append(k)
    for (name, field), chosen in columns.items():
        if name not in found:
            found[name] = np.full_like(weight, np.nan)
        found[name][:, chosen] = getattr(sums, field)[:, chosen] / weight[:, chosen]
    return found


def names_of_all(nets: Sequence[Net]) -> list[str]:
    """Return the names of loss and metrics of all nets, each once, in the order of the logs."""
    return list(dict.fromkeys(name for net in nets for name in names_of(net)))
