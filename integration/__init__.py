"""Tests on real kernels and real engines, in namespaces that each test makes and owns."""
