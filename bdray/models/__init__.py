"""CLIP models: open_clip's classes, built from its JSON architectures or from ours."""
