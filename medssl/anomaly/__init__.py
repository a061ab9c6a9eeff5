"""Screening without labels: where a masked model cannot say what it does not see."""
