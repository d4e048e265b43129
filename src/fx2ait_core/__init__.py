"""fx2ait: PyTorch models to ahead-of-time compiled engines."""
