"""Metrics of images: against a target (full-reference), of a set against a set (distribution), against a hint."""
