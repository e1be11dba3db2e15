"""A generated street with known truth: who walked by, who was told, and what became of the others."""
