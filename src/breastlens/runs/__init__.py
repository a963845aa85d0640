"""Runs: one training, evaluation or comparison from beginning to end, and the directory that it leaves."""
