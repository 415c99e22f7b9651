"""Configs written by looking at the data: what ``geo-mm new`` does."""
