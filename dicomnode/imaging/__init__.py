"""From instance files to a volume, and between the source's grid and a model's."""
