"""One experiment: its configuration, its stages, and the store that remembers their results."""
