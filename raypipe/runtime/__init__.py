"""Runs in motion: the driver, and what does its work in threads or on Ray. Ray is imported here alone."""
