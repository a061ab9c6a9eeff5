"""From store rows to augmented batches: one interpolation, then intensity on the whole batch."""
