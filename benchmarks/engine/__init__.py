"""Benchmarks of turns and sends that take minutes, each a program of its own."""
