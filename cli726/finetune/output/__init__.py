"""What a run shows: gallery and figures."""
