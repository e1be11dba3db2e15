"""Training: flat scripts that read top to bottom, and the data, degradation and net description that they share."""
