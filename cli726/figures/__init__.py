"""Figures: a function takes a result and returns a matplotlib Figure."""
