"""DICOM files into volumes: headers, series, geometry, intensity, pixels."""

from medssl.archive.dicom.grouping import group_by_series
from medssl.archive.dicom.header import Header, Unreadable, read_header
from medssl.archive.dicom.policy import Policy
from medssl.archive.dicom.series import read_series

__all__ = ["Header", "Policy", "Unreadable", "group_by_series", "read_header", "read_series"]
