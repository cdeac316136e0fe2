"""Tests of the template: what it renders, and what the rendered service does."""
