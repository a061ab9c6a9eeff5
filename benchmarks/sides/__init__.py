"""The sides of the augmentation benchmark: each gives the same augmented patches its own way."""
