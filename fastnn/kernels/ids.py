"""Integer codes that the kernels switch on and that are no rules of `kernels.nn.rules`: the metrics."""

# Optimizers.
SGD = 0
MOMENTUM = 1
NESTEROV = 2
ADAGRAD = 3
RMSPROP = 4
ADAM = 5
AMSGRAD = 6
NADAM = 7
LION = 8

# Metrics computed inside the loop, one value per row.
NO_METRIC = 0
ACCURACY = 1
MEAN_SQUARED_ERROR = 2
MEAN_ABSOLUTE_ERROR = 3
