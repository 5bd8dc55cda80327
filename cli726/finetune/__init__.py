"""Problem 6: fine-tune a small residual network from cached features."""
