"""Telling people that something is wrong with a dataset: conditions, channels, and who looks and sends."""
