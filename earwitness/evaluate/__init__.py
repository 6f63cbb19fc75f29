"""Evaluation: what a score means and how sure it is."""
