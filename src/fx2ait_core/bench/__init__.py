"""Verification against the original module, and timing beside PyTorch."""
