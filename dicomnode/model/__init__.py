"""What the node reasons about: instances, volumes, findings.  Frozen values, no I/O."""
