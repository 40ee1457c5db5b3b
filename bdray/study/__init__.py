"""Studies: an experiment, axes or a search space over its knobs, and seeds, run on Ray."""
