"""What happens to captions: how they become words, and the augmentations that a defense may use, one file each."""
