"""Files as a source: which ones are there, which are ready, what they are, and their records with exact positions."""
