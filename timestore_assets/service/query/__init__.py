"""Asking a dataset: what there is, rows, figures, pages, how it stands."""
