"""Where the victim comes from, one file each."""
