"""A synthetic hospital archive with known labels."""
