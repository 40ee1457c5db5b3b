"""Backdoor attacks: triggers, and which samples and captions they poison."""
