"""Training and evaluating world models."""
