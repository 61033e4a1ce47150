"""A real Docker Engine, seen from a test."""
