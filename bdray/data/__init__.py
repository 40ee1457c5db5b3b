"""Image-text data sets and the zero-shot task that goes with each."""
