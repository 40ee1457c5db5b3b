"""Where image-text pairs come from, one file for each format."""
