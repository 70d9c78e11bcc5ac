"""Disposition, dustbin and quarantine."""
