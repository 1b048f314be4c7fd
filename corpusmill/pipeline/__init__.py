"""Recipes, the plan, the Ray engine. The only package that imports Ray."""
