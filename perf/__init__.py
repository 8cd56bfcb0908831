"""Measurements of raypipe beside its peers. Not part of the package."""
