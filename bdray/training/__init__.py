"""One training loop for every stage, and the ways to launch it."""
