"""Entry points: training, prediction, Jacobian."""
