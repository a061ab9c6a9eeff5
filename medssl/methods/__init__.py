"""Pretraining methods, one file each. They are listed in `medssl.methods.catalogue.METHODS`."""
