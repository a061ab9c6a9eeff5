"""Code that goes into an exported MONAI bundle as it is; it imports MONAI, never medssl."""
