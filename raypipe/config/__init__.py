"""The configuration layer: YAML text, or a Python module, becomes a frozen Pipeline or a list of everything that is wrong."""
