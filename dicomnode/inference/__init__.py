"""Asking models on Triton: manifests, client, embedded server; segment, classify, measure."""
