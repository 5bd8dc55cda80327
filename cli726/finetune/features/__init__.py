"""Features: the outputs of the frozen part."""
