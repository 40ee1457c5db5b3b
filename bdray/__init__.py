"""bdray: studies of backdoor attacks and defenses on CLIP, distributed on Ray."""

__version__ = "0.1.0"
