"""Metrics of clean accuracy and attack success, one file each."""
