"""What a search found: the points that nothing beats, how it got there, and which knobs mattered."""
