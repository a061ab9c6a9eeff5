"""Intensity transforms, one a file. Each is physics that a scanner or its protocol varies."""
