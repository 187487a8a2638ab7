"""Integer codes of the metrics, by which the kernels select. Codes of rules are in `kernels.nn.rules`."""

# Metrics computed inside the loop, one value per row.
NO_METRIC = 0
ACCURACY = 1
MEAN_SQUARED_ERROR = 2
MEAN_ABSOLUTE_ERROR = 3
