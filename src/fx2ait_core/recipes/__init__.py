"""Recipes: a model, its inputs, and how to compile, verify and measure it, as one YAML file."""
