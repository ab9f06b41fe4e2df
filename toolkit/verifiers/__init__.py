"""Verifiers: what decides whether a final answer is the gold answer."""
