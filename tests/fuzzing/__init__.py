"""Bad input of every kind: what comes out is an error that can be read, and nothing else."""
