"""What is kept: the HDF5 feature store. Knows no networks, no torch."""
