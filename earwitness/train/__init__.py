"""The training loop; it knows no algorithm."""
