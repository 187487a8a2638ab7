"""Training: what an epoch is, what runs epochs, what surrounds them."""
