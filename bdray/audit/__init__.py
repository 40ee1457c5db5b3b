"""Audit of a model that somebody else trained: do known triggers work on it? No training."""
