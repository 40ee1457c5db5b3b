"""Labeled images that models are evaluated on, one file for each kind of source."""
