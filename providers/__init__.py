"""Adapters, one file per wire format; each translates a request out and a reply in, nothing else."""
