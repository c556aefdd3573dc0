"""Figures about images: against a truth, against a set, against a hint."""
