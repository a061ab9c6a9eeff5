"""Checks of a study, one small file a family, and the verdict."""
