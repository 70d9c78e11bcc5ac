"""Flows of the DICOM gateway."""
