"""Backbones, heads and weights."""
