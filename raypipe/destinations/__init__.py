"""Destinations: where tables, ledger and watermark live together and change in one transaction."""
