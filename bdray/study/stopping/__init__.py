"""Rules that stop hopeless points early, one file each."""
