"""Ways to choose the points of a study, one file each."""
