"""The demonstration: a phantom, and a node with an archive to send it through."""
