"""Integer codes that the kernels switch on and that are no rules of `kernels.nn.rules`: the metrics."""

# Metrics computed inside the loop, one value per row.
NO_METRIC = 0
ACCURACY = 1
MEAN_SQUARED_ERROR = 2
MEAN_ABSOLUTE_ERROR = 3
