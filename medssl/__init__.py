"""Self-supervised pretraining for 3D medical images, from archive to audited claim."""

__version__ = "0.1.0"
