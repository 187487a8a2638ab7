"""Activations, losses, optimizers, dropout and augmentation."""
