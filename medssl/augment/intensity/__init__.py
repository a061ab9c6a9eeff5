"""Transforms of a patch's numbers, one a file.

Each is a function of one sample (C, D, H, W), a numpy generator for its parameters (drawn on the
CPU, so the same on every device) and, where it needs a field, a torch generator on the sample's
device. `strength` scales its range.
"""
