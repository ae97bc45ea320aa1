"""Jinja templates: Dockerfile and scaffolds. Data only."""
