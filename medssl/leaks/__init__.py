"""The same scans, or scans of the same patients, in two corpora."""
