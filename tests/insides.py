"""Access to private parts of a Model for tests, so that a rename inside changes this file alone.

Use it where no public method shows the effect: the optimizer's state, the counts of steps and epochs, the tables that
the kernels read.
"""

from __future__ import annotations

import dataclasses

from fastnn.model import net_of


def engine_of(model):
    """Return the engine of a built model."""
    return net_of(model).built()


def optimizer_slots(model):
    """Return the optimizer's memory, (n_slots, n_params with padding); a view."""
    return engine_of(model).slots


def flat_parameters(model):
    """Return all weights and biases as the kernels read them, with padding; a view."""
    return engine_of(model).params


def steps_done(model):
    """Return the number of updates that the optimizer counts."""
    return engine_of(model).steps_done


def steps_counted_by_the_kernel(model):
    """Return the number of updates in the table that the training kernel itself writes."""
    return int(engine_of(model)._workspaces["train"].progress["steps_done"][0])


def workspace_bytes(model):
    """Return the bytes of the buffers by purpose: "train", "evaluate", "gradient"."""
    return {name: space.work.nbytes for name, space in engine_of(model)._workspaces.items()}


def epochs_done(model):
    """Return the number of epochs that `fit` counts on: seeds of the order of rows follow from it."""
    return net_of(model).epochs_done


def set_epochs_done(model, count):
    """Set the number of epochs that `fit` counts on."""
    net_of(model).epochs_done = count


def set_metrics(model, *metrics):
    """Replace the metrics of a model, which users cannot do."""
    net = net_of(model)
    net.spec = dataclasses.replace(net.spec, metrics=metrics)
